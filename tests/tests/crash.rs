//! Every actor of a real node crashes under load, and no caller notices; a crash loop ends the process.
//!
//! The nodes run `weft-crash`, which is `weft` with one more admin request; the shipped `weft` does not know it.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weft_tests::http;
use weft_tests::load::{Load, Plan};
use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::{Server, WebSocket, dial, echo};
use weft_tests::wait::{let_pass, until, until_true};
use weft_tests::{Mesh, Node};

/// Every actor of a node, in the order of the tree.
const ACTORS: &[&str] =
    &["store", "identity", "health", "ledger", "membership", "policy", "upstreams", "signer", "listeners", "telemetry"];
/// Space between two crashes in one node: a supervisor allows five restarts in 30 s.
const BETWEEN_CRASHES: Duration = Duration::from_millis(6_500);
/// How long a restart may take until it is counted: its delay, and the tick of the figures, which is 5 s.
const RESTART_LIMIT: Duration = Duration::from_secs(10);
/// Space between two echoes on an open stream, and between two rounds of new connections.
const BETWEEN_CALLS: Duration = Duration::from_millis(20);
/// GETs a second in each direction.
const RATE: u32 = 100;

fn crashable() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_weft-crash"))
}

fn tolerate_crashes(node: &mut Node) {
    node.tolerate("an actor crashed and is restarted");
    node.tolerate("panicked at actors/src/shell.rs");
    // When the store has crashed, those that are stopped after it cannot write.
    node.tolerate("the last view was not kept");
}

fn expose(node: &Node, service: &str, app: &Server, protocol: &str) {
    node.weft(&["expose", service, &app.port.to_string(), "--protocol", protocol]).json();
}

fn load(caller: &Node, service: &str) -> Load {
    Load::start(&Plan {
        to: caller.outbound(),
        host: format!("{service}.weft.internal"),
        path: "/".to_owned(),
        rate: RATE,
        connections: 10,
    })
}

/// Something that is done again and again on a thread of its own until it is stopped or fails.
struct Repeated {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Repeated {
    fn start(mut step: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                step().map_err(|why| format!("after {rounds} rounds: {why}"))?;
                rounds += 1;
                let_pass(BETWEEN_CALLS);
            }
            Ok(rounds)
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a step does not panic")
    }
}

/// A WebSocket that stays open.
fn websocket(proxy: SocketAddr) -> Repeated {
    let mut socket = WebSocket::open(proxy, "orders.weft.internal");
    Repeated::start(move || match socket.echo("still here") {
        Ok(text) if text == "still here" => Ok(()),
        other => Err(format!("the WebSocket: {other:?}")),
    })
}

/// A TCP stream through a bound port that stays open.
fn stream(at: SocketAddr) -> Repeated {
    until_true("the echo's greeting", SPREAD_LIMIT, || dial(at).read_exact(&mut [0; 5]).is_ok());
    let mut stream = dial(at);
    stream.read_exact(&mut [0; 5]).expect("the greeting");
    Repeated::start(move || match echo(&mut stream, b"still here") {
        Ok(bytes) if bytes == b"still here" => Ok(()),
        other => Err(format!("the stream: {other:?}")),
    })
}

/// New connections to every port, and a request on a new connection.
fn newcomer(ports: Vec<SocketAddr>, proxy: SocketAddr) -> Repeated {
    Repeated::start(move || {
        for at in &ports {
            TcpStream::connect(at).map_err(|error| format!("connect to {at}: {error}"))?;
        }
        match http::get(proxy, "/", "orders.weft.internal") {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(format!("{} {}", reply.status, reply.text())),
            Err(error) => Err(format!("GET: {error}")),
        }
    })
}

