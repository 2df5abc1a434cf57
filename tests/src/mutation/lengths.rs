//! How long a body is: `Content-Length` and `Transfer-Encoding` in forms that parsers read differently.

use super::{Must, Mutation};

/// Names that are, or look like, `content-length`, and whether a reader must take them for it.
const LENGTH_NAMES: &[(&str, bool)] = &[
    ("content-length: ", true),
    ("Content-Length:", true),
    ("CONTENT-LENGTH:\t", true),
    ("content-length : ", false),
    ("content-length\t: ", false),
    (" content-length: ", false),
    ("\tcontent-length: ", false),
    ("content-length\u{0}: ", false),
    ("content-length\u{b}: ", false),
];
/// Lengths with one meaning.
const GOOD_LENGTHS: &[&str] = &["{N}", " {N}", "{N} ", "\t{N}\t"];
/// Lengths with none, or with two.
const BAD_LENGTHS: &[&str] = &[
    "+{N}",
    "-{N}",
    "{N},{N}",
    "{N}, {N}",
    "{N} {N}",
    "{N},",
    ",{N}",
    "0x{X}",
    "{X}h",
    "{N};",
    "{N}.0",
    "{N}e0",
    "\"{N}\"",
    "",
    "{N}\u{b}",
    "\u{c}{N}",
    "{N}\u{0}",
    "{N}\u{7f}",
    "{N}\u{a0}",
    "\u{661}",
    "99999999999999999999",
    "18446744073709551616",
    "-0",
    "zero",
    "{N}\r\ncontent-length: {N}",
    "{N}\r\nContent-Length: 0",
    "0\r\ncontent-length: {N}",
    "{N}\r\ncontent-length:",
    "{N}\r\n {N}",
    "\r\n {N}",
    "\r\n\t{N}",
    "{N}\n",
    "{N}\r",
    "{N}\r\r\n",
    "{N}\r\nx: \n",
    "{N}\ntransfer-encoding: chunked",
    "{N}\rtransfer-encoding: chunked",
    "{N}\r\ntransfer-encoding: chunked",
    "0\r\ntransfer-encoding: chunked",
    "{N}\r\ntransfer-encoding: identity",
    "{N}\r\ntransfer-encoding:",
    "{N}\r\n transfer-encoding: chunked",
    "{N}\r\ntransfer-encoding : chunked",
    "{N}\r\ntransfer-encoding\u{b}: chunked",
];
/// Names that are, or look like, `transfer-encoding`, and whether a reader must take them for it.
const CODING_NAMES: &[(&str, bool)] = &[
    ("transfer-encoding: ", true),
    ("Transfer-Encoding:", true),
    ("transfer-encoding : ", false),
    ("transfer-encoding\u{0}: ", false),
    (" transfer-encoding: ", false),
];
/// Codings that are one `chunked`.
const GOOD_CODINGS: &[&str] = &["chunked", "Chunked", "CHUNKED", "\tchunked ", " chunked"];
/// Codings that are anything else.
const BAD_CODINGS: &[&str] = &[
    "chunked, chunked",
    "gzip, chunked",
    "chunked, gzip",
    "gzip,chunked",
    ",chunked",
    "chunked,",
    " , chunked",
    "identity",
    "identity, chunked",
    "gzip",
    "xchunked",
    "x-chunked",
    "chunkedx",
    "\u{b}chunked",
    "\u{c}chunked",
    "chunked\u{0}",
    "chunked;q=1",
    "chunked ;",
    "\"chunked\"",
    "'chunked'",
    "cow",
    "ch\u{fc}nked",
    "chun ked",
    "",
    "chunked\r\ntransfer-encoding: chunked",
    "chunked\r\ntransfer-encoding: identity",
    "identity\r\ntransfer-encoding: chunked",
    "gzip\r\nTransfer-Encoding: chunked",
    "chunked\r\ntransfer-encoding:",
    "chunked\r\ncontent-length: 5",
    "chunked\r\ncontent-length: 0",
    "chunked\r\nContent-Length: {N}",
    "chunked\r\n ,gzip",
    "\r\n chunked",
    "chunked\n",
    "chunked\r",
    "\nchunked",
    "\rchunked",
];

