//! HTTP/2 by hand (RFC 9113): a caller with prior knowledge that writes whatever frames a test wants, and reads what comes back.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::hpack::{Field, Reader};
use crate::peer::{Ended, Then};

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PUSH_PROMISE.
pub const PUSH_PROMISE: u8 = 5;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// END_STREAM of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 0x4;
/// PADDED.
pub const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
pub const WITH_PRIORITY: u8 = 0x20;

/// What a client says first (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
const HEAD_LEN: usize = 9;
/// How long a caller waits for bytes: above every timeout that the tests set.
const READ_LIMIT: Duration = Duration::from_secs(8);

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [head(payload.len(), kind, flags, stream), payload.to_vec()].concat()
}

/// The head of a frame whose payload has, or is said to have, this many bytes.
pub fn head(len: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let len = u32::try_from(len).expect("a length of 24 bits").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat()
}

/// One setting of SETTINGS.
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// What a stream was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Names and values of the last head, pseudo-fields among them.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the answer is whole.
    pub is_ended: bool,
    /// The code of a reset.
    pub reset: Option<u32>,
}

impl Reply {
    /// The status; 0 without one.
    pub fn status(&self) -> u16 {
        self.value(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The first value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The code of an answer of Weft's own, which must be a problem of the documented form.
    pub fn code(&self) -> Option<String> {
        if self.value("content-type") != Some("application/problem+json") || !self.is_ended {
            return None;
        }
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let is_whole = ["type", "title", "detail", "where", "why", "next"].iter().all(|part| !value[*part].is_null());
        (is_whole && value["status"] == self.status()).then(|| value["code"].as_str().map(str::to_owned))?
    }

    fn is_over(&self) -> bool {
        self.is_ended || self.reset.is_some()
    }
}

/// What a caller got.
#[derive(Debug, Default)]
pub struct Got {
    /// By stream.
    pub replies: BTreeMap<u32, Reply>,
    /// The code of a GOAWAY.
    pub goaway: Option<u32>,
    /// What came back of pings.
    pub pongs: Vec<Vec<u8>>,
    /// How the connection ended, if it did.
    pub ended: Option<Ended>,
    /// What is no frame that a server may send here.
    pub odd: Option<String>,
}

impl Got {
    /// What a stream was answered.
    pub fn reply(&self, stream: u32) -> Reply {
        self.replies.get(&stream).cloned().unwrap_or_default()
    }

    /// Whether all of these streams, if any, are over.
    fn has_all(&self, streams: &[u32]) -> bool {
        !streams.is_empty() && streams.iter().all(|id| self.replies.get(id).is_some_and(Reply::is_over))
    }
}

/// A frame that came.
struct Heard {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Heard {
    /// The first frame of these bytes, and how many it takes; none while it is not whole.
    fn first(bytes: &[u8]) -> Option<(Self, usize)> {
        let ([a, b, c, kind, flags, stream @ ..], rest) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let len = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).expect("24 bits");
        let payload = rest.get(..len)?.to_vec();
        Some((Self { kind: *kind, flags: *flags, stream: u32::from_be_bytes(*stream), payload }, HEAD_LEN + len))
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Four bytes of the payload as a number.
    fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    unread: Vec<u8>,
    reader: Reader,
    block: Vec<u8>,
    got: Got,
}

impl Caller {
    /// Connects, and says nothing.
    pub fn silent(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the node listens");
        stream.set_nodelay(true).expect("an option can be set");
        stream.set_read_timeout(Some(READ_LIMIT)).expect("a timeout can be set");
        Self { stream, unread: Vec::new(), reader: Reader::default(), block: Vec::new(), got: Got::default() }
    }

    /// Connects, says the preface and empty SETTINGS, and acknowledges those of the node.
    pub fn greeted(to: SocketAddr) -> Self {
        let mut caller = Self::silent(to);
        caller.write(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        // Each has sent SETTINGS and an ACK.
        let mut greetings = 0;
        while greetings < 2 {
            greetings += usize::from(caller.next().expect("the node greets").kind == SETTINGS);
        }
        caller.write(&frame(SETTINGS, ACK, 0, b""));
        caller
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    /// Sends these pieces, each in a write of its own, and reads until all of these streams are over or the connection is.
    pub fn sends(mut self, pieces: &[&[u8]], then: Then, streams: &[u32]) -> Got {
        let writer = self.stream.try_clone().expect("a socket can be cloned");
        std::thread::scope(|scope| {
            scope.spawn(move || write_all(writer, pieces, then));
            self.read_until(streams);
            // Nobody waits for a writer that the node does not read any more.
            let _gone = self.stream.shutdown(Shutdown::Both);
        });
        self.got
    }

    fn read_until(&mut self, streams: &[u32]) {
        while !self.got.has_all(streams) && self.got.odd.is_none() {
            let Some(frame) = self.next() else { return };
            self.take(frame);
        }
    }

    /// The next frame; none at the end of the connection.
    fn next(&mut self) -> Option<Heard> {
        let mut first = Heard::first(&self.unread);
        while first.is_none() {
            self.fill()?;
            first = Heard::first(&self.unread);
        }
        let (frame, len) = first?;
        self.unread.drain(..len);
        Some(frame)
    }

    /// Reads more; none at the end of the connection.
    fn fill(&mut self) -> Option<()> {
        let mut room = [0; 16 * 1024];
        let read = self.stream.read(&mut room);
        self.got.ended = how(&read);
        let count = read.ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&room[..count]);
        Some(())
    }

    fn take(&mut self, frame: Heard) {
        match frame.kind {
            DATA | HEADERS | CONTINUATION | RST_STREAM if frame.stream == 0 => {
                self.got.odd = Some(format!("type {} of no stream", frame.kind))
            }
            DATA => {
                let reply = self.got.replies.entry(frame.stream).or_default();
                reply.body.extend_from_slice(&frame.payload);
                reply.is_ended |= frame.has(END_STREAM);
            }
            HEADERS | CONTINUATION => self.take_head(&frame),
            RST_STREAM => self.got.replies.entry(frame.stream).or_default().reset = frame.number(0),
            GOAWAY => self.got.goaway = frame.number(4),
            PING if frame.has(ACK) => self.got.pongs.push(frame.payload),
            SETTINGS | PING | WINDOW_UPDATE => {}
            kind => self.got.odd = Some(format!("a frame of type {kind}")),
        }
    }

    fn take_head(&mut self, frame: &Heard) {
        self.block.extend_from_slice(&frame.payload);
        let reply = self.got.replies.entry(frame.stream).or_default();
        // What ends with its head says so in the first frame of it.
        reply.is_ended |= frame.kind == HEADERS && frame.has(END_STREAM);
        if !frame.has(END_HEADERS) {
            return;
        }
        match self.reader.read(&std::mem::take(&mut self.block)) {
            Some(fields) => reply.fields = fields,
            None => self.got.odd = Some("a head that cannot be read".to_owned()),
        }
    }
}

/// A node that refuses what it has read may close before the rest is written.
fn write_all(mut stream: TcpStream, pieces: &[&[u8]], then: Then) {
    let is_written = pieces.iter().all(|piece| stream.write_all(piece).is_ok());
    if is_written && then == Then::Shut {
        let _cut = stream.shutdown(Shutdown::Write);
    }
}

/// How a connection ended, if a read says that it did.
fn how(read: &io::Result<usize>) -> Option<Ended> {
    match read {
        Ok(0) => Some(Ended::Closed),
        Ok(_) => None,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Ended::Open),
        Err(_) => Some(Ended::Reset),
    }
}
