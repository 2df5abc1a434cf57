//! A capture between two nodes holds no byte of what the applications say.

use weft_tests::Mesh;
use weft_tests::http::Connection;
use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::{Capture, Server, dial, echo};
use weft_tests::wait::until_true;

/// Words that stand in no protocol and in no name of this test's mesh.
const MARK: &str = "SesquipedalianMarmaladeZeppelin";

#[test]
fn nothing_readable_crosses_between_nodes() {
    let mut mesh = Mesh::new("capture");
    let (app, tcp) = (Server::app("orders"), Server::echo("echo"));
    let one = mesh.init_running("one");
    let net = format!("net {}/24", one.address);
    let capture = Capture::start(mesh.scratch.path(), &format!("{} and port 4510", net.replace(".1/24", ".0/24")));
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    one.weft(&["expose", "echo", &tcp.port.to_string(), "--protocol", "tcp"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    let port = free_port(two.address);
    two.weft(&["bind", "echo", &port.to_string()]).json();
    let mut connection = Connection::open(two.outbound()).unwrap();
    for number in 0..100 {
        let request = format!(
            "POST /echo?{MARK} HTTP/1.1\r\nhost: orders.weft.internal\r\nx-secret: {MARK}\r\ncontent-length: {}\r\n\r\n{MARK}{number:03}",
            MARK.len() + 3
        );
        assert_eq!(connection.send(request.as_bytes()).unwrap().text(), format!("{MARK}{number:03}"));
    }
    let at = std::net::SocketAddr::from((two.address, port));
    until_true("the echo to answer", SPREAD_LIMIT, || {
        let mut stream = dial(at);
        std::io::Read::read_exact(&mut stream, &mut [0; 5]).is_ok() && echo(&mut stream, MARK.as_bytes()).is_ok()
    });
    let bytes = capture.stop();
    assert!(bytes.len() > 20_000, "the capture saw the traffic: {} bytes", bytes.len());
    for word in [MARK, "x-secret", "HTTP/1.1", "/echo"] {
        let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!found, "{word} is readable between the nodes");
    }
}
