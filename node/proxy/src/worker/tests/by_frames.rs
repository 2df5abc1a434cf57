//! Applications that speak HTTP/2 frame by frame: they end their connections while requests are under way, or answer against its rules.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

const CALLS: usize = 120;
/// Requests that the application takes of each connection.
const TAKEN: u32 = 5;
/// Longest that all calls take, where none waits for a timeout.
const SWIFT: Duration = Duration::from_secs(5);

/// The head of a frame and its payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads the next frame: its kind and stream.
async fn next(stream: &mut TcpStream) -> Option<(u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// The start of a connection, up to our SETTINGS. What is sent goes at once: what still waits when a connection is closed over unread bytes
/// never goes.
async fn greet(stream: &mut TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.ok()?;
    stream.write_all(&frame(4, 0, 0, &[])).await.ok()
}

/// Takes so many requests, says that it took no others, and goes without reading what else came.
async fn depart(mut stream: TcpStream, taken_max: u32) -> Option<()> {
    greet(&mut stream).await?;
    let (mut taken, mut last) = (0, 0_u32);
    while taken < taken_max {
        if let (1, id) = next(&mut stream).await? {
            (taken, last) = (taken + 1, id);
            stream.write_all(&frame(1, 5, id, b"\x88")).await.ok()?;
        }
    }
    if taken_max == 0 {
        // So that one is there and is not taken.
        while next(&mut stream).await?.0 != 1 {}
    }
    stream.write_all(&frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())).await.ok()
}

/// An application that takes so many requests of each connection; how many connections it had.
async fn departing(at: SocketAddr, taken_max: u32) -> Arc<AtomicUsize> {
    let (listener, count) = (TcpListener::bind(at).await.unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Relaxed);
            tokio::spawn(depart(stream, taken_max));
        }
    });
    count
}

/// Makes the calls at once; how many were answered with 200.
async fn all_at_once(to: SocketAddr, method: &'static str) -> usize {
    let call = |number: usize| async move {
        let body = if method == "POST" { "content-length: 4\r\n\r\nbody" } else { "\r\n" };
        raw(to, &format!("{method} /{number} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n{body}")).await
    };
    let calls: Vec<_> = (0..CALLS).map(|number| tokio::spawn(call(number))).collect();
    let mut good = 0;
    for call in calls {
        let answer = call.await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            good += 1;
        } else {
            println!("{answer}");
        }
    }
    good
}

#[tokio::test]
async fn an_application_that_ends_each_connection_after_a_few_requests_costs_none() {
    for (net, own, method) in [(122, 2, "GET"), (123, 1, "GET"), (124, 2, "POST")] {
        let mesh = Mesh::new(net);
        let count = departing(mesh.at(own, 8080), TAKEN).await;
        let (near, _far) = if own == 1 {
            (mesh.node(1, &[("orders", Protocol::Http2)], &[("orders", Protocol::Http2, &[1])]).await, None)
        } else {
            let far = mesh.node(2, &[("orders", Protocol::Http2)], &[]).await;
            (mesh.node(1, &[], &[("orders", Protocol::Http2, &[2])]).await, Some(far))
        };
        let began = Instant::now();
        assert_eq!(all_at_once(near.outbound, method).await, CALLS, "{method} at {own}");
        assert!(began.elapsed() < SWIFT, "{:?}", began.elapsed());
        println!("{:?}, {} connections", began.elapsed(), count.load(Relaxed));
        assert_eq!(mesh.sum("weft_retries_total", &[]), 0.0, "nobody failed");
    }
}

#[tokio::test]
async fn an_application_that_takes_no_request_is_not_asked_for_ever() {
    let mesh = Mesh::new(125);
    let count = departing(mesh.at(2, 8080), 0).await;
    let _far = mesh.node(2, &[("orders", Protocol::Http2)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Http2, &[2])]).await;
    let began = Instant::now();
    let answer = get(near.outbound, "orders").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("upstream-reset"), "{answer}");
    assert!(began.elapsed() < SWIFT && count.load(Relaxed) <= 10, "{} connections", count.load(Relaxed));
}

#[tokio::test]
async fn a_body_behind_an_answer_that_has_none_is_the_applications_fault() {
    let mesh = Mesh::new(126);
    let listener = TcpListener::bind(mesh.at(1, 8080)).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        greet(&mut stream).await?;
        while next(&mut stream).await?.0 != 1 {}
        // 204 without END_STREAM, and a body.
        stream.write_all(&[frame(1, 4, 1, b"\x89"), frame(0, 1, 1, b"body")].concat()).await.ok()?;
        while next(&mut stream).await.is_some() {}
        Some(())
    });
    let near = mesh.node(1, &[("orders", Protocol::Http2)], &[("orders", Protocol::Http2, &[1])]).await;
    let answer = get(near.outbound, "orders").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("answer-malformed"), "{answer}");
}
