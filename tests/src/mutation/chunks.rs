//! Bodies in chunks: sizes, extensions, ends and trailers in forms that parsers read differently.

use super::{Must, Mutation};

const START: &str = "POST /{T} HTTP/1.1\r\nhost: {H}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

/// Lines of a size that have one meaning.
const GOOD_SIZES: &[&str] = &["{X}", "0{X}", "0000{X}", "{X};a=b", "{X};a"];
/// Lines of a size whose extension some take and some do not.
const ODD_SIZES: &[&str] =
    &["{X};a=\"b c\"", "{X};a=\"b;c\"", "{X} ;a=b", "{X}; a=b", "{X};", "{X};;", "{X}\t;a", "{X};a=b;"];
/// Lines of a size that have none, or two.
const BAD_SIZES: &[&str] = &[
    "+{X}",
    "-{X}",
    "0x{X}",
    " {X}",
    "\t{X}",
    "{X},",
    "{X}_",
    "{X}h",
    "{X}=",
    "{X}\u{0}",
    "{X}\u{7f}",
    "{X};a=\u{1}",
    "{X};a\u{0}",
    "{X};a=\u{7f}",
    "{X};a\n",
    "{X};a\r",
    "{X}\n",
    "{X}\r",
    "{X}\r\r\n",
    "{X}\n\r\n",
    "",
    ";",
    ";a=b",
    "g",
    "G{X}",
    "{X} {X}",
    "\u{b}{X}",
    "\u{a0}{X}",
    "\"{X}\"",
    "1\u{0}{X}",
    "10000000000000000{X}",
    "fffffffffffffffff",
    "ffffffffffffffff",
    "8000000000000000",
    "100000000{X}\r\n\r\n0",
    "{X}\r\n\r",
];
/// What stands between the bytes of a chunk and the next size in place of CRLF.
const BAD_ENDS: &[&str] = &["", "\n", "\r", "\r\r\n", "x\r\n", "\n\r", " \r\n", "\0\r\n", "\r\n\r\n", "\r\n\n"];
/// What ends a body in place of `0`, CRLF, CRLF.
const BAD_LASTS: &[&str] = &[
    "0\n\n",
    "0\r\n\n",
    "0\n\r\n",
    "0\r\r",
    "0\r\n\r\r\n",
    "0\r\nx: 1\n\r\n",
    "0\r\nx : 1\r\n\r\n",
    "0\r\n x: 1\r\n\r\n",
    "0\r\nx: 1\r\n y\r\n\r\n",
    "0\r\nx\r\n\r\n",
    "0\r\n: x\r\n\r\n",
    "0\r\nx: \0\r\n\r\n",
    "0\r\nx: a\rb\r\n\r\n",
    "0\r\nGET /smuggled-{T} HTTP/1.1\r\n\r\n",
    "-0\r\n\r\n",
    "+0\r\n\r\n",
    "0x0\r\n\r\n",
    "zero\r\n\r\n",
    "\r\n\r\n",
];
/// What ends a body, with one meaning.
const GOOD_LASTS: &[&str] =
    &["0\r\n\r\n", "00\r\n\r\n", "0;a=b\r\n\r\n", "0\r\nx-a: 1\r\n\r\n", "0\r\nx-a: 1\r\nx-b: 2\r\n\r\n"];
/// What ends a body with trailers that cannot be: left out, or refused.
const ODD_LASTS: &[&str] = &[
    "0\r\ncontent-length: 5\r\n\r\n",
    "0\r\ntransfer-encoding: chunked\r\n\r\n",
    "0\r\nhost: other\r\n\r\n",
    "0\r\nconnection: keep-alive\r\n\r\n",
];

pub(super) fn all() -> Vec<Mutation> {
    let whole = || Must::Arrive("POST", "/{T}", "{B}");
    let mut all = Vec::new();
    let mut add = |kind: &'static str, size: &str, end: &str, last: &str, must: Must| {
        all.push(Mutation::new(kind, format!("{START}{size}\r\n{{B}}{end}{last}"), must));
    };
    GOOD_SIZES.iter().for_each(|size| add("a size", size, "\r\n", "0\r\n\r\n", whole()));
    ODD_SIZES.iter().for_each(|size| add("a size", size, "\r\n", "0\r\n\r\n", Must::BeOne));
    BAD_SIZES.iter().for_each(|size| add("a size", size, "\r\n", "0\r\n\r\n", Must::BeMalformedOrCut));
    BAD_ENDS.iter().for_each(|end| add("a chunk's end", "{X}", end, "0\r\n\r\n", Must::BeMalformedOrCut));
    GOOD_LASTS.iter().for_each(|last| add("the last chunk", "{X}", "\r\n", last, whole()));
    ODD_LASTS.iter().for_each(|last| add("the last chunk", "{X}", "\r\n", last, Must::BeOne));
    BAD_LASTS.iter().for_each(|last| add("the last chunk", "{X}", "\r\n", last, Must::BeMalformedOrCut));
    for (size, must) in [
        // One byte less and more than there are.
        ("1", Must::BeMalformedOrCut),
        ("{X}0", Must::BeMalformedOrCut),
    ] {
        add("a size that is wrong", size, "\r\n", "0\r\n\r\n", must);
    }
    for (size, must) in [
        (format!("{{X}};{}", "x".repeat(4_000)), Must::BeMalformedOrCut),
        (format!("{{X}};{}", "x".repeat(100)), Must::BeOne),
        (format!("{}{{X}}", "0".repeat(40)), Must::BeOne),
        (format!("{}{{X}}", "0".repeat(4_000)), Must::BeMalformedOrCut),
    ] {
        add("a long size", &size, "\r\n", "0\r\n\r\n", must);
    }
    let many = "1\r\nx\r\n".repeat(2_000);
    all.push(Mutation::new("many chunks", format!("{START}{many}0\r\n\r\n"), Must::BeOne));
    let crowded = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(500));
    all.push(Mutation::new("too many extensions", format!("{START}{crowded}"), Must::BeMalformedOrCut));
    let trailers: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    all.push(Mutation::new("too many trailers", format!("{START}0\r\n{trailers}\r\n"), Must::BeRefused));
    all.push(Mutation::new(
        "a body in two chunks",
        format!("{START}1\r\nG\r\n3\r\nET \r\n0\r\n\r\n{{B}}"),
        Must::Arrive("POST", "/{T}", "GET "),
    ));
    all.push(Mutation::new(
        "an empty body in chunks",
        format!("{START}0\r\n\r\n{{B}}"),
        Must::Arrive("POST", "/{T}", ""),
    ));
    all
}
