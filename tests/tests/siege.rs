//! Callers that mean harm, or only read slowly, beside honest ones: what they cost the node, and what the others notice.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use weft_tests::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, setting,
};
use weft_tests::hpack::field;
use weft_tests::load::{Load, Plan};
use weft_tests::programs::Server;
use weft_tests::wait::let_pass;
use weft_tests::{Mesh, Node};

/// Within this a flood is cut, from its first byte on.
const CUT_MAX: Duration = Duration::from_secs(1);
/// What it may cost the node until then: of processor time, and of memory.
const CPU_MAX: Duration = Duration::from_millis(50);
const MEMORY_KIB_MAX: u64 = 2 * 1024;
/// What a flood keeps in the kernel on its side, so that it is slowed by what the node reads.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// Given up where a node does not cut at all.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A connection of HTTP/2 that has been greeted.
fn greeted(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).expect("a buffer");
    socket.connect(&to.into()).expect("the port is open");
    let mut stream = TcpStream::from(socket);
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).expect("the port takes bytes");
    stream
}

fn get() -> Vec<u8> {
    [field(b":method", b"GET"), field(b":scheme", b"http"), field(b":path", b"/"), field(b":authority", b"orders")]
        .concat()
}

/// Frames that ask for work and carry nothing: what comes first, and what follows without end.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let post = [field(b":method", b"POST"), get()[field(b":method", b"GET").len()..].to_vec()].concat();
    let open = frame(HEADERS, END_HEADERS, 1, &post);
    let begun = frame(HEADERS, END_STREAM, 1, &get());
    vec![
        ("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &setting(4, 65_535))),
        ("PRIORITY", Vec::new(), frame(PRIORITY, 0, 3, &[0, 0, 0, 5, 1])),
        ("WINDOW_UPDATE", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", Vec::new(), frame(0x42, 0, 0, b"")),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, b"")),
        ("DATA of a byte", open, frame(DATA, 0, 1, b"a")),
        ("empty CONTINUATION", begun.clone(), frame(CONTINUATION, 0, 1, b"")),
        ("CONTINUATION of fields", begun.clone(), frame(CONTINUATION, 0, 1, &field(b"x-a", b"1"))),
        ("CONTINUATION of one field", begun, frame(CONTINUATION, 0, 1, &[0; 1000])),
    ]
}

/// Requests that are reset as soon as they are made, on one stream after the other.
fn resets(first: u32) -> Vec<u8> {
    let both = (first..first + 200).step_by(2).map(|stream| {
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &get()), reset].concat()
    });
    both.collect::<Vec<_>>().concat()
}

/// What a flood came to.
struct Siege {
    took: Duration,
    spent: Duration,
    grown_kib: u64,
    sent: usize,
}

/// Sends `next` without end until the node cuts the connection.
fn siege(node: &Node, first: &[u8], mut next: impl FnMut() -> Vec<u8>) -> Siege {
    let (before, resident) = (node.process().cpu(), node.process().resident_kib());
    let mut stream = greeted(node.outbound());
    let began = Instant::now();
    let mut sent = 0;
    let mut cut = stream.write_all(first).is_err();
    stream.set_write_timeout(Some(CUT_MAX)).expect("a timeout");
    while !cut && began.elapsed() < GIVE_UP {
        match stream.write(&next()) {
            Ok(count) => sent += count,
            Err(_) => cut = true,
        }
    }
    let took = began.elapsed();
    drop(stream);
    let grown_kib = node.process().resident_kib().saturating_sub(resident);
    Siege { took, spent: node.process().cpu().saturating_sub(before), grown_kib, sent }
}

