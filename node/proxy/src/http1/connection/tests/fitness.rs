//! What a connection is good for after an exchange: every combination of what was received, sent and said of it.

use super::*;

/// How far a message got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Its head says that nothing follows.
    Bare,
    /// Head and body.
    Whole,
    /// Head and a part of the body.
    Half,
    /// Ended by the end of the connection.
    UntilClose,
    /// Its body breaks a rule.
    Malformed,
}

/// What its sender says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Close,
    Old,
    OldKeep,
}

/// What else befalls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anomaly {
    None,
    /// More bytes came.
    Behind,
    Cut,
    Shut,
}

impl Said {
    fn version(self) -> &'static str {
        if matches!(self, Self::Old | Self::OldKeep) { "HTTP/1.0" } else { "HTTP/1.1" }
    }

    fn field(self) -> &'static str {
        match self {
            Self::Nothing | Self::Old => "",
            Self::Close => "connection: close\r\n",
            Self::OldKeep => "connection: keep-alive\r\n",
        }
    }

    fn persists(self) -> bool {
        matches!(self, Self::Nothing | Self::OldKeep)
    }
}

/// What follows the fields of a head, and how much of it comes.
fn framed(reach: Reach) -> &'static str {
    match reach {
        Reach::Bare => "content-length: 0\r\n\r\n",
        Reach::Whole => "content-length: 4\r\n\r\nbody",
        Reach::Half => "content-length: 4\r\n\r\nbo",
        Reach::UntilClose => "\r\nbody",
        Reach::Malformed => "transfer-encoding: chunked\r\n\r\n2\r\nbody",
    }
}

/// Reads what there is of a body.
fn read(connection: &mut Connection) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Ok(Part::Data)) = connection.poll_part(&mut cx) {
        connection.consume(connection.data().len());
    }
}

async fn befall(connection: &mut Connection, anomaly: Anomaly) {
    match anomaly {
        Anomaly::None | Anomaly::Behind => {}
        Anomaly::Cut => connection.cut(),
        Anomaly::Shut => poll_fn(|cx| connection.poll_shutdown(cx)).await,
    }
}

fn behind(anomaly: Anomaly, text: &str) -> String {
    if anomaly == Anomaly::Behind { text.to_owned() } else { String::new() }
}

/// An exchange and what befalls its connection.
#[derive(Debug, Clone, Copy)]
struct Case {
    asked: Reach,
    answered: Reach,
    /// By the other end.
    said: Said,
    /// By our end.
    wanted: Persistence,
    anomaly: Anomaly,
}

/// Every combination of these.
fn cases(asked: &[Reach], answered: &[Reach], received: impl Fn(&Case) -> Reach) -> Vec<Case> {
    let mut cases = Vec::new();
    for (&asked, &answered) in asked.iter().flat_map(|asked| answered.iter().map(move |answered| (asked, answered))) {
        for said in [Said::Nothing, Said::Close, Said::Old, Said::OldKeep] {
            for anomaly in [Anomaly::None, Anomaly::Behind, Anomaly::Cut, Anomaly::Shut] {
                let case = |wanted| Case { asked, answered, said, wanted, anomaly };
                cases.extend([Persistence::Keep, Persistence::Close].map(case));
            }
        }
    }
    cases.retain(|case| match received(case) {
        // What comes behind a half is its other half.
        Reach::Half => case.anomaly != Anomaly::Behind,
        // HTTP/1.0 has no chunks.
        Reach::Malformed => case.said.version() == "HTTP/1.1",
        _ => true,
    });
    cases
}

async fn server(case: Case) -> Fitness {
    let Case { asked, answered, said, wanted, anomaly } = case;
    let next = behind(anomaly, "GET /next HTTP/1.1\r\n");
    let text = format!("POST / {}\r\nhost: a\r\n{}{}{next}", said.version(), said.field(), framed(asked));
    let (mut connection, _far) = received(text.as_bytes()).await;
    request(&mut connection).await;
    read(&mut connection);
    let length = match answered {
        Reach::Bare => Length::None,
        Reach::UntilClose => Length::Unknown,
        _ => Length::Exact(4),
    };
    connection.send_response(&answer_of(200, length), wanted);
    let body: &[u8] = match answered {
        Reach::Bare => b"",
        Reach::Half => b"bo",
        _ => b"body",
    };
    send(&mut connection, body).await.unwrap();
    if answered != Reach::Half {
        end(&mut connection, None).await.unwrap();
    }
    befall(&mut connection, anomaly).await;
    connection.fitness(Role::Server)
}

