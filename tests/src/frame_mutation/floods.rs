//! Frames that ask for work and carry nothing, for as long as they come (section 10.5).

use super::{Case, GET, Must};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame, setting,
};
use crate::hpack::{entry, field, kept};

/// More than a node takes of anything.
const MANY: usize = 30_000;

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let calm = Must::BeCalmed;
    let flood =
        |name: &str, count: usize, one: Vec<u8>| Case::new(format!("10.5: {name}"), calm).bytes(one.repeat(count));
    let within = |name: &str, count: usize, one: Vec<u8>| {
        Case::new(format!("10.5: {name}"), calm).head(1, END_STREAM, GET).bytes(one.repeat(count))
    };
    let large = field(b"x-a", &[b'a'; 16_000]);
    vec![
        flood("PING", MANY, frame(PING, 0, 0, &[0; 8])),
        flood("SETTINGS", 1_000, frame(SETTINGS, 0, 0, &setting(4, 65_535))),
        flood("empty SETTINGS", 1_000, frame(SETTINGS, 0, 0, b"")),
        flood("PRIORITY", MANY, frame(PRIORITY, 0, 3, &[0, 0, 0, 5, 1])),
        flood("WINDOW_UPDATE", MANY, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        flood("unknown types", MANY, frame(0x42, 0, 0, b"")),
        Case::new("10.5: empty DATA", calm).upload(&[]).bytes(frame(DATA, 0, 1, b"").repeat(MANY)),
        within("CONTINUATION without end", MANY, frame(CONTINUATION, 0, 1, b"")),
        within("CONTINUATION of a byte", MANY, frame(CONTINUATION, 0, 1, b"\0")),
        within("CONTINUATION of fields", 2_000, frame(CONTINUATION, 0, 1, &field(b"x-a", b"1"))),
        within("CONTINUATION of large fields", 200, frame(CONTINUATION, 0, 1, &large)),
        Case::new("10.5: one entry again and again, a megabyte in all", calm).block(
            HEADERS,
            (1, END_STREAM | END_HEADERS),
            b"",
            GET,
            &[kept(b"x-a", &[b'a'; 4000]), entry(62).repeat(250)].concat(),
        ),
    ]
}
