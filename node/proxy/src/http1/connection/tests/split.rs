//! Property: a message reads the same however its bytes are cut into pieces, and what we write is what we read.

use proptest::prelude::*;

use super::*;
use crate::http1::{parse, write};

const LIMITS: HeadLimits = HeadLimits::APPLICATION;

fn token() -> impl Strategy<Value = String> {
    "[a-z0-9!#$%&'*+.^_`|~-]{1,12}"
}

/// Names that the codec has no meaning for.
fn names() -> impl Strategy<Value = String> {
    let is_plain = |name: &String| {
        let known = Known::of(name.as_bytes());
        !matches!(known, Known::Host | Known::Connection | Known::ContentLength | Known::TransferEncoding)
    };
    token().prop_filter("a field of the codec's own", is_plain)
}

/// What may stand in a value: visible bytes, and between them spaces, tabs and bytes beyond ASCII.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let edge = || prop_oneof![b'!'..=b'~', 0x80..=0xff_u8];
    let inner = prop_oneof![8 => b'!'..=b'~', 1 => Just(b' '), 1 => Just(b'\t'), 1 => 0x80..=0xff_u8];
    let long = (edge(), prop::collection::vec(inner, 0..20), edge()).prop_map(|(first, middle, last)| {
        let mut value = vec![first];
        value.extend(middle);
        value.push(last);
        value
    });
    prop_oneof![Just(Vec::new()), edge().prop_map(|byte| vec![byte]), long]
}

pub(super) fn some_fields() -> impl Strategy<Value = Fields> {
    prop::collection::vec((names(), value()), 0..8).prop_map(|list| {
        let mut fields = Fields::new();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value));
        fields
    })
}

fn length() -> impl Strategy<Value = Length> {
    let exact = (1_u64..=999_999_999_999_999_999).prop_map(Length::Exact);
    prop_oneof![Just(Length::None), exact, Just(Length::Unknown)]
}

fn request_heads() -> impl Strategy<Value = RequestHead> {
    let target = prop_oneof![
        4 => "/[!-\"$-~]{0,30}".prop_map(|path| (Form::Origin, path)),
        1 => Just((Form::Authority, String::new())),
        1 => Just((Form::Asterisk, "*".to_owned())),
    ];
    let method = prop_oneof![Just("GET".to_owned()), Just("POST".to_owned()), "[A-Z!]{1,10}"];
    (target, method, "[a-zA-Z0-9.-]{0,20}(:[0-9]{1,5})?", some_fields(), length()).prop_map(
        |((form, path), method, authority, fields, length)| {
            let method = match form {
                Form::Authority => Method::CONNECT,
                Form::Asterisk => Method::OPTIONS,
                _ if method == "CONNECT" || method == "PRI" => Method::GET,
                _ => Method::from_bytes(method.as_bytes()).unwrap(),
            };
            let authority = if form == Form::Authority { "db:5432".to_owned() } else { authority };
            RequestHead { method, form, path, authority, fields, length, ..RequestHead::default() }
        },
    )
}

fn response_heads() -> impl Strategy<Value = ResponseHead> {
    (200_u16..=999, some_fields(), length()).prop_map(|(status, fields, length)| {
        let length = if matches!(status, 204 | 304) { Length::None } else { length };
        ResponseHead { status, fields, length, ..ResponseHead::default() }
    })
}

/// One thing that a connection read.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Head(String, Vec<(String, String)>, Length),
    Body(Vec<u8>, Vec<(String, String)>),
    Http2,
    Ended,
    /// In a head or a body; whether it was only too large.
    Malformed(bool),
    Cut,
}

/// Reads a message's body; whether another message may follow.
async fn see_body(connection: &mut Connection, seen: &mut Vec<Seen>) -> bool {
    match body(connection).await {
        Ok((bytes, trailers)) => seen.push(Seen::Body(bytes, trailers)),
        Err(Broken::Malformed(malformed)) => {
            seen.push(Seen::Malformed(malformed.is_too_large));
            return false;
        }
        Err(Broken::Truncated) => {
            seen.push(Seen::Cut);
            return false;
        }
        Err(other) => panic!("{other:?}"),
    }
    true
}

/// All that a server of ours reads of these bytes, which come in pieces of these sizes, and then end.
pub(super) async fn requests_of(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut connection = fed(bytes, cuts);
    let mut seen = Vec::new();
    while seen.len() < 50 {
        match next(&mut connection).await {
            Ok((Received::Http2, _)) => {
                seen.push(Seen::Http2);
                break;
            }
            Ok((Received::Request, head)) => {
                let line =
                    format!("{:?} {} {:?} {} {}", head.version, head.method, head.form, head.authority, head.path);
                seen.push(Seen::Head(line, listed(&head.fields), head.length));
                if !see_body(&mut connection, &mut seen).await {
                    break;
                }
                connection.renew();
            }
            Err(HeadFault::Ended) => {
                seen.push(Seen::Ended);
                break;
            }
            Err(HeadFault::Malformed(malformed)) => {
                seen.push(Seen::Malformed(malformed.is_too_large));
                break;
            }
            Err(HeadFault::Broken(_)) => {
                seen.push(Seen::Cut);
                break;
            }
        }
    }
    seen.iter().map(|seen| format!("{seen:?}")).collect()
}

