use weft_env::Clock;
use weft_identity::testing::{NOW, TestMesh, mesh};
use weft_identity::wire::Signed;
use weft_identity::{ENROLMENT_CONTEXT, Enrolment, GrantedLabels, Grants, Protocol, Revocations, Roles, SigningKey};
use weft_ledger::LedgerMark;

use super::*;
use crate::catalog::{ReplicaRecord, SignedRecord, encode_value};

struct Scene {
    mesh: TestMesh,
    trust: Trust,
    key: SigningKey,
    record: NodeRecord,
    own: NodeRecord,
}

fn record(mesh: &TestMesh, node: &str, key: &SigningKey, last: u8) -> NodeRecord {
    let enrolment = Enrolment {
        mesh: "bank".parse().unwrap(),
        node: node.parse().unwrap(),
        key: key.public(),
        cell: "default".parse().unwrap(),
        grants: Grants::Only(["web".parse().unwrap()].into()),
        roles: Roles::default(),
        labels: GrantedLabels::default(),
        serial: 1,
        issued_at: NOW,
        signer: "vm-a".parse().unwrap(),
    };
    NodeRecord {
        mesh: enrolment.mesh.clone(),
        cell: enrolment.cell.clone(),
        zone: None,
        node: enrolment.node.clone(),
        generation: NOW.0,
        version: 2,
        addr: ([10, 0, 0, last], 4510).into(),
        roles: Roles::default(),
        replicas: Vec::new(),
        ledger: LedgerMark::default(),
        leaving: false,
        bundle_epoch: 1,
        outgoing: 0,
        signer_key: None,
        enrolment: Signed::sign(&enrolment, ENROLMENT_CONTEXT, &mesh.seed.issuer.key).unwrap(),
    }
}

impl Scene {
    fn new() -> Self {
        let mesh = mesh();
        let key = SigningKey::generate(&mesh.random);
        let trust = mesh.trust(&Clock::machine());
        let own_key = SigningKey::generate(&mesh.random);
        Self { record: record(&mesh, "n1", &key, 1), own: record(&mesh, "own", &own_key, 9), trust, mesh, key }
    }

    fn signed(&self) -> SignedRecord {
        Signed::sign(&self.record, crate::catalog::RECORD_CONTEXT, &self.key).unwrap()
    }

    /// The honest news of `record`.
    fn delta(&self) -> NodeDelta {
        NodeDelta {
            id: id_of(&self.record),
            gc_version: 0,
            from_version: 0,
            values: vec![KeyValue {
                key: RECORD_KEY.to_owned(),
                value: encode_value(&self.signed()).unwrap(),
                version: self.record.version,
                status: 0,
            }],
            max_version: None,
        }
    }

    fn judge(&self, message: &Message, roster: &Roster) -> Result<Admitted, Refusal> {
        let own = id_of(&self.own);
        let rules = Rules {
            own: &own,
            cluster: "bank/default",
            trust: &self.trust,
            own_record: &self.own,
            nodes_max: 2,
            now: NOW,
        };
        judge(&message.encode(), roster, &rules)
    }

    fn reason(&self, change: impl FnOnce(&mut NodeDelta)) -> &'static str {
        let mut delta = self.delta();
        change(&mut delta);
        self.judge(&Message::Ack { delta: vec![delta] }, &Roster::default()).unwrap_err().reason
    }
}

fn id_of(record: &NodeRecord) -> ChitchatId {
    ChitchatId::new(record.node.as_str(), record.generation, record.addr)
}

#[test]
fn honest_news_pass_and_make_the_id_known() {
    let scene = Scene::new();
    let entry = DigestEntry { id: id_of(&scene.record), heartbeat: 5, gc_version: 0, max_version: 2 };
    let message = Message::SynAck { digest: vec![entry], delta: vec![scene.delta()] };
    let admitted = scene.judge(&message, &Roster::default()).unwrap();
    assert_eq!(admitted.message, message);
    assert_eq!(admitted.news.len(), 1);
    assert!(admitted.cut.is_empty());
}

#[test]
fn a_nodes_own_words_that_come_back_are_cut_and_later_ones_are_forged() {
    let mut scene = Scene::new();
    // This node is the one whose key signs the news.
    scene.own = scene.record.clone();
    let echo = Message::Ack { delta: vec![scene.delta()] };
    let admitted = scene.judge(&echo, &Roster::default()).unwrap();
    assert_eq!((admitted.cut.as_slice(), admitted.news.len()), (["stale"].as_slice(), 0));
    scene.record.version += 1;
    let ahead = Message::Ack { delta: vec![scene.delta()] };
    assert_eq!(scene.judge(&ahead, &Roster::default()).unwrap_err().reason, "own-node");
}

#[test]
fn every_forgery_in_a_delta_refuses_the_message() {
    let scene = Scene::new();
    let own = id_of(&scene.own);
    assert_eq!(scene.reason(|delta| delta.id = own), "own-node");
    assert_eq!(scene.reason(|delta| delta.gc_version = 1), "gc-version");
    assert_eq!(scene.reason(|delta| delta.max_version = Some(9)), "max-version");
    assert_eq!(scene.reason(|delta| delta.values[0].key = "ä".to_owned()), "key");
    assert_eq!(scene.reason(|delta| delta.values[0].status = 1), "status");
    assert_eq!(scene.reason(|delta| delta.values[0].version = 3), "version");
    assert_eq!(scene.reason(|delta| delta.values[0].version = 0), "version");
    assert_eq!(scene.reason(|delta| delta.values[0].value = "nonsense".to_owned()), "record-malformed");
    assert_eq!(scene.reason(|delta| delta.id.generation_id += 1), "identity");
    assert_eq!(scene.reason(|delta| delta.id.node_id = Arc::from("n2")), "identity");
    assert_eq!(scene.reason(|delta| delta.id.gossip_advertise_addr.set_port(1)), "identity");
    assert_eq!(scene.reason(|delta| delta.values.push(delta.values[0].clone())), "several-values");
}

