#![allow(clippy::excessive_nesting, reason = "a table of cases is a loop in a loop")]

mod body;
mod corpus;
mod fitness;
mod fuzz;
mod peer;
mod split;

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use weft_env::Stream;
use weft_policy::fields::Known;

use super::*;
use crate::head::{Form, Length, Malformed};

/// What fits between the two ends of a test: all that one sends, so that neither has to wait for the other.
const WIDE: usize = 1 << 20;

/// Our end, and the bytes of the other.
fn pair() -> (Box<Connection>, DuplexStream) {
    let (near, far) = duplex(WIDE);
    (Connection::new(Transport::Memory(near), HeadLimits::APPLICATION), far)
}

/// Our end, after these bytes came.
async fn received(bytes: &[u8]) -> (Box<Connection>, DuplexStream) {
    let (connection, mut far) = pair();
    far.write_all(bytes).await.unwrap();
    (connection, far)
}

/// Our end, after these bytes came and the end.
async fn ended(bytes: &[u8]) -> Box<Connection> {
    let (connection, mut far) = received(bytes).await;
    far.shutdown().await.unwrap();
    connection
}

async fn next(connection: &mut Connection) -> Result<(Received, RequestHead), HeadFault> {
    let mut head = RequestHead::default();
    let received = poll_fn(|cx| connection.poll_request(cx, &mut head)).await?;
    Ok((received, head))
}

/// The next request.
async fn request(connection: &mut Connection) -> RequestHead {
    let (received, head) = next(connection).await.unwrap();
    assert_eq!(received, Received::Request);
    head
}

/// The next answer.
async fn response(connection: &mut Connection) -> Result<ResponseHead, Broken> {
    let mut head = ResponseHead::default();
    poll_fn(|cx| connection.poll_response(cx, &mut head)).await?;
    Ok(head)
}

/// What follows a head, with its trailers.
async fn body(connection: &mut Connection) -> Result<(Vec<u8>, Vec<(String, String)>), Broken> {
    let mut all = Vec::new();
    while poll_fn(|cx| connection.poll_part(cx)).await? == Part::Data {
        all.extend_from_slice(connection.data());
        connection.consume(connection.data().len());
    }
    Ok((all, listed(&connection.take_trailers().unwrap_or_default())))
}

/// Sends bytes of a body.
async fn send(connection: &mut Connection, mut data: &[u8]) -> Result<(), Broken> {
    while !data.is_empty() {
        let count = poll_fn(|cx| connection.poll_send(cx, data)).await?;
        data = &data[count..];
    }
    poll_fn(|cx| connection.poll_flush(cx)).await
}

async fn end(connection: &mut Connection, trailers: Option<&Fields>) -> Result<(), Broken> {
    poll_fn(|cx| connection.poll_end(cx, trailers)).await
}

/// Answers with this status and body.
async fn answer(connection: &mut Connection, status: u16, body: &[u8]) {
    connection.send_response(&answer_of(status, Length::Exact(body.len() as u64)), Persistence::Keep);
    send(connection, body).await.unwrap();
    end(connection, None).await.unwrap();
}

fn answer_of(status: u16, length: Length) -> ResponseHead {
    ResponseHead { status, length, ..ResponseHead::default() }
}

fn asked_of(method: Method, length: Length) -> RequestHead {
    RequestHead { method, authority: "orders".into(), path: "/".into(), length, ..RequestHead::default() }
}

/// Asks with this method and no body.
async fn ask(connection: &mut Connection, method: Method) {
    connection.send_request(&asked_of(method, Length::None), &Overlay::default(), Upgrade::None);
    end(connection, None).await.unwrap();
}

