//! Ports that lead to services by the server name that a client of TLS states; the TLS is between client and application.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::peer::Peer;
use weft_tests::programs::{Server, dial, run};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// What curl says when a handshake of TLS fails.
const HANDSHAKE_FAILED: i32 = 35;
/// A fatal alert of TLS, `unrecognized_name` (RFC 8446, section 6; RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// A certificate for this name with its key, signed by itself.
fn certificate(folder: &Path, name: &str) -> PathBuf {
    let (file, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")]);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&file));
    let both = [&file, &key].map(|path| std::fs::read_to_string(path).expect("openssl wrote it")).concat();
    std::fs::write(&file, both).expect("the scratch directory is writable");
    file
}

/// `GET path` by curl, which believes this certificate alone: its exit code, and what it got.
fn get(at: SocketAddr, name: &str, path: &str, trusted: &Path) -> (i32, String) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "--resolve", &format!("{name}:{}:{}", at.port(), at.ip())]);
    curl.arg("--cacert").arg(trusted).arg(format!("https://{name}:{}{path}", at.port()));
    let output = curl.output().expect("curl runs");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first message of a client that states this name, or none.
fn hello(name: Option<&str>) -> Vec<u8> {
    let sized = |len_len: usize, content: &[u8]| {
        let len = u32::try_from(content.len()).expect("short").to_be_bytes();
        [&len[4 - len_len..], content].concat()
    };
    let stated = name.map(|name| {
        let list = sized(2, &[&[0][..], &sized(2, name.as_bytes())].concat());
        [&[0, 0][..], &sized(2, &list)].concat()
    });
    let extensions = sized(2, &stated.unwrap_or_default());
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(2, &[0x13, 1]), &[1, 0], &extensions].concat();
    [&[22, 3, 1][..], &sized(2, &[&[1][..], &sized(3, &body)].concat())].concat()
}

/// All that comes back for these bytes, and how it ended.
fn ask(at: SocketAddr, bytes: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = dial(at);
    stream.write_all(bytes).expect("the port takes bytes");
    let mut all = Vec::new();
    let ended = stream.read_to_end(&mut all);
    (all, ended.err().map(|error| error.kind()))
}

fn bind(node: &Node, words: &[&str]) -> SocketAddr {
    let port = free_port(node.address);
    node.weft(&[&["bind", "--tls", &port.to_string()], words].concat()).json();
    SocketAddr::from((node.address, port))
}

#[test]
fn a_client_reaches_the_application_that_it_names() {
    let mut mesh = Mesh::new("named");
    let far = mesh.init_running("far");
    let (orders, cards) = ("orders.bank.example", "new.cards.bank.example");
    let folder = far.file(".");
    let [orders_pem, cards_pem] = [orders, cards].map(|name| certificate(&folder, name));
    let app = |name: &str, pem: &Path| Server::app_that(name, &["--tls", &pem.display().to_string()]);
    let (orders_app, cards_app) = (app("orders", &orders_pem), app("cards", &cards_pem));
    far.offers("orders-tls", &orders_app, &["--protocol", "tcp"]);
    far.offers("cards-tls", &cards_app, &["--protocol", "tcp"]);
    let plain = Server::app("plain");
    far.offers("plain", &plain, &[]);
    let mut near = mesh.join_running("near", &far, &["web"]);
    near.knows("cards-tls", 1);
    let names = ["--name", "orders.bank.example=orders-tls", "--name", "*.cards.bank.example=cards-tls"];
    let at = bind(&near, &[&names[..], &["--name", "plain.example=plain"]].concat());

    let check = |near: &Node| {
        let (code, body) = get(at, orders, "/", &orders_pem);
        assert!(code == 0 && body.starts_with("orders"), "{code} {body}");
        let (code, body) = get(at, cards, "/", &cards_pem);
        assert!(code == 0 && body.starts_with("cards"), "{code} {body}");
        // Whose certificate it is shows that nobody stands between.
        assert_ne!(get(at, orders, "/", &cards_pem).0, 0);
        assert_eq!(get(at, "others.bank.example", "/", &orders_pem).0, HANDSHAKE_FAILED);
        let status = near.weft(&["status"]).json();
        assert_eq!(status["bindings"][0]["server_names"]["*.cards.bank.example"], "cards-tls", "{status}");
    };
    check(&near);
    for name in [Some("others.bank.example"), Some("cards.bank.example"), None] {
        assert_eq!(ask(at, &hello(name)), (UNRECOGNIZED_NAME.to_vec(), None), "{name:?}");
    }
    let two = [&hello(None)[..5], b"\x02\0\0\0"].concat();
    assert_eq!(ask(at, &[&two[..], &[0; 64]].concat()).0, DECODE_ERROR);
    for foreign in [&b"GET / HTTP/1.1\r\n\r\n"[..], &hello(Some("plain.example"))] {
        assert_eq!(ask(at, foreign), (Vec::new(), Some(ErrorKind::ConnectionReset)), "{foreign:?}");
    }
    let refused = near.metric("weft_request_errors_total", &["code=\"service-unknown\"", "service=\"unknown\""]);
    assert!(refused >= 4.0, "{refused}");
    let hidden = near.metric("weft_request_errors_total", &["code=\"protocol-mismatch\"", "service=\"plain\""]);
    assert!(hidden >= 1.0, "a stream of TLS would hide requests from the rules: {hidden}");
    // A restart changes nothing.
    near.stop();
    near.start();
    until_true("the port", SPREAD_LIMIT, || get(at, orders, "/", &orders_pem).0 == 0);
    check(&near);
}

