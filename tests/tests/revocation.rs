//! A node that is thrown out is out at once: its open connections close on every other node, and nobody takes it in again.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use weft_tests::Mesh;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::Operator;
use weft_tests::programs::{Server, WebSocket, dial, echo};
use weft_tests::wait::until_true;

/// Within this after `weft revoke` every open connection of the node is closed, on every other node.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// A node that is trusted again is back by itself within this.
const BACK_LIMIT: Duration = Duration::from_secs(30);
/// A local port of the node that is thrown out.
const LOCAL_PORT: u16 = 7007;

#[test]
fn open_connections_of_a_revoked_node_close_everywhere_and_it_stays_out() {
    let mut mesh = Mesh::new("thrown-out");
    let (echoes, orders) = (Server::echo("echo"), Server::app("orders"));
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    let mut bad = mesh.join_running("bad", &one, &["web"]);
    let good = mesh.join_running("good", &one, &["web"]);
    bad.tolerate("");
    one.weft(&["expose", "echo", &echoes.port.to_string(), "--protocol", "tcp"]).json();
    two.weft(&["expose", "orders", &orders.port.to_string(), "--protocol", "http"]).json();
    for node in [&bad, &good] {
        node.weft(&["bind", "echo", &LOCAL_PORT.to_string()]).json();
        node.sees(4);
        node.reaches("orders", "/");
    }
    let opened = |node: &weft_tests::Node| {
        let local = SocketAddr::new(node.outbound().ip(), LOCAL_PORT);
        until_true("the echo's greeting", SPREAD_LIMIT, || dial(local).read_exact(&mut [0; 5]).is_ok());
        let mut stream = dial(local);
        stream.read_exact(&mut [0; 5]).expect("the greeting");
        let socket = WebSocket::open(node.outbound(), "orders.weft.internal");
        (stream, socket)
    };
    let ((mut stream, mut socket), (mut kept_stream, mut kept_socket)) = (opened(&bad), opened(&good));
    assert_eq!(echo(&mut stream, b"hello").expect("an open stream"), b"hello");
    assert_eq!(socket.echo("hello").expect("an open tunnel"), "hello");

    let received =
        || one.metric("weft_bytes_total", &["service=\"echo\"", "way=\"received\"", "direction=\"inbound\""]);
    let before = received();
    let operator = Operator::of(&mesh, &one, "policies");
    let revoked = operator.signs(&one, &["revoke", "node", "bad", "--reason", "it was stolen", "--wait", "2s"]);
    let closed = until_true("every open connection to close", CLOSE_LIMIT, || {
        echo(&mut stream, b"hello").is_err() && socket.echo("hello").is_err()
    });
    until_true("the bytes of the stream that was cut", CLOSE_LIMIT, || received() >= before + 5.0);
    println!("closed {closed:?} after the command returned: {}", revoked.stdout.lines().next().unwrap_or_default());
    assert_eq!(echo(&mut kept_stream, b"hello").expect("nobody else's stream"), b"hello");
    assert_eq!(kept_socket.echo("hello").expect("nobody else's tunnel"), "hello");
    for node in [&one, &two, &good] {
        until_true("the node to be out of every list", SPREAD_LIMIT, || !node.lists("bad"));
    }
    assert_ne!(bad.get("orders", "/").status, 200);
    bad.stop();
    bad.start_unready();
    until_true("the node to run", SPREAD_LIMIT, || bad.weft(&["status"]).exit == 0);
    assert_ne!(bad.weft(&["curl", "orders/"]).exit, 0, "a new start does not help it");
    assert!(!one.lists("bad"));
    operator.signs(&one, &["revoke", "node", "bad", "--undo"]);
    let back = until_true("the node to be taken in again", BACK_LIMIT, || bad.weft(&["curl", "orders/"]).exit == 0);
    until_true("the node in the list", SPREAD_LIMIT, || one.lists("bad"));
    println!("back {back:?} after it was trusted again");
}
