//! Peers whose frames are written by hand: what our own two ends never do.

use super::*;

/// The head of a frame and its payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `GET http://a/`, in HPACK.
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

/// A client that has greeted, and whose bytes are written by hand.
async fn by_hand(settings: ServerSettings) -> (DuplexStream, Serving) {
    let (mut near, far) = duplex(64 * 1024);
    let serving = serve(far, settings);
    near.write_all(PREFACE).await.unwrap();
    near.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    (near, serving)
}

/// Reads until a frame of this kind; its payload.
async fn next_of(io: &mut DuplexStream, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.unwrap();
        if head[3] == kind {
            return payload;
        }
    }
}

/// Lets a client of whoever writes by hand start.
async fn client_by_hand() -> (Client, DuplexStream) {
    let (near, mut far) = duplex(64 * 1024);
    let started = tokio::spawn(Client::start(Transport::Memory(near), client_settings(), Arc::default()));
    let mut preface = [0; 24];
    far.read_exact(&mut preface).await.unwrap();
    far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let (client, driver) = started.await.unwrap().unwrap();
    tokio::spawn(driver);
    (client, far)
}

#[tokio::test]
async fn malformed_answers_break_the_side_that_sent_them() {
    let (mut client, mut far) = client_by_hand().await;
    let answers: [&[u8]; 4] = [
        // Two lengths, 101, a field of a connection, a length that END_STREAM belies.
        b"\x88\x5c\x011\x5c\x011",
        b"\x48\x03101",
        b"\x88\x00\x07upgrade\x03h2c",
        b"\x88\x5c\x011",
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
        let flags = if at == 3 { 5 } else { 4 };
        next_of(&mut far, 1).await;
        far.write_all(&frame(1, flags, u32::try_from(at).unwrap() * 2 + 1, answer)).await.unwrap();
        let broken = response(&mut call).await.unwrap_err();
        assert!(matches!(broken, Broken::Malformed(_)), "{at}: {broken:?}");
    }
    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    next_of(&mut far, 1).await;
    far.write_all(&frame(1, 4, 9, b"\x48\x03103").repeat(200)).await.unwrap();
    let broken = loop {
        if let Err(broken) = response(&mut call).await {
            break broken;
        }
    };
    assert!(matches!(broken, Broken::Malformed(_)));
}

#[tokio::test]
async fn trailers_are_checked_as_heads_are() {
    let (mut client, mut far) = client_by_hand().await;
    for (at, trailers) in
        [&b"\x00\x03x\"a\x011"[..], b"\x00\x01x\x02 1", &b"\x00\x01x\x00".repeat(130)].iter().enumerate()
    {
        let id = u32::try_from(at).unwrap() * 2 + 1;
        let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
        next_of(&mut far, 1).await;
        far.write_all(&[frame(1, 4, id, b"\x88"), frame(0, 0, id, b"abc"), frame(1, 5, id, trailers)].concat())
            .await
            .unwrap();
        response(&mut call).await.unwrap();
        assert_eq!(poll_fn(|cx| call.poll_part(cx)).await.unwrap(), Part::Data);
        call.consume(3);
        assert!(matches!(poll_fn(|cx| call.poll_part(cx)).await, Err(Broken::Malformed(_))), "{at}");
    }
}

#[tokio::test]
async fn a_stream_without_a_window_can_be_given_up() {
    let (mut near, far) = duplex(64 * 1024);
    let mut serving = serve(far, server_settings(Trust::Stranger));
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    near.write_all(&[PREFACE, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), &frame(1, 5, 1, GET)].concat()).await.unwrap();
    let (_, mut served) = serving.request().await;
    served.send_response(&answer(Length::Unknown)).unwrap();
    let mut taken = 0;
    while let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(served.poll_send(cx, &[0; 1000]))).await {
        taken += sent.unwrap();
    }
    assert_eq!(taken, 1000);
    assert!(poll_fn(|cx| Poll::Ready(served.poll_flush(cx).is_pending())).await);
    served.reset(INTERNAL_ERROR);
    assert_eq!(next_of(&mut near, 3).await, INTERNAL_ERROR.to_be_bytes());
}

