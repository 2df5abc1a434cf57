//! Frames at times when their streams cannot have them, windows, and heads in several frames.

use super::code::{FLOW_CONTROL, PROTOCOL, STREAM_CLOSED};
use super::{ARRIVE, Case, GET, Must};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    WITH_PRIORITY, setting,
};
use crate::hpack;

const WHOLE: u8 = END_STREAM | END_HEADERS;
const END: Must = Must::EndConnection(PROTOCOL);

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [states(), numbers(), windows(), blocks(), between(), goodbyes()].concat()
}

fn states() -> Vec<Case> {
    let idle = |name: &str, kind: u8, payload: &[u8]| {
        Case::new(format!("5.1: {name} on a stream that nobody opened"), END).frame(kind, 0, 1, payload)
    };
    vec![
        idle("DATA", DATA, b"x"),
        idle("RST_STREAM", RST_STREAM, &[0, 0, 0, 8]),
        idle("WINDOW_UPDATE", WINDOW_UPDATE, &[0, 0, 0, 1]),
        Case::new("5.1: DATA before HEADERS", END).last(1, "x").head(1, WHOLE, GET),
        Case::new("5.1: DATA behind END_STREAM", Must::EndEither(STREAM_CLOSED))
            .upload(&[])
            .last(1, "a")
            .data(1, "b")
            .perhaps("POST", "a"),
        Case::new("5.1: END_STREAM twice", Must::EndEither(STREAM_CLOSED))
            .upload(&[])
            .last(1, "a")
            .last(1, "")
            .perhaps("POST", "a"),
        Case::new("5.1: DATA behind a head with END_STREAM", Must::EndEither(STREAM_CLOSED)).honest(1).data(1, "{B}"),
        Case::new("5.1: HEADERS behind END_STREAM", Must::EndEither(STREAM_CLOSED)).honest(1).honest(1),
        Case::new("5.1: trailers behind END_STREAM", Must::EndEither(STREAM_CLOSED)).honest(1).head(
            1,
            WHOLE,
            &[("x-a", "1")],
        ),
        Case::new("5.1: PRIORITY behind END_STREAM", ARRIVE).honest(1).frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]),
        Case::new("5.1: WINDOW_UPDATE behind END_STREAM", ARRIVE).honest(1).frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        Case::new("5.1: DATA behind RST_STREAM", Must::EndEither(STREAM_CLOSED))
            .upload(&[])
            .frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])
            .data(1, "x"),
        Case::new("5.1: HEADERS behind RST_STREAM", Must::EndEither(STREAM_CLOSED))
            .upload(&[])
            .frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])
            .honest(1),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        Case::new("5.1.1: a stream of an even number", END).honest(2),
        Case::new("5.1.1: an even number behind an odd one", END).honest(1).honest(4),
        Case::new("5.1.1: a number below the last", END).honest(5).honest(3),
        Case::new("5.1.1: a number that was skipped, for DATA", Must::EndEither(STREAM_CLOSED)).honest(5).last(1, "x"),
        Case::new("5.1.1: numbers with gaps", ARRIVE).honest(1).head(
            7,
            WHOLE,
            &[(":method", "GET"), (":scheme", "http"), (":path", "/also-{T}-gap"), (":authority", "{H}")],
        ),
        Case::new("RFC 7540, 5.3.1: a stream that depends on itself", Must::EndEither(PROTOCOL)).block(
            HEADERS,
            (1, WHOLE | WITH_PRIORITY),
            &[0, 0, 0, 1, 16],
            GET,
            b"",
        ),
        Case::new("RFC 7540, 5.3.1: PRIORITY of a stream on itself", Must::EndEither(PROTOCOL)).upload(&[]).frame(
            PRIORITY,
            0,
            1,
            &[0, 0, 0, 1, 16],
        ),
    ]
}