/// All that a client of ours reads of these bytes as answers to requests with this method.
pub(super) async fn answers_of(bytes: &[u8], cuts: &[usize], method: &Method) -> Vec<String> {
    let mut connection = fed(bytes, cuts);
    let mut seen = Vec::new();
    while seen.len() < 50 {
        connection.send_request(&asked_of(method.clone(), Length::None), &Overlay::default(), Upgrade::None);
        match response(&mut connection).await {
            Ok(head) if head.status < 200 && head.status != 101 => {
                seen.push(Seen::Head(head.status.to_string(), listed(&head.fields), head.length));
            }
            Ok(head) => {
                let line = format!("{:?} {} {:?}", head.version, head.status, head.stated);
                seen.push(Seen::Head(line, listed(&head.fields), head.length));
                if !see_body(&mut connection, &mut seen).await {
                    break;
                }
                connection.renew();
            }
            Err(Broken::Malformed(malformed)) => {
                seen.push(Seen::Malformed(malformed.is_too_large));
                break;
            }
            Err(Broken::Truncated) => {
                seen.push(Seen::Cut);
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    seen.iter().map(|seen| format!("{seen:?}")).collect()
}

/// Our end, to which these bytes come in pieces of these sizes, again and again, and then end. What it writes is lost.
fn fed(bytes: &[u8], cuts: &[usize]) -> Box<Connection> {
    let (near, far) = duplex(WIDE);
    let (bytes, cuts) = (bytes.to_vec(), cuts.to_vec());
    let (mut from, mut to) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, others) = rest.split_at(rest.len().min(*cut));
            if rest.is_empty() || to.write_all(piece).await.is_err() {
                break;
            }
            rest = others;
            // The reader has its turn between two pieces.
            tokio::task::yield_now().await;
        }
        let _gone = to.shutdown().await;
        let _gone = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    });
    Connection::new(Transport::Memory(near), LIMITS)
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Messages with what attackers change of them.
fn texts(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(seeds).prop_map(|text| text.as_bytes().to_vec());
    let change = (any::<prop::sample::Index>(), prop::sample::select(&b"\r\n \t:;,0aA\0\x7f\xff"[..]), 0..3_u8);
    (prop::collection::vec(piece, 1..4), prop::collection::vec(change, 0..3)).prop_map(|(pieces, changes)| {
        let mut bytes = pieces.concat();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        bytes
    })
}

const REQUESTS: &[&str] = &[
    "GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nPOST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
    "PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-a: 1\r\n\r\n",
    "GET http://b/c HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\r\n",
];

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nx-a: 1\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n",
    "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
];

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), prop::collection::vec(1..40_usize, 1..6)]
}

proptest! {
    #[test]
    fn a_request_that_was_written_is_read_as_it_was(head in request_heads(), asks in any::<bool>()) {
        let mut bytes = Vec::new();
        let connection = if asks { write::ConnectionField::Upgrade } else { write::ConnectionField::None };
        write::request(&head, &Overlay::default(), connection, &mut bytes);
        let mut read = RequestHead::default();
        let options = parse::request(&bytes, LIMITS, &mut read).map_err(|bad| TestCaseError::fail(bad.why))?;
        read.fields.take_out(Known::Connection);
        prop_assert_eq!((&read.method, read.form, &read.path), (&head.method, head.form, &head.path));
        prop_assert_eq!((&read.authority, listed(&read.fields)), (&head.authority, listed(&head.fields)));
        prop_assert_eq!((read.length, read.version), (head.length, HttpVersion::Http11));
        prop_assert_eq!((options.upgrades, options.is_last), (asks, false));
    }

    #[test]
    fn an_answer_that_was_written_is_read_as_it_was(head in response_heads(), closes in any::<bool>()) {
        let mut bytes = Vec::new();
        let connection = if closes { write::ConnectionField::Close } else { write::ConnectionField::None };
        write::response(&head, write::framing_of(&head, HttpVersion::Http11, true), connection, &mut bytes);
        let mut read = ResponseHead::default();
        let options =
            parse::response(&bytes, LIMITS, &Method::GET, &mut read).map_err(|bad| TestCaseError::fail(bad.why))?;
        read.fields.take_out(Known::Connection);
        prop_assert_eq!((read.status, listed(&read.fields)), (head.status, listed(&head.fields)));
        prop_assert_eq!((read.length, read.version), (head.length, HttpVersion::Http11));
        prop_assert_eq!(options.is_last, closes);
    }

    #[test]
    fn requests_read_the_same_however_they_are_cut(bytes in texts(REQUESTS), cuts in cuts()) {
        let (whole, pieces) = run(async { (requests_of(&bytes, &[WIDE]).await, requests_of(&bytes, &cuts).await) });
        prop_assert_eq!(whole, pieces, "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn answers_read_the_same_however_they_are_cut(bytes in texts(ANSWERS), cuts in cuts(), to_head in any::<bool>()) {
        let method = if to_head { Method::HEAD } else { Method::GET };
        let (whole, pieces) =
            run(async { (answers_of(&bytes, &[WIDE], &method).await, answers_of(&bytes, &cuts, &method).await) });
        prop_assert_eq!(whole, pieces, "{:?}", String::from_utf8_lossy(&bytes));
    }
}