#[test]
fn a_record_that_its_node_may_not_publish_refuses_the_message() {
    let reason = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.reason(|_| ())
    };
    let ledger = ReplicaRecord {
        service: "ledger".parse().unwrap(),
        name: "ledger".parse().unwrap(),
        version: String::new(),
        protocol: Protocol::Tcp,
        port: 1,
        weight: 1,
        labels: std::collections::BTreeMap::new(),
        healthy: true,
    };
    assert_eq!(reason(&|scene| scene.record.replicas.push(ledger.clone())), "record-not-granted");
    assert_eq!(reason(&|scene| scene.record.node = "n2".parse().unwrap()), "record-differs");
    assert_eq!(reason(&|scene| scene.record.roles.signer = true), "record-differs");
    assert_eq!(reason(&|scene| scene.key = SigningKey::generate(&scene.mesh.random)), "record-signature");
    let out_of_scope = |scene: &mut Scene| {
        let mut bundle = scene.mesh.bundle();
        bundle.signers[0].scope = Grants::none();
        scene.trust = Trust::new(bundle, Clock::machine());
    };
    assert_eq!(reason(&out_of_scope), "record-enrolment");
    assert_eq!(reason(&|scene| scene.record.addr = ([0, 0, 0, 0], 4510).into()), "address");
    assert_eq!(reason(&|scene| scene.own.cell = "other".parse().unwrap()), "other-cell");
}

#[test]
fn a_record_that_an_honest_member_passes_on_unknowing_is_cut_alone() {
    let cut = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        let admitted = scene.judge(&Message::Ack { delta: vec![scene.delta()] }, &Roster::default()).unwrap();
        assert!(admitted.news.is_empty());
        assert_eq!(admitted.message, Message::Ack { delta: Vec::new() });
        admitted.cut
    };
    let revoke = |scene: &mut Scene, revocations| {
        scene.trust = scene.trust.clone().with_revocations(Arc::new(revocations));
    };
    let node = Revocations { nodes: ["n1".parse().unwrap()].into(), ..Revocations::default() };
    assert_eq!(cut(&|scene| revoke(scene, node.clone())), ["record-revoked"]);
    assert_eq!(
        cut(&|scene| {
            let keys = [scene.key.public()].into();
            revoke(scene, Revocations { keys, ..Revocations::default() });
        }),
        ["record-revoked"]
    );
    let without_signer = |scene: &mut Scene| {
        let mut bundle = scene.mesh.bundle();
        bundle.signers.clear();
        scene.trust = Trust::new(bundle, Clock::machine());
    };
    assert_eq!(cut(&without_signer), ["record-signer"]);
}

#[test]
fn an_old_version_is_cut_and_an_unknown_id_too() {
    let scene = Scene::new();
    let mut newer = scene.record.clone();
    newer.version = 3;
    let mut roster = Roster::default();
    roster.insert(Known { record: Arc::new(newer), signed: Arc::new(scene.signed()) });
    let admitted = scene.judge(&Message::Ack { delta: vec![scene.delta()] }, &roster).unwrap();
    assert_eq!((admitted.cut, admitted.message), (vec!["stale"], Message::Ack { delta: Vec::new() }));

    let entry = |node: &str, heartbeat| DigestEntry {
        id: ChitchatId::new(node, NOW.0, ([10, 0, 0, 1], 4510).into()),
        heartbeat,
        gc_version: 0,
        max_version: 0,
    };
    let digest = vec![entry("stranger", 1), entry("n1", u64::MAX), entry("n1", 4)];
    let syn = Message::Syn { cluster: "bank/default".to_owned(), digest };
    let admitted = scene.judge(&syn, &roster).unwrap();
    assert_eq!(admitted.cut, ["unknown-id", "heartbeat"]);
    let Message::Syn { digest, .. } = admitted.message else { panic!("not a SYN") };
    assert_eq!(digest, [entry("n1", 4)]);
}

#[test]
fn another_cell_and_a_full_cell_are_told_apart() {
    let scene = Scene::new();
    let syn = Message::Syn { cluster: "shop/default".to_owned(), digest: Vec::new() };
    assert_eq!(scene.judge(&syn, &Roster::default()).unwrap_err().reason, "other-cell");

    let mut roster = Roster::default();
    for (name, last) in [("n7", 7), ("n8", 8)] {
        let other = record(&scene.mesh, name, &scene.key, last);
        roster.insert(Known { record: Arc::new(other), signed: Arc::new(scene.signed()) });
    }
    let admitted = scene.judge(&Message::Ack { delta: vec![scene.delta()] }, &roster).unwrap();
    assert_eq!(admitted.cut, ["cell-full"]);
    assert!(admitted.news.is_empty());
}

#[test]
fn a_later_life_of_this_node_is_reported_and_an_earlier_one_is_cut() {
    for (generation, successor) in [(NOW.0 - 1, None), (NOW.0 + 1, Some(NOW.0 + 1))] {
        let mut scene = Scene::new();
        scene.own = record(&scene.mesh, "n1", &scene.key, 1);
        scene.record.generation = generation;
        let admitted = scene.judge(&Message::Ack { delta: vec![scene.delta()] }, &Roster::default()).unwrap();
        assert_eq!(admitted.own_successor, successor);
        assert_eq!(admitted.cut, ["stale"]);
    }
}
