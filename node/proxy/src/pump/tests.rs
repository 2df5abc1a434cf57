#![allow(clippy::excessive_nesting, reason = "a table of cases is a loop in a loop")]

use std::future::poll_fn;
use std::task::Waker;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use weft_policy::head::Upgrade;

use super::*;
use crate::head::{Length, Overlay, RequestHead};
use crate::http1::{Connection, HeadLimits};
use crate::transport::Transport;

const WIDE: usize = 1 << 20;

/// A stream of bytes and its other end.
fn stream(width: usize) -> (Side, DuplexStream) {
    let (near, far) = duplex(width);
    (Side::Http1(Connection::tunnel(Transport::Memory(near))), far)
}

/// A side that has sent the head of a request which is framed so.
async fn caller(framing: &str) -> (Side, DuplexStream) {
    let (near, mut far) = duplex(WIDE);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    far.write_all(format!("PUT / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
    poll_fn(|cx| connection.poll_request(cx, &mut RequestHead::default())).await.unwrap();
    (Side::Http1(connection), far)
}

/// A side that was given the head of a request with a body of this length, and its other end, which has read the head.
async fn service(length: Length, width: usize) -> (Side, DuplexStream) {
    let (near, mut far) = duplex(width);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    let head = RequestHead { authority: "a".into(), path: "/".into(), length, ..RequestHead::default() };
    connection.send_request(&head, &Overlay::default(), Upgrade::None);
    poll_fn(|cx| connection.poll_flush(cx)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    (Side::Http1(connection), far)
}

fn poll(flow: &mut Flow, from: &mut Side, to: &mut Side) -> Poll<Result<(), Stop>> {
    flow.poll(&mut Context::from_waker(Waker::noop()), from, to)
}

/// What is there to be read.
async fn arrived(far: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; WIDE];
    let count = far.read(&mut bytes).await.unwrap();
    bytes.truncate(count);
    bytes
}

#[tokio::test]
async fn bytes_go_on_as_they_come_and_the_end_behind_them() {
    let ((mut from, mut source), (mut to, mut sink)) = (stream(WIDE), stream(WIDE));
    let mut flow = Flow::default();
    for piece in [&b"a"[..], &[b'b'; 30_000], b"c"] {
        source.write_all(piece).await.unwrap();
        assert!(poll(&mut flow, &mut from, &mut to).is_pending());
        assert!(flow.take_moved() && !flow.take_moved() && flow.waits_for_its_source());
        let mut there = vec![0; piece.len()];
        sink.read_exact(&mut there).await.unwrap();
        assert_eq!(there, piece, "nothing waits for more");
    }
    source.shutdown().await.unwrap();
    assert!(!flow.is_ended());
    assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))));
    assert!(flow.is_ended() && arrived(&mut sink).await.is_empty());
    assert_eq!(flow.bytes, 30_002);
    assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))), "and stays ended");
}

#[tokio::test]
async fn a_sink_that_does_not_read_holds_its_source_back() {
    let ((mut from, mut source), (mut to, mut sink)) = (stream(1_000), stream(1_000));
    let (mut flow, mut cx) = (Flow::default(), Context::from_waker(Waker::noop()));
    let mut written = 0;
    while std::pin::pin!(source.write_all(&[7; 1_000])).as_mut().poll(&mut cx).is_ready() {
        written += 1_000;
        assert!(poll(&mut flow, &mut from, &mut to).is_pending());
        assert!(written < WIDE, "it takes without end");
    }
    assert!(!flow.waits_for_its_source(), "its sink is the reason");
    let held = flow.bytes;
    assert!(poll(&mut flow, &mut from, &mut to).is_pending() && flow.bytes == held);
    // With the sink, it goes on.
    flow.take_moved();
    while !flow.take_moved() {
        arrived(&mut sink).await;
        assert!(poll(&mut flow, &mut from, &mut to).is_pending());
    }
    assert!(flow.bytes > held);
}

