//! What comes from anybody, changed by chance: it never panics, reads the same however it comes, and what is taken means one thing only.

use weft_env::Random;

use super::corpus::{cuts, each_and_changed, files};
use super::split::{answers_of, requests_of, run};
use super::*;
use crate::http1::chunked::{Chunked, Step};
use crate::http1::{parse, write};

const LIMITS: HeadLimits = HeadLimits::APPLICATION;

/// No byte that ends a line, or that some parser takes for such a byte, is in a field.
fn assert_plain(fields: &Fields) {
    for (name, value) in fields.iter() {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(!name.is_empty() && name.iter().all(is_token), "{name:?}");
        assert!(value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "{value:?}");
        assert_eq!(value, value.trim_ascii());
    }
}

/// What is sent on of them: `host` is no field of an answer.
fn sent_on(fields: &Fields) -> Vec<(String, String)> {
    let mut fields = fields.clone();
    fields.retain(|known, _| !matches!(known, Known::Connection | Known::Host));
    listed(&fields)
}

fn check_request(bytes: &[u8]) -> bool {
    let mut head = RequestHead::default();
    if parse::request(bytes, LIMITS, &mut head).is_err() {
        return false;
    }
    assert_plain(&head.fields);
    assert!(!head.authority.contains(['@', '/', ' ', '\r', '\n', ',']), "{:?}", head.authority);
    assert!(head.path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#'), "{:?}", head.path);
    let is_fit = match head.form {
        Form::Origin | Form::Absolute => head.path.starts_with('/'),
        Form::Authority => head.path.is_empty() && head.method == Method::CONNECT,
        Form::Asterisk => head.path == "*" && head.method == Method::OPTIONS,
    };
    assert!(is_fit, "{:?} {:?}", head.form, head.path);
    // Sent on, it is the same request.
    let mut sent = Vec::new();
    write::request(&head, &Overlay::default(), write::ConnectionField::None, &mut sent);
    let mut again = RequestHead::default();
    parse::request(&sent, LIMITS, &mut again).unwrap();
    assert_eq!((&again.method, &again.path, again.length), (&head.method, &head.path, head.length));
    assert_eq!(again.authority, head.authority);
    assert_eq!(listed(&again.fields), sent_on(&head.fields));
    true
}

fn check_response(bytes: &[u8], asked: &Method) -> bool {
    let mut head = ResponseHead::default();
    if parse::response(bytes, LIMITS, asked, &mut head).is_err() {
        return false;
    }
    assert_plain(&head.fields);
    assert!((100..=999).contains(&head.status));
    if *asked == Method::HEAD || matches!(head.status, 100..=199 | 204 | 304) {
        assert_eq!(head.length, Length::None);
    }
    let mut sent = Vec::new();
    let framing = write::framing_of(&head, HttpVersion::Http11, *asked != Method::HEAD);
    write::response(&head, framing, write::ConnectionField::None, &mut sent);
    let mut again = ResponseHead::default();
    parse::response(&sent, LIMITS, asked, &mut again).unwrap();
    assert_eq!((again.status, again.length), (head.status, head.length));
    assert_eq!(listed(&again.fields), sent_on(&head.fields));
    true
}

/// Up to the empty line.
fn head_of(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(bytes, |end| &bytes[..end + 4])
}

#[test]
fn heads_of_requests() {
    let mut taken = 0;
    each_and_changed("request", |random, bytes| {
        taken += u32::from(check_request(head_of(bytes)));
        let cuts = cuts(random);
        let (whole, pieces) = run(async { (requests_of(bytes, &[WIDE]).await, requests_of(bytes, &cuts).await) });
        assert_eq!(whole, pieces, "{:?} in pieces of {cuts:?}", String::from_utf8_lossy(bytes));
    });
    assert!(taken > 200, "some are taken: {taken}");
}

#[test]
fn heads_of_answers() {
    let mut taken = 0;
    each_and_changed("response", |random, bytes| {
        let method = if random.below(4) == 0 { Method::HEAD } else { Method::GET };
        taken += u32::from(check_response(head_of(bytes), &method));
        let cuts = cuts(random);
        let (whole, pieces) =
            run(async { (answers_of(bytes, &[WIDE], &method).await, answers_of(bytes, &cuts, &method).await) });
        assert_eq!(whole, pieces, "{:?} in pieces of {cuts:?}", String::from_utf8_lossy(bytes));
    });
    assert!(taken > 200, "some are taken: {taken}");
}

/// A body and how many bytes are behind its last chunk; none where it is malformed or breaks off.
type Decoded = Option<(Vec<u8>, usize)>;

fn decoded(bytes: &[u8], random: &Random) -> Decoded {
    let (mut chunked, mut body, mut at, mut have) = (Chunked::default(), Vec::new(), 0, 0);
    loop {
        let step = chunked.step(&bytes[at..have]).ok()?;
        let is_short = matches!(step, Step::More) || (matches!(step, Step::Data(_)) && at == have);
        match step {
            _ if is_short && have == bytes.len() => return None,
            _ if is_short => have = (have + 1 + usize::try_from(random.below(20)).unwrap()).min(bytes.len()),
            Step::Skip(count) => at += count,
            Step::Data(left) => {
                let count = usize::try_from(left).unwrap().min(have - at);
                body.extend_from_slice(&bytes[at..at + count]);
                chunked.used(count as u64);
                at += count;
            }
            _ => return Some((body, bytes.len() - at)),
        }
    }
}

/// The same by the grammar of RFC 9112, section 7.1, read as plainly as can be.
fn decoded_plainly(bytes: &[u8]) -> Decoded {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(rest[..end].strip_suffix(b"\r")?).ok()?;
        rest = &rest[end + 1..];
        let (size, extension) = line.split_at(line.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(line.len()));
        let is_extension = extension.trim_start_matches([' ', '\t']).starts_with(';');
        let is_text = extension.chars().all(|c| matches!(c, '\t' | ' '..='~'));
        if end >= 256 || size.is_empty() || size.len() > 16 || !(extension.is_empty() || (is_extension && is_text)) {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= usize::MAX / 2)?;
        if size == 0 {
            return Some((body, rest.len()));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// A request with this body.
fn with_chunks(body: &[u8]) -> Vec<u8> {
    [&b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"[..], body].concat()
}

#[test]
fn chunked_bodies() {
    let mut taken = 0;
    each_and_changed("chunked", |random, bytes| {
        let plainly = decoded_plainly(bytes);
        assert_eq!(decoded(bytes, random), plainly, "{:?}", String::from_utf8_lossy(bytes));
        taken += u32::from(plainly.is_some());
        let (message, cuts) = (with_chunks(bytes), cuts(random));
        let (whole, pieces) = run(async { (requests_of(&message, &[WIDE]).await, requests_of(&message, &cuts).await) });
        assert_eq!(whole, pieces, "{:?} in pieces of {cuts:?}", String::from_utf8_lossy(bytes));
    });
    assert!(taken > 200, "some are taken: {taken}");
}

#[test]
fn trailers() {
    let mut taken = 0;
    each_and_changed("trailers", |_, bytes| {
        let Ok(trailers) = parse::trailers(head_of(bytes), LIMITS) else { return };
        taken += 1;
        assert_plain(&trailers);
        for (known, name, _) in trailers.iter_known() {
            assert!(!parse::is_forbidden_in_trailers(known), "{name:?}");
        }
        let mut sent = Vec::new();
        write::fields(&trailers, &mut sent);
        sent.extend_from_slice(b"\r\n");
        assert_eq!(listed(&parse::trailers(&sent, LIMITS).unwrap()), listed(&trailers));
    });
    assert!(taken > 100, "some are taken: {taken}");
}

/// What of the corpus is taken; all else is refused. A change here is a change of what attackers may send.
#[test]
fn of_the_corpus_only_what_has_one_meaning_is_taken() {
    let taken = |kind: &str, is_taken: &dyn Fn(&[u8]) -> bool| {
        files(kind).into_iter().filter(|(_, bytes)| is_taken(bytes)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    let whole = |seen: Vec<String>| !seen.iter().any(|seen| seen.starts_with("Malformed") || seen == "Cut");
    let requests = taken("request", &|bytes| whole(run(requests_of(bytes, &[WIDE]))));
    assert_eq!(requests, REQUESTS_TAKEN);
    let answers = taken("response", &|bytes| {
        let seen = run(answers_of(bytes, &[WIDE], &Method::GET));
        // Behind the last answer there is none: that is no fault of it.
        whole(seen[..seen.len() - 1].to_vec()) && !seen[seen.len() - 1].starts_with("Malformed") && seen.len() > 1
    });
    assert_eq!(answers, ANSWERS_TAKEN);
    let chunked = taken("chunked", &|bytes| whole(run(requests_of(&with_chunks(bytes), &[WIDE]))));
    assert_eq!(chunked, CHUNKED_TAKEN);
}

const REQUESTS_TAKEN: &[&str] = &[
    "bytes-beyond-ascii",
    "chunked-trailers",
    "cl-get",
    "cl-spaces",
    "cl-underscore",
    "cl-zeroes",
    "connection-names-length",
    "empty-lines",
    "host-other-than-target",
    "old",
    "old-keep-alive",
    "pipelined",
    "rfc6455-websocket",
    "rfc9110-hello",
    "rfc9112-absolute",
    "rfc9112-asterisk",
    "rfc9112-authority",
    "rfc9112-origin",
    "rfc9113-preface",
    "te-tab",
    "te-underscore",
];
const ANSWERS_TAKEN: &[&str] = &[
    "beyond-ascii-reason",
    "chunked",
    "empty-reason",
    "interim-many",
    "no-content-with-length",
    "no-reason",
    "not-modified-with-length",
    "old",
    "rfc6455-websocket",
    "rfc8297-hints",
    "rfc9110-hello",
    "two",
    "until-close",
];
const CHUNKED_TAKEN: &[&str] = &["empty", "extensions", "rfc9112", "trailers", "upper", "zeroes"];