#[test]
fn not_a_byte_is_changed_and_nobody_waits_for_ever() {
    let mut mesh = Mesh::new("named-bytes");
    let mut node = mesh.init("one");
    node.configure("[timeouts]\nhead = \"700ms\"\n");
    node.start();
    let mirror = Peer::serving(|stream| {
        // A caller that goes ends it, which is no news here.
        let _gone = stream.try_clone().and_then(|mut to| std::io::copy(stream, &mut to));
    });
    node.exposes("mirror", mirror.port, &["--protocol", "tcp", "--health", "none"]);
    let at = bind(&node, &["--name", "*=mirror"]);
    for sent in [hello(Some("any.example")), hello(None)] {
        let sent = [&sent[..], b"and what a client sends early"].concat();
        let mut stream = dial(at);
        stream.set_nodelay(true).unwrap();
        for piece in sent.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, sent);
    }
    for begun in [&b""[..], &hello(Some("any.example"))[..20]] {
        let asked_at = Instant::now();
        let (back, ended) = ask(at, begun);
        assert_eq!((back, ended), (Vec::new(), Some(ErrorKind::ConnectionReset)), "{begun:?}");
        assert!(asked_at.elapsed() < Duration::from_secs(5), "{:?}", asked_at.elapsed());
    }
    let slow = node.metric("weft_request_errors_total", &["code=\"caller-too-slow\""]);
    assert!(slow >= 2.0, "{slow}");
}

#[test]
fn what_leads_nowhere_is_refused_where_it_is_said() {
    let mut mesh = Mesh::new("named-wrong");
    let node = mesh.init_running("one");
    let port = free_port(Ipv4Addr::LOCALHOST).to_string();
    for (wrong, told) in [
        (&["--name", "10.0.0.1=orders"][..], "10.0.0.1"),
        (&["--name", "a..b=orders"], "a..b"),
        (&["--name", "a.b=orders", "--name", "A.B=cards"], "twice"),
        (&["--name", "a.b=orders", "--name", "a.b=cards"], "twice"),
    ] {
        let refused = node.weft(&[&["bind", "--tls", &port], wrong].concat());
        assert_eq!(refused.code(), "usage-invalid", "{wrong:?}");
        let text = format!("{refused:?}");
        assert!(text.contains(told), "{text}");
    }
    let (words, code) = (["bind", "--tls", &port, "--name", "a.b=orders"], "binding-conflict");
    node.weft(&words).json();
    node.weft(&words).json();
    assert_eq!(node.weft(&["bind", "orders", &port]).code(), code);
    node.weft(&["bind", "--remove", &port]).json();
}
