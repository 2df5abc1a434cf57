//! A ledger that lies: what a member with a valid certificate can answer when it is asked for change sets.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use weft_env::{Random, Timestamp};
use weft_gossip::quic::{PeerConnection, QuicProtocol};
use weft_identity::{MeshName, PublicKey, SigningKey};
use weft_ledger::journal::More;
use weft_ledger::sync::{Answer, HeadReport, Question, serve};
use weft_ledger::{Change, ChangeSet, Document, DocumentParts, Hash, LedgerMark, SignedChangeSet, SignedDraft};

/// Change sets and documents that no honest node takes, with the reason for which each must be refused.
#[derive(Debug, Clone)]
pub(super) struct LyingLedger {
    change_sets: BTreeMap<(u64, Hash), SignedChangeSet>,
    documents: BTreeMap<Hash, Document>,
    /// How many lies there are of each reason.
    pub(super) reasons: BTreeMap<&'static str, usize>,
}

impl LyingLedger {
    /// `count` lies of each kind, for a mesh with this operator; `own` is a key that is no operator's.
    pub(super) fn new(mesh: &MeshName, operator: PublicKey, own: &SigningKey, count: usize) -> Self {
        let mut ledger = Self { change_sets: BTreeMap::new(), documents: BTreeMap::new(), reasons: BTreeMap::new() };
        let random = Random::seeded(3);
        for number in 0..count {
            ledger.tell(&base(mesh, number), own, None, "operator-unknown");
            // The name of the true operator over somebody else's signature.
            ledger.tell(&base(mesh, count + number), own, Some(operator), "signature");
            let foreign: MeshName = "elsewhere".parse().expect("a mesh's name");
            ledger.tell(&base(&foreign, number), own, None, "other-mesh");
            ledger.tell(&ChangeSet { revision: 7, ..base(mesh, 2 * count + number) }, own, None, "revision");
            let orphan = Hash::of(&random.next_u64().to_be_bytes());
            let parents = vec![orphan];
            ledger.tell(
                &ChangeSet { revision: 2, parents, ..base(mesh, 3 * count + number) },
                own,
                None,
                "parent-missing",
            );
            let mixed = mixed(mesh, 4 * count + number, ledger.documents.keys().next().copied());
            ledger.tell(&mixed, own, None, "document-differs");
        }
        ledger
    }

    /// These and no lies.
    pub(super) fn of(drafts: &[SignedDraft]) -> Self {
        let mut ledger = Self { change_sets: BTreeMap::new(), documents: BTreeMap::new(), reasons: BTreeMap::new() };
        for draft in drafts {
            let revision = draft.change_set.signed.claim().expect("a change set").revision;
            ledger.change_sets.insert((revision, draft.change_set.hash()), draft.change_set.clone());
            ledger.documents.extend(draft.documents.iter().map(|document| (document.hash(), document.clone())));
        }
        ledger
    }

    /// The mark of a record that makes others ask for it.
    pub(super) fn mark(&self) -> LedgerMark {
        let tips: Vec<Hash> = self.change_sets.keys().rev().map(|(_, hash)| *hash).take(4).collect();
        LedgerMark { revision: 7, head: tips.first().copied(), tips, journals: None, refused: None }
    }

    /// Answers everyone who asks, until the endpoint is dropped.
    pub(super) async fn answer_all(self, mut accepted: mpsc::Receiver<PeerConnection>) {
        while let Some(peer) = accepted.recv().await {
            if peer.protocol == QuicProtocol::Ledger {
                tokio::spawn(self.clone().answer_one(peer));
            }
        }
    }

    async fn answer_one(self, peer: PeerConnection) {
        while let Ok((mut send, mut receive)) = peer.connection.accept_bi().await {
            // An asker that hangs up has had enough.
            let _ = serve(&mut send, &mut receive, |question| self.answer(question)).await;
        }
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Head => {
                let mark = self.mark();
                let hash = mark.head.unwrap_or(Hash([0; 32]));
                Answer::Head(HeadReport { epoch: 1, revision: 7, hash, tips: mark.tips, journals: Vec::new() })
            }
            Question::ChangeSets { after, .. } => {
                let later = self.change_sets.iter().filter(|(place, _)| after.is_none_or(|after| **place > after));
                let change_sets: Vec<SignedChangeSet> = later.map(|(_, signed)| signed.clone()).take(1_000).collect();
                let more = if change_sets.len() == 1_000 { More::Yes } else { More::No };
                Answer::ChangeSets { change_sets, more }
            }
            Question::Documents { hashes } => {
                let known = hashes.iter().filter_map(|hash| self.documents.get(hash));
                Answer::Documents(known.cloned().collect())
            }
            Question::Journal(_) => Answer::Journal(None),
        }
    }

    fn tell(&mut self, lie: &ChangeSet, own: &SigningKey, named: Option<PublicKey>, reason: &'static str) {
        let mut signed = SignedChangeSet::sign(lie, own).expect("a small change set");
        signed.operator = named.unwrap_or(signed.operator);
        for change in &lie.changes {
            if let Some(document) = change.after.map(|_| document(change.id.name())) {
                self.documents.insert(document.hash(), document);
            }
        }
        self.change_sets.insert((lie.revision, signed.hash()), signed);
        *self.reasons.entry(reason).or_default() += 1;
    }
}

fn document(name: &str) -> Document {
    let parts = DocumentParts {
        id: format!("mesh/{name}").parse().expect("a document's id"),
        services: None,
        file: "lies.toml".to_owned(),
        line: 1,
        text: format!("[[mesh]]\nname = \"{name}\"\nauthorisation = \"deny\"\n"),
    };
    Document::new(parts).expect("a small document")
}

/// A change set of the right form, which puts one document.
fn base(mesh: &MeshName, number: usize) -> ChangeSet {
    let document = document(&format!("lie-{number}"));
    let change = Change { id: document.id().clone(), services: None, before: None, after: Some(document.hash()) };
    ChangeSet {
        mesh: mesh.clone(),
        parents: Vec::new(),
        revision: 1,
        author_node: "rogue".parse().expect("a node's name"),
        at: Timestamp(1_700_000_000_000),
        message: String::new(),
        changes: vec![change],
        confirm_by: None,
        confirms: None,
    }
}

/// One that puts under its name the document of another change set.
fn mixed(mesh: &MeshName, number: usize, other: Option<Hash>) -> ChangeSet {
    let mut set = base(mesh, number);
    set.changes[0].after = other;
    set
}
