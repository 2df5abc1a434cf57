//! The change sets of a mesh with their documents, and what they add up to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::MeshName;

use crate::batch::{self, Batch, Checked, Source};
use crate::entry::{Entry, Graph};
use crate::state::{Outcome, Standing, State};
use crate::{Document, Hash, Quarantined, Row, Rules, SignedChangeSet, row};

/// Most change sets: ten a day for 27 years.
pub const CHANGE_SETS_MAX: usize = 100_000;
/// Most bytes of documents, all versions together.
pub const DOCUMENTS_SIZE_MAX: usize = 256 * 1024 * 1024;

/// The change sets of a mesh with their documents. Cheap to clone.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) mesh: MeshName,
    pub(crate) graph: Graph,
    /// The last outcome, which the next one is carried on from; nothing depends on whether it is there.
    pub(crate) outcome: Mutex<Option<Arc<Outcome>>>,
}

/// Where a ledger ends: what two nodes compare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The highest revision; 0 for an empty ledger.
    pub revision: u64,
    /// Change sets that nothing builds upon, in order.
    pub tips: Vec<Hash>,
}

impl Head {
    /// One hash for all tips, to hint with.
    pub fn hash(&self) -> Hash {
        let parts: Vec<&[u8]> = self.tips.iter().map(|tip| tip.0.as_slice()).collect();
        Hash::of_parts(&parts)
    }
}

impl Clone for Ledger {
    fn clone(&self) -> Self {
        Self {
            mesh: self.mesh.clone(),
            graph: self.graph.clone(),
            outcome: Mutex::new(self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }
}

impl Ledger {
    /// A ledger with nothing in it.
    pub fn empty(mesh: MeshName) -> Self {
        Self { mesh, graph: Graph::default(), outcome: Mutex::new(None) }
    }

    /// The ledger of these rows, in any order. What does not verify is left out and named; the rest counts. Rows were let in before they
    /// were written, so the time and a key's end are not asked about again.
    pub fn load(mesh: MeshName, rows: &[Row], rules: &Rules) -> (Ledger, Vec<Quarantined>) {
        row::load(mesh, rows, rules)
    }

    /// The mesh.
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// How many change sets it holds.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A change set that it holds.
    pub fn entry(&self, hash: &Hash) -> Option<&Arc<Entry>> {
        self.graph.entry(hash)
    }

    /// A document that it holds, in force or not.
    pub fn document(&self, hash: &Hash) -> Option<&Arc<Document>> {
        self.graph.document(hash)
    }

    /// Where it ends. Change sets whose key does not count are no ends: other nodes never took them.
    pub fn head(&self, rules: &Rules) -> Head {
        let outcome = self.outcome(rules);
        let heights = outcome.tips.iter().filter_map(|tip| self.graph.entry(tip));
        Head {
            revision: heights.map(|entry| entry.change_set.revision).max().unwrap_or(0),
            tips: outcome.tips.iter().copied().collect(),
        }
    }

    /// Those of the change sets that it does not hold.
    pub fn unknown<'a>(&self, change_sets: &'a [SignedChangeSet]) -> Vec<&'a SignedChangeSet> {
        change_sets.iter().filter(|signed| self.graph.entry(&signed.hash()).is_none()).collect()
    }

    /// Documents that the change sets put and that it does not hold.
    pub fn missing_documents(&self, change_sets: &[SignedChangeSet]) -> BTreeSet<Hash> {
        batch::missing(&self.graph, change_sets)
    }

    /// Verifies what came from outside and changes nothing. What is good is in the answer with its rows, to be written and then inserted;
    /// what is not is named there.
    pub fn check(&self, batch: Batch, rules: &Rules) -> Checked {
        self.check_from(Source::Outside, batch, rules)
    }

    /// Takes in what was checked and is on disk. What builds upon something that is not here is left out, so that the result of a check
    /// may be inserted into any later state of the ledger.
    pub fn insert(&mut self, checked: Checked) {
        for (hash, document) in &checked.documents {
            self.graph.add_document(*hash, document);
        }
        let held = self.outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = held.take();
        for entry in &checked.accepted {
            let added = self.graph.add(entry);
            let carried = match (&mut outcome, checked.now) {
                (Some(outcome), Some(now)) if added => Arc::make_mut(outcome).append(&self.graph, entry, now),
                _ => !added,
            };
            if !carried {
                outcome = None;
            }
        }
        *held = outcome;
    }

    /// A change set and all that build upon it: whose ledger ends in one of these has it. None if it is not here.
    pub fn with_descendants(&self, hash: &Hash) -> Option<BTreeSet<Hash>> {
        let entry = self.graph.entry(hash)?;
        let mut found = BTreeSet::from([*hash]);
        // Parents stand before their children.
        for entry in self.graph.after(Some(entry.place())) {
            if entry.change_set.parents.iter().any(|parent| found.contains(parent)) {
                found.insert(entry.hash);
            }
        }
        Some(found)
    }

    /// The documents in force.
    pub fn state(&self, rules: &Rules) -> Arc<State> {
        Arc::clone(&self.outcome(rules).state)
    }

    /// How a change set that it holds stands.
    pub fn standing(&self, hash: &Hash, rules: &Rules) -> Option<Standing> {
        self.graph.entry(hash)?;
        Some(self.outcome(rules).exceptions.get(hash).cloned().unwrap_or(Standing::Applied))
    }

    /// The last moment at which the state is as it is now, if it changes by itself: the next deadline of a change set that awaits its
    /// confirmation.
    pub fn next_deadline(&self, rules: &Rules) -> Option<Timestamp> {
        self.outcome(rules).until()
    }

    pub(crate) fn outcome(&self, rules: &Rules) -> Arc<Outcome> {
        let mut held = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref().filter(|outcome| outcome.holds(rules)) {
            Some(outcome) => Arc::clone(outcome),
            None => {
                let outcome = Arc::new(Outcome::compute(&self.graph, rules, None));
                *held = Some(Arc::clone(&outcome));
                outcome
            }
        }
    }
}

#[cfg(test)]
mod tests;
