//! Bodies of answers: chunks, ends, and bytes where none belong.

use super::{After, Case, Must};

/// Sizes of a chunk of two bytes that are none, or two.
const BAD_SIZES: &[&str] = &[
    "+2",
    "-2",
    "0x2",
    " 2",
    "2,",
    "2=",
    "",
    ";",
    "g",
    "2 2",
    "2\n",
    "2\r",
    "2\u{0}",
    "2;a\u{0}",
    "2;a=\u{1}",
    "\u{b}2",
    "10000000000000002",
    "fffffffffffffffff",
];
/// What stands behind the two bytes of a chunk in place of CRLF.
const BAD_ENDS: &[&str] = &["", "\n", "\r", "x\r\n", "\r\r\n", " \r\n"];
/// What ends a body in place of a last chunk.
const BAD_LASTS: &[&str] = &[
    "0\n\n",
    "0\r\n\n",
    "0\r\nx\r\n\r\n",
    "0\r\n x: 1\r\n\r\n",
    "0\r\nx: a\r\n b\r\n\r\n",
    "0\r\nx : 1\r\n\r\n",
    "0\r\nx: \u{0}\r\n\r\n",
    "z\r\n\r\n",
];

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for size in BAD_SIZES {
        all.push(Case::new(format!("size {size:?}"), format!("{CHUNKED}{size}\r\nok\r\n0\r\n\r\n"), Must::BeCut));
        let second = format!("{CHUNKED}2\r\nok\r\n{size}\r\nok\r\n0\r\n\r\n");
        all.push(Case::new(format!("second size {size:?}"), second, Must::BeCut));
    }
    for end in BAD_ENDS {
        all.push(Case::new(format!("end of a chunk {end:?}"), format!("{CHUNKED}2\r\nok{end}0\r\n\r\n"), Must::BeCut));
    }
    for last in BAD_LASTS {
        all.push(Case::new(format!("last chunk {last:?}"), format!("{CHUNKED}2\r\nok\r\n{last}"), Must::BeCut));
    }
    let trailers = (0..300).map(|number| format!("x-{number}: a\r\n")).collect::<String>();
    all.push(Case::new("too many trailers", format!("{CHUNKED}2\r\nok\r\n0\r\n{trailers}\r\n"), Must::BeCut));
    all.push(Case::new("a size of 4 KiB", format!("{CHUNKED}{}2\r\nok\r\n0\r\n\r\n", "0".repeat(4_096)), Must::BeCut));
    for (name, chunks) in [
        ("upper case", "A\r\n0123456789\r\n0\r\n\r\n"),
        ("two chunks", "5\r\n01234\r\n05\r\n56789\r\n0\r\n\r\n"),
        ("an extension", "a;x=y\r\n0123456789\r\n0\r\n\r\n"),
        ("trailers", "a\r\n0123456789\r\n0\r\nx-a: 1\r\n\r\n"),
        ("a long last chunk", "a\r\n0123456789\r\n000\r\n\r\n"),
    ] {
        all.push(Case::new(format!("chunks: {name}"), format!("{CHUNKED}{chunks}"), Must::BeWhole(200, "0123456789")));
    }
    let odd = format!("{CHUNKED}a\r\n0123456789\r\n0\r\ncontent-length: 2\r\n\r\n");
    all.push(Case::new("trailers that frame", odd, Must::BeEither(200, "0123456789")));
    all.extend(broken_off());
    all.extend(without_body());
    all.extend(behind());
    all
}

fn broken_off() -> Vec<Case> {
    let mut all = Vec::new();
    let cuts: &[(&str, &str)] = &[
        ("a length of 9, two bytes", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"),
        ("a length of 9, nothing", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        ("no chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("half a size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2"),
        ("a size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n"),
        ("half a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\no"),
        ("a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok"),
        ("a chunk and its end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
        ("half a last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0"),
        ("a last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"),
        ("half of a trailer", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1"),
        ("a trailer", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n"),
    ];
    for (name, bytes) in cuts {
        for (after, how) in [(After::End, "ends"), (After::Reset, "is reset")] {
            all.push(Case::new(format!("{name}, and it {how}"), bytes, Must::BeCut).then(after));
        }
    }
    let until = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
    all.push(Case::new("a body until the end", until, Must::BeWhole(200, "until the end")).then(After::End).last());
    let modern = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end";
    all.push(Case::new("the same of HTTP/1.1", modern, Must::BeWhole(200, "until the end")).then(After::End).last());
    all.push(Case::new("the same that is reset", modern, Must::BeCut).then(After::Reset));
    all
}

fn without_body() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, asked, bytes, status) in [
        ("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", 304),
        ("304 with a coding", "GET", "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", 304),
        ("HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", 200),
        ("HEAD with a coding", "HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200),
        ("HEAD with neither", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200),
        ("205 of no length", "GET", "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", 205),
    ] {
        all.push(Case::new(name, bytes, Must::BeWhole(status, "")).asked(asked));
    }
    for (name, asked, head, status) in [
        ("204 with a body", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n", 204),
        ("204 with a chunk", "GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\n", 204),
        ("304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n", 304),
        ("HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", 200),
        (
            "HEAD with an answer behind",
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 61\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
            200,
        ),
    ] {
        all.push(Case::new(name, format!("{head}evil"), Must::BeEither(status, "")).asked(asked).last());
    }
    all
}

/// Bytes behind an answer, and answers that are the last.
fn behind() -> Vec<Case> {
    let whole = Must::BeWhole(200, "ok");
    let mut all = Vec::new();
    for (name, rest) in [
        ("an answer", EVIL),
        ("a byte", "x"),
        ("an empty line", "\r\n"),
        ("a NUL", "\0"),
        ("half an answer", "HTTP/1.1 2"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{rest}");
        all.push(Case::new(format!("{name} behind a length"), answer, whole).last());
        let chunks = format!("{CHUNKED}2\r\nok\r\n0\r\n\r\n{rest}");
        all.push(Case::new(format!("{name} behind chunks"), chunks, whole).last());
    }
    all.push(
        Case::new("an answer behind 204", format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}"), Must::BeWhole(204, ""))
            .last(),
    );
    for field in ["connection: close", "Connection: x, Close", "connection: keep-alive, close"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 2\r\n\r\nok");
        all.push(Case::new(format!("the last, {field:?}"), bytes, whole).last());
    }
    all.push(Case::new("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", whole).last());
    all
}
