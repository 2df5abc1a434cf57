//! Frames by themselves: types, lengths, flags, padding, and what each may say.

use super::code::{FRAME_SIZE, PROTOCOL, WINDOW};
use super::{ARRIVE, Case, GET, Must};
use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, frame, head, setting,
};

const WHOLE: u8 = END_STREAM | END_HEADERS;
/// One byte more than a frame may have.
const TOO_LONG: usize = 16 * 1024 + 1;

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [beginnings(), lengths(), padding(), settings(), of_connections(), ignored()].concat()
}

fn beginnings() -> Vec<Case> {
    let begins = |name: &str, bytes: Vec<u8>| Case::new(name, Must::Close).ungreeted().bytes(bytes);
    let empty = frame(SETTINGS, 0, 0, b"");
    vec![
        begins("3.4: another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        begins("3.4: a preface of lines that end in LF", b"PRI * HTTP/2.0\n\nSM\n\n".to_vec()),
        begins("3.4: no SETTINGS behind the preface", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
        begins("3.4: an ACK in place of SETTINGS", [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat()),
        begins("3.4: SETTINGS of a stream behind the preface", [PREFACE, &frame(SETTINGS, 0, 1, b"")].concat()),
        begins("3.4: HTTP/1.1 behind the preface", [PREFACE, b"GET /{T} HTTP/1.1\r\nhost: strict\r\n\r\n"].concat()),
        begins("3.4: the preface twice", [PREFACE, PREFACE, &empty].concat()),
        begins("3.4: a request of HTTP/1.1 behind SETTINGS", {
            [PREFACE, &empty, b"GET /smuggled-x HTTP/1.1\r\nhost: strict\r\n\r\n"].concat()
        }),
    ]
}

fn lengths() -> Vec<Case> {
    let wrong = |name: &str, kind: u8, stream: u32, len: usize| {
        let must = Must::EndConnection(FRAME_SIZE);
        Case::new(format!("{name}: {len} bytes"), must).frame(kind, 0, stream, &vec![0; len])
    };
    let mut all = vec![
        wrong("6.7 PING", PING, 0, 0),
        wrong("6.7 PING", PING, 0, 7),
        wrong("6.7 PING", PING, 0, 9),
        wrong("6.8 GOAWAY", GOAWAY, 0, 0),
        wrong("6.8 GOAWAY", GOAWAY, 0, 7),
        wrong("6.9 WINDOW_UPDATE", WINDOW_UPDATE, 0, 3),
        wrong("6.9 WINDOW_UPDATE", WINDOW_UPDATE, 0, 5),
        wrong("6.5 SETTINGS", SETTINGS, 0, 5),
        wrong("6.5 SETTINGS", SETTINGS, 0, 7),
        // More than the maximum (4.2).
        wrong("4.2 HEADERS", HEADERS, 1, TOO_LONG),
        wrong("4.2 PING", PING, 0, TOO_LONG),
        wrong("4.2, an unknown type", 0x20, 0, TOO_LONG),
    ];
    let upload = |name: String, must: Must| Case::new(name, must).upload(&[]);
    for len in [0, 3, 5, 8] {
        let case = upload(format!("6.4 RST_STREAM: {len} bytes"), Must::EndConnection(FRAME_SIZE));
        all.push(case.frame(RST_STREAM, 0, 1, &vec![0; len]));
    }
    for len in [0, 4, 6] {
        let case = upload(format!("6.3 PRIORITY: {len} bytes"), Must::EndEither(FRAME_SIZE));
        all.push(case.frame(PRIORITY, 0, 1, &vec![0; len]));
    }
    all.extend(mandatory());
    all
}

/// Less than what is mandatory, and more than may be.
fn mandatory() -> Vec<Case> {
    let end = Must::EndConnection(FRAME_SIZE);
    let of = |name: &str, kind: u8, flags: u8, payload: &[u8]| {
        let stream = u32::from(kind == HEADERS);
        Case::new(name, end).frame(kind, flags, stream, payload)
    };
    let data = |name: &str, flags: u8, payload: &[u8]| {
        Case::new(name, Must::EndEither(FRAME_SIZE)).upload(&[]).frame(DATA, flags, 1, payload)
    };
    vec![
        of("6.5 SETTINGS: an ACK with a payload", SETTINGS, ACK, &setting(3, 1)),
        of("6.7 PING: an ACK of 4 bytes", PING, ACK, &[0; 4]),
        of("6.2 HEADERS: less than a priority", HEADERS, WHOLE | WITH_PRIORITY, &[0; 4]),
        of("6.2 HEADERS: no length of the padding", HEADERS, WHOLE | PADDED, b""),
        data("6.1 DATA: no length of the padding", END_STREAM | PADDED, b""),
        data("4.2 DATA: more than the maximum", 0, &[b'x'; TOO_LONG]),
        Case::new("4.2 DATA: 16 MB that do not come", end).bytes(head(0xff_ffff, DATA, 0, 1)),
    ]
}

fn padding() -> Vec<Case> {
    let data = |name: &str, must: Must, payload: &[u8]| {
        Case::new(format!("6.1 DATA: {name}"), must).upload(&[]).frame(DATA, END_STREAM | PADDED, 1, payload)
    };
    let heads = |name: &str, must: Must, before: &[u8], after: &[u8]| {
        Case::new(format!("6.2 HEADERS: {name}"), must).block(HEADERS, (1, WHOLE | PADDED), before, GET, after)
    };
    let body = |text: &'static str| Must::Arrive("POST", "/{T}", text);
    let end = Must::EndConnection(PROTOCOL);
    vec![
        data("as much padding as payload", end, &[5, 1, 2, 3, 4]),
        data("more padding than payload", end, &[9, b'a', b'b']),
        data("nothing but more padding than there is", end, &[255]),
        data("padding", body("ab"), &[3, b'a', b'b', 0, 0, 0]),
        data("padding of no length", body("ab"), &[0, b'a', b'b']),
        data("nothing but padding", body(""), &[3, 0, 0, 0]),
        heads("padding", ARRIVE, &[4], &[0; 4]),
        heads("padding of no length", ARRIVE, &[0], b""),
        heads("255 bytes of padding", ARRIVE, &[255], &[0; 255]),
        heads("more padding than payload", end, &[255], b""),
        Case::new("6.2 HEADERS: as much padding as payload", end).frame(HEADERS, WHOLE | PADDED, 1, &[2, 0]),
        Case::new("6.2 HEADERS: padding and a priority", ARRIVE).block(
            HEADERS,
            (1, WHOLE | PADDED | WITH_PRIORITY),
            &[2, 0, 0, 0, 0, 16],
            GET,
            &[0; 2],
        ),
        Case::new("6.2 HEADERS: padding that leaves no priority", end).frame(
            HEADERS,
            WHOLE | PADDED | WITH_PRIORITY,
            1,
            &[5, 0, 0, 0, 0, 16],
        ),
    ]
}

fn settings() -> Vec<Case> {
    let says = |name: &str, must: Must, payload: &[u8]| {
        Case::new(format!("6.5.2 SETTINGS: {name}"), must).frame(SETTINGS, 0, 0, payload)
    };
    let end = Must::EndConnection(PROTOCOL);
    let window = |value: u32| setting(4, value);
    vec![
        says("ENABLE_PUSH 2", end, &setting(2, 2)),
        says("INITIAL_WINDOW_SIZE 2^31", Must::EndConnection(WINDOW), &window(1 << 31)),
        says("INITIAL_WINDOW_SIZE 2^32 - 1", Must::EndConnection(WINDOW), &window(u32::MAX)),
        says("MAX_FRAME_SIZE 16383", end, &setting(5, 16_383)),
        says("MAX_FRAME_SIZE 0", end, &setting(5, 0)),
        says("MAX_FRAME_SIZE 2^24", end, &setting(5, 1 << 24)),
        says("ENABLE_CONNECT_PROTOCOL 2 (RFC 8441, section 3)", end, &setting(8, 2)),
        says("nothing", Must::Pass, b""),
        says("an unknown one", Must::Pass, &setting(0xfafa, u32::MAX)),
        says("the unknown 0", Must::Pass, &setting(0, 1)),
        says("HEADER_TABLE_SIZE 0", Must::Pass, &setting(1, 0)),
        says("HEADER_TABLE_SIZE 2^32 - 1", Must::Pass, &setting(1, u32::MAX)),
        says("ENABLE_PUSH 0", Must::Pass, &setting(2, 0)),
        says("MAX_CONCURRENT_STREAMS 0", Must::Pass, &setting(3, 0)),
        says("MAX_FRAME_SIZE 2^24 - 1", Must::Pass, &setting(5, (1 << 24) - 1)),
        says("MAX_HEADER_LIST_SIZE 0", Must::Pass, &setting(6, 0)),
        says("INITIAL_WINDOW_SIZE twice, the last one good", Must::Pass, &[window(0), window(65_535)].concat()),
        says("a bad one behind a good one", end, &[setting(2, 0), setting(2, 3)].concat()),
        Case::new("6.5 SETTINGS of a stream", end).frame(SETTINGS, 0, 1, b""),
        Case::new("6.5 SETTINGS with flags that are not defined", Must::Pass).frame(SETTINGS, 0xfe, 0, b""),
    ]
}

fn of_connections() -> Vec<Case> {
    let end = Must::EndConnection(PROTOCOL);
    let of = |name: &str, kind: u8, stream: u32, payload: &[u8]| {
        Case::new(name, end).frame(kind, END_HEADERS, stream, payload)
    };
    vec![
        of("6.1 DATA of no stream", DATA, 0, b"x"),
        of("6.2 HEADERS of no stream", HEADERS, 0, &[0x82]),
        of("6.3 PRIORITY of no stream", PRIORITY, 0, &[0, 0, 0, 3, 0]),
        of("6.4 RST_STREAM of no stream", RST_STREAM, 0, &[0, 0, 0, 8]),
        of("6.6 PUSH_PROMISE of no stream", PUSH_PROMISE, 0, &[0, 0, 0, 2, 0x82]),
        of("6.7 PING of a stream", PING, 1, &[0; 8]),
        of("6.8 GOAWAY of a stream", GOAWAY, 1, &[0; 8]),
        of("8.4 PUSH_PROMISE of a client", PUSH_PROMISE, 1, &[0, 0, 0, 2, 0x82]),
        Case::new("8.4 PUSH_PROMISE of a client, on a stream that is open", end).upload(&[]).frame(
            PUSH_PROMISE,
            END_HEADERS,
            1,
            &[0, 0, 0, 2, 0x82],
        ),
    ]
}

fn ignored() -> Vec<Case> {
    let pass = |name: &str, kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        Case::new(name, Must::Pass).frame(kind, flags, stream, payload)
    };
    let reserved = |stream: u32| stream | 1 << 31;
    let text = |kind: u8, flags: u8, stream: u32| {
        Case::new(format!("4.1: type {kind} with the reserved bit"), ARRIVE).block(kind, (stream, flags), b"", GET, b"")
    };
    let mut all =
        vec![
            pass("6.7 PING", PING, 0, 0, b"12345678"),
            pass("6.7 PING with flags that are not defined", PING, 0xfe, 0, b"12345678"),
            pass("6.7 PING: an ACK that nobody asked for", PING, ACK, 0, b"12345678"),
            pass("4.1 PING with the reserved bit", PING, 0, reserved(0), b"12345678"),
            pass("6.3 PRIORITY of a stream to come", PRIORITY, 0, 5, &[0, 0, 0, 3, 16]),
            pass("6.3 PRIORITY of a stream of the server", PRIORITY, 0, 2, &[0, 0, 0, 3, 16]),
            pass("6.3 PRIORITY with flags that are not defined", PRIORITY, 0xff, 5, &[0x80, 0, 0, 3, 255]),
            pass("6.9 WINDOW_UPDATE", WINDOW_UPDATE, 0xff, 0, &[0, 0, 1, 0]),
            pass("6.9 WINDOW_UPDATE with the reserved bit", WINDOW_UPDATE, 0, 0, &[0x80, 0, 1, 0]),
            text(HEADERS, WHOLE, reserved(1)),
            Case::new("6.2 HEADERS with flags that are not defined", ARRIVE).head(1, WHOLE | 0xd2, GET),
            Case::new("6.2 HEADERS with a priority", ARRIVE).block(
                HEADERS,
                (1, WHOLE | WITH_PRIORITY),
                &[0x80, 0, 0, 9, 200],
                GET,
                b"",
            ),
            Case::new("6.1 DATA with flags that are not defined", Must::Arrive("POST", "/{T}", "ab"))
                .upload(&[])
                .frame(DATA, END_STREAM | 0xf6, 1, b"ab"),
            Case::new("5.5: an unknown type within a body", Must::Arrive("POST", "/{T}", "ab"))
                .upload(&[])
                .data(1, "a")
                .frame(0x42, 0xff, 1, b"GET /smuggled-x HTTP/1.1\r\n\r\n")
                .last(1, "b"),
        ];
    for kind in [0x0a, 0x0b, 0x0c, 0x10, 0x2b, 0x80, 0xff] {
        for (stream, len) in [(0, 0), (1, 8), (2, 16 * 1024)] {
            let name = format!("5.5: unknown type {kind} of stream {stream}, {len} bytes");
            all.push(pass(&name, kind, 0xff, stream, &vec![0x5a; len]));
        }
    }
    all
}
