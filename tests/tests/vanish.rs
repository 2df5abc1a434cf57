//! What becomes of calls to a machine that vanishes without a word. In a network namespace of the test's own, whose routes it may take away.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weft_tests::http;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::peer::Peer;
use weft_tests::programs::{is_root, output_of};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Set within the namespace.
const INSIDE: &str = "WEFT_TEST_NAMESPACE";
/// Unacknowledged for 12 s, and some for another try.
const LIMIT: Duration = Duration::from_secs(18);

/// Runs a test of this program again, in a namespace with nothing but loopback; whether this is the run within.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["--net"][..] } else { &["--user", "--map-root-user", "--net"] });
    let script = "ip link set lo up && ip rule add pref 100 lookup local && ip rule del pref 0 && exec \"$0\" \"$@\"";
    command.args(["sh", "-c", script]).arg(std::env::current_exe().expect("this program has a path"));
    let status = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(status.expect("unshare runs").success(), "it failed in its namespace");
    false
}

/// From now on nothing comes from this address and nothing reaches it, and nobody is told.
fn vanishes(address: Ipv4Addr) {
    for (pref, way) in [("10", "to"), ("11", "from")] {
        output_of(Command::new("ip").args(["rule", "add", "pref", pref, way, &address.to_string(), "blackhole"]));
    }
}

/// A node with an application that answers, `/slow` after this time.
fn offers(mesh: &mut Mesh, first: &Node, name: &str, slow: Duration) -> (Node, Arc<AtomicUsize>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waiting);
    let peer = Peer::answering(move |received| {
        if received.text().contains("/slow") {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(slow);
        }
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
    });
    let node = mesh.join_running(name, first, &["orders"]);
    node.exposes("orders", peer.port, &["--health", "none"]);
    (node, waiting)
}

#[test]
fn calls_to_a_vanished_machine_go_elsewhere_in_seconds() {
    if !is_inside("calls_to_a_vanished_machine_go_elsewhere_in_seconds") {
        return;
    }
    let mut mesh = Mesh::new("vanish");
    let near = mesh.init_running("near");
    // Slow enough that calls wait here, too: else a machine that was slow with its first call would get none of them for half a minute.
    let (_kept, _) = offers(&mut mesh, &near, "kept", Duration::from_millis(200));
    let (lost, waiting) = offers(&mut mesh, &near, "lost", Duration::from_secs(60));
    near.knows("orders", 2);
    let to = near.outbound();
    let call = move |path: &'static str| {
        std::thread::spawn(move || (http::get(to, path, "orders").map(|reply| reply.status), Instant::now()))
    };
    // Pools are warm, and calls wait at the machine that is to go.
    let mut calls: Vec<_> = (0..20).map(|_| call("/quick")).collect();
    until_true("calls that wait there", SPREAD_LIMIT, || {
        calls.push(call("/slow"));
        std::thread::sleep(Duration::from_millis(20));
        waiting.load(Ordering::Relaxed) > 0
    });
    vanishes(lost.address);
    let began = Instant::now();
    calls.extend((0..20).map(|_| call("/quick")));
    for call in calls {
        let (status, ended) = call.join().expect("no panic");
        assert_eq!(status.expect("an answer"), 200);
        assert!(ended.saturating_duration_since(began) < LIMIT, "{:?}", ended.saturating_duration_since(began));
    }
}