fn windows() -> Vec<Case> {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    vec![
        Case::new("6.9 WINDOW_UPDATE of the connection by 0", END).frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        Case::new("6.9 WINDOW_UPDATE by the reserved bit alone", END).frame(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0]),
        Case::new("6.9 WINDOW_UPDATE of a stream by 0", Must::EndEither(PROTOCOL)).upload(&[]).frame(
            WINDOW_UPDATE,
            0,
            1,
            &[0; 4],
        ),
        Case::new("6.9.1: the window of the connection beyond 2^31 - 1", Must::EndConnection(FLOW_CONTROL)).frame(
            WINDOW_UPDATE,
            0,
            0,
            &most,
        ),
        Case::new("6.9.1: the window of a stream beyond 2^31 - 1", Must::EndEither(FLOW_CONTROL)).upload(&[]).frame(
            WINDOW_UPDATE,
            0,
            1,
            &most,
        ),
        Case::new("6.9.2: windows of streams beyond 2^31 - 1 by SETTINGS", Must::EndConnection(FLOW_CONTROL))
            .upload(&[])
            .frame(WINDOW_UPDATE, 0, 1, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())
            .frame(SETTINGS, 0, 0, &setting(4, 65_536)),
    ]
}

/// Heads in several frames.
fn blocks() -> Vec<Case> {
    let open = |name: &str, must: Must| Case::new(name, must).head(1, END_STREAM, GET);
    let rest = hpack::field(b"x-a", b"1");
    vec![
        open("6.10: a head in two frames", ARRIVE).goes_on(1, END_HEADERS, &rest),
        open("6.10: a head whose last frame is empty", ARRIVE).goes_on(1, END_HEADERS, b""),
        open("6.10: a head in four frames", ARRIVE).goes_on(1, 0, b"").goes_on(1, 0, &rest).goes_on(
            1,
            END_HEADERS,
            &rest,
        ),
        open("6.10: a field in two frames", ARRIVE).goes_on(1, 0, &rest[..3]).goes_on(1, END_HEADERS, &rest[3..]),
        open("6.10 CONTINUATION with flags that are not defined", ARRIVE).goes_on(1, 0xff, &rest),
        Case::new("6.10: a head of which all comes in the second frame", ARRIVE)
            .frame(HEADERS, END_STREAM, 1, b"")
            .block(CONTINUATION, (1, END_HEADERS), b"", GET, b""),
        Case::new("6.10 CONTINUATION without HEADERS", END).goes_on(1, END_HEADERS, &rest),
        Case::new("6.10 CONTINUATION of no stream", END).goes_on(0, END_HEADERS, &rest),
        Case::new("6.10 CONTINUATION behind END_HEADERS", END).upload(&[]).goes_on(1, END_HEADERS, &rest),
        open("6.10 CONTINUATION of another stream", END).goes_on(3, END_HEADERS, &rest),
        open("6.10 CONTINUATION of no stream behind HEADERS", END).goes_on(0, END_HEADERS, &rest),
        open("6.10: the head of another stream within a head", END).honest(3),
        open("6.10: the same head again within a head", END).honest(1),
    ]
}

/// What may not stand within a head.
fn between() -> Vec<Case> {
    let within = |name: &str, kind: u8, stream: u32, payload: &[u8]| {
        Case::new(format!("4.3: {name} within a head"), END)
            .head(1, END_STREAM, GET)
            .frame(kind, 0, stream, payload)
            .goes_on(1, END_HEADERS, b"")
    };
    vec![
        within("DATA", DATA, 1, b"x"),
        within("empty DATA", DATA, 1, b""),
        within("PING", PING, 0, &[0; 8]),
        within("SETTINGS", SETTINGS, 0, b""),
        within("PRIORITY", PRIORITY, 1, &[0, 0, 0, 3, 1]),
        within("RST_STREAM", RST_STREAM, 1, &[0, 0, 0, 8]),
        within("WINDOW_UPDATE", WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
        within("GOAWAY", GOAWAY, 0, &[0; 8]),
        within("an unknown type (5.5)", 0x42, 0, b"x"),
        within("an unknown type of the stream (5.5)", 0x42, 1, b""),
    ]
}

fn goodbyes() -> Vec<Case> {
    vec![
        Case::new("6.8: a request behind GOAWAY of the client", Must::BeOne).frame(GOAWAY, 0, 0, &[0; 8]).honest(1),
        Case::new("6.8: a request before GOAWAY with an error", Must::BeOne).honest(1).frame(
            GOAWAY,
            0,
            0,
            &[0, 0, 0, 0, 0, 0, 0, 2],
        ),
        Case::new("6.4: a request that is taken back", Must::Pass).honest(1).frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
    ]
}
