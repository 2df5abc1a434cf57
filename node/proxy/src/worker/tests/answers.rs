//! What becomes of answers and calls that do not go as they should: malformed, broken off, slow, given up.

use std::collections::BTreeSet;

use tokio::time::timeout;

use super::*;

/// What takes longer hangs.
const HANGS: Duration = Duration::from_secs(10);
/// The timeout of what is slow here.
const SHORT: Duration = Duration::from_millis(300);

/// What the application does once it has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Closes,
    Waits,
}

/// Reads a head.
async fn head_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An application that gives these bytes to whatever it is asked.
async fn says(at: SocketAddr, answer: impl Into<Vec<u8>>, then: Then) {
    let (listener, answer) = (TcpListener::bind(at).await.unwrap(), answer.into());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(say(stream, answer.clone(), then));
        }
    });
}

async fn say(mut stream: TcpStream, answer: Vec<u8>, then: Then) {
    while head_of(&mut stream).await.is_some() {
        if stream.write_all(&answer).await.is_err() || then == Then::Closes {
            return;
        }
    }
}

/// A node with `orders`, and one that calls it.
async fn two(mesh: &Mesh) -> [Node; 2] {
    [mesh.node(1, &[], &[("orders", HTTP, &[2])]).await, mesh.node(2, &[("orders", HTTP)], &[]).await]
}

async fn http2(to: SocketAddr) -> hyper::client::conn::http2::SendRequest<http_body_util::Empty<Bytes>> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn asked() -> Request<http_body_util::Empty<Bytes>> {
    Request::get("http://orders/").body(http_body_util::Empty::new()).unwrap()
}

