//! What a second try carries: all of the request, or nothing is tried again; and what a try says of the replica that it was made at.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{Read, Write};
use std::time::Duration;

use weft_tests::http;
use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::peer::{Peer, Then, raw};
use weft_tests::programs::dial;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// A node that calls, one whose application is down, and one whose application records what it gets.
struct Scene {
    near: Node,
    _others: [Node; 2],
    peer: Peer,
    _mesh: Mesh,
}

impl Scene {
    fn new(name: &str) -> Self {
        let mut mesh = Mesh::new(name);
        let mut near = mesh.init("near");
        near.configure("[timeouts]\nrequest = \"5s\"\n");
        near.start();
        let [down, up] = ["down", "up"].map(|name| mesh.join_running(name, &near, &["orders"]));
        let peer = Peer::recording();
        down.exposes("orders", free_port(down.address), &["--health", "none"]);
        up.exposes("orders", peer.port, &["--health", "none"]);
        near.knows("orders", 2);
        Self { near, _others: [down, up], peer, _mesh: mesh }
    }
}

#[test]
fn a_request_that_was_not_delivered_goes_elsewhere_with_all_of_its_body() {
    let scene = Scene::new("whole");
    let large = "x".repeat(10_000);
    let framed = [
        ("content-length: 12\r\n\r\nfirst,second".to_owned(), "first,second"),
        ("transfer-encoding: chunked\r\n\r\n6\r\nfirst,\r\n6\r\nsecond\r\n0\r\n\r\n".to_owned(), "first,second"),
        (format!("content-length: 10000\r\n\r\n{large}"), large.as_str()),
    ];
    for turn in 0..24 {
        let (framing, body) = &framed[turn % 3];
        let request = format!("POST /{turn} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n{framing}");
        let answer = raw(scene.near.outbound(), request.as_bytes(), Then::Wait);
        assert_eq!(answer.status(), 200, "{turn}: {}", answer.text());
        let received = scene.peer.take();
        let bodies: Vec<_> =
            received.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
        assert_eq!(bodies, [*body], "{turn}");
    }
}

#[test]
fn the_rest_of_a_body_is_never_sent_for_the_whole() {
    let scene = Scene::new("rest");
    for turn in 0..12 {
        let mut stream = dial(scene.near.outbound());
        let head =
            format!("POST /{turn} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n");
        let mut answer = String::new();
        // Much more than is kept, in pieces, so that the refusal of a replica that is down comes in between.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| {
            (0..10).try_for_each(|_| {
                stream.write_all(&[b'x'; 10_000])?;
                stream.flush()
            })
        });
        let read = stream.read_to_string(&mut answer);
        let whole = scene.peer.take().iter().filter(|request| request.body.len() == 100_000).count();
        let arrived = answer.starts_with("HTTP/1.1 200");
        assert_eq!(usize::from(arrived), whole, "{turn}: {sent:?} {read:?} {answer}");
        assert!(arrived || answer.starts_with("HTTP/1.1 50") || answer.is_empty(), "{turn}: {answer}");
    }
}

#[test]
fn a_replica_that_says_too_many_at_once_does_not_win_the_balance() {
    let mut mesh = Mesh::new("too-many");
    let near = mesh.init_running("near");
    let answering = |status: &'static str, after: u64| {
        Peer::answering(move |_| {
            std::thread::sleep(Duration::from_millis(after));
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes()
        })
    };
    let peers = [answering("200 OK", 20), answering("429 Too Many Requests", 0)];
    let _nodes: Vec<Node> = peers
        .iter()
        .zip(["patient", "curt"])
        .map(|(peer, name)| {
            let node = mesh.join_running(name, &near, &["orders"]);
            node.exposes("orders", peer.port, &["--health", "none"]);
            node
        })
        .collect();
    near.knows("orders", 2);
    let refused =
        (0..100).filter(|_| http::get(near.outbound(), "/", "orders").expect("an answer").status == 429).count();
    assert!(refused <= 50, "{refused} of 100");
}

#[test]
fn callers_that_shut_their_side_and_are_answered_speak_for_the_replica() {
    let mut mesh = Mesh::new("shut");
    let near = mesh.init_running("near");
    let peer = Peer::answering(|_| {
        std::thread::sleep(Duration::from_millis(150));
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
    });
    near.exposes("orders", peer.port, &["--health", "none"]);
    near.knows("orders", 1);
    let request = b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";
    for _ in 0..6 {
        assert_eq!(raw(near.outbound(), request, Then::Shut).status(), 200);
    }
    assert!(near.metric("weft_ejections_total", &["service=\"orders\""]) < 1.0);
    until_true("nothing in flight", SPREAD_LIMIT, || near.get("orders", "/").status == 200);
}
