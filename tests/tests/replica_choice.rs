//! Which replica a call goes to when one of them is bad: what became of each try is all that counts, and counts at once.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weft_tests::operator::Operator;
use weft_tests::peer::{Peer, Then, raw};
use weft_tests::{Mesh, Node};

const CALL: &[u8] = b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";

/// A caller and two replicas of `orders`, each on a node of its own.
struct Scene {
    caller: Node,
    nodes: Vec<Node>,
    mesh: Mesh,
}

impl Scene {
    fn new(name: &str, peers: &[&Peer], toml: &str, words: &[&str]) -> Self {
        let mut mesh = Mesh::new(name);
        let caller = mesh.init_running("caller");
        let mut scene = Self { caller, nodes: Vec::new(), mesh };
        for (at, peer) in peers.iter().enumerate() {
            let mut node = scene.mesh.join(&format!("vm{at}"), &scene.caller, &["orders"]);
            if !toml.is_empty() && at == 0 {
                node.configure(toml);
            }
            node.start();
            node.exposes("orders", peer.port, words);
            scene.nodes.push(node);
        }
        scene.caller.knows("orders", peers.len());
        scene
    }

    fn says(&self, text: &str) {
        let operator = Operator::of(&self.mesh, &self.caller, "policies");
        operator.write("orders.toml", text);
        operator.applied(&self.caller);
    }
}

/// The status of one call; 0 where the caller gave up after this long.
fn call(to: std::net::SocketAddr, patience: Duration) -> u16 {
    let mut stream = TcpStream::connect(to).expect("the node listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
    stream.write_all(CALL).expect("the node reads");
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).ok().and_then(|status| status.parse().ok()).unwrap_or(0),
        Err(_) => 0,
    }
}

fn fine() -> Peer {
    Peer::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
}

fn after(delay: Duration) -> Peer {
    Peer::answering(move |_| {
        std::thread::sleep(delay);
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
    })
}

#[test]
fn a_replica_that_hangs_loses_its_calls() {
    let hangs = Peer::serving(|stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    let scene = Scene::new("hangs", &[&hangs, &fine()], "", &[]);
    let failed = (0..40).filter(|_| call(scene.caller.outbound(), Duration::from_millis(250)) != 200).count();
    assert!(failed <= 3, "{failed} of 40 failed");
}

#[test]
fn a_fast_failure_wins_nothing() {
    for status in ["502 Bad Gateway", "500 Internal Server Error"] {
        let bad = Peer::answering(move |_| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes());
        let scene = Scene::new("fast", &[&bad, &after(Duration::from_millis(50))], "", &[]);
        let failed = (0..200).filter(|_| call(scene.caller.outbound(), Duration::from_secs(5)) != 200).count();
        assert!(failed <= 4, "{failed} of 200 got {status}");
    }
}

#[test]
fn a_node_at_its_limit_is_passed_by() {
    let (slow, idle) = (after(Duration::from_millis(600)), fine());
    let scene = Scene::new("limit", &[&slow, &idle], "[limits]\nin_flight = 1\n", &[]);
    let full = scene.nodes[0].outbound();
    // Something of its own keeps the first node at its limit.
    let busy = std::thread::spawn(move || {
        (0..4).for_each(|_| drop(raw(full, CALL, Then::Wait)));
    });
    let failed = (0..20).filter(|_| call(scene.caller.outbound(), Duration::from_secs(5)) != 200).count();
    assert_eq!(failed, 0, "of 20");
    assert_eq!(
        scene.caller.metric("weft_ejections_total", &["service=\"orders\""]),
        0.0,
        "it is overloaded, and not broken"
    );
    busy.join().expect("no panic");
}

#[test]
fn one_replica_is_tried_again_where_the_documents_name_the_timeout() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let slow = Peer::answering(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(2));
        Vec::new()
    });
    let scene = Scene::new("again", &[&slow], "", &[]);
    scene.says(
        "[[route]]\nname = \"orders\"\nservice = \"orders\"\n[[route.rule]]\ntimeout = \"10s\"\ntry_timeout = \"300ms\"\n\
         retries = { attempts = 3, on = [\"timeout\"] }\n",
    );
    let began = Instant::now();
    let answer = raw(scene.caller.outbound(), CALL, Then::Wait);
    assert_eq!((answer.status(), answer.code().as_deref()), (504, Some("request-timeout")));
    assert!(answer.text().contains("300ms"), "it names the time of a try: {}", answer.text());
    assert_eq!(tries.load(Ordering::Relaxed), 4, "{}", answer.text());
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_a_caller_does_wrong_is_nobody_elses_failure() {
    let peer = fine();
    let scene = Scene::new("caller", &[&peer], "", &[]);
    let bad = b"POST / HTTP/1.1\r\nhost: orders\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    for _ in 0..5 {
        let answer = raw(scene.caller.outbound(), bad, Then::Wait);
        assert_eq!((answer.status(), answer.code().as_deref()), (400, Some("request-malformed")), "{}", answer.text());
    }
    assert_eq!(scene.caller.metric("weft_ejections_total", &["service=\"orders\""]), 0.0);
    assert_eq!(call(scene.caller.outbound(), Duration::from_secs(2)), 200);
}

#[test]
fn an_answer_that_comes_before_the_upload_is_over_reaches_its_caller() {
    let early = Peer::serving(|stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let _gone =
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
    });
    let scene = Scene::new("early", &[&early], "", &[]);
    let body = vec![b'x'; 8 << 20];
    let request = [
        format!("POST / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())
            .as_bytes(),
        &body,
    ]
    .concat();
    for round in 0..25 {
        let answer = raw(scene.caller.outbound(), &request, Then::Wait);
        assert_eq!(answer.status(), 413, "{round}: {} {:?}", answer.text(), answer.ended);
    }
}
