//! What callers of HTTP/2 may say wrongly, each with what must become of it: frames, streams, header compression, heads and bodies.
//!
//! Names begin with the section that rules: of RFC 9113, where no other is named. In texts stand the words of [`crate::mutation`]. What a
//! case is about happens on stream 1, where nothing else is said; an honest request on [`HONEST`] follows in the same connection.

mod bodies;
mod compression;
mod floods;
mod heads;
mod layer;
mod streams;

use crate::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use crate::hpack;
use crate::mutation::{Words, spelled};
use crate::recorder::Seen;

/// The stream of the honest request behind each case.
pub const HONEST: u32 = 0x3fff_ffff;

/// Codes of errors (section 7). Where a node may not know better, the unspecific one stands beside the right one.
pub mod code {
    /// PROTOCOL_ERROR.
    pub const PROTOCOL: &[u32] = &[0x1];
    /// FLOW_CONTROL_ERROR.
    pub const FLOW_CONTROL: &[u32] = &[0x3];
    /// FLOW_CONTROL_ERROR, of a setting.
    pub const WINDOW: &[u32] = &[0x3, 0x1];
    /// STREAM_CLOSED.
    pub const STREAM_CLOSED: &[u32] = &[0x5, 0x1];
    /// FRAME_SIZE_ERROR.
    pub const FRAME_SIZE: &[u32] = &[0x6];
    /// COMPRESSION_ERROR.
    pub const COMPRESSION: &[u32] = &[0x9, 0x1];
}

