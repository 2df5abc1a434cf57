//! Talks of which every byte is known beforehand, in either direction.

use super::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT};

/// The key of frames whose key does not matter.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Lengths of messages: around where a length takes more bytes (RFC 6455, section 5.2), and large ones.
const LENGTHS: [usize; 11] = [0, 1, 2, 124, 125, 126, 127, 128, 65_535, 65_536, 1 << 20];
/// A message that takes a while.
const LARGE: usize = 16 << 20;
/// Codes of a close (section 7.4).
const CODES: [u16; 17] =
    [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 2999, 3000, 3999, 4000, 4999];

/// One talk, from the answer of 101 to the end.
#[derive(Debug, Clone)]
pub struct Talk {
    /// What it is about.
    pub name: String,
    /// What the application does, and a detail of it.
    pub path: String,
    /// What is sent in one write with the request.
    pub early: Vec<u8>,
    /// What is sent, each in a write of its own.
    pub sends: Vec<Vec<u8>>,
    /// What comes back.
    pub gets: Vec<u8>,
}

impl Talk {
    /// Sends these pieces to the echo, which answers with these frames.
    fn pieces(name: impl Into<String>, sends: Vec<Vec<u8>>, gets: &[Frame]) -> Self {
        let gets = gets.iter().flat_map(Frame::bare).collect();
        Self { name: name.into(), path: "/echo/x".to_owned(), early: Vec::new(), sends, gets }
    }

    /// Sends these frames, each in a write of its own.
    fn of(name: impl Into<String>, sends: &[Frame], gets: &[Frame]) -> Self {
        Self::pieces(name, sends.iter().map(|frame| frame.masked(KEY)).collect(), gets)
    }

    /// Frames that come back as they are.
    fn echo(name: impl Into<String>, frames: &[Frame]) -> Self {
        Self::of(name, frames, frames)
    }

    /// Closes it behind all that it says.
    fn closed(mut self) -> Self {
        let close = Frame::close(1000, "");
        self.sends.push(close.masked(KEY));
        self.gets.extend(close.bare());
        self
    }

    /// The same bytes in one write with the request.
    fn early(self) -> Self {
        Self { early: self.sends.concat(), sends: Vec::new(), ..self }
    }

    /// The same bytes, each in a write of its own.
    fn by_bytes(self) -> Self {
        Self { sends: self.sends.concat().chunks(1).map(<[u8]>::to_vec).collect(), ..self }
    }

    /// The same bytes in one write.
    fn at_once(self) -> Self {
        Self { sends: vec![self.sends.concat()], ..self }
    }
}

/// Bytes that repeat only after a while; text where the opcode says so.
pub fn payload(opcode: u8, len: usize) -> Vec<u8> {
    if opcode == TEXT {
        let mut text = "κόσμε, Wörld, ".bytes().cycle().take(len).collect::<Vec<u8>>();
        // A letter that the end cut.
        let whole = std::str::from_utf8(&text).map_or_else(|error| error.valid_up_to(), str::len);
        text[whole..].fill(b'.');
        return text;
    }
    (0..len).map(|at| u8::try_from(at * 31 % 251).expect("below 251")).collect()
}

/// All of them.
pub fn all() -> Vec<Talk> {
    [messages(), fragments(), control(), closes(), pieces(), early(), odd()].concat()
}

fn messages() -> Vec<Talk> {
    let mut all = Vec::new();
    for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
        for len in LENGTHS {
            let frame = Frame::whole(opcode, payload(opcode, len));
            all.push(Talk::echo(format!("a message of {kind}, {len} bytes"), &[frame]).closed());
        }
    }
    let large = Frame::whole(BINARY, payload(BINARY, LARGE));
    all.push(Talk::echo("a message of 16 MiB", &[large]).closed());
    let row: Vec<Frame> = (0..200).map(|len| Frame::whole(BINARY, payload(BINARY, len))).collect();
    all.push(Talk::echo("200 messages in a row", &row).closed());
    all
}

/// A message in parts of these lengths.
fn parts(opcode: u8, lengths: &[usize]) -> Vec<Frame> {
    let whole = payload(opcode, lengths.iter().sum());
    let (mut frames, mut at) = (Vec::new(), 0);
    for (number, len) in lengths.iter().enumerate() {
        let opcode = if number == 0 { opcode } else { CONTINUATION };
        let fin = if number + 1 == lengths.len() { FIN } else { 0 };
        frames.push(Frame { first: fin | opcode, payload: whole[at..at + len].to_vec() });
        at += len;
    }
    frames
}

