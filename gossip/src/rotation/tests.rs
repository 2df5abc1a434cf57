use weft_env::Clock;
use weft_identity::testing::{self, NOW, TestMesh};
use weft_identity::{
    Enrolment, GrantedLabels, IdentityRefusal, IssuedCertificate, Issuer, LEAF_LIFETIME, LeafSubject, OperatorStanding,
    Side, SpiffeId, Trust,
};

use super::*;

/// A mesh whose trust changes, and a verifier that follows each bundle.
struct Scene {
    mesh: TestMesh,
    held: SignedBundle,
    bundle: TrustBundle,
}

impl Scene {
    fn new() -> Self {
        let mesh = testing::mesh();
        Self { held: mesh.seed.bundle.clone(), bundle: mesh.bundle(), mesh }
    }

    /// Makes a change, and takes it as every node does.
    fn change(&mut self, change: impl FnOnce(&Base<'_>) -> Result<SignedBundle, Failure>) -> Result<(), Failure> {
        let next = change(&Base { held: &self.held, now: NOW, random: &self.mesh.random })?;
        self.bundle = self.bundle.successor(&self.held, &next).expect("a node that holds the one before takes it");
        self.held = next;
        Ok(())
    }

    fn root(&self) -> SigningKey {
        self.mesh.seed.root_key.clone()
    }

    fn key(&self) -> SigningKey {
        SigningKey::generate(&self.mesh.random)
    }

    fn trust(&self) -> Trust {
        Trust::new(self.bundle.clone(), Clock::machine())
    }

    /// What a signer of the bundle issues now.
    fn issue(&self, node: &str, key: &SigningKey) -> IssuedCertificate {
        let node: NodeId = node.parse().unwrap();
        let entry = self.bundle.signer(&node).expect("an active signer");
        assert_eq!(entry.key, key.public());
        let issuer = Issuer {
            mesh: self.bundle.mesh.clone(),
            node,
            certificate: entry.certificate.clone().into(),
            key: key.clone(),
        };
        let (id, leaf): (SpiffeId, _) = ("spiffe://bank/svc/orders".parse().unwrap(), self.key());
        let subject =
            LeafSubject { id: &id, key: &leaf.public(), node: &issuer.node, labels: &GrantedLabels::default() };
        let chain = issuer.issue(subject, LEAF_LIFETIME, NOW, &self.mesh.random).unwrap();
        IssuedCertificate::new(chain, leaf).unwrap()
    }

    fn counts(&self, issued: &IssuedCertificate) -> bool {
        self.trust().identify(&issued.chain, Side::Server, NOW).is_ok()
    }
}

fn code(result: Result<(), Failure>) -> Code {
    result.expect_err("refused").code
}

#[test]
fn a_root_is_rotated_and_nothing_breaks_on_the_way() {
    let mut scene = Scene::new();
    let (old, new, signer) = (scene.root(), scene.key(), scene.mesh.seed.issuer.key.clone());
    let old_print = scene.bundle.roots[0].fingerprint();
    let first = scene.issue("vm-a", &signer);

    assert_eq!(
        code(scene.change(|base| activate_root(base, RootKeys { active: &old, prepared: &new }))),
        Code::RootKeyWrong
    );
    scene.change(|base| prepare_root(base, &new, &old)).unwrap();
    assert_eq!(
        scene.bundle.signer(&"vm-a".parse().unwrap()).unwrap().root,
        old_print,
        "nothing is issued under it yet"
    );
    assert_eq!(code(scene.change(|base| prepare_root(base, &scene_key(), &old))), Code::RotationRefused);
    assert_eq!(code(scene.change(|base| taint_root(base, &old_print, &old))), Code::RotationRefused);
    assert_eq!(code(scene.change(|base| taint_root(base, &old_print, &new))), Code::RootKeyWrong, "not active yet");

    let before = scene.trust();
    scene.change(|base| activate_root(base, RootKeys { active: &old, prepared: &new })).unwrap();
    let second = scene.issue("vm-a", &signer);
    assert!(scene.counts(&first) && scene.counts(&second));
    assert!(before.identify(&second.chain, Side::Client, NOW).is_ok(), "also by who has not heard yet");
    assert!(before.recheck(&second.chain).is_ok());
    assert_eq!(
        code(scene.change(|base| prepare_root(base, &scene_key(), &old))),
        Code::RootKeyWrong,
        "the new one signs"
    );
    assert_eq!(
        code(scene.change(|base| revoke_root(base, &old_print, &new))),
        Code::RotationRefused,
        "not tainted yet"
    );

    scene.change(|base| taint_root(base, &old_print, &new)).unwrap();
    assert!(
        scene.counts(&first) && scene.trust().is_outgoing(&first.chain) && !scene.trust().is_outgoing(&second.chain)
    );
    scene.change(|base| revoke_root(base, &old_print, &new)).unwrap();
    assert!(!scene.counts(&first) && scene.counts(&second));
    assert!(matches!(scene.trust().recheck(&first.chain), Err(IdentityRefusal::SignerRevoked(..))));
    assert!(Enrolment::verify(&scene.mesh.seed.enrolment, &scene.bundle).is_ok(), "the signer's key is the same");
    // The old root can do nothing more, whatever it signs.
    let forged = TrustBundle {
        epoch: scene.bundle.epoch + 1,
        previous: Some(TrustBundle::hash(&scene.held)),
        ..scene.bundle.clone()
    };
    assert_eq!(scene.bundle.successor(&scene.held, &forged.sign(&old).unwrap()), None);
    // And another round.
    let third = scene.key();
    scene.change(|base| prepare_root(base, &third, &new)).unwrap();
    scene.change(|base| activate_root(base, RootKeys { active: &new, prepared: &third })).unwrap();
    assert!(scene.counts(&second) && scene.counts(&scene.issue("vm-a", &signer)));
}

fn scene_key() -> SigningKey {
    SigningKey::generate(&Random::seeded(77))
}

#[test]
fn signers_come_and_go_but_never_the_last() {
    let mut scene = Scene::new();
    let (root, own) = (scene.root(), scene.mesh.seed.issuer.key.clone());
    let (first, second): (NodeId, NodeId) = ("vm-a".parse().unwrap(), "vm-s".parse().unwrap());
    assert_eq!(code(scene.change(|base| retire_signer(base, &first, &root))), Code::RotationRefused);
    assert_eq!(code(scene.change(|base| revoke_signer(base, &second, &root))), Code::RotationRefused);
    let key = scene.key();
    let signer = NewSigner { node: second.clone(), key: key.public(), scope: Grants::All };
    assert_eq!(code(scene.change(|base| add_signer(base, &signer, &scene_key()))), Code::RootKeyWrong);
    scene.change(|base| add_signer(base, &signer, &root)).unwrap();
    assert_eq!(code(scene.change(|base| add_signer(base, &signer, &root))), Code::RotationRefused);
    let (by_first, by_second) = (scene.issue("vm-a", &own), scene.issue("vm-s", &key));
    assert!(scene.counts(&by_first) && scene.counts(&by_second));

    scene.change(|base| retire_signer(base, &first, &root)).unwrap();
    assert!(scene.bundle.signer(&first).is_none());
    assert!(scene.counts(&by_first) && scene.trust().is_outgoing(&by_first.chain));
    assert!(Enrolment::verify(&scene.mesh.seed.enrolment, &scene.bundle).is_ok());
    scene.change(|base| revoke_signer(base, &first, &root)).unwrap();
    assert!(!scene.counts(&by_first) && scene.counts(&by_second));
    assert!(Enrolment::verify(&scene.mesh.seed.enrolment, &scene.bundle).is_err());
    assert_eq!(code(scene.change(|base| revoke_signer(base, &second, &root))), Code::RotationRefused);
    // A revoked signer comes back with another key only.
    let fresh = scene.key();
    let same = scene.bundle.signers.iter().find(|entry| entry.node == first && entry.state == SignerStanding::Revoked);
    let same = NewSigner { node: first.clone(), key: same.unwrap().key, scope: Grants::All };
    assert_eq!(code(scene.change(|base| add_signer(base, &same, &root))), Code::RotationRefused, "the key was revoked");
    let again = NewSigner { node: first, key: fresh.public(), scope: Grants::All };
    scene.change(|base| add_signer(base, &again, &root)).unwrap();
    assert!(!scene.counts(&by_first) && scene.counts(&scene.issue("vm-a", &fresh)));
}

#[test]
fn operators_come_and_go() {
    let mut scene = Scene::new();
    let (root, key) = (scene.root(), scene.key().public());
    let entry = OperatorEntry { key, ..scene.bundle.operators[0].clone() };
    scene.change(|base| add_operator(base, entry, &root)).unwrap();
    assert_eq!(scene.bundle.operators.len(), 2);
    scene.change(|base| retire_operator(base, &key, &[], &root)).unwrap();
    assert!(matches!(scene.bundle.operators[1].state, OperatorStanding::Retired { .. }));
    assert_eq!(code(scene.change(|base| retire_operator(base, &key, &[], &root))), Code::RotationRefused);
    let last = scene.bundle.operators[0].key;
    let refused = scene.change(|base| retire_operator(base, &last, &[], &root));
    assert_eq!(code(refused), Code::RotationRefused, "nobody could change everything any more");
}
