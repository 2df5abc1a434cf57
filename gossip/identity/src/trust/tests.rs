use std::time::Duration;

use proptest::prelude::*;
use weft_env::Random;

use super::*;
use crate::testing::{self, NOW, TestMesh};
use crate::{
    GrantedLabels, Grants, IssuedCertificate, Issuer, LEAF_LIFETIME, LeafSubject, SIGNER_LIFETIME, SignerStanding,
    SigningKey, root_certificate, signer_certificate,
};

const ORDERS: &str = "spiffe://bank/svc/orders";

fn trust(mesh: &TestMesh) -> Trust {
    mesh.trust(&Clock::machine())
}

fn server_at(
    trust: &Trust,
    issued: &IssuedCertificate,
    name: &ServerName<'_>,
    at: Timestamp,
) -> Result<(), IdentityRefusal> {
    let now = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
    trust
        .verify_server_cert(&issued.chain[0], &issued.chain[1..], name, &[], now)
        .map(|_| ())
        .map_err(|error| IdentityRefusal::find(&error).unwrap().clone())
}

#[test]
fn a_node_is_who_its_certificate_says_and_nobody_else() {
    let mesh = testing::mesh();
    let trust = trust(&mesh);
    let orders = mesh.issue_for(ORDERS, LEAF_LIFETIME);
    assert_eq!(server_at(&trust, &orders, &dial_name(&orders.id), NOW), Ok(()));
    let web = dial_name(&"spiffe://bank/svc/web".parse().unwrap());
    assert!(matches!(server_at(&trust, &orders, &web, NOW), Err(IdentityRefusal::NotDialled { .. })));
    // A service does not pass for a node, a node does for any.
    assert!(matches!(server_at(&trust, &orders, &any_node_name(), NOW), Err(IdentityRefusal::NotDialled { .. })));
    let node = mesh.issue_for("spiffe://bank/node/vm-b", LEAF_LIFETIME);
    assert_eq!(server_at(&trust, &node, &any_node_name(), NOW), Ok(()));
}

#[test]
fn time_is_the_seams() {
    let mesh = testing::mesh();
    let trust = trust(&mesh);
    let orders = mesh.issue_for(ORDERS, Duration::from_secs(20));
    let at = |at| trust.identify(&orders.chain, Side::Client, at);
    assert!(at(NOW.after(Duration::from_secs(19))).is_ok());
    assert_eq!(at(NOW.after(Duration::from_secs(21))), Err(IdentityRefusal::Expired));
    assert_eq!(at(Timestamp(NOW.0 - 3_000)), Err(IdentityRefusal::NotYetValid));
    let long = mesh.issue_for(ORDERS, LEAF_LIFETIME);
    let late = NOW.after(SIGNER_LIFETIME + Duration::from_secs(5));
    assert_eq!(trust.identify(&long.chain, Side::Client, late), Err(IdentityRefusal::Expired));
}

#[test]
fn another_mesh_of_the_same_name_is_another_mesh() {
    let (mesh, other) = (testing::mesh(), testing::mesh_of("bank", 2));
    let orders = other.issue_for(ORDERS, LEAF_LIFETIME);
    let refused = trust(&mesh).identify(&orders.chain, Side::Client, NOW).unwrap_err();
    assert!(matches!(refused, IdentityRefusal::Chain(_)), "{refused}");
    // Its root sent along helps nothing.
    let mut chain = orders.chain.clone();
    chain.push(CertificateDer::from(other.seed.root_certificate.clone()));
    assert!(trust(&mesh).identify(&chain, Side::Client, NOW).is_err());
}

#[test]
fn a_signer_counts_while_it_is_active_and_in_scope() {
    let mesh = testing::mesh();
    let orders = mesh.issue_for(ORDERS, LEAF_LIFETIME);
    let with = |change: &dyn Fn(&mut TrustBundle)| {
        let mut bundle = mesh.bundle();
        change(&mut bundle);
        Trust::new(bundle, Clock::machine()).identify(&orders.chain, Side::Client, NOW)
    };
    assert!(with(&|_| ()).is_ok());
    let revoked = with(&|bundle| bundle.signers[0].state = SignerStanding::Revoked);
    assert!(matches!(revoked, Err(IdentityRefusal::SignerRevoked(..))));
    let scope = Grants::Only(["web".parse().unwrap()].into());
    let out = with(&|bundle| bundle.signers[0].scope = scope.clone());
    assert!(matches!(out, Err(IdentityRefusal::OutOfScope(..))));
    assert!(matches!(with(&|bundle| bundle.signers.clear()), Err(IdentityRefusal::SignerUnknown(_))));
    assert!(matches!(with(&|bundle| bundle.mesh = "shop".parse().unwrap()), Err(IdentityRefusal::OtherMesh(_))));
}

#[test]
fn labels_count_only_from_a_signer_without_a_scope() {
    let mesh = testing::mesh();
    let labelled = mesh.issue_labelled(ORDERS, &"team=payments".parse().unwrap());
    assert!(trust(&mesh).identify(&labelled.chain, Side::Client, NOW).is_ok());
    let mut bundle = mesh.bundle();
    bundle.signers[0].scope = Grants::Only(["orders".parse().unwrap()].into());
    let narrow = Trust::new(bundle, Clock::machine());
    let refused = narrow.identify(&labelled.chain, Side::Client, NOW);
    assert!(matches!(refused, Err(IdentityRefusal::LabelsOutOfScope(..))), "{refused:?}");
    assert!(narrow.identify(&mesh.issue_for(ORDERS, LEAF_LIFETIME).chain, Side::Client, NOW).is_ok());
}