#[tokio::test]
async fn a_socket_that_nobody_reads_holds_one_backlog() {
    let (mut near, far) = duplex(16 * 1024);
    let mut serving = serve(far, server_settings(Trust::Stranger));
    // Windows as wide as can be.
    let widest = (i32::MAX as u32).to_be_bytes();
    let settings = frame(4, 0, 0, &[&[0, 4][..], &widest].concat());
    near.write_all(&[PREFACE, &settings, &frame(8, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes())].concat())
        .await
        .unwrap();
    let mut streams = Vec::new();
    let mut taken = 0;
    for at in 0..100 {
        near.write_all(&frame(1, 5, at * 2 + 1, GET)).await.unwrap();
        let (_, mut served) = serving.request().await;
        served.send_response(&answer(Length::Unknown)).unwrap();
        while let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(served.poll_send(cx, &[0; 16 * 1024]))).await {
            taken += sent.unwrap();
        }
        streams.push(served);
    }
    // What is on its way in the socket comes on top.
    assert!((256 * 1024..320 * 1024).contains(&taken), "{taken}");
    // Where the others are given up, the last goes on.
    let mut last = streams.pop().unwrap();
    drop(streams);
    let sending = tokio::spawn(async move { send_all(&mut last, &[0; 1 << 20]).await });
    let mut sink = vec![0; 1 << 16];
    while !sending.is_finished() {
        assert_ne!(near.read(&mut sink).await.unwrap(), 0);
    }
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_beyond_the_last_stream_of_a_goaway_is_refused() {
    let (mut client, mut far) = client_by_hand().await;
    let mut first = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let mut second = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    next_of(&mut far, 1).await;
    next_of(&mut far, 1).await;
    far.write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
    far.write_all(&frame(1, 5, 1, b"\x88")).await.unwrap();
    // Both ways of noticing.
    assert!(matches!(poll_fn(|cx| second.poll_reset(cx)).await, Broken::Unread));
    assert!(matches!(send_all(&mut second, &[0; 20_000]).await, Err(Broken::Unread)));
    assert_eq!(response(&mut first).await.unwrap().status, 200);
    assert!(client.is_going_away());
}

#[tokio::test]
async fn a_request_that_was_not_written_may_be_sent_again() {
    let (near, mut far) = duplex(64 * 1024);
    let started = tokio::spawn(Client::start(Transport::Memory(near), client_settings(), Arc::default()));
    far.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let (mut client, mut driver) = started.await.unwrap().unwrap();
    let mut written = client.send(&request(Method::GET, Length::None)).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut driver).poll(cx).is_pending())).await);
    let mut unwritten = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let mut posted = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    drop(driver);
    assert!(matches!(response(&mut written).await, Err(Broken::Io(_))));
    let broken = response(&mut unwritten).await.unwrap_err();
    assert!(matches!(broken, Broken::Unread), "{broken:?}");
    assert!(matches!(send_all(&mut posted, b"a").await, Err(Broken::Unread)));
    assert!(matches!(client.send(&request(Method::GET, Length::None)).await, Err(Broken::Unread)));
}

#[tokio::test]
async fn what_was_read_before_belongs_to_the_connection() {
    let (mut near, far) = duplex(64 * 1024);
    let read = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, GET)[..3]].concat();
    let started = Server::start(Transport::Memory(far), read.into(), server_settings(Trust::Stranger));
    near.write_all(&frame(1, 5, 1, GET)[3..]).await.unwrap();
    let mut server = started.await.unwrap();
    let arrival = poll_fn(|cx| server.poll_next(cx)).await.unwrap().unwrap();
    assert_eq!(arrival.head.unwrap().authority, "a");
}

