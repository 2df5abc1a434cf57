//! Takes in change sets that came from a peer, an operator or the disk: everything is verified before it is written, and written before
//! it counts. What is good is taken; what is not is named with its reason, and blocks only what builds upon it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_env::Timestamp;
use weft_identity::Grants;

use super::change_set::{Change, ChangeSet, SignedChangeSet};
use super::document::{Document, scope_of};
use super::entry::{Entry, Graph};
use super::hash::Hash;
use super::operators::{Arrival, Authority, CLOCK_LEAD_MAX, Rules, Vouched};
use super::refusal::{Quarantined, Refusal};
use super::row::Row;
use super::{CHANGE_SETS_MAX, DOCUMENTS_SIZE_MAX, Ledger};

/// What came: change sets, their documents, and whose word stands behind them.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Change sets, in any order.
    pub change_sets: Vec<SignedChangeSet>,
    /// Documents; those that no change set puts are ignored.
    pub documents: Vec<Document>,
    /// Besides what the change sets themselves vouch for.
    pub vouched: Vouched,
}

/// What was verified and may be written, then inserted; and what was refused.
#[derive(Debug, Default)]
pub struct Checked {
    /// Verified change sets, parents first.
    pub accepted: Vec<Arc<Entry>>,
    /// Their documents that are new here.
    pub documents: BTreeMap<Hash, Arc<Document>>,
    /// What was not accepted, and why.
    pub refused: Vec<Quarantined>,
    pub(super) now: Option<Timestamp>,
}

/// Where a change set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From outside: it must be allowed in.
    Outside,
    /// From this node's disk: it was allowed in before it was written.
    Disk,
}

/// The work in progress.
struct Checking<'a> {
    graph: &'a Graph,
    /// Accepted already.
    fresh: BTreeMap<Hash, Arc<Entry>>,
    fresh_size: usize,
    authority: Authority<'a>,
    vouched: Vouched,
    offered: BTreeMap<Hash, Arc<Document>>,
    rules: &'a Rules,
    source: Source,
    checked: Checked,
}

impl Batch {
    /// A batch of its own.
    pub fn new(change_sets: Vec<SignedChangeSet>, documents: Vec<Document>) -> Self {
        Self { change_sets, documents, vouched: Vouched::default() }
    }
}

impl Checked {
    /// What must be on disk before the change sets are inserted: in one write, or documents first.
    pub fn rows(&self) -> Vec<Row> {
        let documents = self.documents.iter().map(|(hash, document)| Row::of_document(*hash, document));
        documents.chain(self.accepted.iter().map(|entry| Row::of_change_set(entry))).collect()
    }
}

/// Decodes change sets and leaves out what the graph holds and what comes twice.
pub(super) fn arrivals(
    graph: &Graph,
    change_sets: Vec<SignedChangeSet>,
    refused: &mut Vec<Quarantined>,
) -> BTreeMap<Hash, Arrival> {
    let mut arrivals = BTreeMap::new();
    for signed in change_sets {
        let hash = signed.hash();
        if graph.entry(&hash).is_some() || arrivals.contains_key(&hash) {
            continue;
        }
        match signed.signed.claim() {
            Ok(claim) => {
                arrivals.insert(hash, Arrival { hash, signed, claim });
            }
            Err(_) => {
                refused.push(Quarantined { hash, operator: Some(signed.operator), refusal: Refusal::Malformed });
            }
        }
    }
    arrivals
}

impl Ledger {
    pub(super) fn check_from(&self, source: Source, batch: Batch, rules: &Rules) -> Checked {
        let mut checked = Checked { now: Some(rules.now), ..Checked::default() };
        let arrivals = arrivals(&self.graph, batch.change_sets, &mut checked.refused);
        let mut vouched = batch.vouched;
        if source == Source::Outside {
            vouched.join(Vouched::of(&arrivals, rules));
        }
        let parents = |hash: &Hash| {
            let arrived = arrivals.get(hash).map(|arrival| arrival.claim.parents.as_slice());
            arrived.or_else(|| self.graph.parents(hash))
        };
        let keys = arrivals.values().map(|arrival| arrival.signed.operator).collect();
        let mut checking = Checking {
            graph: &self.graph,
            fresh: BTreeMap::new(),
            fresh_size: 0,
            authority: Authority::new(&rules.bundle.operators, &keys, parents),
            vouched,
            offered: batch.documents.into_iter().map(|document| (document.hash(), Arc::new(document))).collect(),
            rules,
            source,
            checked,
        };
        // By height parents come first; one that lies about its height is refused, wherever it comes.
        let mut in_order: Vec<Arrival> = arrivals.into_values().collect();
        in_order.sort_by_key(|arrival| (arrival.claim.revision, arrival.hash));
        for arrival in in_order {
            let (hash, operator) = (arrival.hash, Some(arrival.signed.operator));
            if let Err(refusal) = checking.take(arrival) {
                checking.checked.refused.push(Quarantined { hash, operator, refusal });
            }
        }
        checking.checked
    }
}

