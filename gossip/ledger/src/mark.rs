//! What a node says of its ledger in its gossip record: a hint for the others that they lack something, and the receipt of a revision.

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::{Head, Ledger, Rules};

/// Most tips in a mark: there are more only while many sides of a split meet.
pub const MARK_TIPS_MAX: usize = 4;
/// Longest reason in a mark, in bytes: a record is small; the node's own log and `weft status` say all.
pub const MARK_REASON_LEN_MAX: usize = 200;

/// What a node holds and has put into force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerMark {
    /// Its highest revision; 0 for none.
    pub revision: u64,
    /// Its tips, if they are no more than [`MARK_TIPS_MAX`].
    pub tips: Vec<Hash>,
    /// One hash over all its tips; none before the first revision.
    pub head: Option<Hash>,
    /// One hash over the ends of its journals; none without any.
    pub journals: Option<Hash>,
    /// Why the documents of this head are not in force: what could not be compiled. None if they are.
    pub refused: Option<String>,
}

impl LedgerMark {
    /// The mark of a head.
    pub fn of(head: Head, journals: Option<Hash>, refused: Option<&str>) -> Self {
        let hash = (head.revision > 0).then(|| head.hash());
        let reason = refused.map(|text| text[..text.floor_char_boundary(MARK_REASON_LEN_MAX)].to_owned());
        let tips = if head.tips.len() > MARK_TIPS_MAX { Vec::new() } else { head.tips };
        Self { revision: head.revision, tips, head: hash, journals, refused: reason }
    }

    /// Whether it is within the limits of a record.
    pub fn is_bounded(&self) -> bool {
        self.tips.len() <= MARK_TIPS_MAX
            && self.refused.as_ref().is_none_or(|reason| reason.len() <= MARK_REASON_LEN_MAX)
    }

    /// Whether its node has something that this ledger lacks, as far as the mark tells.
    pub fn exceeds(&self, ledger: &Ledger, rules: &Rules) -> bool {
        match (self.head, self.tips.as_slice()) {
            (None, _) => false,
            (Some(head), []) => head != ledger.head(rules).hash(),
            (Some(_), tips) => tips.iter().any(|tip| ledger.entry(tip).is_none()),
        }
    }
}