fn fields(of: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    of.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

fn listed(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// All that the other end got, once our end has shut its sending side.
async fn got(mut connection: Box<Connection>, mut far: DuplexStream) -> String {
    poll_fn(|cx| connection.poll_flush(cx)).await.unwrap();
    poll_fn(|cx| connection.poll_shutdown(cx)).await;
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    String::from_utf8(all).unwrap()
}

/// Two ends of a connection of TCP, ours as a transport.
async fn sockets() -> (Transport, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Transport::Plain(Stream::Tcp(listener.accept().await.unwrap().0)), far)
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let all = "GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc\
               PUT /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nx-a: 1\r\n\r\n\
               GET /d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (mut connection, far) = received(all.as_bytes()).await;
    for (path, expected, last) in [("/a", "", false), ("/b", "abc", false), ("/c", "def", false), ("/d", "", true)] {
        assert_eq!(request(&mut connection).await.path, path);
        let (body, trailers) = body(&mut connection).await.unwrap();
        assert_eq!((body, trailers.len()), (expected.as_bytes().to_vec(), usize::from(path == "/c")), "{path}");
        answer(&mut connection, 200, path.as_bytes()).await;
        let fitness = connection.fitness(Role::Server);
        assert_eq!(fitness, if last { Fitness::Spent } else { Fitness::Reusable }, "{path}");
        connection.renew();
    }
    let whole = |path| format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{path}");
    let last = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n/d";
    assert_eq!(got(connection, far).await, whole("/a") + &whole("/b") + &whole("/c") + last);
}

#[tokio::test]
async fn answers_follow_each_other_on_one_connection() {
    let (mut connection, mut far) = pair();
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x"),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\ny", "y"),
    ] {
        assert!(connection.is_quiet());
        ask(&mut connection, Method::GET).await;
        far.write_all(answer.as_bytes()).await.unwrap();
        response(&mut connection).await.unwrap();
        assert_eq!(body(&mut connection).await.unwrap().0, expected.as_bytes());
        assert_eq!(connection.fitness(Role::Client), Fitness::Reusable, "{answer}");
        connection.renew();
    }
    assert_eq!(got(connection, far).await, "GET / HTTP/1.1\r\nhost: orders\r\n\r\n".repeat(4));
}

#[tokio::test]
async fn a_connection_that_ends_between_requests_says_so() {
    assert!(matches!(next(&mut *ended(b"").await).await, Err(HeadFault::Ended)));
    assert!(matches!(next(&mut *ended(b"\r\n").await).await, Err(HeadFault::Ended)));
    for cut in ["G", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n"] {
        let fault = next(&mut *ended(cut.as_bytes()).await).await;
        assert!(matches!(fault, Err(HeadFault::Broken(_))), "{cut:?}: {fault:?}");
    }
}

/// What becomes of the first request of these bytes, of which so many come at once.
async fn first(text: String, width: usize) -> Result<(), HeadFault> {
    let (near, mut far) = duplex(width);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    let writing = tokio::spawn(async move { far.write_all(text.as_bytes()).await });
    let first = next(&mut connection).await;
    drop(connection);
    let _gone = writing.await;
    first.map(drop)
}

#[tokio::test]
async fn as_many_empty_lines_are_passed_over_however_they_come() {
    for (lines, width) in [1, 2, 3].into_iter().flat_map(|lines| [1, 2, 3, WIDE].map(|width| (lines, width))) {
        let first = first("\r\n".repeat(lines) + "GET / HTTP/1.1\r\nhost: a\r\n\r\n", width).await;
        assert_eq!(first.is_ok(), lines < 3, "{lines} lines, {width} bytes at once: {first:?}");
    }
}