#[test]
fn a_revoked_node_or_key_is_refused_whatever_it_proves() {
    let mesh = testing::mesh();
    let (orders, node) =
        (mesh.issue_for(ORDERS, LEAF_LIFETIME), mesh.issue_for("spiffe://bank/node/vm-b", LEAF_LIFETIME));
    let with = |revocations: Revocations| trust(&mesh).with_revocations(Arc::new(revocations));
    // The test mesh's services are held by vm-a.
    let without_a = with(Revocations { nodes: ["vm-a".parse().unwrap()].into(), ..Revocations::default() });
    let refused = without_a.identify(&orders.chain, Side::Client, NOW);
    assert!(matches!(refused, Err(IdentityRefusal::NodeRevoked(..))), "{refused:?}");
    assert!(matches!(without_a.recheck(&orders.chain), Err(IdentityRefusal::NodeRevoked(..))));
    assert!(without_a.identify(&node.chain, Side::Client, NOW).is_ok());
    assert_eq!(without_a.recheck(&node.chain), Ok(()));

    let without_key = with(Revocations { keys: [orders.key.public()].into(), ..Revocations::default() });
    assert!(matches!(without_key.identify(&orders.chain, Side::Server, NOW), Err(IdentityRefusal::KeyRevoked(_))));
    assert!(matches!(without_key.recheck(&orders.chain), Err(IdentityRefusal::KeyRevoked(_))));
    assert!(without_key.identify(&node.chain, Side::Server, NOW).is_ok());
}

#[test]
fn a_tainted_signer_or_root_still_counts_and_is_to_be_replaced() {
    let mesh = testing::mesh();
    let orders = mesh.issue_for(ORDERS, LEAF_LIFETIME);
    let with = |change: &dyn Fn(&mut TrustBundle)| {
        let mut bundle = mesh.bundle();
        change(&mut bundle);
        let trust = Trust::new(bundle, Clock::machine());
        let counts = trust.identify(&orders.chain, Side::Client, NOW).is_ok();
        assert_eq!(counts, trust.recheck(&orders.chain).is_ok());
        (counts, trust.is_outgoing(&orders.chain))
    };
    assert_eq!(with(&|_| ()), (true, false));
    assert_eq!(with(&|bundle| bundle.signers[0].state = SignerStanding::Tainted), (true, true));
    assert_eq!(with(&|bundle| bundle.roots[0].state = RootStanding::Tainted), (true, true));
    assert_eq!(with(&|bundle| bundle.roots[0].state = RootStanding::Revoked), (false, true));
    assert_eq!(with(&|bundle| bundle.signers[0].state = SignerStanding::Revoked), (false, true));
}

#[test]
fn a_signer_cannot_name_another_mesh_nor_a_leaf_sign() {
    let mesh = testing::mesh();
    let foreign = mesh.issue_for("spiffe://shop/svc/orders", LEAF_LIFETIME);
    let refused = trust(&mesh).identify(&foreign.chain, Side::Client, NOW);
    assert!(matches!(refused, Err(IdentityRefusal::OtherMesh(_))));

    let leaf = mesh.issue_for("spiffe://bank/node/vm-b", LEAF_LIFETIME);
    let forger = Issuer {
        mesh: "bank".parse().unwrap(),
        node: "vm-b".parse().unwrap(),
        certificate: leaf.chain[0].clone(),
        key: leaf.key.clone(),
    };
    let key = SigningKey::generate(&mesh.random);
    let id = ORDERS.parse().unwrap();
    let subject = LeafSubject { id: &id, key: &key.public(), node: &forger.node, labels: &GrantedLabels::default() };
    let mut chain = forger.issue(subject, LEAF_LIFETIME, NOW, &mesh.random).unwrap();
    chain.push(leaf.chain[1].clone());
    assert!(trust(&mesh).identify(&chain, Side::Client, NOW).is_err());
}

#[test]
fn the_root_signs_no_leaf_and_a_rogue_root_signs_nothing() {
    let mesh = testing::mesh();
    let random = Random::seeded(8);
    let name = "bank".parse().unwrap();
    let node = "vm-a".parse().unwrap();
    let rogue = SigningKey::generate(&random);
    let key = SigningKey::generate(&random);
    let certificate = signer_certificate(&name, (&node, &key.public()), &rogue, NOW, &random).unwrap();
    let issuer = Issuer { mesh: name.clone(), node, certificate, key };
    let leaf = SigningKey::generate(&random);
    let id = ORDERS.parse().unwrap();
    let subject = LeafSubject { id: &id, key: &leaf.public(), node: &issuer.node, labels: &GrantedLabels::default() };
    let mut chain = issuer.issue(subject, LEAF_LIFETIME, NOW, &random).unwrap();
    assert!(trust(&mesh).identify(&chain, Side::Server, NOW).is_err());
    chain.push(root_certificate(&name, &rogue, NOW, &random).unwrap());
    assert!(trust(&mesh).identify(&chain, Side::Server, NOW).is_err());
    assert!(trust(&mesh).identify(&[], Side::Server, NOW).is_err());
    let root = CertificateDer::from(mesh.seed.root_certificate.clone());
    assert!(trust(&mesh).identify(&[root], Side::Server, NOW).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<usize>()) {
        let mesh = testing::mesh();
        let trust = trust(&mesh);
        prop_assert!(trust.identify(&[CertificateDer::from(bytes)], Side::Client, NOW).is_err());
        let issued = mesh.issue_for(ORDERS, LEAF_LIFETIME);
        let mut leaf = issued.chain[0].to_vec();
        let at = at % leaf.len();
        leaf[at] ^= 0x10;
        prop_assert!(trust.identify(&[CertificateDer::from(leaf), issued.chain[1].clone()], Side::Client, NOW).is_err());
    }
}