#[tokio::test]
async fn the_same_body_goes_over_in_the_framing_of_its_new_head() {
    let chunked = "transfer-encoding: chunked";
    for (framing, bytes, length, expected) in [
        ("content-length: 4", "body", Length::Exact(4), "body"),
        ("content-length: 4", "body", Length::Unknown, "4\r\nbody\r\n0\r\n\r\n"),
        (chunked, "4\r\nbody\r\n0\r\n\r\n", Length::Exact(4), "body"),
        (chunked, "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n", Length::Unknown, "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"),
        (chunked, "0\r\n\r\n", Length::Unknown, "0\r\n\r\n"),
        // What nobody may say in a head, nobody may say behind a body.
        (chunked, "0\r\nweft-replica: a\r\nx_y: 1\r\nhost: b\r\n\r\n", Length::Unknown, "0\r\n\r\n"),
        ("content-length: 0", "", Length::None, ""),
    ] {
        let (mut from, mut source) = caller(framing).await;
        let (mut to, mut sink) = service(length, WIDE).await;
        source.write_all(bytes.as_bytes()).await.unwrap();
        let mut flow = Flow::default();
        assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))), "{framing} {length:?}");
        drop(to);
        let mut all = Vec::new();
        sink.read_to_end(&mut all).await.unwrap();
        assert_eq!(String::from_utf8(all).unwrap(), expected, "{framing} {length:?}");
    }
}

#[tokio::test]
async fn the_side_that_broke_is_named() {
    let stopped = |flow: &mut Flow, from: &mut Side, to: &mut Side| match poll(flow, from, to) {
        Poll::Ready(Err(stop)) => stop,
        other => panic!("{other:?}"),
    };
    let (mut from, mut source) = caller("content-length: 4").await;
    let (mut to, _sink) = service(Length::Exact(4), WIDE).await;
    source.write_all(b"bo").await.unwrap();
    source.shutdown().await.unwrap();
    let stop = stopped(&mut Flow::default(), &mut from, &mut to);
    assert!(matches!(stop, Stop::From(Broken::Truncated)), "{stop:?}");

    let (mut from, mut source) = caller("transfer-encoding: chunked").await;
    let (mut to, mut sink) = service(Length::Unknown, WIDE).await;
    source.write_all(b"2\r\nbody").await.unwrap();
    let stop = stopped(&mut Flow::default(), &mut from, &mut to);
    assert!(matches!(stop, Stop::From(Broken::Malformed(_))), "{stop:?}");
    drop(to);
    let mut all = Vec::new();
    sink.read_to_end(&mut all).await.unwrap();
    assert!(!all.ends_with(b"0\r\n\r\n"), "it is not ended as if it were whole");

    let (mut from, mut source) = caller("content-length: 4").await;
    let (mut to, sink) = service(Length::Exact(4), WIDE).await;
    drop(sink);
    source.write_all(b"body").await.unwrap();
    let stop = stopped(&mut Flow::default(), &mut from, &mut to);
    assert!(matches!(stop, Stop::To(Broken::Io(_))), "{stop:?}");

    let (mut from, mut source) = caller("transfer-encoding: chunked").await;
    let (mut to, _sink) = service(Length::Exact(2), WIDE).await;
    source.write_all(b"4\r\nbody\r\n0\r\n\r\n").await.unwrap();
    let stop = stopped(&mut Flow::default(), &mut from, &mut to);
    assert!(matches!(stop, Stop::To(Broken::Overrun)), "{stop:?}");
}

#[tokio::test]
async fn an_end_that_cannot_be_written_yet_is_written_once() {
    let (mut from, mut source) = caller("transfer-encoding: chunked").await;
    let (mut to, mut sink) = service(Length::Unknown, 128).await;
    source.write_all(format!("78\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(0x78)).as_bytes()).await.unwrap();
    let mut flow = Flow::default();
    assert!(poll(&mut flow, &mut from, &mut to).is_pending());
    assert!(poll(&mut flow, &mut from, &mut to).is_pending() && !flow.is_ended() && !flow.waits_for_its_source());
    let mut all = arrived(&mut sink).await;
    while poll(&mut flow, &mut from, &mut to).is_pending() {
        all.extend(arrived(&mut sink).await);
    }
    drop(to);
    sink.read_to_end(&mut all).await.unwrap();
    assert_eq!(String::from_utf8(all).unwrap(), format!("78\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(0x78)));
}

#[tokio::test]
async fn a_body_of_which_nothing_went_over_ends_again_at_another_service() {
    let (mut from, _source) = caller("content-length: 0").await;
    let mut flow = Flow::default();
    for _ in 0..2 {
        let (mut to, _sink) = service(Length::None, WIDE).await;
        assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))));
        assert!(flow.is_ended());
        flow.restart();
        assert!(!flow.is_ended());
    }
    // Its trailers go with it, though the caller has told them once.
    let mut flow = Flow::default();
    let (mut from, mut source) = caller("transfer-encoding: chunked").await;
    source.write_all(b"0\r\nx-sum: 1\r\n\r\n").await.unwrap();
    for _ in 0..2 {
        let (mut to, mut sink) = service(Length::Unknown, WIDE).await;
        flow.restart();
        assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))));
        assert_eq!(arrived(&mut sink).await, b"0\r\nx-sum: 1\r\n\r\n");
    }
    let (mut from, mut source) = caller("content-length: 4").await;
    let (mut to, _sink) = service(Length::Exact(4), WIDE).await;
    source.write_all(b"body").await.unwrap();
    let mut flow = Flow::default();
    assert!(poll(&mut flow, &mut from, &mut to).is_ready());
    assert!(!flow.can_restart(), "nobody kept what went over");
}

