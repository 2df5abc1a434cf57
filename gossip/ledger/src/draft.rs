//! The next change set before it is signed: what differs between the documents in force and those that an operator wants. Made on a
//! node, signed where the operator's key is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::{Code, Failure, MeshName, NodeId, ServiceName, SigningKey};

use super::Ledger;
use super::change_set::{CHANGES_MAX, Change, ChangeSet, PARENTS_MAX, SignedChangeSet};
use super::document::{Document, DocumentId};
use super::entry::Entry;
use super::hash::Hash;
use super::history::RevisionName;
use super::operators::Rules;
use super::state::{Outcome, Standing, State};

/// Which documents are removed because they are not among those wanted. Never by omission: only what is named here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prune {
    /// None.
    Nothing,
    /// Those of this kind.
    Kind(String),
    /// Those that name this service and no other.
    Service(ServiceName),
    /// This one.
    Document(DocumentId),
    /// All.
    All,
}

/// One document that is to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which.
    pub id: DocumentId,
    /// In force now.
    pub old: Option<Arc<Document>>,
    /// Wanted; none if it is to be removed.
    pub new: Option<Arc<Document>>,
}

/// In what way a document differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It is new.
    Added,
    /// Its text or its services are others.
    Changed,
    /// It stands in another place and says the same.
    Moved,
    /// It goes.
    Removed,
}

/// A change set that is not signed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The mesh.
    pub mesh: MeshName,
    /// What it builds upon.
    pub parents: Vec<Hash>,
    /// The number that it will have.
    pub revision: u64,
    /// What it changes, in the order of the ids.
    pub differences: Vec<Difference>,
    /// How many wanted documents are in force as they are.
    pub unchanged: usize,
    /// What it confirms; then it changes nothing.
    pub confirms: Option<Hash>,
}

/// What an operator adds to a draft by signing it.
#[derive(Debug, Clone)]
pub struct Signing<'a> {
    /// The operator's key.
    pub key: &'a SigningKey,
    /// The node on which it is signed.
    pub author_node: NodeId,
    /// Now.
    pub now: Timestamp,
    /// What the operator says of it.
    pub message: String,
    /// Unless it is confirmed by then, it is left out.
    pub confirm_by: Option<Timestamp>,
}

/// A signed draft, to be checked like anything that comes from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDraft {
    /// The change set.
    pub change_set: SignedChangeSet,
    /// The documents that it puts.
    pub documents: Vec<Document>,
}

impl Difference {
    /// In what way.
    pub fn kind(&self) -> DifferenceKind {
        match (&self.old, &self.new) {
            (None, _) => DifferenceKind::Added,
            (Some(_), None) => DifferenceKind::Removed,
            (Some(old), Some(new)) if old.text() == new.text() && old.services() == new.services() => {
                DifferenceKind::Moved
            }
            (Some(_), Some(_)) => DifferenceKind::Changed,
        }
    }

    fn to_change(&self) -> Change {
        let declares = self.new.as_ref().or(self.old.as_ref());
        Change {
            id: self.id.clone(),
            services: declares.and_then(|document| document.services()).cloned(),
            before: self.old.as_ref().map(|document| document.hash()),
            after: self.new.as_ref().map(|document| document.hash()),
        }
    }
}

impl Prune {
    /// Whether it removes this document, unless that is wanted.
    pub fn removes(&self, document: &Document) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Kind(kind) => document.id().kind() == kind,
            Self::Document(id) => document.id() == id,
            Self::Service(service) => {
                document.services().is_some_and(|services| services.len() == 1 && services.contains(service))
            }
        }
    }
}

impl Ledger {
    /// What must change for these documents to be in force, besides those that are and stay.
    pub fn draft(&self, wanted: Vec<Document>, prune: &Prune, rules: &Rules) -> Result<Draft, Failure> {
        let mut by_id: BTreeMap<DocumentId, Option<Arc<Document>>> = BTreeMap::new();
        for document in wanted {
            let id = document.id().clone();
            if by_id.insert(id.clone(), Some(Arc::new(document))).is_some() {
                return Err(Failure::new(Code::ChangeSetInvalid, format!("{id} is wanted twice")));
            }
        }
        for (id, _) in self.state(rules).iter().filter(|(_, held)| prune.removes(&held.document)) {
            by_id.entry(id.clone()).or_insert(None);
        }
        Ok(self.draft_of(by_id, rules))
    }

    /// What must change for the documents to be again as that change set and those below it left them, but those that stay as they are.
    pub fn rollback(
        &self,
        to: &RevisionName,
        stays: &dyn Fn(&DocumentId) -> bool,
        rules: &Rules,
    ) -> Result<Draft, Failure> {
        let entry = self.find(to)?;
        let below = self.graph.closure([entry.hash]);
        let then = Outcome::compute(&self.graph, rules, Some(&below)).state;
        let mut wanted: BTreeMap<DocumentId, Option<Arc<Document>>> =
            self.state(rules).keys().map(|id| (id.clone(), None)).collect();
        wanted.extend(then.iter().map(|(id, held)| (id.clone(), Some(Arc::clone(&held.document)))));
        wanted.retain(|id, _| !stays(id));
        Ok(self.draft_of(wanted, rules))
    }

