//! Certificates of 20 s life under traffic: renewed many times, and no connection notices.
//!
//! `WEFT_LONG=1` runs for five minutes, as `bench/run renewal` does; without it, 45 s.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

use weft_tests::load::{Load, Plan};
use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::{Server, WebSocket, dial, echo};
use weft_tests::wait::{let_pass, until_true};
use weft_tests::{Mesh, Node};

#[test]
#[allow(clippy::disallowed_methods, reason = "a run over real time")]
fn renewal_drops_no_connection() {
    let long = std::env::var_os("WEFT_LONG").is_some();
    let (span, renewals) = if long { (Duration::from_secs(300), 10) } else { (Duration::from_secs(45), 2) };
    let mut mesh = Mesh::new("renewal");
    let (app, tcp) = (Server::app("orders"), Server::echo("echo"));
    let mut one = mesh.init("one");
    one.configure("[identity]\ncertificate_lifetime = \"20s\"\n");
    one.start();
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    one.weft(&["expose", "echo", &tcp.port.to_string(), "--protocol", "tcp"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    let port = free_port(two.address);
    two.weft(&["bind", "echo", &port.to_string()]).json();
    let at = std::net::SocketAddr::from((two.address, port));
    until_true("the echo's greeting", SPREAD_LIMIT, || dial(at).read_exact(&mut [0; 5]).is_ok());
    let mut stream = dial(at);
    stream.read_exact(&mut [0; 5]).unwrap();
    let mut socket = WebSocket::open(two.outbound(), "orders.weft.internal");
    let plan = Plan {
        to: two.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate: 50,
        connections: 5,
    };
    let load = Load::start(&plan);
    let started = Instant::now();
    let (mut echoes, mut issued) = (0, BTreeSet::new());
    while started.elapsed() < span {
        assert_eq!(socket.echo("still here").expect("the WebSocket stays open"), "still here");
        assert_eq!(echo(&mut stream, b"still here").expect("the stream stays open"), b"still here");
        if echoes % 20 == 0 {
            issued.extend(starts_of_certificates(&two));
        }
        echoes += 1;
        let_pass(Duration::from_millis(100));
    }
    let tally = load.stop();
    let renewed = issued.len() - 1;
    println!("{} good, {:?} bad, {echoes} echoes, {renewed} renewals", tally.good, tally.bad);
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
    assert!(renewed >= renewals, "{renewed} renewals");
}

/// When each of the node's own certificates became valid; a renewal brings a new one.
fn starts_of_certificates(node: &Node) -> Vec<u64> {
    let own = format!("/node/{}", node.name);
    let certificates = node.listing("certs");
    let mine = certificates.iter().filter(|entry| entry["identity"].as_str().is_some_and(|id| id.ends_with(&own)));
    mine.map(|entry| entry["not_before_ms"].as_u64().unwrap_or_else(|| panic!("not_before_ms in {entry}"))).collect()
}

#[test]
fn a_node_that_slept_past_its_certificate_comes_back() {
    let mut mesh = Mesh::new("sleep");
    let app = Server::app("orders");
    let mut one = mesh.init("one");
    one.configure("[identity]\ncertificate_lifetime = \"10s\"\n");
    one.start();
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    let mut two = mesh.join("two", &one, &["web"]);
    two.start();
    two.reaches("orders", "/");
    one.tolerate("");
    two.tolerate("");
    two.kill();
    let_pass(Duration::from_secs(14));
    two.start_unready();
    let took = two.reaches("orders", "/");
    println!("back after {took:?}");
}
