//! The total timeout: from the head of a request to the end of its answer.

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

/// The timeout of these tests.
const TOTAL: Duration = Duration::from_millis(300);
/// What takes longer hangs.
const HANGS: Duration = Duration::from_secs(10);

/// An application that reads a request's first bytes, answers with this and no more, and tells when its connection has ended.
async fn halting_app(at: SocketAddr, answer: &'static str) -> oneshot::Receiver<()> {
    let listener = TcpListener::bind(at).await.unwrap();
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 1024];
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
        stream.write_all(answer.as_bytes()).await.unwrap();
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        ended.send(()).unwrap();
    });
    end
}

/// Two nodes, of which the calling one has the timeout.
async fn two_nodes(mesh: &mut Mesh, protocol: Protocol) -> (Node, Node) {
    let far = mesh.node(2, &[("orders", protocol)], &[]).await;
    mesh.settings.total_timeout = Some(TOTAL);
    let near = mesh.node(1, &[], &[("orders", protocol, &[2])]).await;
    (near, far)
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_cut_on_the_whole_way() {
    let mut mesh = Mesh::new(16);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let app_end = halting_app(mesh.at(2, 8080), head).await;
    let (near, _far) = two_nodes(&mut mesh, HTTP).await;
    let began = Instant::now();
    let ask = "GET / HTTP/1.1\r\nhost: orders\r\n\r\n";
    let (answer, ended) = timeout(HANGS, raw_until(near.outbound, ask)).await.unwrap();
    assert!(is_reset(&ended), "{ended:?}");
    assert!(began.elapsed() >= TOTAL, "{:?}", began.elapsed());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("half"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "the caller can tell that the answer is not whole: {answer}");
    timeout(HANGS, app_end).await.unwrap().unwrap();
    assert_eq!(mesh.errors("outbound", "request-timeout").await, 1.0);
    assert_eq!(mesh.sum("weft_request_errors_total", &["direction=\"outbound\"", "code=\"upstream-reset\""]), 0.0);
}

/// An application that answers without end, and tells when it can write no more.
async fn endless_app(at: SocketAddr) -> oneshot::Receiver<()> {
    let listener = TcpListener::bind(at).await.unwrap();
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
        ended.send(()).unwrap();
    });
    end
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_cut_on_the_whole_way() {
    let mut mesh = Mesh::new(63);
    let app_end = endless_app(mesh.at(2, 8080)).await;
    let (near, _far) = two_nodes(&mut mesh, HTTP).await;
    let mut caller = TcpStream::connect(near.outbound).await.unwrap();
    caller.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    // It reads nothing, and all buffers between fill up.
    timeout(HANGS, app_end).await.unwrap().unwrap();
    assert_eq!(mesh.errors("outbound", "request-timeout").await, 1.0);
    drop(caller);
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_refused() {
    let mut mesh = Mesh::new(17);
    let app_end = halting_app(mesh.at(2, 8080), "").await;
    let (near, _far) = two_nodes(&mut mesh, HTTP).await;
    let unfinished = "POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: 100\r\n\r\nhalf";
    let answer = timeout(HANGS, raw(near.outbound, unfinished)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("details=\"request-timeout\""), "{answer}");
    timeout(HANGS, app_end).await.unwrap().unwrap();
    assert_eq!(mesh.errors("outbound", "request-timeout").await, 1.0);
}

#[tokio::test]
async fn a_stream_that_takes_too_long_is_reset_and_its_connection_lives() {
    let mut mesh = Mesh::new(18);
    app(mesh.at(2, 8080), "quick").await;
    let (near, _far) = two_nodes(&mut mesh, Protocol::Http2).await;
    let stream = TcpStream::connect(near.outbound).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let part = futures_util::stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"half"))) });
    let endless = futures_util::StreamExt::chain(part, futures_util::stream::pending());
    let request = Request::post("http://orders/").body(BodyExt::boxed_unsync(StreamBody::new(endless))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    let cut = timeout(HANGS, body.frame()).await.unwrap().unwrap();
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(mesh.errors("outbound", "request-timeout").await, 1.0);
    let empty = BodyExt::boxed_unsync(http_body_util::Empty::new());
    let answer = sender.send_request(Request::get("http://orders/").body(empty).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "quick");
}

#[tokio::test]
async fn an_upgraded_connection_outlives_the_total_timeout() {
    let mut mesh = Mesh::new(19);
    app(mesh.at(2, 8080), "echo").await;
    let (near, _far) = two_nodes(&mut mesh, HTTP).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    tokio::time::sleep(TOTAL * 2).await;
    stream.write_all(b"ping").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ping"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(mesh.sum("weft_request_errors_total", &[]), 0.0);
}
