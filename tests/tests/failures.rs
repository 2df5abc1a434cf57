//! Losing nodes: callers see no error, the others notice, a restart serves at once, and a node alone still knows.
//!
//! `WEFT_LONG=1` runs the load for 60 s, as `bench/run kill` does; without it, 12 s.

use std::time::Duration;

use weft_tests::Mesh;
use weft_tests::load::{Load, Plan};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::Server;
use weft_tests::wait::{let_pass, until_true};

/// GETs a second of the load.
const RATE: u32 = 500;
/// The view is written at most this long after a change; what comes later is lost with the power.
const VIEW_WRITTEN: Duration = Duration::from_secs(3);

#[test]
fn a_killed_node_costs_its_callers_no_error() {
    let long = std::env::var_os("WEFT_LONG").is_some();
    let (before, after) = if long { (20, 40) } else { (4, 8) };
    let mut mesh = Mesh::new("kill");
    let (first, second) =
        (Server::nginx(mesh.scratch.path(), "replica-a"), Server::nginx(mesh.scratch.path(), "replica-b"));
    let mut caller = mesh.init_running("caller");
    caller.tolerate("");
    let mut a = mesh.join_running("a", &caller, &["orders"]);
    let mut b = mesh.join_running("b", &caller, &["orders"]);
    a.weft(&["expose", "orders", &first.port.to_string(), "--protocol", "http"]).json();
    b.weft(&["expose", "orders", &second.port.to_string(), "--protocol", "http"]).json();
    for replica in ["replica-a", "replica-b"] {
        until_true(replica, SPREAD_LIMIT, || caller.get("orders", "/").text() == replica);
    }
    a.tolerate("");
    let plan = Plan {
        to: caller.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate: RATE,
        connections: 20,
    };
    let load = Load::start(&plan);
    let_pass(Duration::from_secs(before));
    b.kill();
    let out = until_true("the killed node to be out of the list", Duration::from_secs(15), || !caller.lists("b"));
    let_pass(Duration::from_secs(after).saturating_sub(out));
    let tally = load.stop();
    println!("{} good, {:?} bad, slowest {:?}, out of the list after {out:?}", tally.good, tally.bad, tally.slowest);
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
    assert!(tally.good >= u64::from(RATE) * (before + after) * 9 / 10, "{tally:?}");
    let ready = b.start();
    let served = until_true("the restarted node to serve", Duration::from_secs(5), || {
        caller.get("orders", "/").text() == "replica-b"
    });
    println!("ready after {ready:?}, serving {served:?} later");
    assert!(ready + served < Duration::from_secs(5), "{ready:?} + {served:?}");
}

/// How all nodes of a mesh come to an end.
#[derive(Clone, Copy)]
enum End {
    /// SIGKILL, as a power cut would.
    Kill,
    /// SIGTERM, one after the other; the last has nobody left to say goodbye to.
    Stop,
}

#[test]
fn a_node_started_alone_after_a_power_cut_still_knows_and_serves() {
    starts_alone_after("cut", End::Kill);
}

#[test]
fn a_node_started_alone_after_an_ordered_stop_of_all_still_knows_and_serves() {
    starts_alone_after("ordered", End::Stop);
}

fn starts_alone_after(name: &str, end: End) {
    let mut mesh = Mesh::new(name);
    let (own, foreign) = (Server::app("own"), Server::app("foreign"));
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["web"]);
    one.weft(&["expose", "foreign", &foreign.port.to_string(), "--protocol", "http"]).json();
    two.tolerate("");
    one.tolerate("");
    two.reaches("foreign", "/");
    let granted = one.token(&["web", "own"]);
    two.join_by(&one, &granted).json();
    two.weft(&["expose", "own", &own.port.to_string(), "--protocol", "http"]).json();
    two.reaches("own", "/");
    match end {
        End::Kill => {
            let_pass(VIEW_WRITTEN);
            one.kill();
            two.kill();
        }
        End::Stop => assert!(two.stop().success() && one.stop().success()),
    }
    two.start();
    two.reaches("own", "/");
    assert!(
        two.listing("services").iter().any(|service| service["service"] == "foreign"),
        "the last endpoints are known"
    );
    let reply = two.get("foreign", "/");
    assert_ne!(reply.problem(), "service-unknown", "known, though not reachable");
    one.start();
    two.reaches("foreign", "/");
}

#[test]
fn a_left_node_is_gone_at_once() {
    let mut mesh = Mesh::new("leave");
    let one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["web"]);
    one.sees(2);
    two.weft(&["leave"]).json();
    let took = until_true("the node to be gone", Duration::from_secs(5), || !one.lists("two"));
    println!("gone after {took:?}");
    two.process_mut().terminate();
}
