//! WebSockets cross one node and two, by Upgrade of HTTP/1.1 and by extended CONNECT of HTTP/2, with every byte as it was: messages, parts,
//! control, closes and ends. What the handshake negotiates passes both ways, and a refusal leaves the connection usable.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use weft_tests::http::Connection;
use weft_tests::peer::{Ended, Then, raw};
use weft_tests::websocket::{
    ACCEPT, Application, Call, Caller, EXTENSION, End, Frame, SUBPROTOCOL, TEXT, Talk, Version, all, payload,
};
use weft_tests::{Mesh, Node};

/// Connections at once.
const MANY: usize = 100;
/// The key of frames whose key does not matter.
const KEY: [u8; 4] = [1, 2, 3, 4];

/// CANCEL (RFC 9113, section 7).
const CANCEL: u32 = 8;

/// Two nodes, each with the application; the first is called.
struct Scene {
    near: Node,
    _far: Node,
    application: Application,
    runtime: Runtime,
    marks: AtomicUsize,
    _mesh: Mesh,
}

/// How a call goes: by one node or two, in which version.
#[derive(Debug, Clone, Copy)]
struct Way {
    host: &'static str,
    version: Version,
}

const WAYS: [Way; 4] = [
    Way { host: "local", version: Version::Http1 },
    Way { host: "remote", version: Version::Http1 },
    Way { host: "local", version: Version::Http2 },
    Way { host: "remote", version: Version::Http2 },
];

impl Scene {
    fn new(name: &str) -> Self {
        let mut mesh = Mesh::new(name);
        let near = mesh.init_running("near");
        let far = mesh.join_running("far", &near, &["remote"]);
        let application = Application::serving();
        near.exposes("local", application.port, &["--health", "none"]);
        far.exposes("remote", application.port, &["--health", "none"]);
        near.knows("local", 1);
        near.knows("remote", 1);
        let runtime = Runtime::new().expect("a runtime can be made");
        Self { near, _far: far, application, runtime, marks: AtomicUsize::new(0), _mesh: mesh }
    }

    fn to(&self) -> SocketAddr {
        self.near.outbound()
    }

    /// A word that no other connection has.
    fn mark(&self) -> String {
        format!("m{}", self.marks.fetch_add(1, Ordering::Relaxed))
    }

    /// Opens a WebSocket on a connection of its own; its mark, and the call.
    async fn opened(&self, way: Way, path: &str, fields: &[(&str, &str)], early: &[u8]) -> (String, Call) {
        let mark = self.mark();
        let caller = Caller::connect(way.version, self.to()).await;
        let call = caller.open(way.host, &format!("{path}/{mark}"), fields, early).await;
        let due = if way.version == Version::Http1 { 101 } else { 200 };
        assert_eq!(call.status, due, "{way:?}: {:?}", call.fields);
        (mark, call)
    }

    /// What is wrong with a talk, if anything is.
    async fn fault(&self, way: Way, talk: &Talk) -> Option<String> {
        let (mark, Call { mut sends, mut gets, .. }) = self.opened(way, &talk.path, &[], &talk.early).await;
        let pieces = talk.sends.clone();
        let writing = tokio::spawn(async move {
            for piece in &pieces {
                sends.send(piece).await?;
            }
            std::io::Result::Ok(sends)
        });
        let (got, end) = gets.all().await;
        let sent = writing.await.expect("no panic");
        let ended = match sent {
            Ok(mut sends) => sends.end().await,
            Err(error) => Err(error),
        };
        let kept = self.application.kept(&mark);
        if end != End::Closed || kept.ended != Ended::Closed || ended.is_err() {
            return Some(format!("it ended with {end:?}, {ended:?} and for the application {:?}", kept.ended));
        }
        different("the caller got", &got, &talk.gets).or_else(|| {
            different("the application got", &kept.bytes, &[talk.early.clone(), talk.sends.concat()].concat())
        })
    }
}

/// Where two texts are not the same, if they are not.
fn different(what: &str, found: &[u8], due: &[u8]) -> Option<String> {
    if found == due {
        return None;
    }
    let at = found.iter().zip(due).position(|(found, due)| found != due).unwrap_or(found.len().min(due.len()));
    Some(format!("{what} {} bytes for {}, other ones from byte {at}", found.len(), due.len()))
}

/// A message of text as a caller sends it.
fn text(words: &str) -> Vec<u8> {
    Frame::whole(TEXT, words).masked(KEY)
}

