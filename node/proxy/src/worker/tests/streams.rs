//! How streams of TCP end: in halves, by a reset that is carried to the other end, or because nobody is there.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::sync::mpsc;
use weft_env::Stream;

use super::*;

const TCP: Protocol = Protocol::Tcp;
/// What takes longer hangs.
const HANGS: Duration = Duration::from_secs(10);

/// How a stream ended for the application: with so many bytes, or so.
type Ends = mpsc::Receiver<Result<usize, ErrorKind>>;

/// What the application does with a stream, once it has sent its first byte back.
#[derive(Clone, Copy)]
enum Then {
    /// Reads to the end.
    Reads,
    /// Ends its own half, and then reads to the end.
    Ends,
    /// Sends a last word and resets it.
    Resets,
}

async fn application(at: SocketAddr, then: Then) -> Ends {
    let listener = TcpListener::bind(at).await.unwrap();
    let (tell, ends) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(served(stream, then, tell.clone()));
        }
    });
    ends
}

async fn served(mut stream: TcpStream, then: Then, tell: mpsc::Sender<Result<usize, ErrorKind>>) {
    // A probe of the test's own node may come and go.
    let Ok(first) = stream.read_u8().await else { return };
    stream.write_u8(first).await.unwrap();
    match then {
        Then::Reads => {}
        Then::Ends => stream.shutdown().await.unwrap(),
        Then::Resets => {
            stream.write_all(b"last word").await.unwrap();
            return Stream::Tcp(stream).reset_on_close();
        }
    }
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await.map_err(|error| error.kind());
    tell.send(ended).await.unwrap();
}

/// Two nodes and a service, and the four ways to it: through both nodes and on one, by a bound port and by CONNECT.
struct Scene {
    mesh: Mesh,
    nodes: [Node; 2],
    bound: [SocketAddr; 2],
    _listeners: Vec<Box<dyn OpenHandle>>,
    ends: Ends,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Bound(usize),
    Connect(usize),
}

const WAYS: [Way; 4] = [Way::Bound(0), Way::Bound(1), Way::Connect(0), Way::Connect(1)];

impl Scene {
    async fn new(mesh: Mesh, then: Then) -> Self {
        let ends = application(mesh.at(2, 8080), then).await;
        let remote: &[(&str, Protocol, &[u8])] = &[("db", TCP, &[2])];
        let nodes = [mesh.node(1, &[], remote).await, mesh.node(2, &[("db", TCP)], remote).await];
        let (mut bound, mut listeners) = (Vec::new(), Vec::new());
        for (number, node) in (1..).zip(&nodes) {
            let at = mesh.at(number, 5432);
            listeners.push(bind(node, at, "db").await);
            bound.push(at);
        }
        Self { mesh, nodes, bound: [bound[0], bound[1]], _listeners: listeners, ends }
    }

    /// A stream that has carried a byte each way.
    async fn open(&self, way: Way) -> TcpStream {
        let mut stream = match way {
            Way::Bound(node) => TcpStream::connect(self.bound[node]).await.unwrap(),
            Way::Connect(node) => {
                let mut stream = TcpStream::connect(self.nodes[node].outbound).await.unwrap();
                stream.write_all(b"CONNECT db:1 HTTP/1.1\r\nhost: db\r\n\r\n").await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
                stream
            }
        };
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        stream
    }

    /// How the application saw a stream end.
    async fn end(&mut self) -> Result<usize, ErrorKind> {
        tokio::time::timeout(HANGS, self.ends.recv()).await.unwrap().unwrap()
    }
}

async fn bind(node: &Node, at: SocketAddr, service: &str) -> Box<dyn OpenHandle> {
    let spec = ListenerSpec::Bound(BindSpec {
        at,
        leads_to: LeadsTo::Service(service.parse().unwrap()),
        identity: None,
        proxy_protocol: false,
    });
    node.path.open(spec, Arc::clone(&node.world)).await.unwrap()
}

/// Reads to the end, however that comes.
async fn rest(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    let mut rest = Vec::new();
    tokio::time::timeout(HANGS, stream.read_to_end(&mut rest)).await.unwrap().map_err(|error| error.kind())
}

#[tokio::test]
async fn a_reset_of_the_caller_reaches_the_application() {
    let mut scene = Scene::new(Mesh::new(80), Then::Reads).await;
    for way in WAYS {
        let stream = scene.open(way).await;
        Stream::Tcp(stream).reset_on_close();
        assert_eq!(scene.end().await, Err(ErrorKind::ConnectionReset), "{way:?}");
    }
}

#[tokio::test]
async fn a_reset_of_the_application_reaches_the_caller() {
    let scene = Scene::new(Mesh::new(81), Then::Resets).await;
    for way in WAYS {
        let mut stream = scene.open(way).await;
        let mut last = [0; 9];
        stream.read_exact(&mut last).await.unwrap();
        assert_eq!((&last, rest(&mut stream).await), (b"last word", Err(ErrorKind::ConnectionReset)), "{way:?}");
    }
    let labels = ["direction=\"outbound\"", "code=\"upstream-reset\""];
    scene.mesh.counts("weft_request_errors_total", &labels, 4.0).await;
}

