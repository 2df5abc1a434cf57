//! Random, forged and lying input at the port between nodes: no panic, no change of state, memory flat, and a counter that tells.
//!
//! `WEFT_LONG=1` sends 100,000 datagrams, as `bench/run datagrams` does; without it, 20,000.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use weft_tests::programs::Server;
use weft_tests::rogue::{Flood, Lie, Outsider, Rogue, genuine_initials};
use weft_tests::wait::{let_pass, until_true};
use weft_tests::{Mesh, Node};

/// Memory that may come and go while a node runs; a leak of one kilobyte a datagram would be 20 MiB even in the short form.
const GROWTH_KIB_MAX: u64 = 10 * 1024;
/// The flood's seed: printed with every failure by being here.
const SEED: u64 = 4510;
/// Datagrams between two pauses: below what a socket's buffer holds, so that they arrive.
const BURST: u32 = 40;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// What must not change: nodes, services and who offers them.
fn state(node: &Node) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = |kind: &str, field: &str| {
        node.listing(kind).iter().map(|entry| entry[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    (names("nodes", "node"), names("services", "service"))
}

fn counted(node: &Node) -> f64 {
    node.metric("weft_quic_datagrams_dropped_total", &[]) + node.metric("weft_quic_datagrams_total", &[])
}

#[test]
fn a_flood_of_forged_datagrams_changes_nothing() {
    let count: u32 = if std::env::var_os("WEFT_LONG").is_some() { 100_000 } else { 20_000 };
    let mut mesh = Mesh::new("flood");
    let app = Server::app("orders");
    let mut one = mesh.init_running("one");
    one.tolerate("");
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    let mut other = Mesh::new("outsiders");
    let foreign = other.init_running("one");
    let own = other.next_address();
    let (token, at) = (foreign.token(&["web"]), foreign.address);
    let initials = runtime().block_on(async {
        let rogue = Rogue::join(&token, "rogue", own, at).await;
        genuine_initials(&rogue, 32).await
    });
    let mut flood = Flood::new(SEED, initials, one.mesh_port());
    let (known, before) = (state(&one), counted(&one));
    let socket = UdpSocket::bind((other.next_address(), 0)).unwrap();
    let send = |flood: &mut Flood, count: u32| {
        for number in 0..count {
            // A full buffer on the way is a lost datagram, as on any network.
            let _ = socket.send_to(&flood.next_datagram(), one.mesh_port());
            if number % BURST == 0 {
                let_pass(Duration::from_millis(2));
            }
        }
    };
    send(&mut flood, count / 5);
    let warm = one.process().resident_kib();
    send(&mut flood, count - count / 5);
    let grown = one.process().resident_kib().saturating_sub(warm);
    let told = counted(&one) - before;
    println!("{count} sent, {told} counted, {warm} KiB resident, {grown} KiB more at the end");
    assert!(told > f64::from(count) * 0.8, "{told} of {count}");
    assert!(one.metric("weft_quic_datagrams_dropped_total", &[]) > 0.0);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more");
    assert_eq!(state(&one), known);
    assert_eq!(two.get("orders", "/").status, 200);
    assert!(!one.process().stderr.all().iter().any(|line| line.contains("panicked")));
}

#[test]
fn an_outsider_with_a_certificate_of_a_foreign_mesh_is_refused_and_counted() {
    const TRIES: u32 = 20;
    let mut mesh = Mesh::new("twin");
    let app = Server::app("orders");
    let mut one = mesh.init_running("one");
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    // Of the same name: only the root tells the two apart. The outsider shows the identity of a node that there is here.
    let mut other = Mesh::new("twin");
    let foreign = other.init_running("one");
    let own = other.next_address();
    let (known, theirs) = (one.token(&["web"]), foreign.token(&["web"]));
    let runtime = runtime();
    let outsider = runtime.block_on(Outsider::new((&known, one.address), (&theirs, foreign.address), "two", own));
    one.tolerate("handshake");
    let before = state(&one);
    let quic = |node: &Node| node.metric("weft_quic_connections_refused_total", &["reason=\"handshake\""]);
    let tcp = |node: &Node| node.metric("weft_connections_refused_total", &["listener=\"inbound\""]);
    let (quic_before, tcp_before) = (quic(&one), tcp(&one));
    for _ in 0..TRIES {
        runtime.block_on(async {
            outsider.gossip(b"let me in").await.expect_err("no gossip from a foreign mesh");
            let answer = outsider.call("orders", b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await;
            answer.expect_err("no call from a foreign mesh");
        });
    }
    until_true("every try to be counted", Duration::from_secs(5), || {
        quic(&one) - quic_before >= f64::from(TRIES) && tcp(&one) - tcp_before >= f64::from(TRIES)
    });
    assert_eq!(state(&one), before);
    assert!(one.metric("weft_requests_total", &["direction=\"inbound\"", "service=\"unknown\""]) == 0.0);
    assert_eq!(two.get("orders", "/").status, 200);
    assert!(!one.process().stderr.all().iter().any(|line| line.contains("panicked")));
}

#[test]
fn a_stranger_on_tcp_changes_nothing() {
    let mut mesh = Mesh::new("stranger");
    let mut one = mesh.init_running("one");
    one.tolerate("");
    let known = state(&one);
    for number in 0..200_u8 {
        let mut stream = TcpStream::connect(one.mesh_port()).unwrap();
        let _ = stream.write_all(&[number; 700]);
    }
    assert_eq!(state(&one), known);
    one.weft(&["status"]).json();
}

#[test]
fn a_member_that_lies_is_refused_and_counted() {
    let mut mesh = Mesh::new("liar");
    let app = Server::app("ledger");
    let mut one = mesh.init_running("one");
    one.tolerate("");
    one.weft(&["expose", "ledger", &app.port.to_string(), "--protocol", "http"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("ledger", "/");
    let (token, own) = (one.token(&["web"]), mesh.next_address());
    let runtime = runtime();
    let mut rogue = runtime.block_on(Rogue::join(&token, "rogue", own, one.address));
    let truth = Lie { node: "rogue", service: "web", version: 5, key: "r" };
    until_true("the honest record to be taken", Duration::from_secs(10), || {
        runtime.block_on(rogue.tell(truth));
        one.listing("services").iter().any(|service| service["service"] == "web")
    });
    let offers = |node: &Node| {
        let services = node.listing("services");
        services.iter().map(|row| format!("{} {}", row["service"], replicas_of(row))).collect::<BTreeSet<_>>()
    };
    let known = offers(&one);
    let refused = |reason: &str| one.metric("weft_gossip_refused_total", &[&format!("reason=\"{reason}\"")]);
    let lies: &[(&str, Lie<'_>)] = &[
        ("a record of another node", Lie { node: "two", ..truth }),
        ("a record of the very node", Lie { node: "one", ..truth }),
        ("a service that was not granted", Lie { service: "ledger", version: 6, ..truth }),
        ("a service that nobody was granted", Lie { service: "invented", version: 6, ..truth }),
        ("an old sequence number", Lie { service: "web", version: 3, ..truth }),
        ("another key", Lie { key: "x", version: 7, ..truth }),
        ("a key that is not ASCII", Lie { key: "\u{e9}", version: 7, ..truth }),
    ];
    for (what, lie) in lies {
        let before = one.metric("weft_gossip_refused_total", &[]);
        runtime.block_on(rogue.tell(*lie));
        until_true(&format!("{what} to be counted"), Duration::from_secs(5), || {
            one.metric("weft_gossip_refused_total", &[]) > before
        });
        assert_eq!(offers(&one), known, "{what}");
    }
    let before = refused("malformed") + refused("record-malformed");
    runtime.block_on(async {
        rogue.tell_raw(Lie { version: 8, ..truth }, "no record").await;
        rogue.send(&[0xff; 3000]).await;
        rogue.send(b"").await;
    });
    until_true("nonsense to be counted", Duration::from_secs(5), || {
        refused("malformed") + refused("record-malformed") > before
    });
    assert_eq!(offers(&one), known);
    assert_eq!(two.get("ledger", "/").status, 200);
    assert!(one.lists("two") && one.lists("one"));
    assert!(!one.process().stderr.all().iter().any(|line| line.contains("panicked")));
}

/// Who offers a service, as its row of `weft ls services` tells.
fn replicas_of(row: &serde_json::Value) -> String {
    let endpoints = row["endpoints"].as_array().into_iter().flatten();
    endpoints.map(|endpoint| endpoint["node"].to_string()).collect()
}
