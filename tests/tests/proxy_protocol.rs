//! The PROXY protocol: applications that are told who calls, and ports that balancers lead to.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::dial;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Sends back what it gets, as it is, after its first bytes have come.
fn mirror() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut to = stream.try_clone()?;
                std::io::copy(&mut stream, &mut to)
            });
        }
    });
    port
}

/// What an application was told: source, destination and identity; and what came behind.
struct Told {
    source: SocketAddr,
    destination: SocketAddr,
    identity: String,
    rest: Vec<u8>,
}

fn ask(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(SPREAD_LIMIT))?;
    stream.write_all(bytes)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

fn told(bytes: &[u8]) -> Told {
    assert_eq!((&bytes[..12], bytes[12], bytes[13]), (SIGNATURE, 0x21, 0x11), "{bytes:?}");
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).expect("it can be had"));
    let end = 16 + usize::from(number(14));
    assert_eq!((bytes[28], 31 + usize::from(number(29))), (0xe0, end));
    let identity = String::from_utf8(bytes[31..end].to_vec()).expect("it can be had");
    let (source, destination) = (SocketAddr::new(ip(16), number(24)), SocketAddr::new(ip(20), number(26)));
    Told { source, destination, identity, rest: bytes[end..].to_vec() }
}

fn bind(node: &Node, words: &[&str]) -> SocketAddr {
    let port = free_port(node.address);
    node.weft(&[&["bind", "database", &port.to_string()], words].concat()).json();
    SocketAddr::from((node.address, port))
}

fn header(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = [SIGNATURE, &[0x21, 0x11, 0, 12]].concat();
    bytes.extend(source);
    bytes.extend([192, 0, 2, 1]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 80]);
    bytes
}

#[test]
fn an_application_is_told_who_calls_and_a_port_takes_a_balancers_word() {
    let mut mesh = Mesh::new("proxied");
    let mut near = mesh.init_running("near");
    let port = mirror().to_string();
    let words = ["expose", "database", &port, "--proxy-protocol", "--health", "none"];
    assert_eq!(near.weft(&words).code(), "protocol-mismatch", "requests have fields for it");
    near.weft(&[&words[..], &["--protocol", "tcp"]].concat()).json();
    let far = mesh.join_running("far", &near, &["web"]);
    let (local, remote) = (bind(&near, &[]), bind(&far, &[]));
    let behind = bind(&near, &["--proxy-protocol"]);
    for at in [local, remote] {
        until_true("the stream", SPREAD_LIMIT, || ask(at, b"hello").is_ok_and(|all| !all.is_empty()));
    }

    let check = |near: &Node| {
        let over_two = told(&ask(remote, b"hello").unwrap());
        assert_eq!(over_two.rest, b"hello");
        assert_eq!(over_two.destination, near.mesh_port());
        assert!(over_two.source.ip().is_loopback() && over_two.source.port() > 0, "{}", over_two.source);
        assert_eq!(over_two.identity, "spiffe://proxied/svc/web");
        let over_one = told(&ask(local, b"hello").unwrap());
        assert_eq!((over_one.destination, over_one.rest), (local, b"hello".to_vec()));
        assert_eq!(over_one.identity, "spiffe://proxied/svc/database");

        let balanced = told(&ask(behind, &[&header([203, 0, 113, 9], 4660)[..], b"hello"].concat()).unwrap());
        assert_eq!(balanced.source, "203.0.113.9:4660".parse().unwrap());
        assert_eq!(balanced.rest, b"hello");
        for bad in [&b"hello, this is no header"[..], &[SIGNATURE, &[0x21, 0x12, 0, 12], &[0; 12]].concat()] {
            let mut stream = dial(behind);
            stream.write_all(bad).unwrap();
            let end = stream.read(&mut [0; 16]).unwrap_err();
            assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{end}");
        }
    };
    check(&near);
    // A restart changes nothing.
    near.stop();
    near.start();
    until_true("the stream", SPREAD_LIMIT, || ask(remote, b"hello").is_ok_and(|all| !all.is_empty()));
    until_true("the port", SPREAD_LIMIT, || ask(local, b"hello").is_ok_and(|all| !all.is_empty()));
    check(&near);
}
