use std::time::Duration;

use weft_env::{Clock, Disk, Env, Link, Random, SimNetwork};
use weft_identity::testing::{NOW, TestMesh, mesh};
use weft_identity::{GrantedLabels, Grants, NodeId, Protocol, Revocations, Roles};
use weft_ledger::LedgerMark;

use super::*;

const LONG: Duration = Duration::from_secs(86_400);

struct Cell {
    mesh: TestMesh,
    network: SimNetwork,
    clock: Clock,
}

impl Cell {
    fn new() -> Self {
        let link = Link { latency: Duration::from_millis(1), jitter: Duration::from_millis(1), loss: 0.0 };
        Self { mesh: mesh(), network: SimNetwork::new(7, link), clock: Clock::simulated(NOW) }
    }

    fn addr(&self, number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 4510))
    }

    fn env(&self, number: u8) -> Env {
        Env {
            clock: self.clock.clone(),
            random: Random::seeded(u64::from(number)),
            network: self.network.host(self.addr(number).ip()),
            disk: Disk::memory(),
        }
    }

    fn credentials(&self, number: u8) -> MembershipCredentials {
        let node: NodeId = format!("n{number}").parse().unwrap();
        let key = SigningKey::generate(&self.mesh.random);
        let enrolment = Enrolment {
            mesh: "bank".parse().unwrap(),
            node: node.clone(),
            key: key.public(),
            cell: "default".parse().unwrap(),
            grants: Grants::Only(["web".parse().unwrap()].into()),
            roles: Roles::default(),
            labels: GrantedLabels::default(),
            serial: u64::from(number),
            issued_at: NOW,
            signer: "vm-a".parse().unwrap(),
        };
        let enrolment =
            weft_identity::wire::Signed::sign(&enrolment, weft_identity::ENROLMENT_CONTEXT, &self.mesh.seed.issuer.key)
                .unwrap();
        MembershipCredentials {
            trust: self.mesh.trust(&self.clock),
            certificate: self.mesh.issue_for(&format!("spiffe://bank/node/{node}"), LONG),
            key,
            enrolment,
            outgoing: 0,
            signer_key: None,
        }
    }

    async fn start(&self, number: u8, seeds: &[u8]) -> Membership {
        let config = MembershipConfig {
            bind: self.addr(number),
            advertise: self.addr(number),
            zone: None,
            seeds: seeds.iter().map(|seed| self.addr(*seed)).collect(),
            generation: next_generation(None, self.clock.wall()),
            restored: Vec::new(),
            replicas: Vec::new(),
            nodes_max: NODES_DEFAULT,
            mark: LedgerMark::default(),
            ledger: None,
        };
        let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
        Membership::start(&self.env(number), config, self.credentials(number), metrics).await.unwrap()
    }
}

fn web() -> ReplicaRecord {
    ReplicaRecord {
        service: "web".parse().unwrap(),
        name: "web".parse().unwrap(),
        version: String::new(),
        protocol: Protocol::Http,
        port: 8080,
        weight: 100,
        labels: std::collections::BTreeMap::new(),
        healthy: true,
    }
}

