//! What happened, newest first, and how people name a revision.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use weft_env::Timestamp;
use weft_identity::{Code, Failure, NodeId, PublicKey};

use super::Ledger;
use super::change_set::Change;
use super::entry::Entry;
use super::hash::Hash;
use super::operators::Rules;
use super::state::{Outcome, Standing};

/// Fewest and most hex digits that name a change set. Revision numbers are shorter.
const PREFIX_LEN: std::ops::RangeInclusive<usize> = 8..=64;

/// One change set as `weft history` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its number: the height in the graph.
    pub revision: u64,
    /// Its address; two sides of a split may have made the same number.
    pub hash: Hash,
    /// Who signed.
    pub operator: PublicKey,
    /// Where.
    pub author_node: NodeId,
    /// When, by that node's clock.
    pub at: Timestamp,
    /// What the operator says of it.
    pub message: String,
    /// What it builds upon.
    pub parents: Vec<Hash>,
    /// What it changes.
    pub changes: Vec<Change>,
    /// What it confirms.
    pub confirms: Option<Hash>,
    /// How it stands.
    pub standing: Standing,
}

/// A revision as an operator names it: its number, or at least 8 digits of its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionName {
    /// Its number.
    Number(u64),
    /// The first digits of its hash.
    Prefix(String),
}

impl FromStr for RevisionName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if PREFIX_LEN.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::Prefix(text.to_ascii_lowercase()));
        }
        let number = text.parse().ok().filter(|_| text.len() < *PREFIX_LEN.start());
        let detail = || format!("{text:?} is no revision: give its number, or at least 8 digits of its hash");
        number.map(Self::Number).ok_or_else(|| Failure::new(Code::RevisionUnknown, detail()))
    }
}

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Prefix(prefix) => f.write_str(prefix),
        }
    }
}

impl From<Hash> for RevisionName {
    fn from(hash: Hash) -> Self {
        Self::Prefix(hash.to_string())
    }
}

impl Ledger {
    /// Every change set, newest first. Change sets of one number stand together.
    pub fn history(&self, rules: &Rules) -> impl Iterator<Item = HistoryRow> + '_ {
        let outcome = self.outcome(rules);
        self.graph.after(None).rev().map(move |entry| row_of(entry, &outcome))
    }

    /// One change set, if it is here.
    pub fn history_row(&self, hash: &Hash, rules: &Rules) -> Option<HistoryRow> {
        self.graph.entry(hash).map(|entry| row_of(entry, &self.outcome(rules)))
    }

    /// The one change set of this name.
    pub fn find(&self, name: &RevisionName) -> Result<Arc<Entry>, Failure> {
        let found: Vec<&Arc<Entry>> = match name {
            RevisionName::Number(number) => self.graph.of_revision(*number).collect(),
            RevisionName::Prefix(prefix) => {
                let named = |entry: &&Arc<Entry>| entry.hash.to_string().starts_with(prefix.as_str());
                self.graph.after(None).filter(named).collect()
            }
        };
        match found.as_slice() {
            [entry] => Ok(Arc::clone(entry)),
            [] => Err(Failure::new(Code::RevisionUnknown, format!("this node holds no revision {name}"))),
            several => {
                let hashes: Vec<String> = several.iter().map(|entry| entry.hash.short()).collect();
                let detail = format!("{name} names {} change sets: {}", several.len(), hashes.join(", "));
                Err(Failure::new(Code::RevisionAmbiguous, detail))
            }
        }
    }
}

fn row_of(entry: &Entry, outcome: &Outcome) -> HistoryRow {
    HistoryRow {
        revision: entry.change_set.revision,
        hash: entry.hash,
        operator: entry.signed.operator,
        author_node: entry.change_set.author_node.clone(),
        at: entry.change_set.at,
        message: entry.change_set.message.clone(),
        parents: entry.change_set.parents.clone(),
        changes: entry.change_set.changes.clone(),
        confirms: entry.change_set.confirms,
        standing: outcome.exceptions.get(&entry.hash).cloned().unwrap_or(Standing::Applied),
    }
}
