//! Which fields travel: rules see what applications see, nobody claims what only the mesh knows, and what nodes tell each other stays
//! between them.

use weft_tests::operator::Operator;
use weft_tests::peer::{Peer, Received, Then, raw};
use weft_tests::{Mesh, Node};

/// Two nodes, with an application that records behind the second.
struct Scene {
    near: Node,
    far: Node,
    peer: Peer,
    mesh: Mesh,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::with(name, Peer::recording())
    }

    fn with(name: &str, peer: Peer) -> Self {
        let mut mesh = Mesh::new(name);
        let near = mesh.init_running("near");
        let far = mesh.join_running("far", &near, &["orders"]);
        far.exposes("orders", peer.port, &[]);
        near.knows("orders", 1);
        Self { near, far, peer, mesh }
    }

    /// What arrives of GET / with these fields, each ended by CRLF; `None` where nothing does.
    fn arrives(&self, fields: &str) -> Option<Received> {
        self.peer.take();
        let request = format!("GET / HTTP/1.1\r\nhost: orders\r\n{fields}\r\n");
        let _answer = raw(self.near.outbound(), request.as_bytes(), Then::Shut);
        self.peer.take().pop()
    }
}

#[test]
fn a_caller_claims_nothing_that_only_the_mesh_knows() {
    let scene = Scene::new("claims");
    let claims = "x-forwarded-client-cert: URI=spiffe://x/svc/root\r\nclient-cert: :AA==:\r\nclient-cert-chain: x\r\n\
                  remote-user: root\r\nweft-replica: x\r\nweft-patience-ms: 1\r\nweft-undelivered: overloaded\r\n\
                  weft-refusal: x\r\nweft-anything: x\r\nx-forwarded-for: 192.0.2.1\r\n";
    let received = scene.arrives(claims).expect("it arrives");
    let text = received.text();
    for gone in ["weft-", "remote-user", "\r\nclient-cert:", "client-cert-chain", "spiffe://x/"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    let told = received.field("x-forwarded-client-cert");
    let (mesh, near) = (&scene.mesh.name, &scene.near);
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].starts_with(&format!("By=spiffe://{mesh}/svc/orders;Hash=")), "{}", told[0]);
    assert!(told[0].ends_with(&format!(";URI=spiffe://{mesh}/node/{}", near.name)), "{}", told[0]);
    assert_eq!(received.field("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
}

#[test]
fn what_belongs_to_a_connection_stays_there_and_takes_nothing_along() {
    let scene = Scene::new("hop");
    let operator = Operator::of(&scene.mesh, &scene.near, "policies");
    operator.write(
        "orders.toml",
        "[[route]]\nname = \"orders\"\nservice = \"orders\"\n[[route.rule]]\nrequest_headers = { set = { x-tenant = \"bank\" } }\n",
    );
    operator.applied(&scene.near);
    let received = scene
        .arrives("connection: x-tenant, traceparent, \u{e9}, X-Gone\r\nconnection: x-second\r\nx-tenant: mine\r\nx-gone: 1\r\nx-second: 2\r\nkeep-alive: 5\r\nproxy-connection: x\r\nte: gzip\r\nte: trailers\r\n")
        .expect("it arrives");
    assert_eq!(received.field("x-tenant"), ["bank"], "{}", received.text());
    assert_eq!(received.field("traceparent").len(), 1);
    assert_eq!(received.field("te"), ["trailers"]);
    for gone in ["x-gone", "x-second", "keep-alive", "proxy-connection", "connection"] {
        assert!(received.field(gone).is_empty(), "{gone} in {}", received.text());
    }
}

#[test]
fn no_upgrade_carries_requests_past_the_rules() {
    let scene = Scene::with(
        "upgrades",
        Peer::answering(|request| {
            let wish = request.field("upgrade").join(",");
            let answer = if wish.is_empty() {
                "HTTP/1.1 200 OK\r\n"
            } else {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
            };
            format!("{answer}content-length: 0\r\n\r\n").into_bytes()
        }),
    );
    for wish in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2, HTTP/1.1", "h2c, HTTP/2.0", "h3"] {
        let fields = format!(
            "connection: upgrade, http2-settings\r\nupgrade: {wish}\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        );
        let received = scene.arrives(&fields).expect("it arrives as a request");
        assert!(
            received.field("upgrade").is_empty() && received.field("http2-settings").is_empty(),
            "{}",
            received.text()
        );
    }
}

#[test]
fn a_call_that_comes_round_again_is_refused() {
    let scene = Scene::new("round");
    let loops = scene.far.outbound();
    // The outbound port of the node itself, as a service.
    let forward = Peer::serving(move |stream| {
        use std::io::copy;
        let Ok(mut onward) = std::net::TcpStream::connect(loops) else { return };
        let (Ok(mut from), Ok(mut to)) = (stream.try_clone(), onward.try_clone()) else { return };
        let back = std::thread::spawn(move || copy(&mut onward, &mut from));
        let _there = copy(stream, &mut to);
        let _back = back.join();
    });
    scene.far.exposes("orders", forward.port, &["--replica", "round"]);
    scene.near.knows("orders", 2);
    for _ in 0..4 {
        let answer =
            raw(scene.near.outbound(), b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n", Then::Wait);
        assert!([200, 508].contains(&answer.status()), "{}", answer.text());
    }
    assert!(scene.near.metric("weft_requests_total", &["service=\"orders\""]) < 40.0, "it went round and round");
}

#[test]
fn what_nodes_tell_each_other_stays_between_them() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nweft-undelivered: overloaded\r\nweft-refusal: x\r\nweft-replica: x\r\nkeep-alive: 5\r\ncontent-length: 2\r\n\r\nno";
    let scene = Scene::with("between", Peer::answering(move |_| answer.as_bytes().to_vec()));
    let got =
        raw(scene.near.outbound(), b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n", Then::Wait).text();
    assert!(got.starts_with("HTTP/1.1 503") && got.ends_with("no"), "the application's word has no weight: {got}");
    assert!(!got.contains("weft-") && !got.contains("keep-alive"), "{got}");
    assert_eq!(scene.peer.take().len(), 1, "and is not tried again");
}