fn fragments() -> Vec<Talk> {
    let lists: &[(&str, &[usize])] = &[
        ("two halves", &[10, 10]),
        ("single bytes", &[1; 24]),
        ("an empty part first", &[0, 20]),
        ("an empty part last", &[20, 0]),
        ("empty parts between others", &[7, 0, 0, 7, 0, 7]),
        ("nothing but empty parts", &[0; 9]),
        ("one empty part and nothing", &[0, 0]),
        ("growing parts", &[0, 1, 125, 126, 127, 65_535, 65_536]),
        ("a thousand parts", &[64; 1000]),
        ("1 MiB in parts of 64 KiB", &[1 << 16; 16]),
        ("4 MiB in parts of 1 KiB", &[1 << 10; 1 << 12]),
    ];
    let mut all = Vec::new();
    for (name, lengths) in lists {
        for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
            let frames = parts(opcode, lengths);
            all.push(Talk::echo(format!("{kind} in {name}"), &frames).closed());
            all.push(Talk::echo(format!("{kind} in {name}, in one write"), &frames).closed().at_once());
        }
    }
    let between = |name: &str, control: &[Frame], answers: &[Frame]| {
        let (mut sends, mut gets) = (Vec::new(), Vec::new());
        for part in parts(TEXT, &[5, 0, 5, 9]) {
            sends.extend([vec![part.clone()], control.to_vec()].concat());
            gets.extend([vec![part], answers.to_vec()].concat());
        }
        Talk::of(format!("{name} between parts"), &sends, &gets).closed()
    };
    let (ping, pong) = (Frame::whole(PING, b"are you there"), Frame::whole(PONG, b"are you there"));
    all.push(between("a ping", std::slice::from_ref(&ping), std::slice::from_ref(&pong)));
    all.push(between("a pong", std::slice::from_ref(&pong), &[]));
    all.push(between("pings and pongs", &[ping.clone(), pong.clone(), ping], &[pong.clone(), pong]));
    all
}

fn control() -> Vec<Talk> {
    let ping = |len: usize| Frame::whole(PING, payload(BINARY, len));
    let pong = |len: usize| Frame::whole(PONG, payload(BINARY, len));
    let of = |lens: &[usize], frame: &dyn Fn(usize) -> Frame| lens.iter().map(|len| frame(*len)).collect::<Vec<_>>();
    let mut all: Vec<Talk> = (0..=125)
        .step_by(5)
        .map(|len| Talk::of(format!("a ping of {len} bytes"), &[ping(len)], &[pong(len)]).closed())
        .collect();
    let every: Vec<usize> = (0..=125).collect();
    let row = Talk::of("pings of every length in a row", &of(&every, &ping), &of(&every, &pong)).closed();
    all.push(Talk { name: "pings of every length in one write".to_owned(), ..row.clone().at_once() });
    all.push(row);
    all.push(Talk::of("a pong that nobody asked for", &[pong(9)], &[]).closed());
    all.push(Talk::of("pongs that nobody asked for, and a ping", &[pong(0), pong(125), ping(4)], &[pong(4)]).closed());
    all
}

fn closes() -> Vec<Talk> {
    let reasons = ["", "bye", &"é".repeat(61)];
    let mut frames = vec![("nothing".to_owned(), Frame::whole(CLOSE, b""))];
    for code in CODES {
        frames.extend(reasons.map(|reason| (format!("{code} and {} bytes", reason.len()), Frame::close(code, reason))));
    }
    let mut all = Vec::new();
    for (name, close) in frames {
        let digits: String = close.payload.iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(Talk::echo(format!("a close by the caller with {name}"), std::slice::from_ref(&close)));
        let by_application = Talk::echo(format!("a close by the application with {name}"), &[close]);
        all.push(Talk { path: format!("/closes/{digits}"), ..by_application });
    }
    let message = Frame::whole(TEXT, b"last words");
    let close = Frame::close(1000, "done");
    all.push(Talk::echo("a close behind a message, in one write", &[message.clone(), close.clone()]).at_once());
    all.push(Talk::of(
        "what follows a close is for nobody, and arrives",
        &[close.clone(), message, Frame::whole(PING, b"x")],
        &[close],
    ));
    all
}

