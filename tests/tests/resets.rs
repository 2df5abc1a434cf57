//! How a stream of TCP ends: by a reset, in halves, or not at all while its reader pauses; through two nodes and on one.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::peer::Peer;
use weft_tests::programs::dial;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Longer than the 30 s after which unacknowledged bytes end a connection.
const PAUSE: Duration = Duration::from_secs(45);
/// More than the sockets of two hops hold.
const MUCH: usize = 64 << 20;

/// Two nodes: `near` offers the service, and each has a port bound to it.
struct Scene {
    /// By one node, and by two.
    ports: [SocketAddr; 2],
    near: Node,
    far: Node,
    _mesh: Mesh,
    /// How each stream ended for the application.
    ends: Receiver<io::Result<usize>>,
}

impl Scene {
    fn new(name: &str, toml: &str) -> Self {
        let mut mesh = Mesh::new(name);
        let mut near = mesh.init("near");
        if !toml.is_empty() {
            near.configure(toml);
        }
        near.start();
        let (port, ends) = application();
        near.weft(&["expose", "database", &port.to_string(), "--protocol", "tcp", "--health", "none"]).json();
        let far = mesh.join_running("far", &near, &["web"]);
        far.knows("database", 1);
        near.knows("database", 1);
        let ports = [&near, &far].map(|node| {
            let port = free_port(node.address);
            node.weft(&["bind", "database", &port.to_string()]).json();
            SocketAddr::from((node.address, port))
        });
        let scene = Self { ports, near, far, _mesh: mesh, ends };
        for port in scene.ports {
            until_true("an echo", SPREAD_LIMIT, || TcpStream::connect(port).is_ok_and(|open| asks(open, b"e").is_ok()));
        }
        scene.quiet();
        scene
    }

    /// Waits until nothing more is heard of earlier streams.
    fn quiet(&self) {
        while self.ends.recv_timeout(Duration::from_millis(500)).is_ok() {}
    }

    fn streams(&self, node: &Node, direction: &str) -> f64 {
        node.metric("weft_requests_total", &["service=\"database\"", &format!("direction=\"{direction}\"")])
    }
}

/// An application that does what the first byte of a stream says: `e` sends it back, `r` sends it back and resets, `h` reads to the end and
/// then answers with the count, `f` ends its own half and then reads, `m` sends much.
fn application() -> (u16, Receiver<io::Result<usize>>) {
    let (tell, ends) = channel();
    let peer = Peer::serving(move |stream| {
        let _unheard = tell.send(serve(stream));
    });
    (peer.port, ends)
}

fn serve(stream: &mut TcpStream) -> io::Result<usize> {
    let mut word = [0];
    stream.read_exact(&mut word)?;
    let mut rest = Vec::new();
    match word[0] {
        b'r' => {
            stream.write_all(&word)?;
            // The answer is on its way before the reset takes what is left.
            std::thread::sleep(Duration::from_millis(200));
            // What nobody read makes the kernel end it by a reset.
            return Ok(0);
        }
        b'h' => {
            stream.read_to_end(&mut rest)?;
            stream.write_all(rest.len().to_string().as_bytes())?;
        }
        b'f' => {
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut rest)?;
        }
        b'm' => stream.write_all(&vec![7; MUCH])?,
        _ => {
            stream.write_all(&word)?;
            stream.read_to_end(&mut rest)?;
        }
    }
    Ok(rest.len())
}

/// Sends, and reads one byte back.
fn asks(mut stream: TcpStream, bytes: &[u8]) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(bytes)?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

#[test]
fn a_reset_of_the_application_reaches_the_caller_as_one() {
    let scene = Scene::new("reset-app", "");
    for port in scene.ports {
        let mut stream = asks(dial(port), b"r and more that it never reads").unwrap();
        let end = stream.read(&mut [0; 16]).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{end}");
    }
    // A stream that it ended in order is none.
    for port in scene.ports {
        let mut stream = dial(port);
        stream.write_all(b"h12345").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "5");
    }
}

