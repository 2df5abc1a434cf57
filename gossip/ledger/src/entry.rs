//! A change set that has been verified, and the graph of them all with their documents: what a node holds, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_identity::Grants;

use super::change_set::{ChangeSet, SignedChangeSet};
use super::document::Document;
use super::hash::Hash;
use super::operators::reach;

/// Where a change set stands in the order of all: by height, then by hash.
pub(super) type Place = (u64, Hash);

/// A verified change set.
#[derive(Debug)]
pub struct Entry {
    /// Its address.
    pub hash: Hash,
    /// What it says.
    pub change_set: ChangeSet,
    /// As it was signed.
    pub signed: SignedChangeSet,
    /// Everything that it touches: what its documents declare, and what those declared that it replaces.
    pub(super) scope: Grants,
}

impl Entry {
    pub(super) fn place(&self) -> Place {
        (self.change_set.revision, self.hash)
    }
}

/// Change sets and documents. Cheap to clone: a clone shares everything until one of the two changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    entries: Arc<BTreeMap<Hash, Arc<Entry>>>,
    order: Arc<BTreeSet<Place>>,
    documents: Arc<BTreeMap<Hash, Arc<Document>>>,
    documents_size: usize,
}

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entry(&self, hash: &Hash) -> Option<&Arc<Entry>> {
        self.entries.get(hash)
    }

    pub(super) fn document(&self, hash: &Hash) -> Option<&Arc<Document>> {
        self.documents.get(hash)
    }

    /// Bytes of all documents.
    pub(super) fn documents_size(&self) -> usize {
        self.documents_size
    }

    pub(super) fn parents(&self, hash: &Hash) -> Option<&[Hash]> {
        self.entries.get(hash).map(|entry| entry.change_set.parents.as_slice())
    }

    /// These and everything below them.
    pub(super) fn closure(&self, tips: impl IntoIterator<Item = Hash>) -> BTreeSet<Hash> {
        let mut reached = BTreeSet::new();
        reach(&mut reached, tips, &|hash| self.parents(hash));
        reached
    }

    /// The entries after a place, in order.
    pub(super) fn after(&self, place: Option<Place>) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = place.map_or(Unbounded, Excluded);
        self.order.range((from, Unbounded)).filter_map(|(_, hash)| self.entries.get(hash))
    }

    /// The entries of one revision, in order.
    pub(super) fn of_revision(&self, revision: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let span = (revision, Hash([0; 32]))..=(revision, Hash([0xff; 32]));
        self.order.range(span).filter_map(|(_, hash)| self.entries.get(hash))
    }

    /// Adds an entry whose parents are here. Returns whether it was added.
    pub(super) fn add(&mut self, entry: &Arc<Entry>) -> bool {
        let parents_here = entry.change_set.parents.iter().all(|parent| self.entries.contains_key(parent));
        if !parents_here || self.entries.contains_key(&entry.hash) {
            return false;
        }
        Arc::make_mut(&mut self.order).insert(entry.place());
        Arc::make_mut(&mut self.entries).insert(entry.hash, Arc::clone(entry));
        true
    }

    /// Adds a document.
    pub(super) fn add_document(&mut self, hash: Hash, document: &Arc<Document>) {
        if !self.documents.contains_key(&hash) {
            self.documents_size += document.size();
            Arc::make_mut(&mut self.documents).insert(hash, Arc::clone(document));
        }
    }
}

#[cfg(test)]
impl Graph {
    /// Pretends that the documents take so many bytes.
    pub(super) fn pretend_size(&mut self, size: usize) {
        self.documents_size = size;
    }
}