    /// What a change set that was set aside or has expired would change now.
    pub fn again(&self, name: &RevisionName, rules: &Rules) -> Result<Draft, Failure> {
        let entry = self.find(name)?;
        let standing = self.standing(&entry.hash, rules);
        if !matches!(standing, Some(Standing::SetAside { .. } | Standing::Expired)) {
            let detail = format!("revision {name} was neither set aside nor has it expired");
            return Err(Failure::new(Code::ChangeSetInvalid, detail));
        }
        let document = |change: &Change| change.after.and_then(|hash| self.graph.document(&hash)).cloned();
        let wanted = entry.change_set.changes.iter().map(|change| (change.id.clone(), document(change)));
        Ok(self.draft_of(wanted.collect(), rules))
    }

    /// The confirmation of a change set that awaits it.
    pub fn confirmation(&self, name: &RevisionName, rules: &Rules) -> Result<Draft, Failure> {
        let entry = self.find(name)?;
        if !matches!(self.standing(&entry.hash, rules), Some(Standing::Unconfirmed { .. })) {
            let detail = format!("revision {name} awaits no confirmation");
            return Err(Failure::new(Code::ChangeSetInvalid, detail));
        }
        let (parents, revision) = self.parents_with(Some(&entry), rules);
        let mesh = self.mesh.clone();
        Ok(Draft { mesh, parents, revision, differences: Vec::new(), unchanged: 0, confirms: Some(entry.hash) })
    }

    fn draft_of(&self, wanted: BTreeMap<DocumentId, Option<Arc<Document>>>, rules: &Rules) -> Draft {
        let state = self.state(rules);
        let mut differences = Vec::new();
        let mut unchanged = 0;
        for (id, new) in wanted {
            let old = held(&state, &id);
            match (&old, &new) {
                (None, None) => {}
                (Some(old), Some(new)) if old == new => unchanged += 1,
                _ => differences.push(Difference { id, old, new }),
            }
        }
        let (parents, revision) = self.parents_with(None, rules);
        Draft { mesh: self.mesh.clone(), parents, revision, differences, unchanged, confirms: None }
    }

    /// What the next change set builds upon, and its number: the tips, the highest if there are too many, and `also`.
    fn parents_with(&self, also: Option<&Arc<Entry>>, rules: &Rules) -> (Vec<Hash>, u64) {
        let tips = self.head(rules).tips;
        let mut parents: Vec<(u64, Hash)> =
            tips.iter().filter_map(|tip| self.graph.entry(tip)).map(|entry| entry.place()).collect();
        parents.sort_by(|one, two| two.cmp(one));
        let also = also.map(|entry| entry.place()).filter(|place| !parents.contains(place));
        parents.truncate(PARENTS_MAX - usize::from(also.is_some()));
        parents.extend(also);
        let revision = parents.iter().map(|(height, _)| *height).max().unwrap_or(0).saturating_add(1);
        let mut hashes: Vec<Hash> = parents.into_iter().map(|(_, hash)| hash).collect();
        hashes.sort();
        (hashes, revision)
    }
}

fn held(state: &State, id: &DocumentId) -> Option<Arc<Document>> {
    state.get(id).map(|held| Arc::clone(&held.document))
}

impl Draft {
    /// Whether there is nothing to sign.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.confirms.is_none()
    }

    /// Refuses more changes than a change set can hold.
    pub fn check_size(&self) -> Result<(), Failure> {
        if self.differences.len() <= CHANGES_MAX {
            return Ok(());
        }
        let detail = format!(
            "{} documents would change, at most {CHANGES_MAX} at once; apply parts of the directory one after the other",
            self.differences.len()
        );
        Err(Failure::new(Code::ChangeSetInvalid, detail))
    }

    /// Signs it.
    pub fn sign(&self, signing: Signing<'_>) -> Result<SignedDraft, Failure> {
        let invalid = |detail: String| Failure::new(Code::ChangeSetInvalid, detail);
        self.check_size()?;
        let change_set = ChangeSet {
            mesh: self.mesh.clone(),
            parents: self.parents.clone(),
            revision: self.revision,
            author_node: signing.author_node,
            at: signing.now,
            message: signing.message,
            changes: self.differences.iter().map(Difference::to_change).collect(),
            confirm_by: signing.confirm_by,
            confirms: self.confirms,
        };
        if let Some(rule) = change_set.broken_rule() {
            return Err(invalid(format!("the change set would be refused: {rule}")));
        }
        let signed = SignedChangeSet::sign(&change_set, signing.key)
            .map_err(|error| Failure::new(Code::Internal, format!("encode the change set: {error}")))?;
        // Verified as every node will, so that one that no node can read is found here.
        if signed.verify().is_err() {
            return Err(invalid("the change set is longer than 256 KiB; apply parts one after the other".to_owned()));
        }
        let documents = self.differences.iter().filter_map(|difference| difference.new.as_deref().cloned());
        Ok(SignedDraft { change_set: signed, documents: documents.collect() })
    }
}
