use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use weft_identity::GrantedLabels;
use weft_policy::endpoint::AppAddr;

use super::*;
use crate::http1::HeadLimits;
use crate::testing::{Mesh, revoke};
use crate::transport::Transport;

const IDLE: Duration = Duration::from_secs(90);

fn application(port: u16) -> Host {
    Host::App(Arc::new(LocalReplica {
        name: "orders".parse().unwrap(),
        app: AppAddr(([127, 0, 0, 1], port).into()),
        healthy: AtomicBool::new(true),
        in_flight: AtomicU32::new(0),
        proxy_protocol: false,
    }))
}

/// An upstream connection and its other end.
fn upstream() -> (Upstream, DuplexStream) {
    let (near, far) = duplex(64);
    let connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    (Upstream { connection, chain: None, slot: None, rings: 0 }, far)
}

/// Whether this other end is that of a connection.
fn is_end_of(far: &mut DuplexStream, taken: &mut Upstream) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(taken.connection.is_quiet());
    assert!(std::pin::pin!(far.write_all(b"x")).as_mut().poll(&mut cx).is_ready());
    !taken.connection.is_quiet()
}

/// Whether the connection of this other end is closed.
async fn is_closed(mut far: DuplexStream) -> bool {
    far.write_all(b"x").await.is_err()
}

#[tokio::test]
async fn the_connection_that_came_back_last_is_taken_first() {
    let (pool, host, now) = (Pool::default(), application(1), Instant::now());
    let (one, mut far_of_one) = upstream();
    let (other, mut far_of_other) = upstream();
    pool.give(&host, one, now);
    pool.give(&host, other, now);
    assert!(pool.take(&application(2)).is_none(), "of another replica");
    assert!(pool.take(&application(1)).is_none(), "of a replica at the same address, which took its place");
    assert!(is_end_of(&mut far_of_other, &mut pool.take(&host).unwrap()));
    assert!(is_end_of(&mut far_of_one, &mut pool.take(&host).unwrap()));
    assert!(pool.take(&host).is_none());
}

#[tokio::test]
async fn a_connection_that_died_while_it_was_idle_is_not_given_out() {
    let (pool, host, now) = (Pool::default(), application(1), Instant::now());
    let (alive, mut far_of_alive) = upstream();
    let (ended, far_of_ended) = upstream();
    let (spoke, mut far_of_spoke) = upstream();
    let (half, mut far_of_half) = upstream();
    for upstream in [alive, ended, spoke, half] {
        pool.give(&host, upstream, now);
    }
    drop(far_of_ended);
    // An answer to nothing: the next request would take it for its own.
    far_of_spoke.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    far_of_half.shutdown().await.unwrap();
    assert!(is_end_of(&mut far_of_alive, &mut pool.take(&host).unwrap()));
    assert!(pool.take(&host).is_none());
}

#[tokio::test]
async fn what_was_idle_for_too_long_or_died_is_swept() {
    let (pool, host, start) = (Pool::default(), application(1), Instant::now());
    let (old, far_of_old) = upstream();
    let (dead, far_of_dead) = upstream();
    let (young, mut far_of_young) = upstream();
    pool.give(&host, old, start);
    pool.give(&host, dead, start + IDLE / 2);
    pool.give(&host, young, start + IDLE / 2);
    drop(far_of_dead);
    pool.sweep(start + IDLE, IDLE);
    assert!(is_closed(far_of_old).await, "it is closed");
    assert!(is_end_of(&mut far_of_young, &mut pool.take(&host).unwrap()));
    assert!(pool.take(&host).is_none());
    pool.sweep(start + IDLE * 3, IDLE);
    assert_eq!(pool.hosts().len(), 0, "a host that nobody calls is forgotten");
}

#[tokio::test]
async fn no_more_than_so_many_are_kept() {
    let (pool, host, now) = (Pool::default(), application(1), Instant::now());
    let mut ends = Vec::new();
    for _ in 0..IDLE_MAX + 10 {
        let (upstream, far) = upstream();
        pool.give(&host, upstream, now);
        ends.push(far);
    }
    let mut kept = 0;
    while pool.take(&host).is_some() {
        kept += 1;
    }
    assert_eq!(kept, IDLE_MAX);
}

#[tokio::test]
async fn the_connection_that_is_idle_longest_makes_room_for_another() {
    let (pool, now) = (Pool::default(), Instant::now());
    let (counted, other) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let host = application(1);
    let mut ends = Vec::new();
    for counter in [&other, &counted, &counted] {
        let (mut upstream, far) = upstream();
        upstream.slot = Slot::take(counter, 10);
        pool.give(&host, upstream, now);
        ends.push(far);
    }
    assert!(pool.close_idle(&counted));
    assert_eq!((counted.load(Ordering::Relaxed), other.load(Ordering::Relaxed)), (1, 1));
    assert!(is_closed(ends.remove(1)).await, "the older of the two");
    assert!(pool.close_idle(&counted) && !pool.close_idle(&counted));
    assert_eq!((counted.load(Ordering::Relaxed), other.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test]
async fn connections_to_a_node_that_is_no_longer_believed_are_closed() {
    let mesh = Mesh::new(70);
    let world = mesh.world(1, &[], &[]);
    let (pool, host, now) = (Pool::default(), application(1), Instant::now());
    let mut ends = Vec::new();
    for node in [Some("vm-7"), Some("vm-8"), None] {
        let (mut upstream, far) = upstream();
        let issue = |node| mesh.issue(&format!("spiffe://bank/node/{node}"), &GrantedLabels::default());
        upstream.chain = node.map(|node| issue(node).chain.into());
        pool.give(&host, upstream, now);
        ends.push(far);
    }
    pool.disbelieve(&world.load());
    revoke(&world, "vm-7");
    pool.disbelieve(&world.load());
    assert!(is_closed(ends.remove(0)).await);
    assert!(pool.take(&host).is_some() && pool.take(&host).is_some() && pool.take(&host).is_none());
}

#[tokio::test]
async fn a_worker_gives_out_no_connection_that_it_has_not_believed_since_the_last_ring() {
    let mesh = Mesh::new(71);
    let (path, world) = (mesh.path(crate::worker::Placement::Here), mesh.world(1, &[], &[]));
    let (worker, host) = (path.first_worker(), application(1));
    let given = |node: &str| {
        let (mut upstream, far) = upstream();
        let issued = mesh.issue(&format!("spiffe://bank/node/{node}"), &GrantedLabels::default());
        upstream.chain = Some(issued.chain.into());
        worker.pool.give(&host, upstream, Instant::now());
        far
    };
    let _one = given("vm-7");
    assert!(worker.take_upstream(&host, &world).is_some());
    let (_one, _other) = (given("vm-8"), given("vm-7"));
    // It was in use while the idle ones were looked at.
    revoke(&world, "vm-7");
    worker.bell().ring();
    let taken = worker.take_upstream(&host, &world).unwrap();
    assert_eq!(taken.rings, worker.bell().rings());
    assert!(worker.take_upstream(&host, &world).is_none());
}

#[tokio::test]
async fn everything_that_is_idle_is_closed_at_once() {
    let (pool, host) = (Pool::default(), application(1));
    let (one, far) = upstream();
    pool.give(&host, one, Instant::now());
    pool.clear();
    assert!(pool.take(&host).is_none() && is_closed(far).await);
}