impl Checking<'_> {
    fn take(&mut self, arrival: Arrival) -> Result<(), Refusal> {
        let Arrival { hash, signed, .. } = arrival;
        let change_set = signed.verify().map_err(|_| Refusal::Signature)?;
        self.check_form(&change_set)?;
        let fresh = self.check_documents(&change_set)?;
        let scope = self.scope(&change_set)?;
        let entry = Entry { hash, change_set, signed, scope };
        self.check_authority(&entry)?;
        self.check_room(&fresh)?;
        for (hash, document) in fresh {
            self.fresh_size += document.size();
            self.checked.documents.insert(hash, document);
        }
        let entry = Arc::new(entry);
        self.fresh.insert(hash, Arc::clone(&entry));
        self.checked.accepted.push(entry);
        Ok(())
    }

    fn entry(&self, hash: &Hash) -> Option<&Arc<Entry>> {
        self.graph.entry(hash).or_else(|| self.fresh.get(hash))
    }

    /// A document that is held, or was put by what is accepted already.
    fn document(&self, hash: &Hash) -> Option<&Arc<Document>> {
        self.graph.document(hash).or_else(|| self.checked.documents.get(hash))
    }

    fn check_form(&self, change_set: &ChangeSet) -> Result<(), Refusal> {
        if change_set.mesh != self.rules.bundle.mesh {
            return Err(Refusal::OtherMesh(change_set.mesh.clone()));
        }
        if let Some(rule) = change_set.broken_rule() {
            return Err(Refusal::Form(rule));
        }
        let mut height: u64 = 1;
        for parent in &change_set.parents {
            let parent = self.entry(parent).ok_or(Refusal::ParentMissing(*parent))?;
            height = height.max(parent.change_set.revision.saturating_add(1));
        }
        if change_set.revision != height {
            return Err(Refusal::Revision { claimed: change_set.revision, height });
        }
        let ahead = change_set.at.since(self.rules.now);
        if self.source == Source::Outside && ahead > CLOCK_LEAD_MAX {
            return Err(Refusal::Ahead(ahead.as_secs()));
        }
        Ok(())
    }

    /// Whether every document is here or came along and is what the change set says. Returns those that are new.
    fn check_documents(&self, change_set: &ChangeSet) -> Result<Vec<(Hash, Arc<Document>)>, Refusal> {
        let mut fresh: BTreeMap<Hash, Arc<Document>> = BTreeMap::new();
        for change in &change_set.changes {
            let Some(hash) = change.after.or(change.before) else { continue };
            let held = self.document(&hash);
            // What is removed must have been here.
            let offered = || self.offered.get(&hash).filter(|_| change.after.is_some());
            let document = held.or_else(offered).ok_or(Refusal::DocumentMissing(hash))?;
            agrees(change, document)?;
            fresh.extend(held.is_none().then(|| (hash, Arc::clone(document))));
        }
        Ok(fresh.into_iter().collect())
    }

    /// Everything that a change set touches. What it replaces counts, too: else a key might take away what it may not change.
    fn scope(&self, change_set: &ChangeSet) -> Result<Grants, Refusal> {
        if let Some(confirmed) = change_set.confirms {
            let entry = self.entry(&confirmed).filter(|entry| entry.change_set.confirm_by.is_some());
            return entry.map(|entry| entry.scope.clone()).ok_or(Refusal::ConfirmsNothing(confirmed));
        }
        let mut scope = Grants::none();
        for change in &change_set.changes {
            unite(&mut scope, &scope_of(change.services.as_ref()));
            let Some(before) = change.before else { continue };
            let document = self.document(&before).ok_or(Refusal::DocumentMissing(before))?;
            if *document.id() != change.id {
                return Err(Refusal::DocumentDiffers(change.id.clone()));
            }
            unite(&mut scope, &scope_of(document.services()));
        }
        Ok(scope)
    }

    fn check_authority(&self, entry: &Entry) -> Result<(), Refusal> {
        let claim = entry.as_claim();
        let admitted = self.authority.admits(&claim, self.rules.now);
        let on_word = || self.vouched.covers(&claim, &self.authority, self.rules.now);
        match admitted {
            Err(refusal) if self.source == Source::Outside && !on_word() => Err(refusal),
            _ => Ok(()),
        }
    }

    fn check_room(&self, fresh: &[(Hash, Arc<Document>)]) -> Result<(), Refusal> {
        let size: usize = fresh.iter().map(|(_, document)| document.size()).sum();
        if self.graph.len() + self.fresh.len() >= CHANGE_SETS_MAX {
            Err(Refusal::Full("it holds 100,000 change sets"))
        } else if self.graph.documents_size() + self.fresh_size + size > DOCUMENTS_SIZE_MAX {
            Err(Refusal::Full("it holds 256 MiB of documents"))
        } else {
            Ok(())
        }
    }
}

fn agrees(change: &Change, document: &Document) -> Result<(), Refusal> {
    if *document.id() == change.id && document.services() == change.services.as_ref() {
        return Ok(());
    }
    Err(Refusal::DocumentDiffers(change.id.clone()))
}

/// Adds services in place.
fn unite(scope: &mut Grants, more: &Grants) {
    match (&mut *scope, more) {
        (Grants::All, _) => {}
        (_, Grants::All) => *scope = Grants::All,
        (Grants::Only(services), Grants::Only(more)) => services.extend(more.iter().cloned()),
    }
}

/// Documents that these change sets put and that are neither held nor among `offered`.
pub(super) fn missing(graph: &Graph, change_sets: &[SignedChangeSet]) -> BTreeSet<Hash> {
    let claims = change_sets.iter().filter_map(|signed| signed.signed.claim().ok());
    let wanted = claims.flat_map(|claim| claim.changes.into_iter().filter_map(|change| change.after));
    wanted.filter(|hash| graph.document(hash).is_none()).collect()
}
