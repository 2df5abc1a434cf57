//! A mesh for tests: `bank` with its first node `vm-a`, at a fixed time. Compiled always, so that tests and what is shipped are built
//! from one and the same crate; nothing but tests names it.

#![allow(clippy::unwrap_used, reason = "a test that finds its mesh broken must end")]

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_env::{Clock, Random, Timestamp};

use super::{
    GrantedLabels, IssuedCertificate, LEAF_LIFETIME, LeafSubject, SigningKey, SpiffeId, Subject, Trust, TrustBundle,
};
use crate::wire::{self, Kind, MESSAGE_LEN_MAX};
use crate::{Founding, NewMesh, make_mesh};

/// 2026-01-01, a whole second.
pub const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// A mesh and the randomness that made it.
pub struct TestMesh {
    /// What founded it.
    pub seed: NewMesh,
    /// The rest of that randomness.
    pub random: Random,
}

/// The mesh `bank`.
pub fn mesh() -> TestMesh {
    mesh_of("bank", 1)
}

/// A mesh of this name; another seed makes other keys.
pub fn mesh_of(name: &str, seed: u64) -> TestMesh {
    let random = Random::seeded(seed);
    let founding = Founding {
        mesh: name.parse().unwrap(),
        node: "vm-a".parse().unwrap(),
        cell: "default".parse().unwrap(),
        labels: GrantedLabels::default(),
    };
    TestMesh { seed: make_mesh(&founding, NOW, &random).unwrap(), random }
}

impl TestMesh {
    /// Its first trust bundle.
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::verify(&self.seed.bundle, &CertificateDer::from(self.seed.root_certificate.clone())).unwrap()
    }

    /// What a node of the mesh trusts, by this clock.
    pub fn trust(&self, clock: &Clock) -> Trust {
        Trust::new(self.bundle(), clock.clone())
    }

    /// A certificate for `id`, held by the node that it names, or by `vm-a`.
    pub fn issue_for(&self, id: &str, lifetime: Duration) -> IssuedCertificate {
        self.issue(id, &GrantedLabels::default(), lifetime)
    }

    /// The same, of a node with these labels.
    pub fn issue_labelled(&self, id: &str, labels: &GrantedLabels) -> IssuedCertificate {
        self.issue(id, labels, LEAF_LIFETIME)
    }

    fn issue(&self, id: &str, labels: &GrantedLabels, lifetime: Duration) -> IssuedCertificate {
        let id: SpiffeId = id.parse().unwrap();
        let key = SigningKey::generate(&self.random);
        let node = match &id.subject {
            Subject::Node(node) => node.clone(),
            _ => "vm-a".parse().unwrap(),
        };
        let subject = LeafSubject { id: &id, key: &key.public(), node: &node, labels };
        let chain = self.seed.issuer.issue(subject, lifetime, NOW, &self.random).unwrap();
        IssuedCertificate::new(chain, key).unwrap()
    }
}

/// A parser for fuzzing: its name, and what is done with some bytes.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// Gives each target the inputs that are kept for it below `tests/fuzz/corpus`, found above the folder of a package. They stay in the tests:
/// what was found once is not found again.
pub fn replay(package: &str, targets: &[FuzzTarget]) {
    let corpus = std::path::Path::new(package).ancestors().map(|folder| folder.join("tests/fuzz/corpus"));
    let corpus = corpus.into_iter().find(|folder| folder.is_dir()).unwrap();
    for (name, target) in targets {
        let mut count = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no inputs");
    }
}

/// What decodes is written so that it decodes to the same.
pub fn fuzz_message<T: Serialize + DeserializeOwned>(kind: Kind, bytes: &[u8]) {
    if let Ok(value) = wire::decode::<T>(kind, bytes, MESSAGE_LEN_MAX) {
        let written = wire::encode(kind, &value).unwrap();
        let again: T = wire::decode(kind, &written, MESSAGE_LEN_MAX * 2).unwrap();
        assert_eq!(wire::encode(kind, &again).unwrap(), written);
    }
}
