//! Prints the names of the parsers; with a folder, writes first inputs for those whose messages no hand can write.

use std::path::Path;

use weft_env::Random;
use weft_gossip::catalog::NodeRecord;
use weft_gossip::enrol::JoinReply;
use weft_identity::testing::{NOW, mesh};
use weft_identity::wire::{self, Kind, Signed};
use weft_identity::{GrantedLabels, Roles, SigningKey, bundle_text};
use weft_ledger::sync::{Answer, HeadReport, Question};
use weft_ledger::{
    CHANGE_SET_CONTEXT, Change, ChangeSet, Document, DocumentId, DocumentParts, Hash, LedgerMark, SignedChangeSet,
};

/// What is written: of which parser, under which name.
type Seed = (&'static str, &'static str, Vec<u8>);

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        weft_fuzz::targets().iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    for (target, name, bytes) in [identity(), ledger(), gossip()].concat() {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

fn encoded<T: serde::Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    wire::encode(kind, value).expect("the value is small")
}

fn identity() -> Vec<Seed> {
    let mesh = mesh();
    let enrolment = mesh.seed.enrolment.claim().expect("it was just made");
    vec![
        ("bundles", "signed", encoded(Kind::State, &mesh.seed.bundle)),
        ("bundles", "text", bundle_text(&mesh.seed.bundle).expect("the bundle is small").into_bytes()),
        ("bundles", "trust", encoded(Kind::Signed, &mesh.bundle())),
        ("enrolments", "signed", encoded(Kind::State, &mesh.seed.enrolment)),
        ("enrolments", "claim", encoded(Kind::Signed, &enrolment)),
    ]
}

fn document() -> Document {
    let parts = DocumentParts {
        id: DocumentId::new("route", "orders").expect("the names are right"),
        services: Some(["orders".parse().expect("the name is right")].into()),
        file: "routes.toml".to_owned(),
        line: 3,
        text: "[[route]]\nname = \"orders\"\n".to_owned(),
    };
    Document::new(parts).expect("the document is small")
}

fn ledger() -> Vec<Seed> {
    let mesh = mesh();
    let document = document();
    let hash = Hash::of_parts(&[b"a"]);
    let change_set = ChangeSet {
        mesh: "bank".parse().expect("the name is right"),
        parents: vec![hash],
        revision: 2,
        author_node: "vm-a".parse().expect("the name is right"),
        at: NOW,
        message: "routes".to_owned(),
        changes: vec![Change {
            id: DocumentId::new("route", "orders").expect("the names are right"),
            services: None,
            before: None,
            after: Some(hash),
        }],
        confirm_by: Some(NOW),
        confirms: None,
    };
    let signed = SignedChangeSet {
        operator: mesh.seed.operator_key.public(),
        signed: Signed::sign(&change_set, CHANGE_SET_CONTEXT, &mesh.seed.operator_key).expect("it is small"),
    };
    let head = HeadReport { epoch: 1, revision: 2, hash, tips: vec![hash], journals: Vec::new() };
    vec![
        ("ledger_questions", "head", encoded(Kind::LedgerQuestion, &Question::Head)),
        ("ledger_questions", "have", encoded(Kind::LedgerQuestion, &Question::ChangeSets { have: vec![hash], after: None })),
        ("ledger_questions", "documents", encoded(Kind::LedgerQuestion, &Question::Documents { hashes: vec![hash; 3] })),
        ("ledger_answers", "head", encoded(Kind::LedgerAnswer, &Answer::Head(head))),
        ("ledger_answers", "documents", encoded(Kind::LedgerAnswer, &Answer::Documents(vec![document.clone()]))),
        ("change_sets", "signed", encoded(Kind::ChangeSet, &signed)),
        ("change_sets", "claim", encoded(Kind::Signed, &change_set)),
        ("change_sets", "document", encoded(Kind::Document, &document)),
        ("revisions", "hash", hash.to_string().into_bytes()),
    ]
}

fn gossip() -> Vec<Seed> {
    let mesh = mesh();
    let enrolment = mesh.seed.enrolment.claim().expect("it was just made");
    let key = SigningKey::generate(&Random::seeded(7));
    let addr = "10.0.0.1:4510".parse().expect("an address");
    let record = NodeRecord {
        mesh: enrolment.mesh.clone(),
        cell: "main".parse().expect("the name is right"),
        zone: None,
        node: enrolment.node.clone(),
        generation: 1,
        version: 2,
        addr,
        roles: Roles { signer: true },
        replicas: Vec::new(),
        ledger: LedgerMark::default(),
        leaving: false,
        bundle_epoch: 1,
        outgoing: 0,
        signer_key: Some(key.public()),
        enrolment: mesh.seed.enrolment.clone(),
    };
    let reply = JoinReply {
        bundles: vec![mesh.seed.bundle.clone()],
        enrolment: mesh.seed.enrolment.clone(),
        chain: vec![mesh.seed.root_certificate.clone()],
        peers: vec![addr],
    };
    let labels = GrantedLabels::default();
    vec![
        ("records", "claim", encoded(Kind::Signed, &record)),
        ("enrolment_messages", "reply", encoded(Kind::SignReply, &reply)),
        ("names", "labels", labels.to_string().into_bytes()),
    ]
}