#[test]
fn each_flood_is_cut_soon_and_costs_little() {
    let mut mesh = Mesh::new("floods");
    let app = Server::app("orders");
    let mut node = mesh.init("one");
    // Each worker makes room of its own, and which of them takes a connection is chance.
    node.configure("workers = 1\n");
    node.start();
    node.offers("orders", &app, &["--protocol", "http"]);
    node.reaches("orders", "/");
    let mut sieges: Vec<(&str, Siege)> = floods()
        .into_iter()
        .map(|(name, first, one)| {
            let many = one.repeat(16 * 1024 / one.len());
            // The first of a kind makes room that the next ones use.
            let _warm = siege(&node, &first, || many.clone());
            (name, siege(&node, &first, || many.clone()))
        })
        .collect();
    let mut stream = 1;
    sieges.push((
        "requests that are reset",
        siege(&node, b"", || {
            stream += 200;
            resets(stream - 200)
        }),
    ));
    for (name, Siege { took, spent, grown_kib, sent }) in &sieges {
        println!("{name}: cut after {took:?}, {spent:?} of CPU, +{grown_kib} KiB, {} KiB sent", sent / 1024);
    }
    for (name, Siege { took, spent, grown_kib, .. }) in &sieges {
        assert!(*took <= CUT_MAX, "{name}: {took:?}");
        assert!(*spent <= CPU_MAX, "{name}: {spent:?}");
        assert!(*grown_kib <= MEMORY_KIB_MAX, "{name}: {grown_kib} KiB");
    }
    assert_eq!(node.get("orders", "/").status, 200);
}

/// An application to which connecting takes for ever: as many wait there to be taken as may, and nobody takes them.
struct Deaf {
    port: u16,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Deaf {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        listener.listen(0).expect("it can listen");
        let to = listener.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(200)).ok();
        let waiting = std::iter::repeat_with(connect).map_while(|stream| stream).take(100).collect();
        Self { port: to.port(), _listener: listener, _waiting: waiting }
    }
}

#[test]
fn small_messages_for_calls_that_wait_are_held_as_bytes_and_end_no_connection() {
    const STREAMS: usize = 10;
    /// What the window of one lets come, in messages as small as those of gRPC.
    const MESSAGES: usize = 256 * 1024 / 5;
    /// Four times what they carry: a buffer grows by doubling, and what it was before is still there.
    const MOST_KIB: u64 = 4 * (STREAMS * MESSAGES * 5) as u64 / 1024;
    let mut mesh = Mesh::new("waiting");
    let app = Deaf::new();
    let mut node = mesh.init("one");
    node.configure("workers = 1\n[timeouts]\nconnect = \"20s\"\n");
    node.start();
    node.exposes("orders", app.port, &["--health", "none", "--protocol", "http"]);
    node.knows("orders", 1);
    let resident = node.process().resident_kib();
    let mut stream = greeted(node.outbound());
    let post = [field(b":method", b"POST"), get()[field(b":method", b"GET").len()..].to_vec()].concat();
    let ids = || (1..).step_by(2).take(STREAMS);
    stream.read_exact(&mut [0; 9]).expect("SETTINGS come");
    // The windows are as large as they say once that is acknowledged.
    let mut all = frame(SETTINGS, ACK, 0, b"");
    all.extend(ids().flat_map(|id| frame(HEADERS, END_HEADERS, id, &post)));
    all.extend(ids().flat_map(|id| frame(DATA, 0, id, b"abcde").repeat(MESSAGES)));
    // Behind them all, so that its answer tells that they were read.
    all.extend(frame(PING, 0, 0, b"read all"));
    stream.write_all(&all).expect("the node reads");
    stream.set_read_timeout(Some(GIVE_UP)).expect("a timeout");
    let mut told = Vec::new();
    while !told.windows(8).any(|part| part == b"read all") {
        let mut part = [0; 16 * 1024];
        let count = stream.read(&mut part).expect("the node answers");
        assert!(count > 0, "the connection ended");
        told.extend_from_slice(&part[..count]);
    }
    let grown = node.process().resident_kib().saturating_sub(resident);
    println!("{STREAMS} calls that wait hold {grown} KiB");
    assert!(grown <= MOST_KIB, "{grown} KiB, and not {MOST_KIB}");
}

