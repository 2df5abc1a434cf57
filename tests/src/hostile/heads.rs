//! Heads of answers: status lines, lines and fields.

use super::{After, Case, Must};

/// Status lines that no answer has.
const BAD_STATUS_LINES: &[&str] = &[
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 2x0 OK",
    "HTTP/1.1 +20 OK",
    "HTTP/1.1 099 Low",
    "HTTP/1.1 000 None",
    "HTTP/1.1",
    "HTTP/1.1 OK",
    "HTTP/1.1200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/3 200 OK",
    "http/1.1 200 OK",
    "HTTP/0.9 200 OK",
    "ICY 200 OK",
    "200 OK",
    "GET / HTTP/1.1",
    "HTTP/1.1\t200 OK",
    " HTTP/1.1 200 OK",
    "HTTP/1.1 200 O\u{0}K",
    "HTTP/1.1 200 O\rK",
    "HTTP/1.1 200 O\u{7f}K",
    "hello",
    "SSH-2.0-OpenSSH_9.6",
];
/// Status lines that are unusual, and right.
const STATUS_LINES: &[(&str, u16)] = &[
    ("HTTP/1.1 200 OK", 200),
    ("HTTP/1.1 200 ", 200),
    ("HTTP/1.1 200", 200),
    ("HTTP/1.1 200 All is well, \u{e9}ven so", 200),
    ("HTTP/1.1 299 Odd", 299),
    ("HTTP/1.1 404 Not Found", 404),
    ("HTTP/1.1 418 I'm a teapot", 418),
    ("HTTP/1.1 500 Internal Server Error", 500),
    ("HTTP/1.1 599 Odd", 599),
    ("HTTP/1.0 200 OK\r\nconnection: keep-alive", 200),
];
/// Fields that no answer has.
const BAD_FIELDS: &[&str] = &[
    "x: a\r\n b",
    "x: a\r\n\tb",
    " x: a",
    "x",
    ": a",
    "x : a",
    "x y: a",
    "x\u{0}: a",
    "x: \u{0}",
    "x: \u{1}",
    "x: \u{7f}",
    "x: a\rb",
    "x: a\nb",
    "x: a\n",
    "(x): a",
    "\u{e9}: a",
    "content-length: 2",
    "content-length: 3",
    "Content-Length: 0",
    "content-length:",
    "transfer-encoding: chunked",
    "transfer-encoding: identity",
    "transfer-encoding:",
];
/// Lengths that say nothing, or two things.
const BAD_LENGTHS: &[&str] = &[
    "2,2",
    "2, 2",
    "2,3",
    "2,",
    ",2",
    "+2",
    "-2",
    "0x2",
    "2;",
    "2.0",
    "2e0",
    "\"2\"",
    "2 2",
    "",
    "two",
    "\u{b}2",
    "2\u{0}",
    "99999999999999999999",
    "18446744073709551618",
    "-1",
];
/// Codings that are anything but one `chunked`.
const BAD_CODINGS: &[&str] = &[
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked\r\ntransfer-encoding: chunked",
    "chunked\r\ntransfer-encoding: gzip",
    "gzip\r\ntransfer-encoding: chunked",
    "gzip",
    "identity",
    ",chunked",
    "chunked,",
    "xchunked",
    "chunked;q=1",
    "\"chunked\"",
    "\u{b}chunked",
    "",
    "chunked\r\ncontent-length: 1",
    "chunked\r\ncontent-length: 2",
    "chunked\r\ncontent-length: 5",
    "chunked\r\ncontent-length: 12",
];

pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    let with = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 2\r\n\r\nok");
    for line in BAD_STATUS_LINES {
        all.push(Case::new(
            format!("status line {line:?}"),
            format!("{line}\r\ncontent-length: 2\r\n\r\nok"),
            Must::BeRefused,
        ));
    }
    for (line, status) in STATUS_LINES {
        let bytes = format!("{line}\r\ncontent-length: 2\r\n\r\nok");
        all.push(Case::new(format!("status line {line:?}"), bytes, Must::BeWhole(*status, "ok")));
    }
    all.extend(BAD_FIELDS.iter().map(|line| Case::new(format!("field {line:?}"), with(line), Must::BeRefused)));
    for length in BAD_LENGTHS {
        let bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nok");
        all.push(Case::new(format!("length {length:?}"), bytes, Must::BeRefused));
    }
    for length in ["2", " 2 ", "\t2\t"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length:{length}\r\n\r\nok");
        all.push(Case::new(format!("length {length:?}"), bytes, Must::BeWhole(200, "ok")));
    }
    for coding in BAD_CODINGS {
        let bytes = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        all.push(Case::new(format!("coding {coding:?}"), bytes, Must::BeRefused));
    }
    let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    all.push(Case::new("a coding of HTTP/1.0", old, Must::BeRefused));
    all.push(Case::new(
        "a length before a coding",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Must::BeRefused,
    ));
    all.push(Case::new("LF alone", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", Must::BeRefused));
    all.push(Case::new("LF alone at the end", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok", Must::BeRefused));
    all.push(Case::new("CR alone", "HTTP/1.1 200 OK\rcontent-length: 2\r\rok", Must::BeRefused).then(After::End));
    all.push(Case::new("nothing", "", Must::BeRefused).then(After::End));
    all.push(Case::new("a reset at once", "", Must::BeRefused).then(After::Reset));
    all.push(Case::new("half a head", "HTTP/1.1 200 OK\r\ncontent-le", Must::BeRefused).then(After::End));
    all.push(
        Case::new("a head without its end", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", Must::BeRefused)
            .then(After::End),
    );
    all.extend(large());
    all.extend(interim());
    all
}

fn large() -> Vec<Case> {
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok");
    let many = |count: usize| with(&(0..count).map(|number| format!("x-{number}: a\r\n")).collect::<String>());
    let long = |len: usize| with(&format!("x: {}\r\n", "a".repeat(len)));
    vec![
        Case::new("100 fields", many(99), Must::BeWhole(200, "ok")),
        Case::new("101 fields", many(100), Must::BeRefused),
        Case::new("10,000 fields", many(9_999), Must::BeRefused),
        Case::new("a head of 30 KiB", long(30 * 1024), Must::BeWhole(200, "ok")),
        Case::new("a head of 33 KiB", long(33 * 1024), Must::BeRefused),
        Case::new("a head of 4 MiB", long(4 * 1024 * 1024), Must::BeRefused),
        Case::new(
            "a head without an end",
            "HTTP/1.1 200 OK\r\n".to_owned() + &"x: a\r\n".repeat(100_000),
            Must::BeRefused,
        ),
    ]
}

fn interim() -> Vec<Case> {
    let after = |interim: &str| format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let whole = Must::BeWhole(200, "ok");
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    vec![
        Case::new("100 that nobody asked for", after("HTTP/1.1 100 Continue\r\n\r\n"), whole),
        Case::new("102", after("HTTP/1.1 102 Processing\r\n\r\n"), whole),
        Case::new("103", after(hint), whole),
        Case::new("103, five times", after(&hint.repeat(5)), whole),
        Case::new("199", after("HTTP/1.1 199 Odd\r\n\r\n"), Must::BeEither(200, "ok")),
        Case::new("103 without an end", hint.repeat(20_000), Must::BeRefused),
        Case::new("103 of HTTP/1.0", after("HTTP/1.0 103 Early Hints\r\n\r\n"), Must::BeEither(200, "ok")),
        Case::new(
            "103 with a length",
            after("HTTP/1.1 103 Early Hints\r\ncontent-length: 2\r\n\r\n"),
            Must::BeEither(200, "ok"),
        ),
        Case::new("103 and nothing", hint, Must::BeRefused).then(After::End),
        Case::new(
            "101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nxx",
            Must::BeRefused,
        ),
        Case::new(
            "101 to a websocket",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nxx",
            Must::BeRefused,
        ),
        Case::new("101 to nothing", "HTTP/1.1 101 Switching Protocols\r\n\r\n", Must::BeRefused),
        Case::new("101 before an answer", after("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Must::BeRefused),
    ]
}