fn crash(node: &Node, actor: &str) {
    let label = format!("actor=\"{actor}\"");
    let before = node.metric("weft_actor_restarts_total", &[&label]);
    assert_eq!(node.status_of("POST", &format!("/v1/crash/{actor}")), 200, "{actor} of {}", node.name);
    until_true(&format!("the restart of {actor} of {} to be counted", node.name), RESTART_LIMIT, || {
        (node.metric("weft_actor_restarts_total", &[&label]) - before - 1.0).abs() < f64::EPSILON
    });
    let services = node.listing("services");
    let known = |name: &str| services.iter().any(|row| row["service"] == name && row["node"].is_string());
    assert!(known("orders") && known("quotes") && known("echo"), "{actor} of {}: {services:#?}", node.name);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a run over real time")]
fn a_crash_of_any_actor_costs_no_caller_anything() {
    let mut mesh = Mesh::of_program("crash", crashable());
    let (orders, quotes, tcp) = (Server::app("orders"), Server::app("quotes"), Server::echo("echo"));
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["quotes"]);
    tolerate_crashes(&mut one);
    tolerate_crashes(&mut two);
    expose(&one, "orders", &orders, "http");
    expose(&one, "echo", &tcp, "tcp");
    expose(&two, "quotes", &quotes, "http");
    two.reaches("orders", "/");
    one.reaches("quotes", "/");
    let bound = SocketAddr::from((two.address, free_port(two.address)));
    two.weft(&["bind", "echo", &bound.port().to_string()]).json();
    let mut ports = vec![bound];
    ports.extend([&one, &two].into_iter().flat_map(|node| [node.mesh_port(), node.admin(), node.outbound()]));
    let calls = [stream(bound), websocket(two.outbound()), newcomer(ports, two.outbound())];
    let loads = [load(&two, "orders"), load(&one, "quotes")];
    let listening = [one.process().listening(), two.process().listening()];
    assert!(listening.iter().all(|sockets| sockets.len() >= 3), "{listening:?}");
    for actor in ACTORS {
        let started = Instant::now();
        crash(&one, actor);
        crash(&two, actor);
        assert_eq!(listening, [one.process().listening(), two.process().listening()], "after {actor}");
        let_pass(BETWEEN_CRASHES.saturating_sub(started.elapsed()));
    }
    for call in calls {
        assert!(call.stop().expect("every call is answered") > 100);
    }
    for load in loads {
        let tally = load.stop();
        println!("{} good, {:?} bad, slowest {:?}", tally.good, tally.bad, tally.slowest);
        assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
    }
    // The restarted actors do their work: a new node is admitted, a new service and a new port are known.
    let mut three = mesh.join_running("three", &one, &["web"]);
    three.reaches("orders", "/");
    expose(&two, "quotes", &orders, "http");
    until_true("the changed replica", SPREAD_LIMIT, || three.get("quotes", "/").text().starts_with("orders"));
    two.weft(&["bind", "--remove", &bound.port().to_string()]).json();
    until_true("the port to close", SPREAD_LIMIT, || TcpStream::connect(bound).is_err());
    assert!([&mut one, &mut two, &mut three].into_iter().all(|node| node.stop().success()));
}

#[test]
fn a_crash_loop_ends_the_process_with_its_code() {
    let mut mesh = Mesh::of_program("loop", crashable());
    let mut one = mesh.init_running("one");
    tolerate_crashes(&mut one);
    let status = until("the end of the process", Duration::from_secs(30), || {
        // Between two lives the actor takes nothing, and at the end nobody answers.
        one.status_of("POST", "/v1/crash/telemetry");
        one.process_mut().ended()
    });
    one.process_mut().wait(Duration::from_secs(1));
    let lines = one.process().stderr.all();
    assert_eq!(status.code(), Some(70), "{lines:#?}");
    let last = lines.last().expect("a last line");
    assert!(last.contains("restart-budget-spent"), "{lines:#?}");
    one.check_log();
    // The state is whole: the next start serves.
    one.start();
    assert_eq!(one.status_of("GET", "/v1/status"), 200);
}

#[test]
fn the_shipped_binary_knows_no_crash() {
    let mut mesh = Mesh::new("shipped");
    let one = mesh.init_running("one");
    assert_eq!(one.status_of("GET", "/v1/status"), 200);
    for actor in ACTORS {
        assert_eq!(one.status_of("POST", &format!("/v1/crash/{actor}")), 404, "{actor}");
    }
    let restarts = one.metric("weft_actor_restarts_total", &[]);
    assert!(restarts.abs() < f64::EPSILON, "{restarts}");
}

#[test]
fn only_the_socket_takes_a_crash() {
    let mut mesh = Mesh::of_program("socket", crashable());
    let one = mesh.init_running("one");
    let mut public = http::Connection::open(one.admin()).expect("the admin port listens");
    let reply = public.send(b"POST /v1/crash/telemetry HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(reply.expect("an answer").status, 404);
    assert_eq!(one.status_of("POST", "/v1/crash/nobody"), 400);
}