#[test]
fn slow_connections_end_in_time_and_honest_callers_lose_nothing() {
    const SLOW: usize = 1_000;
    const HEAD: Duration = Duration::from_secs(4);
    let mut mesh = Mesh::new("slow");
    let app = Server::app("orders");
    let mut node = mesh.init("one");
    node.configure("[timeouts]\nhead = \"4s\"\n");
    node.start();
    node.offers("orders", &app, &["--protocol", "http"]);
    node.reaches("orders", "/");
    let plan = Plan {
        to: node.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate: 200,
        connections: 8,
    };
    let load = Load::start(&plan);
    let heads: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHost: orders\r\nx-a: ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"P", b""];
    let began = Instant::now();
    let mut open: Vec<(TcpStream, &[u8], Instant)> = (0..SLOW)
        .map(|number| {
            (TcpStream::connect(node.outbound()).expect("the port is open"), heads[number % 4], Instant::now())
        })
        .collect();
    println!("{SLOW} connections in {:?}", began.elapsed());
    open.iter().for_each(|(stream, ..)| stream.set_nonblocking(true).expect("a socket"));
    let mut latest = Duration::ZERO;
    let mut at = 0;
    while !open.is_empty() && began.elapsed() < GIVE_UP {
        // Of each, a byte every half a second.
        let_pass(Duration::from_millis(500));
        open.retain_mut(|(stream, head, since)| {
            let _sent = head.get(at).map(|byte| stream.write(&[*byte]));
            let mut bytes = [0; 1024];
            let is_open =
                matches!(stream.read(&mut bytes), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            if !is_open {
                latest = latest.max(since.elapsed());
            }
            is_open
        });
        at += 1;
    }
    let tally = load.stop();
    println!(
        "all closed after {latest:?}; honest: {} answered, p99 {:?}, bad {:?}",
        tally.good,
        tally.p99(),
        tally.bad
    );
    assert!(open.is_empty(), "{} are open", open.len());
    assert!(latest <= HEAD + Duration::from_secs(2), "{latest:?}");
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
}

/// Asks so many times over one connection of HTTP/2, one after the other; how long each took.
async fn asks(send: h2::client::SendRequest<bytes::Bytes>, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let mut ready = send.clone().ready().await.expect("the connection lives");
        let request = http::Request::get("http://orders/small").body(()).expect("a request");
        let asked = Instant::now();
        let (answer, _) = ready.send_request(request, true).expect("it is sent");
        let mut body = answer.await.expect("an answer").into_body();
        while let Some(data) = body.data().await {
            let data = data.expect("the body");
            body.flow_control().release_capacity(data.len()).expect("room");
        }
        took.push(asked.elapsed());
    }
    took
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

async fn connected(to: SocketAddr) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = tokio::net::TcpStream::connect(to).await.expect("the port is open");
    stream.set_nodelay(true).expect("a socket");
    let (send, driver) = h2::client::Builder::new().handshake::<_, bytes::Bytes>(stream).await.expect("HTTP/2");
    tokio::spawn(driver);
    send
}

#[test]
fn slow_readers_between_nodes_slow_nobody_else() {
    const ASKED: usize = 1_000;
    let mut mesh = Mesh::new("readers");
    let mut far = mesh.init("far");
    far.configure("workers = 1\n");
    far.start();
    let folder = far.file("site");
    std::fs::create_dir_all(&folder).expect("the scratch folder can be written");
    std::fs::write(folder.join("small"), "small").expect("it can be written");
    std::fs::write(folder.join("large"), vec![b'x'; 8 << 20]).expect("it can be written");
    let app = Server::nghttpd(&folder);
    far.offers("orders", &app, &["--protocol", "http2", "--health", "none"]);
    // One worker each: one connection between them carries all.
    let mut near = mesh.join("near", &far, &["web"]);
    near.configure("workers = 1\n");
    near.start();
    near.knows("orders", 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (to, quiet) = (near.outbound(), Duration::from_millis(300));
        let mut rounds = Vec::new();
        for _ in 0..5 {
            let alone = p99(asks(connected(to).await, ASKED).await);
            let reading = connected(to).await;
            let mut held = Vec::new();
            for _ in 0..5 {
                let mut ready = reading.clone().ready().await.expect("the connection lives");
                let request = http::Request::get("http://orders/large").body(()).expect("a request");
                let (answer, _) = ready.send_request(request, true).expect("it is sent");
                // Its window is never opened: what comes stays where it is.
                held.push(answer.await.expect("an answer").into_body());
            }
            tokio::time::sleep(quiet).await;
            let beside = p99(asks(connected(to).await, ASKED).await);
            println!("p99 {alone:?} alone, {beside:?} beside five readers that stand still");
            rounds.push(beside.as_secs_f64() / alone.as_secs_f64());
        }
        rounds.sort_by(f64::total_cmp);
        println!("ratio {rounds:.2?}");
        // Ten percent is what is looked for on a quiet machine; what stands still behind others takes whole seconds.
        assert!(rounds[2] <= 1.5, "{rounds:?}");
    });
}
