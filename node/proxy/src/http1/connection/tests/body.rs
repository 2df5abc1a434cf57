//! Bodies in every framing, both ways, whole and broken off.

use super::*;

/// A client of ours that has asked, and the other end, which has answered this and no more.
async fn asking(answer: &[u8]) -> (Box<Connection>, DuplexStream) {
    let (mut connection, mut far) = received(answer).await;
    ask(&mut connection, Method::GET).await;
    far.shutdown().await.unwrap();
    (connection, far)
}

/// The same, which has the head of its answer.
async fn answered(answer: &[u8]) -> (Box<Connection>, DuplexStream) {
    let (mut connection, far) = asking(answer).await;
    response(&mut connection).await.unwrap();
    (connection, far)
}

/// The same, where these bytes come so many at once.
async fn answered_slowly(answer: Vec<u8>, width: usize) -> Box<Connection> {
    let (near, far) = duplex(width);
    let (mut from, mut to) = tokio::io::split(far);
    tokio::spawn(async move {
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await.unwrap();
    });
    tokio::spawn(async move {
        // Our end may have gone, having seen enough.
        let _gone = to.write_all(&answer).await;
        let _gone = to.shutdown().await;
    });
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    ask(&mut connection, Method::GET).await;
    response(&mut connection).await.unwrap();
    connection
}

const BY_LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
const BY_CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n012\r\n7;x=\"y\"\r\n3456789\r\n0\r\n\
                         x-a: 1\r\nhost: b\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n0123456789";

#[tokio::test]
async fn a_body_is_the_same_in_every_framing_and_however_it_comes() {
    for (text, trailers) in [(BY_LENGTH, 0), (BY_CHUNKS, 1), (UNTIL_CLOSE, 0)] {
        for width in [1, 2, 3, 7, WIDE] {
            let mut connection = answered_slowly(text.as_bytes().to_vec(), width).await;
            let (all, named) = body(&mut connection).await.unwrap();
            assert_eq!((&*all, named.len()), (&b"0123456789"[..], trailers), "{text:?}, {width}");
            assert!(connection.is_received());
        }
    }
}

#[tokio::test]
async fn a_message_that_ends_early_is_cut_and_never_whole() {
    for text in [BY_LENGTH, BY_CHUNKS] {
        let head = text.find("\r\n\r\n").unwrap() + 4;
        for len in head..text.len() {
            let broken = body(&mut answered(&text.as_bytes()[..len]).await.0).await;
            assert!(matches!(broken, Err(Broken::Truncated)), "{:?}: {broken:?}", &text[..len]);
        }
        for len in 0..head {
            let broken = response(&mut asking(&text.as_bytes()[..len]).await.0).await;
            assert!(matches!(broken, Err(Broken::Truncated)), "{:?}: {broken:?}", &text[..len]);
        }
    }
}

#[tokio::test]
async fn a_message_that_broke_off_stays_broken() {
    let (mut connection, _far) = answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc").await;
    assert!(matches!(body(&mut connection).await, Err(Broken::Malformed(_))));
    assert!(matches!(body(&mut connection).await, Err(Broken::Malformed(_))));
    assert!(!connection.is_received());
}

#[tokio::test]
async fn a_reader_may_take_as_little_as_it_likes() {
    for text in [BY_LENGTH, BY_CHUNKS, UNTIL_CLOSE] {
        let (mut connection, _far) = answered(text.as_bytes()).await;
        let mut all = Vec::new();
        while poll_fn(|cx| connection.poll_part(cx)).await.unwrap() == Part::Data {
            // Asked twice, it says the same.
            assert_eq!(poll_fn(|cx| connection.poll_part(cx)).await.unwrap(), Part::Data);
            all.push(connection.data()[0]);
            connection.consume(1);
        }
        assert_eq!(all, b"0123456789", "{text:?}");
    }
}

#[tokio::test]
async fn bodies_that_break_the_rules_are_refused() {
    let chunked = |text: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{text}");
    for bad in [
        chunked("0\r\nx : 1\r\n\r\n"),
        chunked("0\r\n x: 1\r\n\r\n"),
        chunked("0\r\nx: 1\n\r\n"),
        chunked("0\r\nx: \0\r\n\r\n"),
        chunked("0\r\nx\r\n\r\n"),
        chunked("0\n\n"),
        chunked("1\r\nab\r\n"),
        chunked("ffffffffffffffff\r\n"),
        chunked(&format!("0\r\n{}\r\n", "x: 1\r\n".repeat(200))),
        chunked(&format!("0\r\nx: {}\r\n\r\n", "x".repeat(60_000))),
    ] {
        for width in [1, 1000] {
            let broken = body(&mut *answered_slowly(bad.clone().into_bytes(), width).await).await;
            assert!(matches!(broken, Err(Broken::Malformed(_))), "{:?}: {broken:?}", &bad[..bad.len().min(100)]);
        }
    }
}