#[test]
fn a_reset_of_the_caller_reaches_the_application_as_one() {
    let scene = Scene::new("reset-call", "");
    for port in scene.ports {
        let stream = asks(dial(port), b"e").unwrap();
        scene.quiet();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        let end = scene.ends.recv_timeout(SPREAD_LIMIT).unwrap().unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{end}");
    }
}

#[test]
fn each_half_of_a_stream_ends_on_its_own() {
    let scene = Scene::new("halves", "");
    for (port, streams) in scene.ports.into_iter().zip(1..) {
        let before = (scene.streams(&scene.far, "outbound"), scene.streams(&scene.near, "inbound"));
        let mut stream = dial(port);
        stream.write_all(b"f").unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "its half ended");
        stream.write_all(b"after its end").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(b", twice").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(scene.ends.recv_timeout(SPREAD_LIMIT).unwrap().unwrap(), 20);
        if streams == 2 {
            let after = || (scene.streams(&scene.far, "outbound"), scene.streams(&scene.near, "inbound"));
            until_true("both to count it", SPREAD_LIMIT, || after() == (before.0 + 1.0, before.1 + 1.0));
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(after(), (before.0 + 1.0, before.1 + 1.0), "once");
        }
    }
}

// One worker: a worker has its own share of the limit whatever the others hold.
#[test]
fn streams_count_towards_the_limit_of_the_node_that_carries_them() {
    let scene = Scene::new("in-flight", "workers = 1\n[limits]\nin_flight = 2\n");
    let held: Vec<_> = (0..2).map(|_| asks(dial(scene.ports[1]), b"e").unwrap()).collect();
    assert!(asks(dial(scene.ports[1]), b"e").is_err(), "the node of the application has two");
    assert!(asks(dial(scene.ports[0]), b"e").is_err(), "whoever calls");
    drop(held);
    until_true("room again", SPREAD_LIMIT, || asks(dial(scene.ports[1]), b"e").is_ok());
}

#[test]
fn a_reader_may_pause_for_longer_than_a_vanished_one_is_waited_for() {
    let scene = Scene::new("pause", "");
    let readers = scene.ports.map(|port| {
        std::thread::spawn(move || {
            let mut stream = dial(port);
            stream.write_all(b"m").unwrap();
            std::thread::sleep(PAUSE);
            let mut all = Vec::new();
            let read = stream.read_to_end(&mut all);
            (read.map_err(|error| error.kind()), all.len())
        })
    });
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (Ok(MUCH), MUCH));
    }
}

#[test]
fn an_application_may_pause_within_an_upload_for_as_long() {
    let mut mesh = Mesh::new("pause-upload");
    let patient = "[timeouts]\nupload = \"120s\"\n";
    let mut near = mesh.init("near");
    near.configure(patient);
    near.start();
    let peer = Peer::serving(|stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        std::thread::sleep(PAUSE);
        let (mut read, mut bytes) = (1, vec![0; 1 << 16]);
        while read < MUCH {
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "it ended after {read} bytes");
            read += count;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        // Until it is read.
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    near.exposes("orders", peer.port, &["--health", "none"]);
    let mut far = mesh.join("far", &near, &["web"]);
    far.configure(patient);
    far.start();
    far.knows("orders", 1);
    let uploads = [&near, &far].map(|node| {
        let to = node.outbound();
        std::thread::spawn(move || {
            let head = format!("PUT / HTTP/1.1\r\nhost: orders\r\ncontent-length: {MUCH}\r\n\r\n");
            let mut stream = dial(to);
            stream.write_all(head.as_bytes())?;
            stream.write_all(&vec![7; MUCH])?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        })
    });
    for upload in uploads {
        assert_eq!(upload.join().unwrap().unwrap(), "HTTP/1.1 200");
    }
}
