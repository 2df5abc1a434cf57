//! Heads: pseudo-fields, names, values and targets.

use super::{ARRIVE, Case, GET, Must};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS};
use crate::hpack::field;

const WHOLE: u8 = END_STREAM | END_HEADERS;
const MALFORMED: Must = Must::BeMalformed;
/// What HPACK already refuses in h2.
const OR_END: Must = Must::BeMalformedOrEnd;

type Fields = &'static [(&'static str, &'static str)];

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let whole = |list: &[(&str, Fields, Must)]| -> Vec<Case> {
        list.iter().map(|(name, fields, must)| Case::of_head(*name, fields, *must)).collect()
    };
    let more = |(section, fields, must): &(&str, Fields, Must)| {
        let name = format!("{section}: {fields:?}");
        Case::of_head(name, &[GET, fields].concat(), *must)
    };
    let pseudo = |(name, value, must): &(&'static str, &'static str, Must)| {
        let put = |(known, usual): &(&'static str, &'static str)| (*known, if known == name { *value } else { *usual });
        let fields: Vec<_> = GET.iter().map(put).collect();
        Case::of_head(format!("8.3.1: {name} {value:?}"), &fields, *must)
    };
    let mut all = whole(PSEUDO);
    all.extend(VALUES.iter().map(pseudo));
    all.extend(FIELDS.iter().map(more));
    all.extend(whole(CONNECT));
    all.extend(large());
    all.extend(CUT.iter().map(cut));
    all.push(Case::new("8.3.1: no field at all", MALFORMED).frame(HEADERS, WHOLE, 1, b""));
    all
}

const M: (&str, &str) = (":method", "GET");
const S: (&str, &str) = (":scheme", "http");
const P: (&str, &str) = (":path", "/{T}");
const A: (&str, &str) = (":authority", "{H}");

/// Pseudo-fields that are missing, come twice, late, or are unknown.
const PSEUDO: &[(&str, Fields, Must)] = &[
    ("8.3: in another order", &[A, P, S, M], ARRIVE),
    ("8.3.1: no :method", &[S, P, A], MALFORMED),
    ("8.3.1: no :scheme", &[M, P, A], MALFORMED),
    ("8.3.1: no :path", &[M, S, A], MALFORMED),
    ("8.3.1: neither :authority nor Host", &[M, S, P], MALFORMED),
    ("8.3.1: Host in place of :authority", &[M, S, P, ("host", "{H}")], ARRIVE),
    ("8.3.1: Host that says the same", &[M, S, P, A, ("host", "{H}")], ARRIVE),
    ("8.3.1: Host that says something else", &[M, S, P, A, ("host", "other")], MALFORMED),
    ("8.3.1: Host twice", &[M, S, P, ("host", "{H}"), ("host", "{H}")], MALFORMED),
    ("8.3.1: Host twice, beside :authority", &[M, S, P, A, ("host", "{H}"), ("host", "{H}")], MALFORMED),
    (
        "8.3.1: another scheme, and Host in place of :authority",
        &[M, (":scheme", "ftp"), P, ("host", "{H}")],
        Must::BeOne,
    ),
    ("8.3.1: an empty Host", &[M, S, P, ("host", "")], MALFORMED),
    ("8.3: :method twice", &[M, M, S, P, A], MALFORMED),
    ("8.3: :method twice, differently", &[M, (":method", "POST"), S, P, A], MALFORMED),
    ("8.3: :scheme twice", &[M, S, S, P, A], MALFORMED),
    ("8.3: :path twice", &[M, S, P, P, A], MALFORMED),
    ("8.3: :path twice, differently", &[M, S, P, (":path", "/smuggled-{T}"), A], MALFORMED),
    ("8.3: :authority twice", &[M, S, P, A, A], MALFORMED),
    ("8.3: :authority twice, differently", &[M, S, P, A, (":authority", "other")], MALFORMED),
    ("8.3: :method behind a field", &[S, P, A, ("x-a", "1"), M], MALFORMED),
    ("8.3: :path behind a field", &[M, S, A, ("x-a", "1"), P], MALFORMED),
    ("8.3: :path again behind a field", &[M, S, P, A, ("x-a", "1"), (":path", "/smuggled-{T}")], MALFORMED),
    ("8.3: :authority behind a field", &[M, S, P, ("x-a", "1"), A], MALFORMED),
    ("8.3: :scheme behind a field", &[M, P, A, ("x-a", "1"), S], MALFORMED),
    ("8.3: :status", &[M, S, P, A, (":status", "200")], MALFORMED),
    ("8.3: :status alone", &[(":status", "200")], MALFORMED),
    ("8.3: an unknown one", &[M, S, P, A, (":version", "HTTP/1.1")], OR_END),
    ("8.3: one without a name", &[M, S, P, A, (":", "x")], OR_END),
    ("8.3: one in upper case", &[M, S, (":Path", "/{T}"), A], OR_END),
    ("8.3: one with a space", &[M, S, (":path ", "/{T}"), A], OR_END),
    ("8.3: one without its colon", &[M, S, P, ("authority", "{H}")], MALFORMED),
    ("RFC 8441, 4: :protocol of GET", &[M, S, P, A, (":protocol", "websocket")], MALFORMED),
    ("RFC 8441, 4: an empty :protocol of GET", &[M, S, P, A, (":protocol", "")], MALFORMED),
];