#[tokio::test]
async fn the_preface_of_http2_is_recognised_and_left() {
    let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04";
    let (mut connection, mut far) = received(&bytes[..20]).await;
    let waiting =
        poll_fn(|cx| Poll::Ready(connection.poll_request(cx, &mut RequestHead::default()).is_pending())).await;
    assert!(waiting);
    poll_fn(|cx| connection.poll_begun(cx)).await.unwrap();
    far.write_all(&bytes[20..]).await.unwrap();
    assert_eq!(next(&mut connection).await.unwrap().0, Received::Http2);
    assert_eq!(connection.into_transport().1, bytes);
    let (mut connection, _far) = received(b"PRINT / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(request(&mut connection).await.method.as_str(), "PRINT");
}

#[tokio::test]
async fn a_caller_of_http_1_0_gets_what_it_understands() {
    for (fields, connection_field, fitness) in [
        ("", "connection: close\r\n", Fitness::Spent),
        ("connection: keep-alive\r\n", "connection: keep-alive\r\n", Fitness::Reusable),
        ("connection: keep-alive, close\r\n", "connection: close\r\n", Fitness::Spent),
    ] {
        let (mut connection, far) = received(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(request(&mut connection).await.version, HttpVersion::Http10);
        connection.send_informational(&answer_of(103, Length::None));
        answer(&mut connection, 200, b"hi").await;
        assert_eq!(connection.fitness(Role::Server), fitness, "{fields}");
        let expected = format!("HTTP/1.1 200 OK\r\n{connection_field}content-length: 2\r\n\r\nhi");
        assert_eq!(got(connection, far).await, expected);
    }
    // It knows no chunks: the end of the connection ends the body.
    let (mut connection, far) = received(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    request(&mut connection).await;
    connection.send_response(&answer_of(200, Length::Unknown), Persistence::Keep);
    send(&mut connection, b"hi").await.unwrap();
    end(&mut connection, Some(&fields(&[("x-a", "1")]))).await.unwrap();
    assert_eq!(connection.fitness(Role::Server), Fitness::Spent);
    assert_eq!(got(connection, far).await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi");
}

#[tokio::test]
async fn answers_to_head_and_those_that_have_no_body_end_with_their_head() {
    for (method, head, stated) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Some(5)),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        (Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n", None),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", Some(5)),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", None),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None),
    ] {
        let (mut connection, mut far) = pair();
        ask(&mut connection, method.clone()).await;
        far.write_all(head.as_bytes()).await.unwrap();
        let answer = response(&mut connection).await.unwrap();
        assert_eq!((answer.length, answer.stated), (Length::None, stated), "{method} {head}");
        assert!(connection.is_received() && body(&mut connection).await.unwrap().0.is_empty());
        assert_eq!(connection.fitness(Role::Client), Fitness::Reusable, "{method} {head}");
    }
}

#[tokio::test]
async fn answers_without_a_body_are_written_without_one() {
    let stated = |status, count| ResponseHead { stated: count, ..answer_of(status, Length::None) };
    for (method, head, written) in [
        ("HEAD", stated(200, Some(5)), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("HEAD", stated(200, None), "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", stated(200, None), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("GET", stated(304, None), "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("GET", stated(304, Some(5)), "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        ("GET", stated(204, Some(5)), "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", stated(299, None), "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
    ] {
        let (mut connection, far) = received(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        request(&mut connection).await;
        connection.send_response(&head, Persistence::Keep);
        end(&mut connection, None).await.unwrap();
        assert_eq!(connection.fitness(Role::Server), Fitness::Reusable, "{written}");
        assert_eq!(got(connection, far).await, written);
    }
}

#[tokio::test]
async fn interim_answers_come_before_the_answer() {
    let (mut ours, mut far) = received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n").await;
    request(&mut ours).await;
    ours.send_informational(&answer_of(100, Length::None));
    let hints = ResponseHead { fields: fields(&[("link", "</a>")]), ..answer_of(103, Length::None) };
    ours.send_informational(&hints);
    far.write_all(b"hi").await.unwrap();
    assert_eq!(body(&mut ours).await.unwrap().0, b"hi");
    answer(&mut ours, 200, b"yes").await;
    assert_eq!(ours.fitness(Role::Server), Fitness::Reusable);
    let written = got(ours, far).await;
    assert!(
        written.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        "{written}"
    );
    let mut theirs = ended(written.as_bytes()).await;
    for status in [100, 103, 200] {
        assert_eq!(response(&mut theirs).await.unwrap().status, status);
        assert!(!theirs.is_received(), "{status}");
    }
    assert_eq!(body(&mut theirs).await.unwrap().0, b"yes");
}

#[tokio::test]
async fn a_tunnel_begins_with_what_came_behind_its_head() {
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\nping";
    let (mut server, mut far) = received(ask).await;
    let head = request(&mut server).await;
    assert!(server.asks_for_upgrade() && head.fields.first(Known::Upgrade) == Some(b"echo"));
    server.send_switch(&ResponseHead { fields: fields(&[("upgrade", "echo")]), ..answer_of(101, Length::Unknown) });
    server.becomes_tunnel();
    far.shutdown().await.unwrap();
    assert_eq!(body(&mut server).await.unwrap().0, b"ping");
    send(&mut server, b"pong").await.unwrap();
    end(&mut server, None).await.unwrap();
    assert_eq!(server.fitness(Role::Server), Fitness::Spent);
    let written = got(server, far).await;
    assert_eq!(written, "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\npong");

    let mut client = ended(written.as_bytes()).await;
    client.send_request(&asked_of(Method::GET, Length::None), &Overlay::default(), Upgrade::Asked);
    assert_eq!(response(&mut client).await.unwrap().status, 101);
    client.becomes_tunnel();
    assert_eq!(body(&mut client).await.unwrap().0, b"pong");
    assert_eq!(client.fitness(Role::Client), Fitness::Spent);
}

#[tokio::test]
async fn connect_is_answered_with_nothing_that_frames() {
    let (mut connection, far) = received(b"CONNECT db:5432 HTTP/1.1\r\nhost: db\r\n\r\nselect").await;
    let head = request(&mut connection).await;
    assert_eq!((head.form, &*head.authority, &*head.path), (Form::Authority, "db:5432", ""));
    connection.send_switch(&answer_of(200, Length::Unknown));
    connection.becomes_tunnel();
    assert_eq!(poll_fn(|cx| connection.poll_part(cx)).await.unwrap(), Part::Data);
    assert_eq!(connection.data(), b"select");
    assert_eq!(got(connection, far).await, "HTTP/1.1 200 OK\r\n\r\n");
}

#[tokio::test]
async fn the_other_end_is_missed_as_soon_as_it_goes() {
    let hangup = |connection: &mut Connection| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        connection.poll_hangup(&mut cx)
    };
    let (mut connection, mut far) = received(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(hangup(&mut connection).is_pending(), "a request is awaited, and its end is told there");
    request(&mut connection).await;
    assert!(hangup(&mut connection).is_pending());
    // What comes meanwhile is the next request.
    far.write_all(b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(hangup(&mut connection).is_pending());
    far.shutdown().await.unwrap();
    assert_eq!(hangup(&mut connection), Poll::Ready(Hangup::Ended));
    answer(&mut connection, 200, b"").await;
    connection.renew();
    assert_eq!(request(&mut connection).await.path, "/b");
}

#[tokio::test]
async fn a_caller_that_sends_on_and_on_is_not_read_without_end() {
    let (near, mut far) = duplex(1024);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    far.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    request(&mut connection).await;
    let mut written = 0;
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while let Ok(count) = tokio::time::timeout(std::time::Duration::ZERO, far.write(&[b'x'; 1024])).await {
        written += count.unwrap();
        assert!(connection.poll_hangup(&mut cx).is_pending());
        assert!(written < 100_000, "it is read without end");
    }
    assert!(written > 16_000, "{written}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_reset() {
    let (transport, mut far) = sockets().await;
    let mut connection = Connection::new(transport, HeadLimits::APPLICATION);
    far.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    request(&mut connection).await;
    connection.send_response(&answer_of(200, Length::Unknown), Persistence::Keep);
    send(&mut connection, b"half").await.unwrap();
    let mut head = vec![0; 64];
    let count = far.read(&mut head).await.unwrap();
    assert!(head[..count].starts_with(b"HTTP/1.1 200 OK"));
    connection.cut();
    assert_eq!(connection.fitness(Role::Server), Fitness::Cut);
    assert!(end(&mut connection, None).await.is_err(), "its end is not written");
    drop(connection);
    let mut rest = Vec::new();
    let error = far.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_of_the_other_end_is_no_orderly_one() {
    let (transport, mut far) = sockets().await;
    let mut connection = Connection::new(transport, HeadLimits::APPLICATION);
    far.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    request(&mut connection).await;
    Stream::Tcp(far).reset_on_close();
    assert_eq!(poll_fn(|cx| connection.poll_hangup(cx)).await, Hangup::Failed);
    let (transport, far) = sockets().await;
    let mut connection = Connection::tunnel(transport);
    Stream::Tcp(far).reset_on_close();
    assert!(matches!(body(&mut connection).await, Err(Broken::Io(_))));
}

#[tokio::test]
async fn an_idle_connection_is_quiet_until_something_comes() {
    let (near, far) = duplex(WIDE);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    assert!(connection.is_quiet());
    drop(far);
    assert!(!connection.is_quiet(), "it ended");
    let (mut connection, _far) = received(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await;
    assert!(!connection.is_quiet(), "it said something that nobody asked for");
}

#[tokio::test]
async fn what_still_comes_is_thrown_away_until_the_end() {
    let (mut connection, mut far) = received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n").await;
    request(&mut connection).await;
    answer(&mut connection, 413, b"").await;
    assert_eq!(connection.fitness(Role::Server), Fitness::Lingers);
    far.write_all(&vec![0; 300_000]).await.unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(connection.poll_discard(&mut cx).is_pending());
    far.shutdown().await.unwrap();
    assert!(connection.poll_discard(&mut cx).is_ready());
}

#[tokio::test]
async fn a_head_is_as_large_as_its_limits_and_no_larger() {
    let head = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(bytes - rest))
    };
    let most = HeadLimits::APPLICATION.bytes;
    let many = |fields: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: a\r\n".repeat(fields - 1));
    for (text, is_taken) in [
        (head(most), true),
        (head(most + 1), false),
        (head(most + 20_000), false),
        (many(HeadLimits::APPLICATION.fields), true),
        (many(HeadLimits::APPLICATION.fields + 1), false),
    ] {
        for width in [7, WIDE] {
            let len = text.len();
            let first = first(text.clone(), width).await;
            let is_too_large = matches!(first, Err(HeadFault::Malformed(Malformed { is_too_large: true, .. })));
            assert_eq!((first.is_ok(), is_too_large), (is_taken, !is_taken), "{len} bytes, {width} at once: {first:?}");
        }
    }
}