#[tokio::test]
async fn what_speaks_http1_is_told_from_http2() {
    let (near, mut far) = duplex(64 * 1024);
    let started = tokio::spawn(Client::start(Transport::Memory(near), client_settings(), Arc::default()));
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(matches!(started.await.unwrap(), Err(Ended::NotHttp2)));
}

#[tokio::test]
async fn malformed_requests_are_reset_or_can_be_answered() {
    let (mut near, mut serving) = by_hand(server_settings(Trust::Stranger)).await;
    // `connection: close`, and a `:path` twice: h2's.
    near.write_all(&frame(1, 5, 1, &[GET, b"\x00\x0aconnection\x05close"].concat())).await.unwrap();
    assert_eq!(next_of(&mut near, 3).await, 1u32.to_be_bytes());
    near.write_all(&frame(1, 5, 3, &[GET, b"\x84"].concat())).await.unwrap();
    assert_eq!(next_of(&mut near, 3).await, 1u32.to_be_bytes());
    // Two Hosts, and one that differs: ours.
    near.write_all(&frame(1, 5, 5, &[GET, b"\x00\x04host\x01b"].concat())).await.unwrap();
    let Arrival { head, mut stream } = serving.arrivals.recv().await.unwrap();
    assert!(!head.unwrap_err().is_too_large);
    stream.send_response(&ResponseHead { status: 400, ..answer(Length::None) }).unwrap();
    next_of(&mut near, 1).await;
    // DATA that differs from its length.
    near.write_all(&frame(1, 4, 7, &[GET, b"\x00\x0econtent-length\x013"].concat())).await.unwrap();
    let (head, mut stream) = serving.request().await;
    assert_eq!(head.length, Length::Exact(3));
    near.write_all(&frame(0, 1, 7, b"abcd")).await.unwrap();
    assert!(matches!(poll_fn(|cx| stream.poll_reset(cx)).await, Broken::Malformed(_)));
    assert!(matches!(read_all(&mut stream).await, Err(Broken::Malformed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_greeting_or_head_that_does_not_come_ends_the_connection() {
    let (near, far) = duplex(64 * 1024);
    assert!(matches!(serve(far, server_settings(Trust::Stranger)).ended.await.unwrap(), Err(Ended::Late(_))));
    drop(near);
    let (mut near, far) = duplex(64 * 1024);
    let serving = serve(far, server_settings(Trust::Stranger));
    near.write_all(PREFACE).await.unwrap();
    assert!(matches!(serving.ended.await.unwrap(), Err(Ended::Late(_))));
    let (mut near, serving) = by_hand(server_settings(Trust::Stranger)).await;
    near.write_all(&frame(1, 1, 1, GET)).await.unwrap();
    let started = tokio::time::Instant::now();
    assert!(matches!(serving.ended.await.unwrap(), Err(Ended::Late("the rest of a head"))));
    assert!(started.elapsed() < HEAD_TIMEOUT * 2);
}

#[tokio::test(start_paused = true)]
async fn each_head_has_a_time_of_its_own_however_the_reads_fall() {
    let (mut near, mut serving) = by_hand(server_settings(Trust::Stranger)).await;
    let mut rest = Vec::new();
    for stream in (1..40).step_by(2) {
        // Every read ends within a head.
        let head = frame(1, 5, stream, GET);
        let (start, end) = head.split_at(12);
        near.write_all(&[&rest, start].concat()).await.unwrap();
        rest = end.to_vec();
        if stream > 1 {
            let (head, _served) = serving.request().await;
            assert_eq!(head.method, Method::GET);
        }
        tokio::time::sleep(HEAD_TIMEOUT / 4).await;
    }
    assert!(!serving.ended.is_finished());
    // And no more than that.
    assert!(matches!(serving.ended.await.unwrap(), Err(Ended::Late("the rest of a head"))));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_ends_and_a_silent_peer_is_given_up() {
    let settings = ServerSettings { pings: Some(Pings::default()), ..server_settings(Trust::Stranger) };
    let (near, far) = duplex(64 * 1024);
    let serving = serve(far, settings);
    let (client, driver) = Client::start(Transport::Memory(near), client_settings(), Arc::default()).await.unwrap();
    let driven = tokio::spawn(driver);
    let started = tokio::time::Instant::now();
    serving.ended.await.unwrap().unwrap();
    assert!(started.elapsed() >= Duration::from_secs(60) && started.elapsed() < Duration::from_secs(62));
    driven.await.unwrap().unwrap();
    assert!(client.is_closed());

    let (mut near, mut serving) = by_hand(settings).await;
    near.write_all(&frame(1, 5, 1, GET)).await.unwrap();
    let _served = serving.request().await;
    let started = tokio::time::Instant::now();
    assert!(matches!(serving.ended.await.unwrap(), Err(Ended::Late("the answer to a PING"))));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn floods_end_with_a_goaway_and_a_proven_peer_may_cancel_in_bursts() {
    let flood = frame(6, 0, 0, &[0; 8]).repeat(30_000);
    let (near, serving) = by_hand(server_settings(Trust::Stranger)).await;
    let (mut reader, mut writer) = tokio::io::split(near);
    let writing = tokio::spawn(async move { writer.write_all(&flood).await });
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert!(matches!(serving.ended.await.unwrap(), Err(Ended::Flood("PING"))));
    // GOAWAY comes last.
    let (last, code) = all.split_at(all.len() - 4);
    assert_eq!((last[last.len() - 10], code), (7, &ENHANCE_YOUR_CALM.to_be_bytes()[..]));
    assert!(writing.await.unwrap().is_err());

    let churn = |count: u32| {
        let stream = |id: u32| [frame(1, 5, id, GET), frame(3, 0, id, &CANCEL.to_be_bytes())].concat();
        (0..count).flat_map(|at| stream(2 * at + 1)).collect::<Vec<u8>>()
    };
    let (mut near, serving) = by_hand(server_settings(Trust::Stranger)).await;
    near.write_all(&churn(20_000)).await.unwrap_err();
    assert!(serving.ended.await.unwrap().is_err());
    let (mut near, serving) = by_hand(server_settings(Trust::Proven)).await;
    near.write_all(&churn(20_000)).await.unwrap();
    near.write_all(&frame(1, 5, 40_001, GET)).await.unwrap();
    assert!(!serving.ended.is_finished());
}

#[tokio::test]
async fn a_body_behind_a_head_that_excludes_one_is_its_senders_fault() {
    let (mut client, mut far) = client_by_hand().await;
    // 204, 304, and 200 to HEAD; the first of each without a byte of it.
    for (at, (method, head)) in
        [(Method::GET, b"\x89"), (Method::GET, b"\x8b"), (Method::HEAD, b"\x88")].iter().enumerate()
    {
        for (turn, body) in [&b""[..], b"abc"].into_iter().enumerate() {
            let id = u32::try_from(at * 4 + turn * 2 + 1).unwrap();
            let mut call = client.send(&request(method.clone(), Length::None)).await.unwrap();
            next_of(&mut far, 1).await;
            far.write_all(&[frame(1, 4, id, *head), frame(0, 1, id, body)].concat()).await.unwrap();
            assert_eq!(response(&mut call).await.unwrap().length, Length::None);
            let read = poll_fn(|cx| call.poll_part(cx)).await;
            match body {
                b"" => assert_eq!(read.unwrap(), Part::End),
                _ => assert!(matches!(read, Err(Broken::Malformed(_))), "{read:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_end_of_an_idle_connection_is_served() {
    let (mut near, mut serving) = by_hand(server_settings(Trust::Stranger)).await;
    // The warning that no more streams are wanted; the last word comes when the PING behind it is answered.
    assert_eq!(next_of(&mut near, 7).await[..4], [0x7f, 0xff, 0xff, 0xff]);
    near.write_all(&frame(1, 5, 1, GET)).await.unwrap();
    let (_, mut served) = serving.request().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    served.send_response(&answer(Length::None)).unwrap();
    assert!(!next_of(&mut near, 1).await.is_empty(), "the answer");
}