async fn until(member: &Membership, limit: Duration, what: impl Fn(&MembersView) -> bool) -> Duration {
    let started = tokio::time::Instant::now();
    let mut view = member.view();
    let waited = tokio::time::timeout(limit, view.wait_for(|view| what(view))).await;
    assert!(waited.is_ok(), "not within {limit:?}: {:?}", member.view().borrow().members.keys());
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn five_members_find_each_other_and_see_a_change() {
    let cell = Cell::new();
    let mut members = vec![cell.start(1, &[]).await];
    for number in 2..=5 {
        members.push(cell.start(number, &[1]).await);
    }
    for member in &members {
        until(member, Duration::from_secs(10), |view| view.members.len() == 5).await;
    }
    members[4].publish(vec![web()]).await.unwrap();
    for member in &members {
        until(member, Duration::from_secs(3), |view| crate::catalog::offers(view).len() == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_that_ends_does_not_cut_the_first_off_from_answers() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let MembershipCredentials { trust, certificate, key, .. } = cell.credentials(2);
    let credentials = QuicCredentials { trust: &trust, certificate: &certificate, key: &key };
    let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
    let (endpoint, _accepted) = QuicEndpoint::open(&cell.env(2), cell.addr(2), credentials, metrics).await.unwrap();
    let first = endpoint.dial(cell.addr(1), QuicProtocol::Gossip).await.unwrap();
    let second = endpoint.dial(cell.addr(1), QuicProtocol::Gossip).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    second.connection.close(0_u32.into(), b"a probe was answered elsewhere");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let syn = message::Message::Syn { cluster: "bank/default".to_owned(), digest: Vec::new() }.encode();
    let mut stream = first.connection.open_uni().await.unwrap();
    stream.write_all(&syn).await.unwrap();
    stream.finish().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(2), first.connection.accept_uni()).await;
    let answer = answer.expect("an answer in time").unwrap().read_to_end(65_536).await.unwrap();
    assert!(matches!(message::Message::parse(&answer), Ok(message::Message::SynAck { .. })));
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_dies_is_gone_within_fifteen_seconds() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let two = cell.start(2, &[1]).await;
    let three = cell.start(3, &[1]).await;
    for member in [&one, &two, &three] {
        until(member, Duration::from_secs(10), |view| view.members.len() == 3).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    cell.network.partition(&[cell.addr(3).ip()], &[cell.addr(1).ip(), cell.addr(2).ip()]);
    until(&one, Duration::from_secs(15), |view| view.members.len() == 2).await;
    until(&two, Duration::from_secs(15), |view| view.members.len() == 2).await;
    cell.network.heal();
    until(&one, Duration::from_secs(15), |view| view.members.len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_out_at_once() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let two = cell.start(2, &[1]).await;
    until(&one, Duration::from_secs(10), |view| view.members.len() == 2).await;
    two.leave().await.unwrap();
    until(&one, Duration::from_secs(1), |view| view.members.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_grant_is_refused_by_everybody() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let two = cell.start(2, &[1]).await;
    until(&one, Duration::from_secs(10), |view| view.members.len() == 2).await;
    let mut other = web();
    other.service = "ledger".parse().unwrap();
    two.publish(vec![other]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(crate::catalog::offers(&one.view().borrow()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_a_new_generation_and_is_seen_within_five_seconds() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let two = cell.start(2, &[1]).await;
    until(&one, Duration::from_secs(10), |view| view.members.len() == 2).await;
    let before = two.generation();
    two.stop().await;
    let two = cell.start(2, &[1]).await;
    assert!(two.generation() > before);
    let generation = two.generation();
    let is_new = |view: &MembersView| view.members.values().any(|member| member.record.generation == generation);
    until(&one, Duration::from_secs(5), is_new).await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_alone_keeps_the_last_members_as_suspect() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let two = cell.start(2, &[1]).await;
    two.publish(vec![web()]).await.unwrap();
    until(&one, Duration::from_secs(10), |view| crate::catalog::offers(view).len() == 1).await;
    let restored: Vec<SignedRecord> =
        one.view().borrow().members.values().map(|member| (*member.signed).clone()).collect();
    one.stop().await;
    two.stop().await;

    let config = MembershipConfig {
        bind: cell.addr(1),
        advertise: cell.addr(1),
        zone: None,
        seeds: vec![cell.addr(2)],
        generation: next_generation(None, cell.clock.wall()),
        restored,
        replicas: Vec::new(),
        nodes_max: NODES_DEFAULT,
        mark: LedgerMark::default(),
        ledger: None,
    };
    let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
    let one = Membership::start(&cell.env(1), config, cell.credentials(1), metrics).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let view = one.view().borrow().clone();
    assert_eq!(crate::catalog::offers(&view).len(), 1, "what was known last is still offered");
    assert_eq!(view.members["n2"].state, MemberState::Suspect);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_is_refused_at_its_source() {
    let cell = Cell::new();
    let one = cell.start(1, &[]).await;
    let refused = one.publish(vec![web(); crate::catalog::REPLICAS_MAX + 1]).await.unwrap_err();
    assert_eq!(refused.code, Code::RecordTooLarge);
    until(&one, Duration::from_secs(2), |view| view.members.values().all(|member| member.record.replicas.is_empty()))
        .await;
}

#[test]
fn a_generation_never_goes_back() {
    assert_eq!(next_generation(None, Timestamp(5)), 5);
    assert_eq!(next_generation(Some(9), Timestamp(5)), 10);
    assert_eq!(next_generation(Some(1), Timestamp(5)), 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_members_should_know_of_a_nodes_trust_is_published_and_a_revoked_node_is_out() {
    let cell = Cell::new();
    let credentials = cell.credentials(1);
    let start = |number: u8, credentials: MembershipCredentials| {
        let config = MembershipConfig {
            bind: cell.addr(number),
            advertise: cell.addr(number),
            zone: None,
            seeds: vec![cell.addr(1)],
            generation: next_generation(None, cell.clock.wall()),
            restored: Vec::new(),
            replicas: Vec::new(),
            nodes_max: NODES_DEFAULT,
            mark: LedgerMark::default(),
            ledger: None,
        };
        let env = cell.env(number);
        let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
        async move { Membership::start(&env, config, credentials, metrics).await.unwrap() }
    };
    let one = start(1, credentials.clone()).await;
    let two = start(2, cell.credentials(2)).await;
    let third = cell.credentials(3);
    let three = start(3, third.clone()).await;
    for member in [&one, &two, &three] {
        until(member, Duration::from_secs(10), |view| view.members.len() == 3).await;
    }
    let key = SigningKey::generate(&cell.mesh.random).public();
    one.renew(&MembershipCredentials { outgoing: 2, signer_key: Some(key), ..credentials.clone() }).await.unwrap();
    let node: NodeId = "n1".parse().unwrap();
    until(&two, Duration::from_secs(5), |view| {
        view.members.get(&node).is_some_and(|one| one.record.outgoing == 2 && one.record.signer_key == Some(key))
    })
    .await;
    one.renew(&credentials).await.unwrap();
    until(&two, Duration::from_secs(5), |view| view.members.get(&node).is_some_and(|one| one.record.outgoing == 0))
        .await;

    let revocations = Arc::new(Revocations { nodes: ["n3".parse().unwrap()].into(), ..Revocations::default() });
    let trust = cell.mesh.trust(&cell.clock).with_revocations(revocations);
    one.renew(&MembershipCredentials { trust, ..credentials }).await.unwrap();
    until(&one, Duration::from_secs(2), |view| view.members.len() == 2).await;
    // The other two still take each other's word, and tell the first in vain.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(one.view().borrow().members.len(), 2);
    assert_eq!(two.view().borrow().members.len(), 3);
}