fn pieces() -> Vec<Talk> {
    let message = Frame::whole(TEXT, payload(TEXT, 130));
    let mut all = vec![
        Talk::echo("byte by byte", std::slice::from_ref(&message)).closed().by_bytes(),
        Talk::echo("parts byte by byte", &parts(BINARY, &[3, 0, 126, 2])).closed().by_bytes(),
        Talk::of("a ping byte by byte", &[Frame::whole(PING, b"x")], &[Frame::whole(PONG, b"x")]).closed().by_bytes(),
        Talk::echo("a close byte by byte", &[Frame::close(4999, "bit by bit")]).by_bytes(),
    ];
    let short = Frame::whole(BINARY, payload(BINARY, 140));
    let bytes = short.masked(KEY);
    for at in 1..16 {
        let halves = vec![bytes[..at].to_vec(), bytes[at..].to_vec()];
        all.push(Talk::pieces(format!("a cut after byte {at}"), halves, std::slice::from_ref(&short)).closed());
    }
    let many: Vec<Frame> = (0..500).map(|number| Frame::whole(TEXT, payload(TEXT, number % 70))).collect();
    all.push(Talk::echo("500 messages in one write", &many).closed().at_once());
    let talk = Talk::echo("500 messages in writes of 7 bytes", &many[..50]).closed();
    let sevens = talk.sends.concat().chunks(7).map(<[u8]>::to_vec).collect();
    all.push(Talk { sends: sevens, ..talk });
    all
}

fn early() -> Vec<Talk> {
    let message = Frame::whole(TEXT, b"too eager");
    let many: Vec<Frame> = (0..100).map(|number| Frame::whole(BINARY, payload(BINARY, number))).collect();
    let large = Frame::whole(BINARY, payload(BINARY, 60_000));
    let greets = |name: &str, frames: &[Frame]| {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bare).collect();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let talk = Talk::echo(name, std::slice::from_ref(&message)).closed();
        Talk { path: format!("/greets/{digits}"), gets: [bytes, talk.gets].concat(), ..talk }
    };
    vec![
        Talk::echo("a message right behind the request", std::slice::from_ref(&message)).closed().early(),
        Talk::echo("100 messages right behind the request", &many).closed().early(),
        Talk::echo("60 kB right behind the request", &[large]).closed().early(),
        Talk::echo("a close right behind the request", &[Frame::close(1001, "")]).early(),
        Talk {
            early: message.masked(KEY),
            ..Talk::of(
                "a message with the request, and one later",
                std::slice::from_ref(&message),
                &[message.clone(), message.clone()],
            )
        }
        .closed(),
        greets("a message right behind the answer", std::slice::from_ref(&message)),
        greets("messages right behind the answer", &many[..30]),
        greets("a ping right behind the answer", &[Frame::whole(PING, b"hello")]),
    ]
}

/// What no endpoint should say, and a tunnel does not look at.
fn odd() -> Vec<Talk> {
    let message = Frame::whole(TEXT, payload(TEXT, 40));
    let one = std::slice::from_ref(&message);
    let keyed = |name: &str, key: [u8; 4]| Talk::pieces(name, vec![message.masked(key)], one).closed();
    let mut all = vec![
        keyed("a key of zeros", [0; 4]),
        keyed("a key of ones", [0xff; 4]),
        keyed("a key that looks like the end of a head", *b"\r\n\r\n"),
        Talk::pieces("a frame without a key", vec![message.bare()], one).closed(),
        Talk::pieces("a length in more bytes than it needs", vec![message.masked_at_length(KEY)], one).closed(),
        Talk::of(
            "a ping that is too long",
            &[Frame::whole(PING, payload(BINARY, 200))],
            &[Frame::whole(PONG, payload(BINARY, 200))],
        )
        .closed(),
        Talk::echo("text that is no UTF-8", &[Frame::whole(TEXT, [0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80])]).closed(),
        Talk::echo("the rest of a message that never began", &[Frame::whole(CONTINUATION, b"x")]).closed(),
        Talk::echo("a message within a message", &[Frame::part(TEXT, b"a"), Frame::whole(BINARY, b"b")]).closed(),
        Talk::echo("a request as a message", &[Frame::whole(TEXT, b"GET / HTTP/1.1\r\nhost: local\r\n\r\n")]).closed(),
        Talk::echo(
            "compressed messages",
            &[
                Frame { first: FIN | 0x40 | TEXT, payload: vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00] },
                Frame { first: 0x40 | BINARY, payload: payload(BINARY, 300) },
                Frame { first: FIN | CONTINUATION, payload: payload(BINARY, 300) },
            ],
        )
        .closed(),
    ];
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        let frames = [0x00, 0x10, 0x20, 0x70]
            .map(|reserved| Frame { first: FIN | reserved | opcode, payload: payload(BINARY, 30) });
        all.push(Talk::echo(format!("opcode {opcode:#x}, with reserved bits"), &frames).closed());
    }
    all
}