#[tokio::test]
async fn a_servers_connection_is_as_fit_as_both_messages_leave_it() {
    let asked = [Reach::Bare, Reach::Whole, Reach::Half, Reach::Malformed];
    let answered = [Reach::Bare, Reach::Whole, Reach::Half, Reach::UntilClose];
    let mut counts = [0; 4];
    for case in cases(&asked, &answered, |case| case.asked) {
        let is_received = matches!(case.asked, Reach::Bare | Reach::Whole);
        // What is sent without a length ends by chunks, but not for a caller of HTTP/1.0.
        let by_close = case.answered == Reach::UntilClose && case.said.version() == "HTTP/1.0";
        let is_wanted = case.said.persists() && case.wanted == Persistence::Keep;
        let expected = match (case.answered != Reach::Half, is_received) {
            _ if case.anomaly == Anomaly::Cut => Fitness::Cut,
            (false, _) => Fitness::Spent,
            (true, false) => Fitness::Lingers,
            (true, true) if is_wanted && !by_close && case.anomaly != Anomaly::Shut => Fitness::Reusable,
            (true, true) if case.anomaly == Anomaly::Behind => Fitness::Lingers,
            (true, true) => Fitness::Spent,
        };
        counts[expected as usize] += 1;
        assert_eq!(server(case).await, expected, "{case:?}");
    }
    assert!(counts.iter().all(|count| *count > 10), "every kind occurs: {counts:?}");
}

async fn client(case: Case) -> Fitness {
    let Case { asked, answered, said, anomaly, .. } = case;
    let extra = behind(anomaly, "HTTP/1.1 200 OK\r\n");
    let text = format!("{} 200 OK\r\n{}{}{extra}", said.version(), said.field(), framed(answered));
    let (mut connection, mut far) = pair();
    let length = if asked == Reach::Bare { Length::None } else { Length::Exact(4) };
    connection.send_request(&asked_of(Method::PUT, length), &Overlay::default(), Upgrade::None);
    match asked {
        Reach::Bare => {}
        Reach::Whole => send(&mut connection, b"body").await.unwrap(),
        _ => send(&mut connection, b"bo").await.unwrap(),
    }
    if asked != Reach::Half {
        end(&mut connection, None).await.unwrap();
    }
    far.write_all(text.as_bytes()).await.unwrap();
    if answered == Reach::UntilClose {
        far.shutdown().await.unwrap();
    }
    response(&mut connection).await.unwrap();
    read(&mut connection);
    befall(&mut connection, anomaly).await;
    connection.fitness(Role::Client)
}

#[tokio::test]
async fn a_clients_connection_is_used_again_only_where_nothing_was_odd() {
    let asked = [Reach::Bare, Reach::Whole, Reach::Half];
    let answered = [Reach::Bare, Reach::Whole, Reach::Half, Reach::UntilClose, Reach::Malformed];
    let mut reusable = 0;
    for case in cases(&asked, &answered, |case| case.answered) {
        let is_whole = case.asked != Reach::Half && matches!(case.answered, Reach::Bare | Reach::Whole);
        let expected = match case.anomaly {
            Anomaly::Cut => Fitness::Cut,
            Anomaly::None if is_whole && case.said.persists() => Fitness::Reusable,
            _ => Fitness::Spent,
        };
        reusable += usize::from(expected == Fitness::Reusable);
        assert_eq!(client(case).await, expected, "{case:?}");
    }
    assert_eq!(reusable, 16);
}

#[tokio::test]
async fn an_answer_before_its_request_was_sent_leaves_nothing_to_use() {
    let (mut connection, _far) = received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    connection.send_request(&asked_of(Method::PUT, Length::Unknown), &Overlay::default(), Upgrade::None);
    send(&mut connection, b"half").await.unwrap();
    response(&mut connection).await.unwrap();
    assert_eq!(connection.fitness(Role::Client), Fitness::Spent);
}

#[tokio::test]
async fn a_message_that_does_not_fit_its_length_cuts_its_connection() {
    let (mut connection, _far) = received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    request(&mut connection).await;
    connection.send_response(&answer_of(200, Length::Exact(3)), Persistence::Keep);
    assert!(end(&mut connection, None).await.is_err());
    assert_eq!(connection.fitness(Role::Server), Fitness::Cut);
}

#[tokio::test]
async fn what_was_taken_and_not_written_is_not_sent() {
    let (near, mut far) = duplex(64);
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    request(&mut connection).await;
    connection.send_response(&answer_of(200, Length::Exact(100)), Persistence::Keep);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(connection.poll_send(&mut cx, &[b'x'; 100]), Poll::Ready(Ok(100))));
    assert!(connection.poll_end(&mut cx, None).is_pending());
    assert_eq!(connection.fitness(Role::Server), Fitness::Spent);
    far.read_exact(&mut [0; 64]).await.unwrap();
    assert!(connection.poll_end(&mut cx, None).is_pending());
    far.read_exact(&mut [0; 64]).await.unwrap();
    assert!(matches!(connection.poll_end(&mut cx, None), Poll::Ready(Ok(()))));
    assert_eq!(connection.fitness(Role::Server), Fitness::Reusable);
}