#[tokio::test]
async fn a_body_that_was_kept_goes_elsewhere_whole() {
    for (framing, parts) in [
        ("content-length: 12", ["first,", "second"]),
        ("transfer-encoding: chunked", ["6\r\nfirst,\r\n", "6\r\nsecond\r\n0\r\nx-sum: 1\r\n\r\n"]),
    ] {
        let (mut from, mut source) = caller(framing).await;
        let mut flow = Flow::repeatable();
        source.write_all(parts[0].as_bytes()).await.unwrap();
        // Before its end, at its end, and once more.
        for turn in 0..3 {
            let (mut to, mut sink) = service(Length::Exact(12), WIDE).await;
            if turn == 1 {
                source.write_all(parts[1].as_bytes()).await.unwrap();
            }
            assert_eq!(poll(&mut flow, &mut from, &mut to).is_ready(), turn > 0, "{framing}");
            let expected = if turn == 0 { "first," } else { "first,second" };
            assert_eq!(String::from_utf8(arrived(&mut sink).await).unwrap(), expected, "{framing}");
            assert!(flow.can_restart() && !flow.is_unsent());
            flow.restart();
            assert!(flow.is_unsent());
        }
        assert_eq!(flow.bytes, 12);
        flow.settle();
        assert!(!flow.can_restart());
    }
}

#[tokio::test]
async fn a_long_body_goes_once() {
    let len = KEPT_MAX + 1;
    let (mut from, mut source) = caller(&format!("content-length: {len}")).await;
    let (mut to, _sink) = service(Length::Exact(len as u64), WIDE).await;
    let mut flow = Flow::repeatable();
    source.write_all(&vec![7; KEPT_MAX]).await.unwrap();
    assert!(poll(&mut flow, &mut from, &mut to).is_pending() && flow.can_restart());
    source.write_all(&[7]).await.unwrap();
    assert!(poll(&mut flow, &mut from, &mut to).is_ready() && !flow.can_restart());
}

#[tokio::test]
async fn what_is_kept_waits_for_room() {
    let (mut from, mut source) = caller("content-length: 9000").await;
    let mut flow = Flow::repeatable();
    source.write_all(&[7; 9_000]).await.unwrap();
    let (mut to, _sink) = service(Length::Exact(9_000), WIDE).await;
    assert!(poll(&mut flow, &mut from, &mut to).is_ready());
    flow.restart();
    let (mut to, mut sink) = service(Length::Exact(9_000), 100).await;
    let mut all = Vec::new();
    while poll(&mut flow, &mut from, &mut to).is_pending() {
        assert!(!flow.waits_for_its_source(), "its sink is the reason");
        all.extend(arrived(&mut sink).await);
    }
    drop(to);
    sink.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [7; 9_000]);
}

#[tokio::test]
async fn nothing_ends_at_once() {
    let ((mut from, mut source), (mut to, _sink)) = (stream(WIDE), stream(WIDE));
    source.write_all(b"for what comes later").await.unwrap();
    let mut flow = Flow::of_nothing();
    assert!(matches!(poll(&mut flow, &mut from, &mut to), Poll::Ready(Ok(()))));
    assert_eq!((flow.is_ended(), flow.bytes), (true, 0));
    flow.restart();
    assert!(!flow.is_ended());
}
