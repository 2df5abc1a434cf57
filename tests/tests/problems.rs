//! What a caller gets when a call cannot be carried: a problem with a code, a where, a why and a next step.

use std::time::Duration;

use weft_tests::http::Connection;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::Server;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

fn mesh_of_two(name: &str, configuration: &str) -> (Mesh, Node, Node) {
    let mut mesh = Mesh::new(name);
    let one = mesh.init_running("one");
    let mut two = mesh.join("two", &one, &["web"]);
    if !configuration.is_empty() {
        two.configure(configuration);
    }
    two.start();
    (mesh, one, two)
}

#[test]
fn an_unknown_service_and_a_missing_host_are_told() {
    let (_mesh, _one, two) = mesh_of_two("unknown", "");
    let reply = two.get("nothing", "/");
    assert_eq!((reply.status, reply.problem().as_str()), (404, "service-unknown"));
    assert!(reply.header("proxy-status").unwrap_or_default().contains("destination_not_found"), "{reply:?}");
    let mut connection = Connection::open(two.outbound()).unwrap();
    let reply = connection.send(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(reply.status, 400);
}

#[test]
fn malformed_requests_are_refused() {
    let (_mesh, _one, two) = mesh_of_two("malformed", "");
    let cases: &[(&str, &[u8], &[u16])] = &[
        ("two hosts", b"GET / HTTP/1.1\r\nhost: a.weft.internal\r\nhost: b.weft.internal\r\n\r\n", &[400]),
        ("a host that is no name", b"GET / HTTP/1.1\r\nhost: ..\r\n\r\n", &[400, 404]),
        ("two lengths", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", &[400]),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", &[400]),
    ];
    for (name, request, expected) in cases {
        let mut connection = Connection::open(two.outbound()).unwrap();
        match connection.send(request) {
            Ok(reply) => assert!(expected.contains(&reply.status), "{name}: {reply:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{name}: {error}"),
        }
    }
    let both = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let reply = Connection::open(two.outbound()).unwrap().send(both).unwrap();
    let ends = reply.header("connection") == Some("close");
    assert!(
        reply.status == 400 || ends,
        "a length beside a coding is refused, or nothing follows on the connection: {reply:?}"
    );
    let mut large = b"GET / HTTP/1.1\r\nhost: a.weft.internal\r\n".to_vec();
    (0..150).for_each(|number| large.extend(format!("x-{number}: value\r\n").bytes()));
    large.extend(b"\r\n");
    let reply = Connection::open(two.outbound()).unwrap().send(&large).unwrap();
    assert_eq!(reply.status, 431, "{reply:?}");
}

#[test]
fn a_replica_that_is_gone_refused_or_slow_is_told() {
    let (_mesh, mut one, two) = mesh_of_two("slow", "[timeouts]\nrequest = \"2s\"\n");
    one.tolerate("health");
    let app = Server::app("orders");
    let port = app.port.to_string();
    one.weft(&["expose", "orders", &port, "--protocol", "http"]).json();
    two.reaches("orders", "/");
    let slow = two.get("orders", "/slow?30");
    assert_eq!((slow.status, slow.problem().as_str()), (504, "request-timeout"));
    let reset = two.get("orders", "/reset");
    assert_eq!((reset.status, reset.problem().as_str()), (502, "upstream-reset"));
    until_true("the service to recover", SPREAD_LIMIT, || two.get("orders", "/").status == 200);
    assert_eq!(two.get("orders", "/status?418").status, 418, "an application's own status passes");
    // Without a probe nothing but the refusal can tell that the application is gone.
    one.weft(&["expose", "orders", &port, "--protocol", "http", "--health", "none"]).json();
    drop(app);
    for _ in 0..10 {
        let refused = two.get("orders", "/");
        assert_eq!((refused.status, refused.problem().as_str()), (502, "connect-refused"), "{refused:?}");
    }
    one.weft(&["expose", "orders", &port, "--protocol", "http", "--health", "tcp"]).json();
    until_true("no replica to be healthy", SPREAD_LIMIT, || {
        let code = two.get("orders", "/").problem();
        assert!(["connect-refused", "no-healthy-replica"].contains(&code.as_str()), "{code}");
        code == "no-healthy-replica"
    });
    let unhealthy = two.get("orders", "/");
    assert_eq!((unhealthy.status, unhealthy.problem().as_str()), (503, "no-healthy-replica"), "{unhealthy:?}");
    let again = Server::app_at("orders", port.parse().unwrap());
    let took = two.reaches("orders", "/");
    assert!(took < Duration::from_secs(15), "{took:?}");
    drop(again);
}

#[test]
fn a_draining_node_finishes_what_is_in_flight() {
    let (_mesh, mut one, two) = mesh_of_two("drain", "");
    let app = Server::app("orders");
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    two.reaches("orders", "/");
    let mut connection = Connection::open(two.outbound()).unwrap();
    connection.write(b"GET /slow?2 HTTP/1.1\r\nhost: orders.weft.internal\r\n\r\n").unwrap();
    until_true("the call to be in flight", Duration::from_secs(2), || {
        one.metric("weft_connections_open", &["listener=\"inbound\""]) >= 1.0
    });
    one.process().signal("TERM");
    let reply = connection.read_reply().unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "slow"));
    let status = one.stop();
    assert!(status.success(), "{status}");
    until_true("the goodbye to be known", Duration::from_secs(5), || !two.lists("one"));
}

#[test]
fn every_code_is_explained() {
    let mut mesh = Mesh::new("explain");
    let node = mesh.blank("none");
    let listed = node.weft(&["explain"]).json();
    let codes = listed["codes"].as_array().unwrap_or_else(|| panic!("codes in {listed:#}")).clone();
    assert!(codes.len() > 30);
    for entry in codes {
        let code = entry["code"].as_str().or(entry.as_str()).expect("a code").to_owned();
        node.weft(&["explain", &code]).json();
    }
    assert_eq!(node.weft(&["explain", "no-such-code"]).code(), "code-unknown");
}
