//! A whole tree on a disk and a network in memory, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use weft_env::{Clock, Disk, Link, Random, SimNetwork, Timestamp};
use weft_identity::{KeyFile, KeyRole, Protocol, Revocations, SignedBundle, TrustBundle};
use weft_world::LocalTable;
use weft_world::opener::{ListenerSpec, OpenHandle};
use weft_world::service_spec::{HealthSpec, ProbeKind, ServiceSpec};

mod policies;

use super::*;
use crate::actor::store::Store;
use crate::enlist::{InitArgs, init};
use crate::message::identity;
use crate::message::store::key;
use crate::standing::News;

const DIR: &str = "/state";
const AT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const ACTORS: &[&str] =
    &["store", "identity", "health", "ledger", "membership", "policy", "upstreams", "signer", "listeners", "telemetry"];

#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

struct Open(Arc<AtomicUsize>);

impl OpenHandle for Open {
    fn stop_accepting(&self) {}

    fn in_flight(&self) -> usize {
        0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenListener for Counting {
    fn open(&self, _: ListenerSpec, _: Arc<WorldCell>) -> BoxFuture<'static, Result<Box<dyn OpenHandle>, Failure>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let handle: Box<dyn OpenHandle> = Box::new(Open(Arc::clone(&self.0)));
        Box::pin(async move { Ok(handle) })
    }
}

/// A machine with the state of the first node of a mesh.
async fn founded() -> Env {
    let network = SimNetwork::new(7, Link::default());
    let env = Env {
        clock: Clock::simulated(Timestamp(1_800_000_000_000)),
        random: Random::seeded(7),
        network: network.host(AT),
        disk: Disk::memory(),
    };
    init(&env, InitArgs::demo("bank", "vm-a", AT, PathBuf::from(DIR)).unwrap()).await.unwrap();
    env
}

async fn started_on(env: &Env, budget: u32) -> (NodeTree, Arc<AtomicUsize>) {
    let opener = Counting::default();
    let open = Arc::clone(&opener.0);
    let mut settings = Settings::default();
    settings.restarts.restarts_max = budget;
    let (env, dir) = (env.clone(), PathBuf::from(DIR));
    let args = NodeArgs { env, dir, settings, opener: Arc::new(opener), telemetry: Telemetry::new() };
    (NodeTree::start(args).await.unwrap(), open)
}

async fn started(budget: u32) -> (NodeTree, Arc<AtomicUsize>) {
    started_on(&founded().await, budget).await
}

/// Puts services on disk that a node exposes from its start on.
fn keep_exposed(env: &Env, specs: &[ServiceSpec]) {
    let path = StateDir::new(env, &PathBuf::from(DIR)).store_path();
    Store::open(&env.disk, &path).unwrap().keep_row(key::EXPOSED, &specs).unwrap();
}

fn unprobed(name: &str) -> ServiceSpec {
    let health = HealthSpec { kind: ProbeKind::Off, interval_ms: None };
    ServiceSpec { health, ..ServiceSpec::new(name.parse().unwrap(), SocketAddr::new(AT, 8080), Protocol::Http) }
}

fn numbered(count: usize) -> Vec<ServiceSpec> {
    (0..count).map(|number| unprobed(&format!("s{number:03}"))).collect()
}

/// What the metrics say of the restarts of an actor.
fn restarts_shown(tree: &NodeTree, actor: &str) -> Option<String> {
    let text = tree.control.0.telemetry.render();
    let start = format!("weft_actor_restarts_total{{actor=\"{actor}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
}

fn restarts(tree: &NodeTree, actor: &str) -> u64 {
    tree.control.status().restarts.get(actor).copied().unwrap_or_default()
}

/// Crashes an actor once it runs, and waits until that is counted.
async fn crash(tree: &NodeTree, actor: &str) {
    let before = restarts(tree, actor);
    let crashed = async {
        while tree.control.crash(actor).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while restarts(tree, actor) == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), crashed).await.unwrap();
}

fn orders() -> ServiceSpec {
    ServiceSpec::new("orders".parse().unwrap(), SocketAddr::new(AT, 8080), Protocol::Http)
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_any_actor_leaves_the_world_and_the_listeners() {
    let (tree, open) = started(100).await;
    tree.control.expose(orders()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(tree.control.services().len(), 1);
    let before = open.load(Ordering::Relaxed);
    for actor in ACTORS.iter().copied().chain(["gossip"]) {
        assert_eq!(restarts_shown(&tree, actor).as_deref(), Some("0"), "{actor}: a rate needs the 0 before the first");
    }
    for actor in ACTORS {
        tree.control.crash(actor).unwrap();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(restarts_shown(&tree, actor).as_deref(), Some("1"), "{actor}: counted when it happens");
            assert_eq!(tree.world.load().local.len(), 1, "{actor}");
            assert_eq!(tree.world.load().services.len(), 1, "{actor}");
            assert_eq!(open.load(Ordering::Relaxed), before, "{actor}: a listener was closed or opened twice");
        }
        assert_eq!(tree.control.status().restarts.get(*actor), Some(&1), "{actor}");
    }
    // The tree works as before.
    tree.control.unexpose("orders".parse().unwrap(), None).await.unwrap();
    tree.control.create_token(Default::default()).await.unwrap();
    tree.stop(Duration::from_secs(1)).await;
    assert_eq!(open.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn replicas_of_a_service_stand_beside_each_other() {
    let (tree, _) = started(100).await;
    let replica = |name: &str, version: &str| {
        let (replica, version) = (name.parse().unwrap(), version.to_owned());
        ServiceSpec { replica, version, ..unprobed("orders") }
    };
    tree.control.expose(replica("orders", "1")).await.unwrap();
    tree.control.expose(replica("b", "2")).await.unwrap();
    let before = tree.world.load().local.clone();
    // A change of one replica leaves the other, with its health and what is under way, as it is.
    tree.control.expose(ServiceSpec { app: SocketAddr::new(AT, 8081), ..replica("b", "3") }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let world = tree.world.load();
    let of = |table: &LocalTable, name: &str| Arc::clone(table["orders"].named(name.as_bytes()).unwrap());
    assert!(Arc::ptr_eq(&of(&before, "orders"), &of(&world.local, "orders")));
    assert_eq!(of(&world.local, "b").app.0.port(), 8081);
    let rows = tree.control.services();
    let shown: Vec<_> = rows[0].endpoints.iter().map(|row| (row.replica.as_str(), row.version.as_str())).collect();
    assert_eq!(shown, [("b", "3"), ("orders", "1")]);
    assert!(world.services["orders"].endpoints.iter().all(|endpoint| endpoint.selector.is_some()));

    let other = ServiceSpec { protocol: Protocol::Tcp, ..replica("c", "") };
    assert_eq!(tree.control.expose(other).await.unwrap_err().code, Code::ProtocolMismatch);
    let name = || "orders".parse().unwrap();
    let unknown = tree.control.unexpose(name(), Some("c".parse().unwrap())).await.unwrap_err();
    assert_eq!(unknown.code, Code::ServiceUnknown);
    tree.control.unexpose(name(), Some("b".parse().unwrap())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let alone = tree.world.load().services["orders"].endpoints[0].clone();
    assert_eq!((alone.replica.as_str(), &alone.selector), ("orders", &None), "nothing is to be told apart");
    tree.control.unexpose(name(), None).await.unwrap();
    assert!(tree.world.load().local.is_empty());
    tree.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_tree() {
    let (mut tree, _) = started(2).await;
    for _ in 0..3 {
        // It may just be between two lives.
        let _ = tree.control.crash("telemetry");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let failure = tokio::time::timeout(Duration::from_secs(60), tree.ended()).await.unwrap();
    assert_eq!(failure.code, Code::RestartBudgetSpent);
}

#[tokio::test(start_paused = true)]
async fn revocations_are_in_force_at_once_and_after_a_restart() {
    let (tree, _) = started(100).await;
    let before = tree.world.load().credentials.generation;
    let revocations = Arc::new(Revocations { nodes: ["vm-x".parse().unwrap()].into(), ..Revocations::default() });
    let news = News { revocations: Some(Arc::clone(&revocations)), ..News::default() };
    tree.control.0.identity.call(|reply| identity::Message::Adopt(news, reply)).await.unwrap().unwrap();
    let world = tree.world.load();
    assert_eq!((&world.revocations, &world.trust.revocations), (&revocations, &revocations));
    assert!(world.credentials.generation > before, "new connections are made under the new trust");
    let kept = tree.control.0.dir.load().unwrap();
    assert_eq!(kept.standing.revocations, revocations);
    tree.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_of_gossip_spends_one_of_the_node() {
    let (mut tree, open) = started(2).await;
    let before = open.load(Ordering::Relaxed);
    for round in 1..=3 {
        for _ in 0..2 {
            crash(&tree, "membership").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(restarts(&tree, "gossip"), round - 1, "its own supervisor restarts it");
        }
        crash(&tree, "membership").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(restarts(&tree, "gossip"), round, "and gives up after that");
        assert_eq!(open.load(Ordering::Relaxed), before, "no listener is touched");
        assert_eq!(restarts_shown(&tree, "gossip"), Some(round.to_string()));
    }
    let failure = tokio::time::timeout(Duration::from_secs(10), tree.ended()).await.unwrap();
    assert_eq!(failure.code, Code::RestartBudgetSpent);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_the_record_has_no_room_for_is_refused_and_changes_nothing() {
    let env = founded().await;
    keep_exposed(&env, &numbered(255));
    let (tree, _) = started_on(&env, 100).await;
    tree.control.expose(unprobed("fits")).await.unwrap();
    let wordy = ServiceSpec { version: "x".repeat(129), ..unprobed("fits") };
    for refused in [unprobed("one-more"), wordy] {
        let generation = tree.world.load().credentials.generation;
        assert_eq!(tree.control.expose(refused).await.unwrap_err().code, Code::RecordTooLarge);
        assert_eq!(tree.control.status().exposed.len(), 256);
        assert_eq!(tree.world.load().local.len(), 256);
        assert_eq!(tree.world.load().credentials.generation, generation, "no certificate was made for it");
    }
    let same = tree.control.status().exposed;
    tree.stop(Duration::from_secs(1)).await;
    let (tree, _) = started_on(&env, 100).await;
    assert_eq!(tree.control.status().exposed, same);
    tree.control.unexpose("fits".parse().unwrap(), None).await.unwrap();
    tree.control.expose(unprobed("one-more")).await.unwrap();
    tree.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_bundle_is_in_force_without_a_restart_and_a_foreign_one_is_not() {
    let (tree, _) = started(100).await;
    let core = &tree.control.0;
    let held = core.standing.load_full();
    let key = {
        let path = PathBuf::from("/state/keys/root.key");
        let text = String::from_utf8(core.env.disk.read(&path).unwrap()).unwrap();
        KeyFile::open(&text, (KeyRole::Root, &core.file.mesh), "demo").unwrap()
    };
    let next = TrustBundle {
        epoch: 2,
        previous: Some(TrustBundle::hash(held.signed_bundle())),
        ..TrustBundle::clone(&held.bundle)
    };
    let forged = next.sign(&core.node_key).unwrap();
    let adopt = |bundle: SignedBundle| {
        let news = News { bundles: vec![bundle], ..News::default() };
        core.identity.call(|reply| crate::message::identity::Message::Adopt(news, reply))
    };
    adopt(forged).await.unwrap().unwrap();
    assert_eq!(core.standing.load().bundle.epoch, 1);
    adopt(next.sign(&key).unwrap()).await.unwrap().unwrap();
    assert_eq!(core.standing.load().bundle.epoch, 2);
    assert_eq!(tree.world.load().trust.bundle.epoch, 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let own = core.members.borrow().members[&core.file.node].record.clone();
    assert_eq!(own.bundle_epoch, 2, "the members are told");
    assert_eq!(core.dir.load().unwrap().standing.bundles.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hears_nobody_gets_itself_other_keys_ever_more_seldom() {
    let env = founded().await;
    let seconds = async |tree: &NodeTree, count: usize| {
        let mut keys = vec![tree.control.certs()[0].key.clone()];
        for _ in 0..count {
            tokio::time::sleep(Duration::from_secs(1)).await;
            keys.push(tree.control.certs()[0].key.clone());
        }
        keys.dedup();
        keys.len() - 1
    };
    let (tree, _) = started_on(&env, 100).await;
    assert_eq!(seconds(&tree, 120).await, 0, "who knows nobody misses nobody");
    tree.stop(Duration::from_secs(1)).await;
    let dir = StateDir::new(&env, &PathBuf::from(DIR));
    let mut state = dir.load().unwrap();
    state.file.seeds = vec!["10.0.0.9:4510".parse().unwrap()];
    dir.save(&state).unwrap();
    let (tree, _) = started_on(&env, 100).await;
    assert_eq!((seconds(&tree, 9).await, seconds(&tree, 3).await), (0, 1));
    assert_eq!(seconds(&tree, 108).await, 2, "after 20 s more, and after 40 s more");
    tree.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_too_large_already_is_told_as_far_as_it_fits() {
    let env = founded().await;
    let mut specs = numbered(300);
    specs[0].version = "x".repeat(129);
    keep_exposed(&env, &specs);
    let (tree, _) = started_on(&env, 100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let core = &tree.control.0;
    let told = || {
        let record = core.members.borrow().members[&core.file.node].record.clone();
        record.replicas.iter().map(|replica| replica.service.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told().len(), 256);
    assert!(!told().contains(&"s000".to_owned()) && told().contains(&"s001".to_owned()));
    assert_eq!(tree.world.load().local.len(), 300, "here all of them are served");
    assert_eq!(tree.control.expose(unprobed("one-more")).await.unwrap_err().code, Code::RecordTooLarge);
    // The way out.
    tree.control.unexpose("s001".parse().unwrap(), None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(told().len() == 256 && !told().contains(&"s001".to_owned()));
    tree.stop(Duration::from_secs(1)).await;
}
