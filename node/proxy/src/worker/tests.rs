//! Two and more data paths in one process, on hand-made worlds with certificates of a test mesh.

mod answers;
mod authorisation;
mod by_frames;
mod changes;
mod impostor;
mod live;
mod routes;
mod streams;
mod total_timeout;
mod traffic;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_env::Timestamp;
use weft_identity::{GrantedLabels, Protocol};

use weft_world::opener::{ListenerSpec, OpenHandle, OpenListener};
use weft_world::service_spec::{BindSpec, LeadsTo};

use super::*;
use crate::testing::{Mesh, Node, policy, revoke};

type AppBody = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;

/// An application: echoes bodies with a trailer, tunnels after an upgrade, else says its name.
async fn app(at: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| reply(request, name));
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ended = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
}

async fn reply(mut request: Request<Incoming>, name: &'static str) -> Result<Response<AppBody>, Infallible> {
    if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(http_body_util::Empty::new().map_err(|never| match never {}).boxed()).unwrap());
    }
    let trace = request.headers().get("traceparent").cloned();
    let mut response = if request.method() == "POST" {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let echoed = request.into_body().into_data_stream();
        let frames = futures_util::StreamExt::map(echoed, |data| data.map(Frame::data));
        let end = futures_util::stream::once(async move { Ok(Frame::trailers(trailers)) });
        Response::new(BodyExt::boxed(StreamBody::new(futures_util::StreamExt::chain(frames, end))))
    } else {
        let body = http_body_util::Full::new(Bytes::from_static(name.as_bytes()));
        Response::new(body.map_err(|never| match never {}).boxed())
    };
    if let Some(trace) = trace {
        response.headers_mut().insert("seen-trace", trace);
    }
    Ok(response)
}

impl DataPath {
    /// One of its workers.
    pub(crate) fn first_worker(&self) -> &Arc<Worker> {
        &self.workers[0]
    }
}

impl Gate {
    /// The gate of a listener that tests open and close by hand.
    pub(crate) fn by_hand(worker: &Worker) -> (Arc<Self>, Box<dyn OpenHandle>) {
        let gate = Self::new(
            &worker.shared.recorder,
            "outbound",
            (10, &worker.shared.descriptors),
            vec![Arc::clone(&worker.bell)],
        );
        (Arc::clone(&gate), Box::new(gate::GateHandle(gate)))
    }
}

/// Sends text on a connection of its own and reads to the end.
async fn raw(to: SocketAddr, text: &str) -> String {
    let (answer, ended) = raw_until(to, text).await;
    ended.unwrap();
    answer
}

/// The same, and how it ended: an answer that was cut ends in a reset.
async fn raw_until(to: SocketAddr, text: &str) -> (String, std::io::Result<()>) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).await.map(drop);
    (String::from_utf8_lossy(&answer).into_owned(), ended)
}

