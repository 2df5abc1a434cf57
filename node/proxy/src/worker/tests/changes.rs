//! What the table of endpoints does to calls while it changes all the time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use weft_policy::endpoint::EndpointTable;

use super::*;

/// A change of the table a millisecond.
const CHANGE_EVERY: Duration = Duration::from_millis(1);
const SPAN: Duration = Duration::from_secs(3);
const CALLERS: usize = 4;

/// Asks again and again over one connection until the span is over; how long each answer took.
async fn asks(to: SocketAddr) -> Vec<Duration> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut took = Vec::new();
    let until = Instant::now() + SPAN;
    while Instant::now() < until {
        let asked = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"orders") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        took.push(asked.elapsed());
    }
    took
}

async fn p99(to: SocketAddr) -> Duration {
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(asks(to))).collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.unwrap());
    }
    took.sort_unstable();
    println!("{} calls", took.len());
    took[took.len() * 99 / 100]
}

#[tokio::test]
async fn a_thousand_changes_a_second_cost_no_call() {
    let mesh = Mesh::new(62);
    for node in [2, 3] {
        app(mesh.at(node, 8080), "orders").await;
    }
    let _two = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let _three = mesh.node(3, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2, 3])]).await;
    let both = near.world.load().services.get("orders").cloned().unwrap();
    let only = |at: usize| {
        let endpoints = Box::new([Arc::clone(&both.endpoints[at])]);
        Arc::new(EndpointTable::new("orders".parse().unwrap(), HTTP, endpoints))
    };
    let tables = [Arc::clone(&both), only(0), Arc::clone(&both), only(1)];
    let services = tables.map(|table| Arc::new(BTreeMap::from([("orders".parse().unwrap(), table)])));
    let (world, count) = (Arc::clone(&near.world), Arc::new(AtomicUsize::new(0)));
    let (counted, changes) = (Arc::clone(&count), Arc::new(AtomicBool::new(false)));
    let is_on = Arc::clone(&changes);
    let changing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(CHANGE_EVERY);
        loop {
            // Also in quiet: what it costs to wake up is no change's.
            ticks.tick().await;
            let next = is_on.load(Relaxed).then(|| counted.fetch_add(1, Relaxed) % services.len());
            next.into_iter().for_each(|at| world.change(|world| world.services = Arc::clone(&services[at])));
        }
    });
    let quiet = p99(near.outbound).await;
    changes.store(true, Relaxed);
    let changed = p99(near.outbound).await;
    changing.abort();
    let changes = count.load(Relaxed);
    println!("p99 {quiet:?} in quiet, {changed:?} during {changes} changes");
    assert!(changes >= 1_000, "{changes} changes in {SPAN:?}");
}