/// Pseudo-fields with another value than usual.
const VALUES: &[(&str, &str, Must)] = &[
    (":method", "", OR_END),
    (":method", "GE T", OR_END),
    (":method", "GET ", OR_END),
    (":method", "GET / HTTP/1.1\r\nhost: {H}\r\n\r\nGET", OR_END),
    (":method", "GET\r\n", OR_END),
    (":method", "GET\0", OR_END),
    (":method", "G\u{e9}T", OR_END),
    (":method", "GET:", OR_END),
    (":method", "get", MALFORMED),
    (":method", "Get", MALFORMED),
    (":method", "X-CUSTOM", Must::Arrive("X-CUSTOM", "/{T}", "")),
    (":method", "DELETE", Must::Arrive("DELETE", "/{T}", "")),
    (":scheme", "", MALFORMED),
    (":scheme", "https", ARRIVE),
    (":scheme", "ftp", MALFORMED),
    (":scheme", "http://", MALFORMED),
    (":scheme", "http ", MALFORMED),
    (":scheme", "ht tp", MALFORMED),
    (":scheme", "1http", MALFORMED),
    (":scheme", "http\r\nx: y", MALFORMED),
    (":scheme", "http\0", MALFORMED),
    (":scheme", "HTTP", Must::BeOne),
    (":path", "", MALFORMED),
    (":path", "{T}", MALFORMED),
    (":path", "?{T}", MALFORMED),
    (":path", "*", MALFORMED),
    (":path", "/{T}?a=b&c=%20", Must::Arrive("GET", "/{T}?a=b&c=%20", "")),
    (":path", "/{T}%0d%0a", Must::Arrive("GET", "/{T}%0d%0a", "")),
    (":path", "/{T} HTTP/1.1\r\nhost: {H}\r\n\r\nGET /smuggled-{T}", MALFORMED),
    (":path", "/{T} x", MALFORMED),
    (":path", " /{T}", MALFORMED),
    (":path", "/{T} ", MALFORMED),
    (":path", "/{T}\t", MALFORMED),
    (":path", "/{T}\r", MALFORMED),
    (":path", "/{T}\n", MALFORMED),
    (":path", "/{T}\r\nx: y", MALFORMED),
    (":path", "/{T}\0", MALFORMED),
    (":path", "/{T}\u{1}", MALFORMED),
    (":path", "/{T}\u{7f}", MALFORMED),
    (":path", "/{T}\u{e9}", MALFORMED),
    (":path", "http://{H}/{T}", MALFORMED),
    (":path", "/{T}//x", Must::Arrive("GET", "/{T}//x", "")),
    (":path", "/{T}\\", Must::BeOne),
    (":path", "/{T}\"", Must::BeOne),
    (":path", "/{T}<>", Must::BeOne),
    (":path", "/{T}{}", Must::BeOne),
    (":path", "/../{T}", Must::BeOne),
    (":authority", "", MALFORMED),
    (":authority", "{H}:80", ARRIVE),
    (":authority", "u@{H}", MALFORMED),
    (":authority", "u:p@{H}", MALFORMED),
    (":authority", "@{H}", MALFORMED),
    (":authority", "{H}@other", MALFORMED),
    (":authority", "{H} ", MALFORMED),
    (":authority", " {H}", MALFORMED),
    (":authority", "{H} other", MALFORMED),
    (":authority", "{H}, other", MALFORMED),
    (":authority", "{H},other", Must::BeRefused(404)),
    (":authority", "other", Must::BeRefused(404)),
    (":authority", "{H}/x", MALFORMED),
    (":authority", "{H}?x", MALFORMED),
    (":authority", "{H}#x", MALFORMED),
    (":authority", "{H}\\x", MALFORMED),
    (":authority", "http://{H}", MALFORMED),
    (":authority", "{H}:", Must::BeOne),
    (":authority", "{H}:x", MALFORMED),
    (":authority", "{H}:99999", Must::BeOne),
    (":authority", "{H}:80:80", MALFORMED),
    (":authority", "{H}\r\nx: y", MALFORMED),
    (":authority", "{H}\0", MALFORMED),
    (":authority", "{H}\u{e9}", MALFORMED),
    (":authority", "[::1]", MALFORMED),
    (":authority", "[::1", MALFORMED),
];

