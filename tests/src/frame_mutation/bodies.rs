//! Bodies: lengths that disagree, trailers, and what looks like a request to whoever frames it otherwise.

use super::code::{PROTOCOL, STREAM_CLOSED};
use super::{Case, GET, Must, POST};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PADDED};

const WHOLE: u8 = END_STREAM | END_HEADERS;
const MALFORMED: Must = Must::BeMalformed;
/// It is found out after the head went on: the stream is reset, and what arrived is cut.
const CUT: Must = Must::EndStream(PROTOCOL);

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [stated(), disagreeing(), good(), trailers()].concat()
}

fn arrives(body: &'static str) -> Must {
    Must::Arrive("POST", "/{T}", body)
}

/// Lengths by themselves, before five bytes.
fn stated() -> Vec<Case> {
    let lengths: &[(&str, Must)] = &[
        ("5", arrives("hello")),
        ("05", Must::BeOne),
        ("+5", MALFORMED),
        ("-5", MALFORMED),
        ("5,5", MALFORMED),
        ("5, 5", MALFORMED),
        ("5;", MALFORMED),
        ("0x5", MALFORMED),
        ("5.0", MALFORMED),
        ("5e0", MALFORMED),
        ("", MALFORMED),
        (" 5", MALFORMED),
        ("5 ", MALFORMED),
        ("\u{ff15}", MALFORMED),
        ("five", MALFORMED),
        ("18446744073709551615", MALFORMED),
        ("18446744073709551616", MALFORMED),
        ("18446744073709551621", MALFORMED),
        ("99999999999999999999999", MALFORMED),
    ];
    let of = |(length, must): &(&str, Must)| {
        Case::new(format!("8.1.1: content-length {length:?}"), *must)
            .upload(&[("content-length", length)])
            .last(1, "hello")
    };
    lengths.iter().map(of).collect()
}

fn disagreeing() -> Vec<Case> {
    let states = |name: &str, length: &str, must: Must| {
        Case::new(format!("8.1.1: {name}"), must).upload(&[("content-length", length)])
    };
    let double = |name: &str, second: &str| {
        Case::new(format!("8.1.1: {name}"), MALFORMED)
            .upload(&[("content-length", "5"), ("content-length", second)])
            .last(1, "hello")
    };
    let head = |name: &str, first: &[(&str, &str)], length: &str, must: Must| {
        Case::of_head(format!("8.1.1: {name}"), &[first, &[("content-length", length)]].concat(), must)
    };
    vec![
        states("a length that is too large", "6", CUT).last(1, "hello"),
        states("a length that is much too large", "5000000000", CUT).last(1, "hello"),
        states("a length that is too large, in two frames", "6", CUT).data(1, "hel").last(1, "lo"),
        states("a length that is too large, and an empty end", "6", CUT).data(1, "hello").last(1, ""),
        states("a length that is too small", "4", CUT).last(1, "hello"),
        states("a length that is too small, in two frames", "4", CUT).data(1, "hell").last(1, "o"),
        states("a length of 0 before bytes", "0", CUT).last(1, "hello"),
        states("a length that ends where a request begins", "5", CUT).data(1, "hello").last(1, "{B}"),
        states("a length of 0 where a request begins", "0", CUT).perhaps("POST", "").last(1, "{B}"),
        states("a length that trailers cut", "5", CUT).data(1, "hel").head(1, WHOLE, &[("x-a", "1")]),
        states("a length that padding fills", "5", CUT).frame(
            DATA,
            END_STREAM | PADDED,
            1,
            &[2, b'h', b'e', b'l', 0, 0],
        ),
        head("a length without a body", POST, "5", MALFORMED),
        head("a length without a body, of GET", GET, "5", MALFORMED),
        head("a length of 0 without a body", POST, "0", arrives("")),
        head("a length of 0 without a body, of GET", GET, "0", Must::Arrive("GET", "/{T}", "")),
        double("two lengths", "6"),
        double("two lengths that agree", "5"),
        double("two lengths, one of them empty", ""),
    ]
}

