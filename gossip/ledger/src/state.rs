//! What the change sets add up to: the documents in force, and how each change set stands. A pure function of the change sets, the
//! bundle's operators and the time; the same on every node.
//!
//! ```text
//!                    key does not count
//! held --------------------------------------------> Uncounted
//!   |  a document is not what it was made against
//!   |----------------------------------------------> SetAside
//!   |  to be confirmed          deadline passed, no confirmation made before it
//!   |----------> Unconfirmed -----------------------> Expired
//!   |                 | confirmed
//!   `-----------------`-----------------------------> Applied
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_env::Timestamp;
use weft_identity::{OperatorEntry, OperatorStanding};

use super::document::{Document, DocumentId};
use super::entry::{Entry, Graph, Place};
use super::hash::Hash;
use super::operators::{Authority, Rules};
use super::refusal::Refusal;

/// The documents in force.
pub type State = BTreeMap<DocumentId, StateEntry>;

/// One document in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The document.
    pub document: Arc<Document>,
    /// Its hash.
    pub hash: Hash,
    /// The revision that put it.
    pub revision: u64,
    /// The change set that put it.
    pub change_set: Hash,
}

/// How a change set stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Applied,
    /// A document was no longer what it was made against; none of it counts.
    SetAside {
        /// The first such document.
        document: DocumentId,
    },
    /// It counts until then, and after that if it is confirmed.
    Unconfirmed {
        /// The deadline.
        until: Timestamp,
    },
    /// Nobody confirmed it in time; none of it counts.
    Expired,
    /// Its key does not count, for this reason.
    Uncounted {
        /// Why.
        refusal: Refusal,
    },
}

/// The outcome, with what is needed to carry it on when a change set is added at the end.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    operators: Vec<OperatorEntry>,
    /// It holds for times after this one, ...
    after: Option<Timestamp>,
    /// ... up to this one.
    until: Option<Timestamp>,
    pub(super) state: Arc<State>,
    /// How those stand that are not applied.
    pub(super) exceptions: BTreeMap<Hash, Standing>,
    /// Change sets whose key counts, with none above them whose key counts.
    pub(super) tips: BTreeSet<Hash>,
    /// Change sets that do not count and lie below none that does: other nodes never take them.
    pub(super) stray: BTreeSet<Hash>,
    last: Option<Place>,
}

/// Change sets that somebody confirmed in time.
struct Confirmed(BTreeSet<Hash>);

impl Outcome {
    /// Computes everything anew; of `only` these change sets, if given.
    pub(super) fn compute(graph: &Graph, rules: &Rules, only: Option<&BTreeSet<Hash>>) -> Self {
        let operators = rules.bundle.operators.clone();
        let keys = operators.iter().map(|entry| entry.key).collect();
        let authority = Authority::new(&operators, &keys, |hash| graph.parents(hash));
        let confirmed = Confirmed::of(graph, &authority);
        let mut outcome = Self {
            after: None,
            until: None,
            state: Arc::default(),
            exceptions: BTreeMap::new(),
            tips: BTreeSet::new(),
            stray: BTreeSet::new(),
            last: None,
            operators: Vec::new(),
        };
        for entry in graph.after(None) {
            if only.is_none_or(|only| only.contains(&entry.hash)) {
                let counts = authority.counts(&entry.as_claim());
                outcome.step(graph, entry, (counts, &confirmed, rules.now));
            }
        }
        (outcome.tips, outcome.stray) = ends(graph, &outcome.exceptions, only);
        outcome.operators = operators;
        outcome
    }

    /// Whether it is still right.
    pub(super) fn holds(&self, rules: &Rules) -> bool {
        self.operators == rules.bundle.operators
            && self.after.is_none_or(|after| rules.now > after)
            && self.until.is_none_or(|until| rules.now <= until)
    }

    /// Up to when it holds if nothing is added.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Carries the outcome on by an entry that was added to the graph. False if all must be computed anew.
    pub(super) fn append(&mut self, graph: &Graph, entry: &Entry, now: Timestamp) -> bool {
        let is_last = self.last.is_none_or(|last| last < entry.place());
        let uncounted = |hash: &Hash| matches!(self.exceptions.get(hash), Some(Standing::Uncounted { .. }));
        let retired = self.operators.iter().any(|operator| match &operator.state {
            OperatorStanding::Active => false,
            OperatorStanding::Retired { tips } => operator.key == entry.signed.operator || tips.contains(&entry.hash.0),
        });
        let in_time = self.after.is_none_or(|after| now > after) && self.until.is_none_or(|until| now <= until);
        if !is_last || !in_time || retired || entry.change_set.parents.iter().any(uncounted) {
            return false;
        }
        // Its key is not retired, so that nothing below any tips needs to be known.
        let operators = std::mem::take(&mut self.operators);
        let counts = Authority::new(&operators, &BTreeSet::new(), |_| None).counts(&entry.as_claim());
        self.operators = operators;
        if counts.is_err() || !self.confirm(graph, entry) {
            return false;
        }
        self.step(graph, entry, (counts, &Confirmed(BTreeSet::new()), now));
        for parent in &entry.change_set.parents {
            self.tips.remove(parent);
        }
        self.tips.insert(entry.hash);
        true
    }

