//! The main job: nodes that find each other, prove who they are and carry each other's HTTP.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::process::Command;
use std::time::{Duration, Instant};

use weft_tests::http::Connection;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::{Server, WebSocket, output_of};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Two nodes: `one` is the signer and serves `orders`, `two` may act as `web`.
fn two_nodes(name: &str, app: &Server) -> (Mesh, Node, Node) {
    let mut mesh = Mesh::new(name);
    let one = mesh.init_running("one");
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    (mesh, one, two)
}

#[test]
fn from_nothing_to_the_first_call_takes_under_ten_seconds() {
    let app = Server::app("orders");
    let started = Instant::now();
    let (_mesh, one, two) = two_nodes("first", &app);
    let took = started.elapsed();
    println!("first call after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(two.get("orders", "/a?b=c").text().ends_with("/a?b=c"));
    one.sees(2);
    two.sees(2);
}

#[test]
fn curl_reaches_a_service_by_host_and_as_a_proxy() {
    let app = Server::app("orders");
    let (_mesh, _one, two) = two_nodes("curl", &app);
    let outbound = format!("http://{}/", two.outbound());
    let by_host = output_of(Command::new("curl").args(["-sf", "-H", "Host: orders.weft.internal", &outbound]));
    let as_proxy = output_of(Command::new("curl").args(["-sf", "--proxy", &outbound, "http://orders.weft.internal/"]));
    assert_eq!(by_host, "orders  /");
    assert_eq!(as_proxy, "orders  /");
    let through_cli = two.weft(&["curl", "orders"]);
    assert_eq!(through_cli.exit, 0, "{through_cli:?}");
}

#[test]
fn a_python_server_and_nginx_serve_through_the_mesh() {
    let mut mesh = Mesh::new("real");
    let mut one = mesh.init("one");
    one.start();
    let folder = mesh.scratch.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(folder.join("large"), &large).unwrap();
    let python = Server::python(&folder);
    let nginx = Server::nginx(mesh.scratch.path(), "from nginx");
    one.weft(&["expose", "files", &python.port.to_string(), "--protocol", "http"]).json();
    one.weft(&["expose", "pages", &nginx.port.to_string(), "--protocol", "http"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("pages", "/");
    two.reaches("files", "/");
    assert_eq!(two.get("pages", "/").text(), "from nginx");
    assert!(two.get("files", "/large").body == large, "12 MB arrive as they were sent");
    let url = format!("http://{}/", two.outbound());
    let told = output_of(Command::new("h2load").args([
        "--h1",
        "-n",
        "2000",
        "-c",
        "20",
        "-H",
        ":authority: pages.weft.internal",
        &url,
    ]));
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored"), "{told}");
}

#[test]
fn bodies_stream_in_both_directions() {
    let app = Server::app("orders");
    let (_mesh, _one, two) = two_nodes("stream", &app);
    let mut connection = Connection::open(two.outbound()).unwrap();
    connection.write(b"GET /stream?5 HTTP/1.1\r\nhost: orders.weft.internal\r\n\r\n").unwrap();
    assert_eq!(connection.read_head().unwrap().status, 200);
    let first = Instant::now();
    assert_eq!(connection.read_chunk().unwrap(), b"piece 0\n");
    let early = first.elapsed();
    while !connection.read_chunk().unwrap().is_empty() {}
    assert!(first.elapsed() > early + Duration::from_millis(300), "the first piece came before the last was sent");
    let body = vec![b'x'; 1_000_000];
    let mut request =
        format!("POST /echo HTTP/1.1\r\nhost: orders.weft.internal\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    request.extend(&body);
    assert!(connection.send(&request).unwrap().body == body);
    let chunked = b"POST /echo HTTP/1.1\r\nhost: orders.weft.internal\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(connection.send(chunked).unwrap().text(), "abcde");
}

#[test]
fn a_websocket_is_carried() {
    let app = Server::app("orders");
    let (_mesh, _one, two) = two_nodes("websocket", &app);
    let mut socket = WebSocket::open(two.outbound(), "orders.weft.internal");
    for number in 0..100 {
        let text = format!("message {number}");
        assert_eq!(socket.echo(&text).unwrap(), text);
    }
}

#[test]
fn http2_with_trailers_is_carried() {
    let mut mesh = Mesh::new("grpc");
    let one = mesh.init_running("one");
    let folder = mesh.scratch.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("reply"), "a reply with a trailer").unwrap();
    let server = Server::nghttpd(&folder);
    one.weft(&["expose", "greeter", &server.port.to_string(), "--protocol", "http2"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    let url = format!("http://{}/reply", two.outbound());
    until_true("a reply over HTTP/2 with its trailer", SPREAD_LIMIT, || {
        let told =
            output_of(Command::new("nghttp").args(["-v", "--no-dep", "-H:authority: greeter.weft.internal", &url]));
        told.contains("a reply with a trailer") && told.contains("grpc-status: 0")
    });
    let load = ["-n", "2000", "-c", "4", "-m", "10", "-H", ":authority: greeter.weft.internal", &url];
    let told = output_of(Command::new("h2load").args(load));
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored"), "{told}");
}

#[test]
fn a_trace_is_continued_or_begun() {
    let app = Server::app("orders");
    let (_mesh, _one, two) = two_nodes("trace", &app);
    let begun = two.get("orders", "/headers").text();
    assert!(begun.contains("\"traceparent\", \"00-"), "{begun}");
    let mut connection = Connection::open(two.outbound()).unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = format!(
        "GET /headers HTTP/1.1\r\nhost: orders.weft.internal\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n\
         x-private: kept\r\nconnection: x-hop\r\nx-hop: dropped\r\n\r\n"
    );
    let continued = connection.send(request.as_bytes()).unwrap().text();
    assert!(continued.contains(trace), "{continued}");
    assert!(continued.contains("x-private"), "{continued}");
    assert!(!continued.contains("dropped"), "a hop-by-hop header stays behind: {continued}");
}

#[test]
fn two_replicas_share_the_calls_and_telemetry_tells_of_them() {
    let app = Server::app("a");
    let (mut mesh, one, two) = two_nodes("replicas", &app);
    let other = Server::app("b");
    let three = mesh.join_running("three", &one, &["orders"]);
    three.weft(&["expose", "orders", &other.port.to_string(), "--protocol", "http"]).json();
    // The first answered already; the second is asked as soon as it is known, however fast the first is.
    until_true("the second replica to answer", SPREAD_LIMIT, || two.get("orders", "/").text().starts_with('b'));
    let before = two.metric("weft_requests_total", &["service=\"orders\"", "direction=\"outbound\""]);
    for _ in 0..50 {
        assert_eq!(two.get("orders", "/").status, 200);
    }
    let after = two.metric("weft_requests_total", &["service=\"orders\"", "direction=\"outbound\""]);
    assert_eq!(after - before, 50.0);
    for node in [&one, &three] {
        let labels = ["service=\"orders\"", "direction=\"inbound\"", "caller=\"web\""];
        assert!(node.metric("weft_requests_total", &labels) > 0.0, "{}", node.name);
    }
    for name in ["weft_request_duration_seconds", "weft_connections_open", "weft_bytes_total"] {
        assert!(two.metrics().contains(name), "{name}");
    }
}

#[test]
fn every_listing_answers_in_text_and_json() {
    let app = Server::app("orders");
    let (_mesh, one, two) = two_nodes("listing", &app);
    assert_eq!(one.listing("nodes").len(), 2);
    assert!(two.listing("services").iter().any(|service| service["service"] == "orders"));
    assert!(!one.listing("certs").is_empty());
    one.weft(&["status"]).json();
    one.weft(&["check"]).json();
    for words in [["ls", "nodes"], ["ls", "services"], ["ls", "certs"]] {
        let mut all = vec!["--dir".to_owned(), one.dir.display().to_string()];
        all.extend(words.map(str::to_owned));
        let text = weft_tests::weft::Outcome::of(&all).text();
        assert!(!text.trim().is_empty() && !text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn keys_are_private_and_the_root_key_is_sealed() {
    use std::os::unix::fs::PermissionsExt;
    let mut mesh = Mesh::new("keys");
    let one = mesh.init_running("one");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&one.dir), 0o700);
    let mut folders = vec![one.dir.clone()];
    let mut keys = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                assert_eq!(mode(&path), 0o700, "{}", path.display());
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "key") {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                keys += 1;
            }
        }
    }
    assert!(keys >= 2, "the node's key and the sealed ones");
}