const START: &str = "POST /{T} HTTP/1.1\r\nhost: {H}\r\nconnection: close\r\n";

pub(super) fn all() -> Vec<Mutation> {
    let mut all = Vec::new();
    for (name, is_one) in LENGTH_NAMES {
        let good = if *is_one { Must::Arrive("POST", "/{T}", "{B}") } else { Must::BeMalformed };
        for (values, must) in [(GOOD_LENGTHS, good), (BAD_LENGTHS, Must::BeMalformed)] {
            all.extend(
                values
                    .iter()
                    .map(|value| Mutation::new("a length", format!("{START}{name}{value}\r\n\r\n{{B}}"), must.clone())),
            );
        }
    }
    for (name, is_one) in CODING_NAMES {
        let good = if *is_one { Must::Arrive("POST", "/{T}", "{B}") } else { Must::BeMalformed };
        for (values, must) in [(GOOD_CODINGS, good), (BAD_CODINGS, Must::BeMalformed)] {
            all.extend(values.iter().flat_map(|value| coded(&format!("{START}{name}{value}\r\n\r\n"), &must)));
        }
    }
    all.extend(others());
    all
}

/// A body behind this head: as chunks for one who takes it for chunked, and the same as a request behind for one who does not.
fn coded(head: &str, must: &Must) -> Vec<Mutation> {
    let mut both = vec![Mutation::new("a coding", format!("{head}{{X}}\r\n{{B}}\r\n0\r\n\r\n"), must.clone())];
    if *must == Must::BeMalformed {
        both.push(Mutation::new("a coding, an end", format!("{head}0\r\n\r\n{{B}}"), must.clone()));
    }
    both
}

fn others() -> Vec<Mutation> {
    let mut all = Vec::new();
    for (version, field) in [
        ("HTTP/1.0", "transfer-encoding: chunked\r\n"),
        ("HTTP/1.0", "connection: keep-alive\r\ntransfer-encoding: chunked\r\n"),
        ("HTTP/1.0", "transfer-encoding: chunked\r\ncontent-length: {N}\r\n"),
    ] {
        let text = format!("POST /{{T}} {version}\r\nhost: {{H}}\r\n{field}\r\n0\r\n\r\n{{B}}");
        all.push(Mutation::new("a coding of HTTP/1.0", text, Must::BeMalformed));
    }
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "POST"] {
        let text = format!(
            "{method} /{{T}} HTTP/1.1\r\nhost: {{H}}\r\ncontent-length: {{N}}\r\nconnection: close\r\n\r\n{{B}}"
        );
        all.push(Mutation::new("a body of any method", text, Must::Arrive(method, "/{T}", "{B}")));
    }
    for field in [
        "connection: close, content-length",
        "connection: close, transfer-encoding",
        "connection: close, host",
        "connection: close\r\nkeep-alive: content-length",
        "connection: close\r\nproxy-connection: content-length",
        "connection: close, upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA",
        "connection: close\r\ncontent_length: 0",
        "connection: close\r\ncontent-length-: 0",
        "connection: close\r\nx-content-length: 0",
        "connection: close\r\ntransfer_encoding: chunked",
        "connection: close\r\nexpect: 100-continue",
        "connection: close\r\ntrailer: content-length",
        "connection: close\r\nte: trailers, chunked",
    ] {
        let text = format!("POST /{{T}} HTTP/1.1\r\nhost: {{H}}\r\n{field}\r\ncontent-length: {{N}}\r\n\r\n{{B}}");
        all.push(Mutation::new("a field that looks like framing", text, Must::Arrive("POST", "/{T}", "{B}")));
    }
    // What follows a request that is the last of its connection is nobody's.
    for end in ["{B}", "\0", "\r\n\r\n{B}", "x"] {
        let text = format!("GET /{{T}} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n\r\n{end}");
        all.push(Mutation::new("bytes behind the last request", text, Must::Arrive("GET", "/{T}", "")));
    }
    // More is announced than comes.
    let text = format!("{START}content-length: 1{{N}}\r\n\r\n{{B}}");
    all.push(Mutation::new("a body that breaks off", text, Must::BeMalformedOrCut));
    all
}