    /// Takes a confirmation into account. False if it changes what was decided.
    fn confirm(&mut self, graph: &Graph, entry: &Entry) -> bool {
        let Some(confirmed) = confirmed_by(graph, entry) else { return true };
        match self.exceptions.get(&confirmed) {
            Some(Standing::Expired) => return false,
            Some(Standing::Unconfirmed { .. }) => self.exceptions.remove(&confirmed),
            _ => return true,
        };
        let deadlines = self.exceptions.values().filter_map(|standing| match standing {
            Standing::Unconfirmed { until } => Some(*until),
            _ => None,
        });
        self.until = deadlines.min();
        true
    }

    /// The next change set in the order.
    fn step(&mut self, graph: &Graph, entry: &Entry, judged: (Result<(), Refusal>, &Confirmed, Timestamp)) {
        let (counts, confirmed, now) = judged;
        self.last = Some(entry.place());
        let deadline = entry.change_set.confirm_by.filter(|_| !confirmed.0.contains(&entry.hash));
        let exception = if let Err(refusal) = counts {
            Some(Standing::Uncounted { refusal })
        } else if let Some(document) = self.mismatch(entry) {
            Some(Standing::SetAside { document })
        } else if let Some(passed) = deadline.filter(|deadline| now > *deadline) {
            self.after = self.after.max(Some(passed));
            Some(Standing::Expired)
        } else {
            apply(Arc::make_mut(&mut self.state), graph, entry);
            deadline.map(|until| Standing::Unconfirmed { until })
        };
        if let Some(Standing::Unconfirmed { until }) = &exception {
            self.until = Some(self.until.map_or(*until, |earliest| earliest.min(*until)));
        }
        if let Some(standing) = exception {
            self.exceptions.insert(entry.hash, standing);
        }
    }

    /// The first document that is not what the change set was made against.
    fn mismatch(&self, entry: &Entry) -> Option<DocumentId> {
        let differs = |id, before: Option<Hash>| self.state.get(id).map(|held: &StateEntry| held.hash) != before;
        let change = entry.change_set.changes.iter().find(|change| differs(&change.id, change.before))?;
        Some(change.id.clone())
    }
}

fn apply(state: &mut State, graph: &Graph, entry: &Entry) {
    for change in &entry.change_set.changes {
        match change.after.and_then(|hash| graph.document(&hash).map(|document| (hash, document))) {
            Some((hash, document)) => {
                let document = Arc::clone(document);
                let put = StateEntry { document, hash, revision: entry.change_set.revision, change_set: entry.hash };
                state.insert(change.id.clone(), put);
            }
            None => {
                state.remove(&change.id);
            }
        }
    }
}

impl Confirmed {
    fn of(graph: &Graph, authority: &Authority<'_>) -> Self {
        let confirmations = graph.after(None).filter(|entry| entry.change_set.confirms.is_some());
        let counted = confirmations.filter(|entry| authority.counts(&entry.as_claim()).is_ok());
        Self(counted.filter_map(|entry| confirmed_by(graph, entry)).collect())
    }
}

/// What an entry confirms in time.
fn confirmed_by(graph: &Graph, entry: &Entry) -> Option<Hash> {
    let confirmed = graph.entry(&entry.change_set.confirms?)?;
    let in_time = confirmed.change_set.confirm_by.is_some_and(|deadline| entry.change_set.at <= deadline);
    in_time.then_some(confirmed.hash)
}

/// Those that count with none above them that counts; and those that do not count and lie below none that does.
fn ends(
    graph: &Graph,
    exceptions: &BTreeMap<Hash, Standing>,
    only: Option<&BTreeSet<Hash>>,
) -> (BTreeSet<Hash>, BTreeSet<Hash>) {
    let (mut tips, mut stray, mut below) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let among = |entry: &&Arc<Entry>| only.is_none_or(|only| only.contains(&entry.hash));
    for entry in graph.after(None).rev().filter(among) {
        let counts = !matches!(exceptions.get(&entry.hash), Some(Standing::Uncounted { .. }));
        match (counts, below.contains(&entry.hash)) {
            (true, false) => tips.insert(entry.hash),
            (false, false) => stray.insert(entry.hash),
            (_, true) => true,
        };
        if !stray.contains(&entry.hash) {
            below.extend(entry.change_set.parents.iter().copied());
        }
    }
    (tips, stray)
}