#[tokio::test]
async fn the_callers_end_is_an_end_of_its_half_and_no_reset() {
    let mut scene = Scene::new(Mesh::new(82), Then::Reads).await;
    for way in WAYS {
        let mut stream = scene.open(way).await;
        stream.write_all(&[7; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(scene.end().await, Ok(100_000), "{way:?}");
        assert_eq!(rest(&mut stream).await, Ok(0), "{way:?}");
    }
    assert_eq!(scene.mesh.sum("weft_request_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn after_the_applications_end_the_caller_goes_on() {
    let mut scene = Scene::new(Mesh::new(83), Then::Ends).await;
    for way in WAYS {
        let mut stream = scene.open(way).await;
        assert_eq!(rest(&mut stream).await, Ok(0), "{way:?}");
        stream.write_all(&[7; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(scene.end().await, Ok(100_000), "{way:?}");
    }
    assert_eq!(scene.mesh.sum("weft_request_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn a_caller_that_goes_before_its_stream_is_answered_leaves_nothing_open() {
    let mut scene = Scene::new(Mesh::new(84), Then::Ends).await;
    for way in WAYS {
        // Both halves end while bytes are still on their way.
        let mut stream = scene.open(way).await;
        stream.write_all(&[7; 1_000]).await.unwrap();
        drop(stream);
        // Nothing was left unread, so that the end is in order, unless it overtook the application's own.
        let ended = scene.end().await;
        assert!(matches!(ended, Ok(1_000) | Err(ErrorKind::ConnectionReset)), "{way:?}: {ended:?}");
    }
    let none = async {
        while scene.nodes.iter().any(|node| node.path.in_flight() > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANGS, none).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_rests_too_long_is_reset_on_both_ends() {
    let mut mesh = Mesh::new(85);
    mesh.settings.stream_timeout = Some(Duration::from_millis(300));
    let mut scene = Scene::new(mesh, Then::Reads).await;
    for way in WAYS {
        let mut stream = scene.open(way).await;
        assert_eq!(rest(&mut stream).await, Err(ErrorKind::ConnectionReset), "{way:?}");
        assert_eq!(scene.end().await, Err(ErrorKind::ConnectionReset), "{way:?}");
    }
    // Of the two nodes, one notices first.
    scene.mesh.counts("weft_request_errors_total", &["direction=\"outbound\""], 4.0).await;
    assert!(scene.mesh.errors("outbound", "request-timeout").await >= 2.0, "on one machine there is no other");
}

#[tokio::test]
async fn a_bound_port_resets_whom_it_cannot_connect() {
    let mesh = Mesh::new(86);
    // Node 2 lives and its application does not; nobody is at node 3.
    let _far = mesh.node(2, &[("db", TCP)], &[]).await;
    let remote: &[(&str, Protocol, &[u8])] = &[("db", TCP, &[2]), ("gone", TCP, &[3]), ("none", TCP, &[])];
    let near = mesh.node(1, &[], remote).await;
    for (port, service) in (6000..).zip(["db", "gone", "none", "unknown"]) {
        let at = mesh.at(1, port);
        let _bound = bind(&near, at, service).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(rest(&mut stream).await, Err(ErrorKind::ConnectionReset), "{service}");
    }
}

#[tokio::test]
async fn the_death_of_a_node_resets_its_streams() {
    let mut scene = Scene::new(Mesh::new(87), Then::Reads).await;
    let mut streams = [scene.open(Way::Bound(0)).await, scene.open(Way::Connect(0)).await];
    let [near, far] = scene.nodes;
    drop(far);
    for stream in &mut streams {
        assert_eq!(rest(stream).await, Err(ErrorKind::ConnectionReset));
        let end = tokio::time::timeout(HANGS, scene.ends.recv()).await.unwrap().unwrap();
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "the application hears of it, too");
    }
    drop(near);
}

#[tokio::test]
async fn a_port_of_the_node_itself_is_no_application() {
    let mesh = Mesh::new(122);
    let at = mesh.at(2, 8080);
    let node = mesh.node(2, &[("db", TCP)], &[("db", TCP, &[2])]).await;
    let _bound = bind(&node, at, "db").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    assert_eq!(rest(&mut stream).await, Err(ErrorKind::ConnectionReset));
    mesh.counts("weft_request_errors_total", &["code=\"call-loops\""], 1.0).await;
    let answer = raw(node.outbound, "CONNECT db:1 HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 508"), "{answer}");
}

#[tokio::test]
async fn a_reset_of_a_stream_that_nobody_reads_ends_its_tunnel() {
    let mesh = Mesh::new(123);
    let held = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    let node = mesh.node(2, &[("db", TCP)], &[("db", TCP, &[2])]).await;
    let (mut send, connection) = h2::client::handshake(TcpStream::connect(node.outbound).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method("CONNECT").uri("db:1").body(()).unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    let (_unread, _) = held.accept().await.unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    // Until neither the application's socket nor the window takes more.
    let mut full = false;
    while !full {
        stream.reserve_capacity(64 * 1024);
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        match tokio::time::timeout(std::time::Duration::from_millis(300), capacity).await {
            Ok(room) => stream.send_data(bytes::Bytes::from(vec![7; room.unwrap().unwrap()]), false).unwrap(),
            Err(_) => full = true,
        }
    }
    assert_eq!(node.path.in_flight(), 1);
    stream.send_reset(h2::Reason::CANCEL);
    let over = async {
        while node.path.in_flight() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS, over).await.expect("it ends though its bytes are not taken");
}