/// What must become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// It arrives as this one request, and is answered: its method, its target and its body.
    Arrive(&'static str, &'static str, &'static str),
    /// It changes nothing, and is no request.
    Pass,
    /// It is answered with this status and a code.
    BeRefused(u16),
    /// It is malformed (section 8.1.1): answered with 400 and a code, or its stream ends with PROTOCOL_ERROR.
    BeMalformed,
    /// As malformed; or it ends the connection with PROTOCOL_ERROR, as section 5.4.1 lets every error of a stream.
    BeMalformedOrEnd,
    /// Either way: malformed, refused with a code, or the one request that all recorders agree about.
    BeOne,
    /// Its stream ends with one of these codes.
    EndStream(&'static [u32]),
    /// Its stream ends with one of these codes, or the connection does (section 5.4.1).
    EndEither(&'static [u32]),
    /// The connection ends with one of these codes, and nothing that follows is looked at.
    EndConnection(&'static [u32]),
    /// The connection ends with ENHANCE_YOUR_CALM, which is lost where more was under way than the node read.
    BeCalmed,
    /// The connection ends. A GOAWAY may be left out (section 3.4).
    Close,
}

/// A part of what is sent.
#[derive(Debug, Clone)]
enum Part {
    /// A frame that carries a head, or a part of one: bytes, fields, bytes.
    Head { kind: u8, flags: u8, stream: u32, before: Vec<u8>, fields: Vec<(Vec<u8>, Vec<u8>)>, after: Vec<u8> },
    /// DATA whose text is spelled.
    Text { flags: u8, stream: u32, text: Vec<u8> },
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// With the preface and SETTINGS, as it should.
    Usual,
    /// The case begins it.
    None,
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which section rules, and what it is.
    pub name: String,
    /// How the connection begins.
    pub greeting: Greeting,
    /// What must become of it.
    pub must: Must,
    parts: Vec<Part>,
    /// The method and the body of a request that is whole before anything is wrong, and may arrive.
    perhaps: Option<(&'static str, &'static str)>,
}

impl Case {
    fn new(name: impl Into<String>, must: Must) -> Self {
        Self { name: name.into(), greeting: Greeting::Usual, must, parts: Vec::new(), perhaps: None }
    }

    /// A head on stream 1, of GET unless it has a method, with these fields for those that it would have.
    fn of_head(name: impl Into<String>, fields: &[(&str, &str)], must: Must) -> Self {
        Self::new(name, must).head(1, END_STREAM | END_HEADERS, fields)
    }

    fn ungreeted(self) -> Self {
        Self { greeting: Greeting::None, ..self }
    }

    fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// A head in one frame.
    fn head(self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        self.block(HEADERS, (stream, flags), b"", fields, b"")
    }

    /// A frame of a head, in which bytes stand before and behind the fields.
    fn block(self, kind: u8, (stream, flags): (u32, u8), before: &[u8], fields: &[(&str, &str)], after: &[u8]) -> Self {
        let field = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let fields = fields.iter().map(field).collect();
        self.part(Part::Head { kind, flags, stream, before: before.to_vec(), fields, after: after.to_vec() })
    }

    /// The rest of a head.
    fn goes_on(self, stream: u32, flags: u8, block: &[u8]) -> Self {
        self.frame(CONTINUATION, flags, stream, block)
    }

    /// The head of an upload on stream 1.
    fn upload(self, more: &[(&str, &str)]) -> Self {
        let fields = [POST, more].concat();
        self.head(1, END_HEADERS, &fields)
    }

    /// The request that nobody could have anything against, on a stream.
    fn honest(self, stream: u32) -> Self {
        self.perhaps("GET", "").head(stream, END_STREAM | END_HEADERS, GET)
    }

    /// A request that may arrive, because it is whole before anything is wrong.
    fn perhaps(self, method: &'static str, body: &'static str) -> Self {
        Self { perhaps: Some((method, body)), ..self }
    }

    /// A part of a body.
    fn data(self, stream: u32, text: &str) -> Self {
        self.part(Part::Text { flags: 0, stream, text: text.as_bytes().to_vec() })
    }

    /// The end of a body.
    fn last(self, stream: u32, text: &str) -> Self {
        self.part(Part::Text { flags: END_STREAM, stream, text: text.as_bytes().to_vec() })
    }

    fn frame(self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        self.part(Part::Bytes(frame(kind, flags, stream, payload)))
    }

    fn bytes(self, bytes: Vec<u8>) -> Self {
        self.part(Part::Bytes(bytes))
    }

    /// What is sent.
    pub fn spelled(&self, words: Words<'_>) -> Vec<u8> {
        let block = |fields: &[(Vec<u8>, Vec<u8>)]| -> Vec<u8> {
            fields
                .iter()
                .flat_map(|(name, value)| hpack::field(&spelled(name, words), &spelled(value, words)))
                .collect()
        };
        let part = |part: &Part| match part {
            Part::Head { kind, flags, stream, before, fields, after } => {
                let block = [&spelled(before, words)[..], &block(fields), after].concat();
                frame(*kind, *flags, *stream, &block)
            }
            Part::Text { flags, stream, text } => frame(DATA, *flags, *stream, &spelled(text, words)),
            Part::Bytes(bytes) => bytes.clone(),
        };
        self.parts.iter().flat_map(part).collect()
    }

    /// What arrives, where something must or may.
    pub fn arrival(&self, words: Words<'_>) -> Option<Seen> {
        let (method, target, body) = match (self.must, self.perhaps) {
            (Must::Arrive(method, target, body), _) => (method, target, body),
            (_, perhaps) => perhaps.map(|(method, body)| (method, "/{T}", body))?,
        };
        let text = |word: &str| String::from_utf8_lossy(&spelled(word.as_bytes(), words)).into_owned();
        Some(Seen { status: 200, method: text(method), target: text(target), body: spelled(body.as_bytes(), words) })
    }
}

/// The pseudo-fields of GET.
const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/{T}"), (":authority", "{H}")];
/// The pseudo-fields of POST.
const POST: &[(&str, &str)] = &[(":method", "POST"), (":scheme", "http"), (":path", "/{T}"), (":authority", "{H}")];
/// What becomes of the request that nobody could have anything against.
const ARRIVE: Must = Must::Arrive("GET", "/{T}", "");

/// The honest request that follows each case.
pub fn honest(host: &str, mark: &str) -> Vec<u8> {
    let words = Words { host, mark };
    let fields: &[(&str, &str)] =
        &[(":method", "GET"), (":scheme", "http"), (":path", "/also-{T}"), (":authority", "{H}")];
    Case::new("", Must::Pass).head(HONEST, END_STREAM | END_HEADERS, fields).spelled(words)
}

/// All of them.
pub fn all() -> Vec<Case> {
    [layer::all(), streams::all(), compression::all(), heads::all(), bodies::all(), floods::all()].concat()
}