/// What our end writes of a request, or of an answer to a request of this version.
async fn written(pieces: &[&[u8]], length: Length, trailers: Option<&Fields>) -> String {
    let (mut connection, far) = pair();
    connection.send_request(&asked_of(Method::PUT, length), &Overlay::default(), Upgrade::None);
    for piece in pieces {
        send(&mut connection, piece).await.unwrap();
    }
    end(&mut connection, trailers).await.unwrap();
    // Ended once is ended.
    end(&mut connection, trailers).await.unwrap();
    got(connection, far).await.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_body_is_written_in_the_framing_of_its_head() {
    let trailers = fields(&[("grpc-status", "0"), ("x-a", "b")]);
    assert_eq!(written(&[b"ab", b"", b"c"], Length::Exact(3), None).await, "abc");
    assert_eq!(written(&[b"ab", b"c"], Length::Unknown, None).await, "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
    let with = written(&[b"ab"], Length::Unknown, Some(&trailers)).await;
    assert_eq!(with, "2\r\nab\r\n0\r\ngrpc-status: 0\r\nx-a: b\r\n\r\n");
    // A body by its length has no place for them.
    assert_eq!(written(&[b"abc"], Length::Exact(3), Some(&trailers)).await, "abc");
    assert_eq!(written(&[], Length::Unknown, None).await, "0\r\n\r\n");
    assert_eq!(written(&[], Length::None, None).await, "");
}

#[tokio::test]
async fn an_empty_piece_ends_no_body() {
    let (mut connection, far) = pair();
    connection.send_request(&asked_of(Method::PUT, Length::Unknown), &Overlay::default(), Upgrade::None);
    assert_eq!(poll_fn(|cx| connection.poll_send(cx, b"")).await.unwrap(), 0);
    send(&mut connection, b"abc").await.unwrap();
    end(&mut connection, None).await.unwrap();
    assert_eq!(got(connection, far).await.split_once("\r\n\r\n").unwrap().1, "3\r\nabc\r\n0\r\n\r\n");
}

#[tokio::test]
async fn more_or_less_than_the_length_is_an_overrun() {
    let begun = |length| {
        let (mut connection, far) = pair();
        connection.send_request(&asked_of(Method::PUT, length), &Overlay::default(), Upgrade::None);
        (connection, far)
    };
    let is_overrun = |result: Result<(), Broken>| matches!(result, Err(Broken::Overrun));
    let (mut more, _far) = begun(Length::Exact(3));
    assert!(is_overrun(send(&mut more, b"abcd").await));
    assert!(is_overrun(end(&mut more, None).await), "nothing mends it");
    let (mut less, _far) = begun(Length::Exact(3));
    send(&mut less, b"ab").await.unwrap();
    assert!(is_overrun(end(&mut less, None).await));
    assert!(is_overrun(send(&mut less, b"c").await));
    let (mut none, _far) = begun(Length::None);
    assert!(is_overrun(send(&mut none, b"a").await));
    let (mut behind, _far) = begun(Length::Unknown);
    end(&mut behind, None).await.unwrap();
    assert!(is_overrun(send(&mut behind, b"a").await));
    let (mut before, _far) = pair();
    assert!(is_overrun(send(&mut before, b"a").await));
    assert!(is_overrun(end(&mut before, None).await));
}

/// Sends a body in small pieces and a large one.
async fn send_whole(io: DuplexStream, length: Length, body: Vec<u8>) {
    let mut client = Connection::new(Transport::Memory(io), HeadLimits::APPLICATION);
    client.send_request(&asked_of(Method::PUT, length), &Overlay::default(), Upgrade::None);
    let (small, large) = body.split_at(1_000);
    for piece in small.chunks(13).chain([large]) {
        send(&mut client, piece).await.unwrap();
    }
    end(&mut client, None).await.unwrap();
    assert_eq!(response(&mut client).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_large_body_goes_through_the_narrowest_transport() {
    let whole: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    for (length, width) in [
        (Length::Exact(whole.len() as u64), 7),
        (Length::Exact(whole.len() as u64), 5_000),
        (Length::Unknown, 7),
        (Length::Unknown, 5_000),
        (Length::Unknown, WIDE),
    ] {
        let (near, far) = duplex(width);
        let sending = tokio::spawn(send_whole(near, length, whole.clone()));
        let mut server = Connection::new(Transport::Memory(far), HeadLimits::APPLICATION);
        request(&mut server).await;
        let (read, _) = body(&mut server).await.unwrap();
        assert!(read == whole, "{length:?} over {width} bytes at once");
        answer(&mut server, 200, b"").await;
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn a_transport_that_fails_breaks_the_side_that_writes() {
    let (mut connection, far) = pair();
    drop(far);
    connection.send_request(&asked_of(Method::PUT, Length::Unknown), &Overlay::default(), Upgrade::None);
    assert!(matches!(send(&mut connection, b"abc").await, Err(Broken::Io(_))));
    assert!(matches!(send(&mut connection, b"abc").await, Err(Broken::Overrun)));
    assert_eq!(connection.fitness(Role::Client), Fitness::Cut);
}

#[tokio::test]
async fn no_more_is_taken_than_may_wait() {
    let (near, _far) = duplex(16);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    connection.send_request(&asked_of(Method::PUT, Length::Unknown), &Overlay::default(), Upgrade::None);
    let (mut taken, mut cx) = (0, Context::from_waker(std::task::Waker::noop()));
    while let Poll::Ready(count) = connection.poll_send(&mut cx, &[7; 1000]) {
        taken += count.unwrap();
        assert!(taken < 100_000, "it takes without end");
    }
    assert!(taken > 30_000, "{taken}");
}

#[tokio::test]
async fn bytes_of_a_tunnel_end_where_their_sender_ends_them() {
    let (near, mut far) = duplex(WIDE);
    let mut tunnel = Connection::tunnel(Transport::Memory(near));
    far.write_all(b"GET / HTTP/9\n\n").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(body(&mut tunnel).await.unwrap().0, b"GET / HTTP/9\n\n");
    // The other direction is still open.
    send(&mut tunnel, &[b'x'; 10_000]).await.unwrap();
    send(&mut tunnel, b"y").await.unwrap();
    end(&mut tunnel, None).await.unwrap();
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!((all.len(), all.last()), (10_001, Some(&b'y')));
}