#[tokio::test]
async fn an_answer_with_two_meanings_is_refused() {
    for (net, answer) in (100..).zip([
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ]) {
        let mesh = Mesh::new(net);
        says(mesh.at(2, 8080), answer, Then::Waits).await;
        let [near, _far] = two(&mesh).await;
        let refused = timeout(HANGS, get(near.outbound, "orders")).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 502"), "{answer:?}: {refused}");
        assert!(refused.contains("details=\"answer-malformed\""), "{answer:?}: {refused}");
        let mut sender = http2(near.outbound).await;
        assert_eq!(sender.send_request(asked()).await.unwrap().status(), 502, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_ended_as_if_it_were_whole() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (net, (answer, code)) in (106..).zip([
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned(), "upstream-reset"),
        (CHUNKED.to_owned(), "upstream-reset"),
        (format!("{CHUNKED}no size\r\n"), "answer-malformed"),
    ]) {
        let mesh = Mesh::new(net);
        says(mesh.at(2, 8080), answer.clone(), Then::Closes).await;
        let [near, _far] = two(&mesh).await;
        // Nothing of it went on yet, so that its caller is told.
        let refused = timeout(HANGS, get(near.outbound, "orders")).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 502") && refused.contains(&format!("details=\"{code}\"")), "{refused}");
        let mut sender = http2(near.outbound).await;
        assert_eq!(sender.send_request(asked()).await.unwrap().status(), 502, "{answer:?}");
        let code = format!("code=\"{code}\"");
        mesh.counts("weft_request_errors_total", &["direction=\"inbound\"", &code], 2.0).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_under_way_is_cut_behind_its_last_words() {
    let mesh = Mesh::new(120);
    let listener = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    let (seen, is_seen) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head_of(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf").await.unwrap();
        is_seen.await.unwrap();
        stream.write_all(b" more").await.unwrap();
    });
    let [near, _far] = two(&mesh).await;
    let mut caller = TcpStream::connect(near.outbound).await.unwrap();
    caller.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    assert!(timeout(HANGS, head_of(&mut caller)).await.unwrap().unwrap().starts_with("HTTP/1.1 200"));
    let mut half = [0; 4];
    caller.read_exact(&mut half).await.unwrap();
    seen.send(()).unwrap();
    let mut rest = Vec::new();
    let ended = timeout(HANGS, caller.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(String::from_utf8(rest).unwrap(), " more");
    assert!(is_reset(&ended.map(drop)));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let mesh = Mesh::new(110);
    says(mesh.at(2, 8080), "HTTP/1.1 200 OK\r\n\r\nall of it", Then::Closes).await;
    let [near, _far] = two(&mesh).await;
    let answer = get(near.outbound, "orders").await;
    assert!(answer.contains("transfer-encoding: chunked") && answer.ends_with("0\r\n\r\n"), "{answer}");
    let old = raw(near.outbound, "GET / HTTP/1.0\r\nhost: orders\r\n\r\n").await;
    assert!(old.contains("connection: close") && old.ends_with("\r\n\r\nall of it"), "{old}");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_connections() {
    let mesh = Mesh::new(111);
    says(mesh.at(2, 8080), "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"a\"\r\n\r\n", Then::Waits).await;
    let [near, _far] = two(&mesh).await;
    let ask = "GET / HTTP/1.1\r\nhost: orders\r\n\r\n".repeat(2);
    let answer = raw(near.outbound, &(ask + "GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(answer.matches("HTTP/1.1 304 Not Modified\r\n").count(), 3, "{answer}");
    assert_eq!(answer.matches("content-length: 5\r\n").count(), 3, "{answer}");
    let connects = ["direction=\"inbound\""];
    assert_eq!(mesh.sum("weft_upstream_connects_total", &connects), 1.0, "one connection to the application");
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let mesh = Mesh::new(112);
    app(mesh.at(2, 8080), "orders").await;
    let [near, _far] = two(&mesh).await;
    let post = |text: &str, more: &str| {
        let len = text.len();
        format!("POST / HTTP/1.1\r\nhost: orders\r\n{more}content-length: {len}\r\n\r\n{text}")
    };
    let answer =
        raw(near.outbound, &(post("first", "") + &post("second", "") + &post("third", "connection: close\r\n"))).await;
    let places = ["first", "second", "third"].map(|text| answer.find(text).unwrap());
    assert!(places.is_sorted() && answer.matches("HTTP/1.1 200").count() == 3, "{answer}");
}

/// An application that gives leave to send a body, and sends it back.
async fn lenient(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = head_of(&mut stream).await.unwrap();
    assert!(head.contains("expect: 100-continue\r\n"), "{head}");
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    let mut body = [0; 4];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    stream.write_all(&body).await.unwrap();
}

#[tokio::test]
async fn a_caller_waits_for_leave_to_send_its_body() {
    let mesh = Mesh::new(113);
    let application = tokio::spawn(lenient(TcpListener::bind(mesh.at(2, 8080)).await.unwrap()));
    let [near, _far] = two(&mesh).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    let ask =
        "POST / HTTP/1.1\r\nhost: orders\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let leave = timeout(HANGS, head_of(&mut stream)).await.unwrap().unwrap();
    assert_eq!(leave, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    timeout(HANGS, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("body"), "{answer}");
    application.await.unwrap();
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_reaches_the_caller() {
    let mesh = Mesh::new(114);
    let answer = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 8\r\n\r\ntoo much";
    says(mesh.at(2, 8080), answer, Then::Closes).await;
    let [near, _far] = two(&mesh).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    let head = timeout(HANGS, head_of(&mut stream)).await.unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    // The rest is thrown away, and the caller sees the whole answer.
    stream.write_all(&[b'x'; 100_000]).await.unwrap();
    let mut body = [0; 8];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"too much");
}

#[tokio::test]
async fn a_caller_that_begins_and_does_not_go_on_is_told() {
    let mut mesh = Mesh::new(115);
    mesh.settings.head_timeout = SHORT;
    mesh.settings.upload_timeout = SHORT;
    says(mesh.at(2, 8080), "", Then::Waits).await;
    let [near, _far] = two(&mesh).await;
    let half_body = "POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: 10\r\n\r\nhalf";
    for half in ["G", "GET / HTTP/1.1\r\nhost: orders\r\n", half_body] {
        let answer = timeout(HANGS, raw(near.outbound, half)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{half:?}: {answer}");
        assert!(answer.contains("details=\"caller-too-slow\""), "{half:?}: {answer}");
    }
    assert_eq!(mesh.errors("outbound", "caller-too-slow").await, 3.0);
    assert_eq!(timeout(HANGS, raw(near.outbound, "")).await.unwrap(), "", "who says nothing is told nothing");
}

#[tokio::test]
async fn a_request_that_breaks_the_rules_ends_its_connection() {
    let mesh = Mesh::new(116);
    app(mesh.at(2, 8080), "orders").await;
    let [near, _far] = two(&mesh).await;
    let large = format!("GET / HTTP/1.1\r\nhost: orders\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let chunk = "POST / HTTP/1.1\r\nhost: orders\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n";
    for (text, status, code) in [
        ("GET / HTTP/1.1\r\nhost: orders\r\nx : a\r\n\r\n", 400, "request-malformed"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "request-malformed",
        ),
        ("get / HTTP/1.1\r\nhost: orders\r\n\r\n", 400, "request-malformed"),
        (chunk, 400, "request-malformed"),
        (&large, 431, "head-too-large"),
    ] {
        // What stands behind it is no request any more.
        let both = format!("{text}GET /smuggled HTTP/1.1\r\nhost: orders\r\n\r\n");
        let (answer, _ended) = timeout(HANGS, raw_until(near.outbound, &both)).await.unwrap();
        let short = &text[..text.len().min(80)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{short:?}: {answer}");
        assert!(answer.contains(code) && answer.contains("connection: close"), "{short:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{short:?}: {answer}");
    }
}

#[tokio::test]
async fn the_preface_of_http2_behind_a_request_is_refused() {
    let mesh = Mesh::new(121);
    app(mesh.at(2, 8080), "orders").await;
    let [near, _far] = two(&mesh).await;
    let both = "GET / HTTP/1.1\r\nhost: orders\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (answers, ended) = timeout(HANGS, raw_until(near.outbound, both)).await.unwrap();
    let second = answers.rfind("HTTP/1.1 ").unwrap();
    assert!(answers.starts_with("HTTP/1.1 200") && answers[second..].starts_with("HTTP/1.1 400"), "{answers}");
    assert!(answers.contains("request-malformed") && ended.is_ok(), "{answers} {ended:?}");
}

#[tokio::test]
async fn a_call_whose_caller_went_away_counts_as_cancelled() {
    let mut mesh = Mesh::new(117);
    let log = std::env::temp_dir().join(format!("weft-cancelled-{}.log", std::process::id()));
    mesh.access_log = Some(log.clone());
    let listener = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    mesh.access_log = None;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let mut caller = http2(near.outbound).await;
    let call = tokio::spawn(async move { drop(caller.send_request(asked()).await) });
    let (mut stream, _) = timeout(HANGS, listener.accept()).await.unwrap().unwrap();
    head_of(&mut stream).await.unwrap();
    call.abort();
    // The application sees that nobody waits any more.
    assert!(!matches!(timeout(HANGS, stream.read(&mut [0])).await.unwrap(), Ok(1..)));
    for way in ["direction=\"outbound\"", "direction=\"inbound\""] {
        mesh.counts("weft_requests_total", &[way, "code_class=\"4xx\""], 1.0).await;
    }
    assert_eq!(mesh.sum("weft_request_errors_total", &[]), 0.0, "it is nobody's failure");
    let written = async {
        while std::fs::read_to_string(&log).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANGS, written).await.unwrap();
    let line = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!((&line["status"], &line["cut"]), (&499.into(), &true.into()), "{line}");
}

#[tokio::test]
async fn a_caller_that_has_ended_its_half_is_answered_all_the_same() {
    let mesh = Mesh::new(118);
    app(mesh.at(2, 8080), "orders").await;
    let [near, _far] = two(&mesh).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(HANGS, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("orders"), "{answer}");
}

/// An application that closes each connection after its first answer without saying so before, and tells what it was asked.
async fn forgetful(at: SocketAddr) -> tokio::sync::mpsc::Receiver<String> {
    let listener = TcpListener::bind(at).await.unwrap();
    let (tell, asked) = tokio::sync::mpsc::channel(100);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(head) = head_of(&mut stream).await else { continue };
            tell.send(head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        }
    });
    asked
}

#[tokio::test]
async fn a_pooled_connection_that_died_costs_no_request_that_may_be_sent_again() {
    let mesh = Mesh::new(119);
    let mut asked = forgetful(mesh.at(2, 8080)).await;
    let [near, _far] = two(&mesh).await;
    for number in 0..20 {
        assert!(get(near.outbound, "orders").await.ends_with("hi"), "{number}");
    }
    let mut heads = BTreeSet::new();
    while let Ok(head) = asked.try_recv() {
        heads.insert(head.lines().next().unwrap().to_owned());
    }
    assert_eq!(heads.len(), 1);
}