fn is_reset(ended: &std::io::Result<()>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

async fn get(to: SocketAddr, service: &str) -> String {
    raw(to, &format!("GET / HTTP/1.1\r\nhost: {service}.weft.internal\r\nconnection: close\r\n\r\n")).await
}

/// Sends back what comes, to the end.
async fn echo_all(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.unwrap();
    to.shutdown().await.unwrap();
}

async fn fifty_gets(to: SocketAddr) {
    for _ in 0..50 {
        let answer = get(to, "orders").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

const HTTP: Protocol = Protocol::Http;

#[tokio::test]
async fn a_request_goes_from_node_to_node_in_both_forms() {
    let mesh = Mesh::new(1);
    app(mesh.at(2, 8080), "orders at 2").await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    for text in [
        "GET / HTTP/1.1\r\nhost: orders.weft.internal\r\nconnection: close\r\n\r\n",
        "GET http://orders.weft.internal/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        let answer = raw(near.outbound, text).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("orders at 2"), "{answer}");
        assert!(answer.contains("seen-trace: 00-"), "{answer}");
    }
    let body = "x".repeat(1 << 20);
    let post =
        format!("POST / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = raw(near.outbound, &post).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > body.len(), "{}", answer.len());
}

#[tokio::test]
async fn what_is_not_served_says_why() {
    let mesh = Mesh::new(2);
    let _far = mesh.node(2, &[("orders", HTTP), ("raw", Protocol::Tcp)], &[]).await;
    // Node 3 holds no certificate for `quotes`, and nobody listens at node 4.
    let _other = mesh.node(3, &[("orders", HTTP)], &[]).await;
    let remote: &[(&str, Protocol, &[u8])] = &[
        ("orders", HTTP, &[2]),
        ("raw", Protocol::Tcp, &[2]),
        ("quotes", HTTP, &[3]),
        ("gone", HTTP, &[4]),
        ("none", HTTP, &[]),
    ];
    let near = mesh.node(1, &[], remote).await;
    for (service, status, code) in [
        ("nothing", 404, "service-unknown"),
        ("orders", 502, "connect-refused"),
        ("raw", 502, "protocol-mismatch"),
        ("quotes", 403, "identity-refused"),
        ("gone", 502, "connect-refused"),
        ("none", 503, "no-healthy-replica"),
    ] {
        let answer = get(near.outbound, service).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{service}: {answer}");
        assert!(answer.contains(&format!("details=\"{code}\"")), "{service}: {answer}");
        assert!(answer.contains("\"next\":"), "{answer}");
        assert!(!answer.contains("weft-undelivered"), "{answer}");
    }
    for bad in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"] {
        let answer = raw(near.outbound, &bad.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test]
async fn a_dead_node_and_a_dead_application_cost_no_request() {
    let mesh = Mesh::new(3);
    app(mesh.at(2, 8080), "alive").await;
    let _alive = mesh.node(2, &[("orders", HTTP)], &[]).await;
    // Node 3 lives and its application does not; node 4 does not exist.
    let _half = mesh.node(3, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2, 3, 4])]).await;
    for _ in 0..30 {
        let answer = get(near.outbound, "orders").await;
        assert!(answer.ends_with("alive"), "{answer}");
    }
}

#[tokio::test]
async fn an_upgrade_is_tunnelled() {
    let mesh = Mesh::new(4);
    app(mesh.at(2, 8080), "echo").await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nping")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("ping"), "{answer}");
}

#[tokio::test]
async fn a_stream_goes_through_a_bound_port_and_through_connect() {
    let mesh = Mesh::new(5);
    let echo = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = echo.accept().await.unwrap();
            tokio::spawn(echo_all(stream));
        }
    });
    let _far = mesh.node(2, &[("ledger-db", Protocol::Tcp)], &[]).await;
    // Node 3 does not exist: the stream is tried on node 2 after it.
    let near = mesh.node(1, &[], &[("ledger-db", Protocol::Tcp, &[2, 3])]).await;
    let at = mesh.at(1, 5432);
    let spec = ListenerSpec::Bound(BindSpec {
        at,
        leads_to: LeadsTo::Service("ledger-db".parse().unwrap()),
        identity: None,
        proxy_protocol: false,
    });
    let _bound = near.path.open(spec, Arc::clone(&near.world)).await.unwrap();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&vec![7; 300_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back.len(), 300_000, "half-close passes on and every byte comes back");
    }
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"CONNECT ledger-db:5432 HTTP/1.1\r\nhost: ledger-db\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream.write_all(b"select 1").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"select 1"));
}

#[tokio::test]
async fn a_replica_of_the_same_machine_is_reached_directly() {
    let mesh = Mesh::new(13);
    app(mesh.at(1, 8080), "here").await;
    let own = mesh.node(1, &[("orders", HTTP)], &[("orders", HTTP, &[1])]).await;
    // Nothing listens at the mesh port: only the direct way is left.
    own.listeners[0].stop_accepting();
    assert!(get(own.outbound, "orders").await.ends_with("here"));
    let stream = TcpStream::connect(own.outbound).await.unwrap();
    let http2 = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = http2.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://orders/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200, "a caller of HTTP/2 reaches an application of HTTP/1.1");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "here");
}

#[tokio::test]
async fn a_dead_application_of_the_same_machine_sends_its_callers_elsewhere() {
    let mesh = Mesh::new(14);
    app(mesh.at(2, 8080), "there").await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let own = mesh.node(1, &[("orders", HTTP)], &[("orders", HTTP, &[1, 2])]).await;
    for _ in 0..20 {
        assert!(get(own.outbound, "orders").await.ends_with("there"));
    }
}

