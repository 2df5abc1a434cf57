//! A mesh with operators and a way to make change sets, for the ledger's tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_env::{Random, Timestamp};
use weft_identity::testing::{self, NOW, TestMesh};
use weft_identity::wire::Signed;
use weft_identity::{
    ENROLMENT_CONTEXT, Enrolment, Grants, OperatorEntry, OperatorStanding, SignedEnrolment, SigningKey, TrustBundle,
};

use super::{
    Batch, ChangeSet, Document, DocumentParts, Draft, Hash, Ledger, Prune, Quarantined, Row, Rules, SignedChangeSet,
    SignedDraft, Signing, Standing,
};

/// A mesh, the key of its first operator, and a bundle that tests may change.
pub(super) struct Bench {
    pub(super) mesh: TestMesh,
    pub(super) root: SigningKey,
    pub(super) bundle: TrustBundle,
}

pub(super) fn bench() -> Bench {
    let mesh = testing::mesh();
    let (root, bundle) = (mesh.seed.operator_key.clone(), mesh.bundle());
    Bench { mesh, root, bundle }
}

impl Bench {
    /// A node that is enrolled like the first one.
    pub(super) fn enrol(&self, node: &str, seed: u64) -> (SigningKey, SignedEnrolment) {
        let key = SigningKey::generate(&Random::seeded(seed));
        let first = self.mesh.seed.enrolment.claim().unwrap();
        let enrolment = Enrolment { node: node.parse().unwrap(), key: key.public(), serial: seed, ..first };
        (key, Signed::sign(&enrolment, ENROLMENT_CONTEXT, &self.mesh.seed.issuer.key).unwrap())
    }

    /// A new operator for these services.
    pub(super) fn operator(&mut self, seed: u64, scope: Grants) -> SigningKey {
        let key = SigningKey::generate(&Random::seeded(seed));
        self.bundle.operators.push(OperatorEntry::active(key.public(), scope));
        key
    }

    pub(super) fn entry_of(&mut self, key: &SigningKey) -> &mut OperatorEntry {
        self.bundle.operators.iter_mut().find(|entry| entry.key == key.public()).unwrap()
    }

    pub(super) fn retire(&mut self, key: &SigningKey, tips: &[Hash]) {
        let tips = tips.iter().map(|tip| tip.0).collect();
        self.entry_of(key).state = OperatorStanding::Retired { tips };
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules_at(NOW)
    }

    pub(super) fn rules_at(&self, now: Timestamp) -> Rules {
        Rules { bundle: Arc::new(self.bundle.clone()), now }
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::empty(self.bundle.mesh.clone())
    }

    pub(super) fn signing<'a>(&self, key: &'a SigningKey, now: Timestamp) -> Signing<'a> {
        Signing { key, author_node: "vm-a".parse().unwrap(), now, message: String::new(), confirm_by: None }
    }

    /// Signs a change set that a draft would not make.
    pub(super) fn forge(
        &self,
        made: &SignedDraft,
        key: &SigningKey,
        change: impl FnOnce(&mut ChangeSet),
    ) -> SignedDraft {
        let mut change_set = made.change_set.signed.claim().unwrap();
        change(&mut change_set);
        SignedDraft { change_set: SignedChangeSet::sign(&change_set, key).unwrap(), documents: made.documents.clone() }
    }

    /// Makes, but does not insert, a change set of these documents.
    pub(super) fn make(&self, ledger: &Ledger, key: &SigningKey, documents: &[Document]) -> SignedDraft {
        let draft = ledger.draft(documents.to_vec(), &Prune::Nothing, &self.rules()).unwrap();
        self.sign(&draft, key)
    }

    pub(super) fn sign(&self, draft: &Draft, key: &SigningKey) -> SignedDraft {
        draft.sign(self.signing(key, NOW)).unwrap()
    }

    /// Makes a change set and takes it in; returns its hash.
    pub(super) fn apply(&self, ledger: &mut Ledger, documents: &[Document]) -> Hash {
        let made = self.make(ledger, &self.root, documents);
        let hash = made.change_set.hash();
        assert_eq!(take(ledger, [made], &self.rules()), []);
        hash
    }
}

/// A document for one service, or for the whole mesh if there is none.
pub(super) fn document(id: &str, service: Option<&str>, text: &str) -> Document {
    Document::new(DocumentParts {
        id: id.parse().unwrap(),
        services: service.map(|service| [service.parse().unwrap()].into()),
        file: "policies/a.toml".to_owned(),
        line: 1,
        text: text.to_owned(),
    })
    .unwrap()
}

pub(super) fn batch(made: impl IntoIterator<Item = SignedDraft>) -> Batch {
    let mut batch = Batch::default();
    for draft in made {
        batch.change_sets.push(draft.change_set);
        batch.documents.extend(draft.documents);
    }
    batch
}

/// Checks and inserts; returns what was refused.
pub(super) fn take(
    ledger: &mut Ledger,
    made: impl IntoIterator<Item = SignedDraft>,
    rules: &Rules,
) -> Vec<Quarantined> {
    let mut checked = ledger.check(batch(made), rules);
    let refused = std::mem::take(&mut checked.refused);
    ledger.insert(checked);
    refused
}

pub(super) fn labels(refused: &[Quarantined]) -> Vec<&'static str> {
    refused.iter().map(|quarantined| quarantined.refusal.label()).collect()
}

/// The texts in force, by id.
pub(super) fn texts(ledger: &Ledger, rules: &Rules) -> BTreeMap<String, String> {
    let state = ledger.state(rules);
    state.iter().map(|(id, held)| (id.to_string(), held.document.text().to_owned())).collect()
}

pub(super) fn standings(ledger: &Ledger, rules: &Rules) -> BTreeMap<Hash, Standing> {
    ledger.history(rules).map(|row| (row.hash, row.standing)).collect()
}

/// The rows of everything that a ledger holds.
pub(super) fn rows(ledger: &Ledger, rules: &Rules) -> Vec<Row> {
    let mut batch = Batch::default();
    for row in ledger.history(rules) {
        let entry = ledger.entry(&row.hash).unwrap();
        batch.change_sets.push(entry.signed.clone());
        let put = entry.change_set.changes.iter().filter_map(|change| change.after);
        batch.documents.extend(put.map(|hash| Document::clone(ledger.document(&hash).unwrap())));
    }
    Ledger::empty(ledger.mesh().clone()).check_from(super::batch::Source::Disk, batch, rules).rows()
}
