//! Lines, names and values of a head: ends of lines, control bytes, folds, and too much of anything.

use super::{Must, Mutation};

const LINES: [&str; 6] = ["POST /{T} HTTP/1.1", "host: {H}", "x-a: 1", "connection: close", "content-length: {N}", ""];
/// Ends of a line in place of CRLF.
const BAD_LINE_ENDS: &[&str] = &["\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\u{b}\r\n", "\0\r\n", "\r\n ", "\r\n\t"];
/// Where a byte is put in, at `@`.
const PLACES: &[&str] =
    &["POST@ /{T} HTTP/1.1", "POST /{T}@ HTTP/1.1", "POST /{T} HTTP@/1.1", "x@-a: 1", "x-a@: 1", "x-a: 1@1"];
/// Lines that are no field.
const NO_FIELDS: &[&str] = &[
    "x-a",
    ": 1",
    "x a: 1",
    "x-a : 1",
    "x-a\t: 1",
    "(x): 1",
    "x/a: 1",
    "x@a: 1",
    "\"x\": 1",
    "x[0]: 1",
    "x{a}: 1",
    "x,a: 1",
    "x;a: 1",
    "x=a: 1",
    "x\\a: 1",
    "x\u{e9}: 1",
    "x-a: 1\r\n folded",
    "x-a: 1\r\n\tfolded",
    "x-a:\r\n 1",
    "x-a: 1\r\n \r\nx-b: 2",
    " x-a: 1",
    "GET /smuggled-{T} HTTP/1.1",
    "HTTP/1.1 200 OK",
];
/// Fields that are unusual, and fields all the same.
const FIELDS: &[&str] = &[
    "x-a:1",
    "x-a:",
    "x-a: ",
    "x-a: \t 1 \t ",
    "x-a: a: b",
    "x-a: \u{e9}\u{ff}",
    "x-a: {\"json\":\"[]\"}",
    "!#$%&'*+-.^_`|~09az: 1",
    "X_A: 1",
    "x-a: 1\r\nx-a: 2",
    "accept-encoding: gzip;q=0.5, *;q=0",
    "cookie: a=b; c=\"d\"",
    "content-type: text/plain;\tcharset=utf-8",
];

pub(super) fn all() -> Vec<Mutation> {
    let mut all = Vec::new();
    for at in 0..LINES.len() {
        for end in BAD_LINE_ENDS {
            // Behind the last line: another byte of the body, and not an end.
            let must =
                if at == LINES.len() - 1 && end.starts_with("\r\n") { Must::BeOne } else { Must::BeMalformedOrCut };
            all.push(Mutation::new("the end of a line", with_end(at, end), must));
        }
    }
    for byte in (0..=0x1f_u8).chain([0x7f, 0x80, 0xff]) {
        all.extend(PLACES.iter().map(|place| {
            let is_value = place.ends_with("1@1");
            let must = match byte {
                // Space may stand within a value; so may what is beyond ASCII.
                b'\t' | 0x80 | 0xff if is_value => Must::BeOne,
                _ => Must::BeMalformedOrCut,
            };
            Mutation::new("a byte", with_byte(place, byte), must)
        }));
    }
    for (lines, must) in [(NO_FIELDS, Must::BeMalformed), (FIELDS, Must::Arrive("POST", "/{T}", "{B}"))] {
        all.extend(lines.iter().map(|line| Mutation::new("a field", with_field(line), must.clone())));
    }
    all.extend(large());
    all.extend(before());
    all
}

fn with_field(line: &str) -> String {
    format!("POST /{{T}} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n{line}\r\ncontent-length: {{N}}\r\n\r\n{{B}}")
}

fn with_end(at: usize, end: &str) -> String {
    let lines = LINES.iter().enumerate();
    let head: String = lines.map(|(line, text)| format!("{text}{}", if line == at { end } else { "\r\n" })).collect();
    format!("{head}{{B}}")
}

fn with_byte(place: &str, byte: u8) -> Vec<u8> {
    let (line, field) = if place.starts_with("POST") { (place, "x-a: 1") } else { ("POST /{T} HTTP/1.1", place) };
    let text = format!("{line}\r\nhost: {{H}}\r\nconnection: close\r\n{field}\r\ncontent-length: {{N}}\r\n\r\n{{B}}");
    let (before, after) = text.split_once('@').expect("every place has one");
    [before.as_bytes(), &[byte], after.as_bytes()].concat()
}

fn large() -> Vec<Mutation> {
    let fields = |count: usize| (0..count).map(|number| format!("x-{number}: a\r\n")).collect::<String>();
    let get = |more: &str| format!("GET /{{T}} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n{more}\r\n");
    let value = |len: usize| format!("x: {}\r\n", "a".repeat(len));
    let whole = || Must::Arrive("GET", "/{T}", "");
    [
        ("98 fields", get(&fields(96)), whole()),
        ("100 fields", get(&fields(98)), whole()),
        ("101 fields", get(&fields(99)), Must::BeTooLarge),
        ("1,000 fields", get(&fields(998)), Must::BeTooLarge),
        ("a head of 30 KiB", get(&value(30 * 1024)), whole()),
        ("a head of 33 KiB", get(&value(33 * 1024)), Must::BeTooLarge),
        ("a head of 1 MiB", get(&value(1024 * 1024)), Must::BeTooLarge),
        ("a name of 33 KiB", get(&format!("{}: 1\r\n", "x".repeat(33 * 1024))), Must::BeTooLarge),
        ("a head without an end", format!("GET /{{T}} HTTP/1.1\r\n{}", value(40 * 1024).trim_end()), Must::BeTooLarge),
        (
            "a target of 16 KiB",
            format!("GET /{{T}}?{} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n\r\n", "q".repeat(16 * 1024)),
            Must::BeOne,
        ),
        (
            "a target of 33 KiB",
            format!("GET /{{T}}?{} HTTP/1.1\r\nhost: {{H}}\r\n\r\n", "q".repeat(33 * 1024)),
            Must::BeTooLarge,
        ),
        (
            "a method of 33 KiB",
            format!("{} /{{T}} HTTP/1.1\r\nhost: {{H}}\r\n\r\n", "G".repeat(33 * 1024)),
            Must::BeTooLarge,
        ),
        (
            "a method of 1 KiB",
            format!("{} /{{T}} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n\r\n", "G".repeat(1024)),
            Must::BeOne,
        ),
    ]
    .into_iter()
    .map(|(kind, text, must)| Mutation::new(kind, text, must))
    .collect()
}

/// What stands before a request.
fn before() -> Vec<Mutation> {
    let request = "GET /{T} HTTP/1.1\r\nhost: {H}\r\nconnection: close\r\n\r\n";
    [
        ("\r\n", Must::Arrive("GET", "/{T}", "")),
        ("\r\n\r\n", Must::BeOne),
        ("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", Must::BeMalformed),
        ("\n", Must::BeMalformed),
        ("\r", Must::BeMalformed),
        (" ", Must::BeMalformed),
        ("\t", Must::BeMalformed),
        ("\0", Must::BeMalformed),
        (" \r\n", Must::BeMalformed),
        ("x\r\n", Must::BeMalformed),
        ("\u{feff}", Must::BeMalformed),
        ("\u{16}\u{3}\u{1}", Must::BeMalformed),
    ]
    .into_iter()
    .map(|(bytes, must)| Mutation::new("bytes before a request", format!("{bytes}{request}"), must))
    .collect()
}