#[tokio::test]
async fn trailers_travel_over_http2() {
    let mesh = Mesh::new(6);
    app(mesh.at(2, 8080), "grpc").await;
    let _far = mesh.node(2, &[("quotes", Protocol::Http2)], &[]).await;
    let near = mesh.node(1, &[], &[("quotes", Protocol::Http2, &[2])]).await;
    let stream = TcpStream::connect(near.outbound).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://quotes.weft.internal/q")
        .version(Version::HTTP_2)
        .header("te", "trailers")
        .body(http_body_util::Full::new(Bytes::from_static(b"question")))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap().get("grpc-status").unwrap(), "0");
    assert_eq!(collected.to_bytes(), "question");
}

#[tokio::test]
async fn a_draining_listener_finishes_what_it_has() {
    let mesh = Mesh::new(7);
    app(mesh.at(2, 8080), "orders").await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: 4\r\n\r\nha").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    for listener in &near.listeners {
        listener.stop_accepting();
    }
    near.world.change(|world| world.draining = true);
    stream.write_all(b"lf").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("lf"), "the request in flight was finished");
    assert!(TcpStream::connect(near.outbound).await.is_err(), "and no other is taken in");
    assert_eq!(near.listeners[1].in_flight(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_said_to_be() {
    let mesh = Mesh::new(8);
    let near = mesh.node(1, &[], &[]).await;
    let spec = ListenerSpec::OutboundHttp { at: near.outbound, identity: None };
    let Err(failure) = near.path.open(spec, Arc::clone(&near.world)).await else { panic!("the port is taken") };
    assert_eq!(failure.code, Code::PortInUse);
}

#[tokio::test]
async fn a_node_that_dies_under_load_costs_no_get() {
    let mesh = Mesh::new(9);
    app(mesh.at(2, 8080), "two").await;
    app(mesh.at(3, 8080), "three").await;
    let dies = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let _stays = mesh.node(3, &[("orders", HTTP)], &[]).await;
    let near = Arc::new(mesh.node(1, &[], &[("orders", HTTP, &[2, 3])]).await);
    let load: Vec<_> = (0..8).map(|_| tokio::spawn(fifty_gets(near.outbound))).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    // Every connection of the node breaks at once, as a SIGKILL would do it.
    drop(dies);
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(near.path.in_flight(), 0, "nothing leaks");
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    let mesh = Mesh::new(11);
    let sent = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        let chunk = vec![0; 64 * 1024];
        while stream.write_all(&chunk).await.is_ok() {
            counted.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    let mut before = usize::MAX;
    while sent.load(Ordering::Relaxed) != before {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 64 << 20, "{before} bytes in flight for a reader that does not read");
}

#[tokio::test]
async fn the_access_log_tells_each_request() {
    let path = std::env::temp_dir().join(format!("weft-access-{}.log", std::process::id()));
    let log = AccessLog::start(&path, 1, ::metrics::Counter::noop()).unwrap();
    let line = crate::access_log::Line {
        at: Timestamp(1),
        direction: crate::metrics::Direction::Outbound,
        meter: None,
        method: Some(http::Method::GET),
        path: Some("/a?b".to_owned()),
        trace: None,
        status: 200,
        code: None,
        bytes: 3,
        took: Duration::from_millis(2),
        endpoint: Some(Arc::clone(&Mesh::new(13).table("orders", HTTP, &[2]).endpoints[0])),
        cut: false,
        revision: 12,
        route: None,
        shadow: None,
        id: None,
    };
    log.push(0, line);
    drop(log);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&json["path"], &json["took_us"]), (&"/a?b".into(), &2_000.into()));
    assert_eq!((&json["node"], &json["replica"]), (&"vm-2".into(), &"orders".into()));
}

#[tokio::test]
async fn workers_on_threads_of_their_own_share_a_listener() {
    let mesh = Mesh::new(12);
    app(mesh.at(2, 8080), "orders").await;
    let far = mesh.placed(Placement::Threads, 2, &[("orders", HTTP)], &[]).await;
    let near = mesh.placed(Placement::Threads, 1, &[], &[("orders", HTTP, &[2])]).await;
    for _ in 0..20 {
        assert!(get(near.outbound, "orders").await.ends_with("orders"));
    }
    drop((near, far));
}
