//! A whole tree on a disk and a network in memory, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use weft_env::{Clock, Disk, Link, Random, SimNetwork, Timestamp};
use weft_gossip::catalog::Protocol;

use super::*;
use crate::control::ServiceSpec;
use crate::enlist::{InitArgs, init};
use crate::opener::{ListenerSpec, OpenHandle};

const AT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const ACTORS: &[&str] = &["store", "identity", "health", "membership", "upstreams", "signer", "listeners", "telemetry"];

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

async fn started(budget: u32) -> (NodeTree, Arc<AtomicUsize>) {
    let network = SimNetwork::new(7, Link::default());
    let env = Env {
        clock: Clock::simulated(Timestamp(1_800_000_000_000)),
        random: Random::seeded(7),
        network: network.host(AT),
        disk: Disk::memory(),
    };
    let dir = PathBuf::from("/state");
    init(&env, InitArgs::demo("bank", "vm-a", AT, dir.clone()).unwrap()).await.unwrap();
    let opener = Counting::default();
    let open = Arc::clone(&opener.0);
    let mut settings = Settings::default();
    settings.restarts.restarts_max = budget;
    let args = NodeArgs { env, dir, settings, opener: Arc::new(opener), telemetry: Telemetry::new() };
    (NodeTree::start(args).await.unwrap(), open)
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
    for actor in ACTORS {
        tree.control.crash(actor).unwrap();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(tree.world.load().local.len(), 1, "{actor}");
            assert_eq!(tree.world.load().services.len(), 1, "{actor}");
            assert_eq!(open.load(Ordering::Relaxed), before, "{actor}: a listener was closed or opened twice");
        }
        assert_eq!(tree.control.status().restarts.get(*actor), Some(&1), "{actor}");
    }
    // The tree works as before.
    tree.control.unexpose("orders".parse().unwrap()).await.unwrap();
    tree.control.create_token(Default::default()).await.unwrap();
    tree.stop(Duration::from_secs(1)).await;
    assert_eq!(open.load(Ordering::Relaxed), 0);
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
