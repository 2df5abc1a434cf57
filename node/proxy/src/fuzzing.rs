//! The parsers of this crate for tests and fuzzing: each takes any bytes, and holds what it makes of them against what must be true.
//! Compiled for those two alone.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "what does not hold must end the run")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use weft_identity::testing::FuzzTarget;

use crate::client_hello::{self, Hello};
use crate::http2::{Server, ServerSettings, Trust};
use crate::trace::Trace;
use crate::transport::Transport;
use crate::{http1, proxy_protocol, tcp};

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] = &[
    ("http1_requests", http1_requests),
    ("http1_answers", http1_answers),
    ("http1_chunks", http1::fuzzing::chunks),
    ("http2_connections", http2_connections),
    ("client_hellos", client_hellos),
    ("proxy_headers", proxy_headers),
    ("stream_headers", tcp::fuzz_header),
    ("traces", traces),
];

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// By its length.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// What is seen of a request of HTTP/1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// Its method.
    pub method: String,
    /// Path and query; of CONNECT, host and port.
    pub target: String,
    /// Its fields, without those that frame and name the host.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// What follows.
    pub body: Body,
    /// Bytes of the head, with empty lines before it.
    pub head_len: usize,
}

/// Reads a request's head; none where it is refused, or not whole.
pub fn http1_request(bytes: &[u8]) -> Option<SeenRequest> {
    http1::fuzzing::request(bytes)
}

fn http1_requests(bytes: &[u8]) {
    let _seen = http1_request(bytes);
}

fn http1_answers(bytes: &[u8]) {
    for asked in [Method::GET, Method::HEAD, Method::CONNECT] {
        http1::fuzzing::answer(bytes, &asked);
    }
}

fn client_hellos(bytes: &[u8]) {
    match client_hello::read(bytes) {
        Ok(Hello::Needs(len)) => assert!(len > bytes.len() && len <= client_hello::HELLO_LEN_MAX),
        Ok(Hello::Whole(name)) => assert!(name.0.is_none_or(|name| !name.is_empty() && name.is_ascii())),
        Err(_) => {}
    }
}

fn proxy_headers(bytes: &[u8]) {
    let mut rest = bytes;
    let read = RUNTIME.with_borrow(|runtime| runtime.block_on(proxy_protocol::read(&mut rest)));
    if let Ok(Some(ends)) = read {
        // What is passed on is read as it was.
        let written = proxy_protocol::header(ends, "spiffe://bank/svc/orders");
        let mut written = &written[..];
        let again = RUNTIME.with_borrow(|runtime| runtime.block_on(proxy_protocol::read(&mut written)));
        let same = |a: std::net::SocketAddr| (a.ip().to_canonical(), a.port());
        let again = again.unwrap().unwrap();
        assert_eq!((same(again.source), same(again.destination)), (same(ends.source), same(ends.destination)));
    }
}

fn traces(bytes: &[u8]) {
    if let Some(trace) = Trace::stated(bytes) {
        assert_eq!(trace.as_str().as_bytes(), bytes);
    }
}

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().start_paused(true).build().unwrap());
}

/// Serves a connection of HTTP/2 that sends these bytes behind the preface and SETTINGS, in pieces of the size that the first byte says, and
/// is closed. It ends, and every request that arrives has a path and a method.
fn http2_connections(bytes: &[u8]) {
    /// Of paused time: above every timeout of a server.
    const LASTS_MAX: Duration = Duration::from_secs(60);
    let Some((size, frames)) = bytes.split_first() else { return };
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (near, far) = duplex(1 << 16);
            let both = async { tokio::join!(send(near, frames, usize::from(*size).max(1)), serve(far)) };
            let both = tokio::time::timeout(LASTS_MAX, both).await;
            assert!(both.is_ok(), "the connection does not end");
        });
    });
}

async fn send(mut near: DuplexStream, frames: &[u8], piece: usize) {
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for piece in [GREETING, frames].concat().chunks(piece) {
        if near.write_all(piece).await.is_err() {
            break;
        }
    }
    let _ended = near.shutdown().await;
    let _answer = near.read_to_end(&mut Vec::new()).await;
}

async fn serve(far: DuplexStream) {
    /// More requests than an input of a few kilobytes holds.
    const ARRIVALS_MAX: usize = 10_000;
    let second = Duration::from_secs(1);
    let settings = ServerSettings { trust: Trust::Stranger, head_timeout: second, idle_timeout: second, pings: None };
    let Ok(mut server) = Server::start(Transport::Memory(far), Bytes::new(), settings).await else { return };
    for _ in 0..ARRIVALS_MAX {
        let Ok(Some(arrival)) = poll_fn(|cx| server.poll_next(cx)).await else { return };
        if let Ok(head) = &arrival.head {
            assert!(!head.method.as_str().is_empty() && !head.path.contains(['#', ' ']));
        }
    }
    panic!("more requests than the input can hold");
}

#[test]
fn every_input_kept_passes() {
    weft_identity::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