fn good() -> Vec<Case> {
    let upload = |name: &str, more: &[(&str, &str)], body: &'static str| {
        Case::new(format!("8.1: {name}"), arrives(body)).upload(more)
    };
    let empty = (0..1000).flat_map(|_| crate::frames::frame(DATA, 0, 1, b"")).collect();
    let single = |case: Case| "hello world".split_inclusive(|_| true).fold(case, |case, byte| case.data(1, byte));
    vec![
        upload("a body without a length", &[], "hello").last(1, "hello"),
        upload("a body that is a request", &[], "{B}").last(1, "{B}"),
        upload("a body that is a request, with its length", &[("content-length", "{N}")], "{B}").last(1, "{B}"),
        upload("a body that is the end of chunks", &[], "0\r\n\r\n{B}").last(1, "0\r\n\r\n{B}"),
        upload("a body that is chunks", &[], "5\r\nhello\r\n0\r\n\r\n").last(1, "5\r\nhello\r\n0\r\n\r\n"),
        upload("a body that begins with an empty line", &[], "\r\n\r\n{B}").last(1, "\r\n\r\n{B}"),
        upload("a body that ends with an empty frame", &[], "hello").data(1, "hello").last(1, ""),
        upload("no body but its end", &[], "").last(1, ""),
        upload("a length and padding", &[("content-length", "5")], "hello").frame(
            DATA,
            END_STREAM | PADDED,
            1,
            b"\x03hello\0\0\0",
        ),
        upload("a thousand empty frames", &[], "hello").bytes(empty).last(1, "hello"),
        single(upload("bytes in frames of their own", &[("content-length", "11")], "hello world")).last(1, ""),
        Case::new("8.1: a body of GET", Must::Arrive("GET", "/{T}", "{B}")).head(1, END_HEADERS, GET).last(1, "{B}"),
        Case::new("8.1: expect", Must::BeOne).upload(&[("expect", "100-continue")]).last(1, "hello"),
    ]
}

fn trailers() -> Vec<Case> {
    let upload = |name: &str, must: Must| Case::new(name, must).upload(&[]).data(1, "hello");
    let ends = |name: &str, must: Must, fields: &[(&str, &str)]| upload(name, must).head(1, WHOLE, fields);
    let cut_or_end = Must::EndEither(PROTOCOL);
    vec![
        ends("8.1: trailers", arrives("hello"), &[("x-a", "1"), ("x-b", "2")]),
        ends("8.1: trailers that frame", arrives("hello"), &[("content-length", "5"), ("x-a", "1")]),
        ends("8.1: trailers that frame otherwise", arrives("hello"), &[("content-length", "1")]),
        ends("8.1: a Host in trailers", arrives("hello"), &[("host", "other")]),
        ends("8.1: trailers with TE", arrives("hello"), &[("te", "trailers")]),
        Case::new("8.1: trailers with a length before them", arrives("hello"))
            .upload(&[("content-length", "5")])
            .data(1, "hello")
            .head(1, WHOLE, &[("x-a", "1")]),
        Case::new("8.1: trailers of nothing", arrives("")).upload(&[]).head(1, WHOLE, &[("x-a", "1")]),
        Case::new("8.1: trailers without a field", arrives("hello")).upload(&[]).data(1, "hello").head(1, WHOLE, &[]),
        Case::new("8.1: trailers in two frames", arrives("hello"))
            .upload(&[])
            .data(1, "hello")
            .head(1, END_STREAM, &[("x-a", "1")])
            .goes_on(1, END_HEADERS, b""),
        ends("8.1: :path in trailers", cut_or_end, &[(":path", "/smuggled-{T}")]),
        ends("8.1: :method in trailers", cut_or_end, &[(":method", "GET")]),
        ends("8.1: :authority in trailers", cut_or_end, &[(":authority", "other")]),
        ends("8.1: :status in trailers", cut_or_end, &[(":status", "200")]),
        ends("8.1: a whole head in trailers", cut_or_end, GET),
        ends("8.2.1: trailers in upper case", cut_or_end, &[("X-A", "1")]),
        ends("8.2.1: lines in a trailer", cut_or_end, &[("x-a", "1\r\n\r\nGET /smuggled-{T} HTTP/1.1\r\n\r\n")]),
        ends("8.2.1: a trailer that ends with a space", MALFORMED, &[("x-a", "1 ")]),
        ends("8.2.2: transfer-encoding in trailers", cut_or_end, &[("transfer-encoding", "chunked")]),
        ends("8.2.2: connection in trailers", cut_or_end, &[("connection", "close")]),
        upload("8.1: trailers without END_STREAM", cut_or_end).head(1, END_HEADERS, &[("x-a", "1")]),
        upload("8.1: a second head without END_STREAM", cut_or_end).head(1, END_HEADERS, GET),
        upload("8.1: trailers without END_STREAM, and a body", cut_or_end)
            .head(1, END_HEADERS, &[("x-a", "1")])
            .last(1, "{B}"),
        ends("8.1: DATA behind trailers", Must::EndEither(STREAM_CLOSED), &[("x-a", "1")])
            .last(1, "{B}")
            .perhaps("POST", "hello"),
        ends("8.1: trailers twice", Must::EndEither(STREAM_CLOSED), &[("x-a", "1")])
            .block(HEADERS, (1, WHOLE), b"", &[("x-b", "1")], b"")
            .perhaps("POST", "hello"),
    ]
}