/// Fields beside those of GET.
const FIELDS: &[(&str, Fields, Must)] = &[
    ("8.2.1", &[("X-A", "1")], OR_END),
    ("8.2.1", &[("x-A", "1")], OR_END),
    ("8.2.1", &[("Content-Length", "5")], OR_END),
    ("8.2.1", &[("", "1")], OR_END),
    ("8.2.1", &[("x a", "1")], OR_END),
    ("8.2.1", &[("x-a ", "1")], OR_END),
    ("8.2.1", &[(" x-a", "1")], OR_END),
    ("8.2.1", &[("x-a:", "1")], OR_END),
    ("8.2.1", &[("x:a", "1")], OR_END),
    ("8.2.1", &[("x-a: 1\r\nx-b", "1")], OR_END),
    ("8.2.1", &[("x-a\r\n", "1")], OR_END),
    ("8.2.1", &[("x-a\n", "1")], OR_END),
    ("8.2.1", &[("x-a\0", "1")], OR_END),
    ("8.2.1", &[("x-\u{e9}", "1")], OR_END),
    ("8.2.1", &[("x-a\u{7f}", "1")], OR_END),
    ("8.2.1", &[("x\"a", "1")], OR_END),
    ("8.2.1", &[("x(a)", "1")], OR_END),
    ("8.2.1", &[("x/a", "1")], OR_END),
    ("8.2.1", &[("x-a", "1\r\n")], OR_END),
    ("8.2.1", &[("x-a", "1\r\nx-b: 2")], OR_END),
    ("8.2.1", &[("x-a", "1\r\n\r\nGET /smuggled-{T} HTTP/1.1\r\nhost: {H}\r\n\r\n")], OR_END),
    ("8.2.1", &[("x-a", "1\n2")], OR_END),
    ("8.2.1", &[("x-a", "1\r2")], OR_END),
    ("8.2.1", &[("x-a", "\r")], OR_END),
    ("8.2.1", &[("x-a", "1\0b")], OR_END),
    ("8.2.1", &[("x-a", "\0")], OR_END),
    ("8.2.1", &[("x-a", " 1")], MALFORMED),
    ("8.2.1", &[("x-a", "1 ")], MALFORMED),
    ("8.2.1", &[("x-a", "\t1")], MALFORMED),
    ("8.2.1", &[("x-a", "1\t")], MALFORMED),
    ("8.2.1", &[("x-a", " ")], MALFORMED),
    ("8.2.1", &[("x-a", "1\u{1}2")], Must::BeOne),
    ("8.2.1", &[("x-a", "1\u{7f}2")], Must::BeOne),
    ("8.2.1", &[("x-a", "")], ARRIVE),
    ("8.2.1", &[("x-a", "1\t2")], ARRIVE),
    ("8.2.1", &[("x-a", "caf\u{e9}")], ARRIVE),
    ("8.2.1", &[("x!#$%&'*+-.^_`|~", "1")], ARRIVE),
    ("8.2.2", &[("connection", "close")], MALFORMED),
    ("8.2.2", &[("connection", "")], MALFORMED),
    ("8.2.2", &[("connection", "x-a"), ("x-a", "1")], MALFORMED),
    ("8.2.2", &[("keep-alive", "5")], MALFORMED),
    ("8.2.2", &[("proxy-connection", "close")], MALFORMED),
    ("8.2.2", &[("transfer-encoding", "chunked")], MALFORMED),
    ("8.2.2", &[("transfer-encoding", "")], MALFORMED),
    ("8.2.2", &[("transfer-encoding", "identity")], MALFORMED),
    ("8.2.2", &[("upgrade", "h2c")], MALFORMED),
    ("8.2.2", &[("upgrade", "websocket")], MALFORMED),
    ("8.2.2", &[("te", "gzip")], MALFORMED),
    ("8.2.2", &[("te", "trailers, gzip")], MALFORMED),
    ("8.2.2", &[("te", "")], MALFORMED),
    ("8.2.2", &[("te", "trailers"), ("te", "gzip")], MALFORMED),
    ("8.2.2", &[("te", "trailers")], ARRIVE),
    ("8.2.3", &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")], ARRIVE),
    ("8.2.3", &[("cookie", "a=1\r\nx-b: 2")], OR_END),
];

/// The method CONNECT (8.5), and with a protocol (RFC 8441).
const CONNECT: &[(&str, Fields, Must)] = &[
    ("8.5: CONNECT with :path", &[(":method", "CONNECT"), P, A], MALFORMED),
    ("8.5: CONNECT with :scheme", &[(":method", "CONNECT"), S, A], MALFORMED),
    ("8.5: CONNECT with both", &[(":method", "CONNECT"), S, P, A], MALFORMED),
    ("8.5: CONNECT without :authority", &[(":method", "CONNECT")], MALFORMED),
    ("RFC 8441, 4: without :path", &[(":method", "CONNECT"), (":protocol", "websocket"), S, A], MALFORMED),
    ("RFC 8441, 4: without :scheme", &[(":method", "CONNECT"), (":protocol", "websocket"), P, A], MALFORMED),
    (
        "RFC 8441, 4: :protocol twice",
        &[(":method", "CONNECT"), (":protocol", "websocket"), (":protocol", "websocket"), S, P, A],
        MALFORMED,
    ),
    ("8.5: CONNECT with a length", &[(":method", "CONNECT"), A, ("content-length", "0")], MALFORMED),
    ("8.3.1: OPTIONS of *x", &[(":method", "OPTIONS"), S, (":path", "*x"), A], MALFORMED),
];

/// Fields that make a head malformed, behind those of GET.
const CUT: &[(&str, Fields)] = &[
    ("8.2.2", &[("transfer-encoding", "chunked")]),
    ("8.2.2", &[("connection", "close")]),
    ("8.2.2", &[("upgrade", "h2c")]),
    ("8.2.2", &[("te", "gzip")]),
    ("8.3", &[(":path", "/smuggled-{T}")]),
    ("8.3", &[(":method", "POST")]),
    ("8.3", &[(":authority", "other")]),
    ("8.3", &[("x-a", "1"), (":path", "/smuggled-{T}")]),
];

/// A head whose first frame holds what is malformed and ends within a good field.
fn cut((section, fields): &(&str, Fields)) -> Case {
    let rest = field(b"x-rest", b"1");
    let (start, end) = rest.split_at(4);
    Case::new(format!("{section}: {fields:?} before a cut"), OR_END)
        .block(HEADERS, (1, END_STREAM), b"", &[GET, fields].concat(), start)
        .goes_on(1, END_HEADERS, end)
}

/// Heads that are too large to be looked at, or almost.
fn large() -> Vec<Case> {
    let text = |len: usize| "a".repeat(len);
    let value = |name: &str, len: usize, must: Must| {
        Case::of_head(format!("10.5.1: {name}"), &[GET, &[("x-a", text(len).as_str())]].concat(), must)
    };
    let many = |count: usize, must: Must| {
        let fields = vec![("x-a", "1"); count];
        Case::of_head(format!("10.5.1: {count} fields"), &[GET, &fields].concat(), must)
    };
    let long = format!("/{{T}}?{}", text(7_000));
    let path = [M, S, (":path", long.as_str()), A];
    vec![
        value("a value of 7,000 bytes", 7_000, ARRIVE),
        Case::of_head("10.5.1: a path of 7,000 bytes", &path, Must::BeOne),
        many(50, ARRIVE),
        many(400, Must::BeRefused(431)),
        value("a value of 16,000 bytes", 16_000, Must::BeOne),
        Case::new("10.5.1: a value of 16,000 bytes, three times", Must::BeRefused(431))
            .block(HEADERS, (1, END_STREAM), b"", GET, &field(b"x-a", &[b'a'; 16_000]))
            .goes_on(1, 0, &field(b"x-a", &[b'a'; 16_000]))
            .goes_on(1, END_HEADERS, &field(b"x-a", &[b'a'; 16_000])),
    ]
}