#[test]
fn every_talk_crosses_with_every_byte() {
    let scene = Scene::new("talks");
    let talks = all();
    let names: BTreeSet<&str> = talks.iter().map(|talk| talk.name.as_str()).collect();
    assert!(names.len() == talks.len() && talks.len() >= 150, "{} talks, {} names", talks.len(), names.len());
    println!("{} talks in {} ways", talks.len(), WAYS.len());
    let mut wrong = Vec::new();
    for way in WAYS {
        for talk in &talks {
            if let Some(fault) = scene.runtime.block_on(scene.fault(way, talk)) {
                wrong.push(format!("{way:?}: {}: {fault}", talk.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} failed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_negotiated_passes_both_ways() {
    let scene = Scene::new("negotiation");
    let offers = "permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\", x-other; a=b";
    let fields = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-protocol", "Third.Version"),
        ("sec-websocket-extensions", offers),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "http://example.com"),
        ("cookie", "a=1; b=2"),
    ];
    for way in WAYS {
        scene.runtime.block_on(async {
            let (mark, call) = scene.opened(way, "/echo/x", &fields, b"").await;
            let accepts: &[&str] = if way.version == Version::Http1 { &[ACCEPT] } else { &[] };
            assert_eq!(call.field("sec-websocket-accept"), accepts, "{way:?}");
            assert_eq!(call.field("sec-websocket-protocol"), [SUBPROTOCOL], "{way:?}");
            assert_eq!(call.field("sec-websocket-extensions"), [EXTENSION], "{way:?}");
            assert_eq!(call.field("x-application"), ["own"], "{way:?}");
            let switched = way.version == Version::Http1;
            assert_eq!(call.field("upgrade").len() + call.field("connection").len(), if switched { 2 } else { 0 });
            let Call { mut sends, mut gets, .. } = call;
            sends.send(&Frame::close(1000, "").masked(KEY)).await.expect("it is open");
            assert_eq!(gets.all().await, (Frame::close(1000, "").bare(), End::Closed), "{way:?}");
            sends.end().await.expect("its other half is open");
            let head = scene.application.kept(&mark).head;
            assert!(head.text().starts_with("GET /echo/x/"), "{way:?}: {}", head.text());
            assert_eq!(head.field("sec-websocket-protocol").join(", "), "chat, superchat, Third.Version", "{way:?}");
            assert_eq!(head.field("sec-websocket-extensions").join(", "), format!("{offers}, permessage-deflate"));
            assert_eq!(head.field("sec-websocket-version"), ["13"], "{way:?}");
            assert_eq!(head.field("sec-websocket-key").iter().map(String::len).collect::<Vec<_>>(), [24], "{way:?}");
            assert_eq!(head.field("upgrade"), ["websocket"], "{way:?}");
            assert_eq!(head.field("connection").join(",").to_lowercase(), "upgrade", "{way:?}");
            assert_eq!(
                (head.field("origin"), head.field("cookie")),
                (vec!["http://example.com".into()], vec!["a=1; b=2".into()])
            );
        });
    }
}

#[test]
fn a_refusal_reaches_the_caller_and_the_connection_goes_on() {
    let scene = Scene::new("refusals");
    for host in ["local", "remote"] {
        let ask = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
        };
        let mut connection = Connection::open(scene.to()).expect("the node listens");
        for status in ["403", "426", "401", "302", "404", "503", "200"] {
            let reply = connection.send(ask(&format!("/refuses/{status}")).as_bytes()).expect("an answer");
            let found = (reply.status.to_string(), reply.text(), reply.header("x-application"));
            assert_eq!(found, (status.to_owned(), format!("no: {status}"), Some("own")), "{host}");
            if reply.status == 426 {
                assert_eq!(reply.header("upgrade"), Some("websocket"), "{host}: {reply:?}");
            }
        }
        let mark = scene.mark();
        connection.write(ask(&format!("/echo/x/{mark}")).as_bytes()).expect("the connection is open");
        assert_eq!(connection.read_head().expect("an answer").status, 101, "{host}");
        connection.write(&Frame::close(1000, "").masked(KEY)).expect("the connection is open");
        assert_eq!(connection.read_exact(4).expect("a close"), Frame::close(1000, "").bare(), "{host}");
        drop(connection);
        assert_eq!(scene.application.kept(&mark).bytes, Frame::close(1000, "").masked(KEY));
    }
}

#[test]
fn a_refusal_of_extended_connect_leaves_the_other_streams_alone() {
    let scene = Scene::new("refusals-2");
    for host in ["local", "remote"] {
        scene.runtime.block_on(async {
            let Caller::Http2(requests) = Caller::connect(Version::Http2, scene.to()).await else { return };
            let again = || Caller::Http2(requests.clone());
            let (first, second) = (scene.mark(), scene.mark());
            let Call { mut sends, mut gets, status, .. } =
                again().open(host, &format!("/echo/x/{first}"), &[], b"").await;
            assert_eq!(status, 200, "{host}");
            for status in ["403", "426", "401", "302", "404", "503"] {
                let mut call = again().open(host, &format!("/refuses/{status}"), &[], b"").await;
                assert_eq!((call.status.to_string(), call.field("x-application")), (status.to_owned(), vec!["own"]));
                assert_eq!(call.gets.all().await, (format!("no: {status}").into_bytes(), End::Closed), "{host}");
            }
            // What HTTP/2 has for an open WebSocket is an answer that an application cannot give to an Upgrade.
            let call = again().open(host, "/refuses/200", &[], b"").await;
            assert_eq!(call.status, 502, "{host}: {:?}", call.fields);
            sends.send(&text("still here")).await.expect("it is open");
            let due = Frame::whole(TEXT, "still here").bare();
            assert_eq!(gets.exactly(due.len()).await, Ok(due), "{host}");
            let mut call = again().open(host, &format!("/echo/x/{second}"), &[], b"").await;
            assert_eq!(call.status, 200, "{host}");
            for sends in [&mut sends, &mut call.sends] {
                sends.end().await.expect("it is open");
            }
            assert_eq!(scene.application.kept(&first).bytes, text("still here"), "{host}");
            assert!(scene.application.kept(&second).bytes.is_empty(), "{host}");
        });
    }
}

#[test]
fn what_follows_a_refused_upgrade_is_the_next_request() {
    let scene = Scene::new("refused-early");
    for host in ["local", "remote"] {
        let upgrade =
            format!("GET /refuses/403 HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
        let next = format!("GET /refuses/404 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(scene.to(), (upgrade.clone() + &next).as_bytes(), Then::Wait);
        let text = answer.text();
        let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
        assert_eq!((statuses, answer.ended), (vec!["403", "404"], Ended::Closed), "{host}: {text}");
        // Frames are no request, even with what ends a head in them.
        let frame = Frame::whole(TEXT, [0; 8]).masked(*b"\r\n\r\n");
        let answer = raw(scene.to(), &[upgrade.as_bytes(), &frame].concat(), Then::Wait);
        let text = answer.text();
        let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
        assert_eq!((statuses, answer.ended), (vec!["403", "400"], Ended::Closed), "{host}: {text}");
    }
}

#[test]
fn a_reset_of_the_caller_is_one_for_the_application() {
    let scene = Scene::new("ws-reset-call");
    for way in WAYS {
        scene.runtime.block_on(async {
            let (mark, Call { mut sends, mut gets, .. }) = scene.opened(way, "/echo/x", &[], b"").await;
            sends.send(&text("one")).await.expect("it is open");
            assert_eq!(gets.exactly(5).await, Ok(Frame::whole(TEXT, "one").bare()), "{way:?}");
            sends.reset();
            drop(gets);
            let kept = scene.application.kept(&mark);
            assert_eq!((kept.ended, kept.bytes), (Ended::Reset, text("one")), "{way:?}");
        });
    }
}

#[test]
fn a_reset_of_the_application_is_one_for_the_caller() {
    let scene = Scene::new("ws-reset-app");
    for way in WAYS {
        scene.runtime.block_on(async {
            let (mark, Call { mut sends, mut gets, .. }) = scene.opened(way, "/resets/x", &[], b"").await;
            sends.send(&text("one")).await.expect("it is open");
            assert_eq!(gets.exactly(5).await, Ok(Frame::whole(TEXT, "one").bare()), "{way:?}");
            sends.send(&text("two")).await.expect("it is open");
            let (rest, end) = gets.all().await;
            let due = if way.version == Version::Http1 { None } else { Some(CANCEL) };
            assert_eq!((rest, end), (Vec::new(), End::Reset(due)), "{way:?}");
            assert_eq!(scene.application.kept(&mark).bytes, [text("one"), text("two")].concat(), "{way:?}");
        });
    }
}

#[test]
fn each_half_ends_in_order_and_on_its_own() {
    let scene = Scene::new("ws-halves");
    for way in WAYS {
        scene.runtime.block_on(async {
            // The caller's first: all of what it said is counted.
            let (mark, Call { mut sends, mut gets, .. }) = scene.opened(way, "/counts/x", &[], b"").await;
            let long = Frame::whole(TEXT, payload(TEXT, 300_000)).masked(KEY);
            sends.send(&long).await.expect("it is open");
            sends.end().await.expect("it is open");
            let count = Frame::whole(TEXT, long.len().to_string()).bare();
            assert_eq!(gets.all().await, (count, End::Closed), "{way:?}");
            assert_eq!(scene.application.kept(&mark).ended, Ended::Closed, "{way:?}");
            // The application's first: what is said behind its end arrives.
            let (mark, Call { mut sends, mut gets, .. }) = scene.opened(way, "/ends/x", &[], b"").await;
            sends.send(&text("one")).await.expect("it is open");
            assert_eq!(gets.all().await, (Frame::whole(TEXT, "one").bare(), End::Closed), "{way:?}");
            sends.send(&text("two")).await.expect("its half is open");
            sends.send(&text("three")).await.expect("its half is open");
            sends.end().await.expect("its half is open");
            let kept = scene.application.kept(&mark);
            let due = [text("one"), text("two"), text("three")].concat();
            assert_eq!((kept.ended, kept.bytes), (Ended::Closed, due), "{way:?}");
        });
    }
}

/// One of many: says ten things, after all others are open and before any closes.
async fn one_of_many(caller: Caller, host: &str, path: String, barrier: Arc<Barrier>) {
    let Call { mut sends, mut gets, .. } = caller.open(host, &path, &[], b"").await;
    barrier.wait().await;
    for number in 0..10 {
        let words = format!("{path} says {number}");
        sends.send(&text(&words)).await.expect("it is open");
        let due = Frame::whole(TEXT, &words).bare();
        assert_eq!(gets.exactly(due.len()).await, Ok(due), "{path}");
    }
    barrier.wait().await;
    sends.send(&Frame::close(1000, "").masked(KEY)).await.expect("it is open");
    assert_eq!(gets.all().await, (Frame::close(1000, "").bare(), End::Closed), "{path}");
    sends.end().await.expect("its half is open");
}

#[test]
fn a_hundred_are_open_at_once() {
    let scene = Scene::new("ws-many");
    for way in WAYS {
        let marks: Vec<String> = (0..MANY).map(|_| scene.mark()).collect();
        scene.runtime.block_on(async {
            let barrier = Arc::new(Barrier::new(MANY));
            let shared = Caller::connect(way.version, scene.to()).await;
            let mut all = tokio::task::JoinSet::new();
            for mark in &marks {
                // Streams of one connection, or connections.
                let caller = match &shared {
                    Caller::Http2(requests) => Caller::Http2(requests.clone()),
                    Caller::Http1(_) => Caller::connect(way.version, scene.to()).await,
                };
                all.spawn(one_of_many(caller, way.host, format!("/echo/x/{mark}"), Arc::clone(&barrier)));
            }
            while let Some(done) = all.join_next().await {
                done.expect("no panic");
            }
        });
        for mark in marks {
            assert_eq!(scene.application.kept(&mark).ended, Ended::Closed, "{way:?} {mark}");
        }
    }
}

#[test]
fn a_connection_of_http2_that_is_reset_resets_all_of_its_streams() {
    let scene = Scene::new("ws-connection");
    for host in ["local", "remote"] {
        let marks: Vec<String> = (0..10).map(|_| scene.mark()).collect();
        let lost = Runtime::new().expect("a runtime can be made");
        let open = lost.block_on(async {
            let Caller::Http2(requests) = Caller::connect(Version::Http2, scene.to()).await else { return Vec::new() };
            let mut open = Vec::new();
            for mark in &marks {
                let call = Caller::Http2(requests.clone()).open(host, &format!("/echo/x/{mark}"), &[], b"").await;
                open.push(call);
            }
            open
        });
        assert_eq!(open.iter().map(|call| call.status).collect::<Vec<_>>(), [200; 10], "{host}");
        // The task of the connection goes with its runtime, and the socket with it: the streams were not ended.
        drop(lost);
        drop(open);
        for mark in marks {
            assert_eq!(scene.application.kept(&mark).ended, Ended::Reset, "{host} {mark}");
        }
    }
}
