//! Requests of HTTP/1.1 as no well-behaved client sends them, each with what must become of it.
//!
//! In a text, `{H}` stands for the service's host, `{T}` for a word that marks the request in its target, `{B}` for a body that is a request
//! itself for whoever frames it otherwise, `{N}` for the body's length and `{X}` for the same in hexadecimal digits.

mod chunks;
mod heads;
mod lengths;
mod targets;

use crate::recorder::Seen;

/// What must become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Must {
    /// It arrives as this one request: its method, its target and its body, in the same words as the text.
    Arrive(&'static str, &'static str, &'static str),
    /// It is refused, with 400, a code and a close.
    BeMalformed,
    /// It is refused, with 431, a code and a close.
    BeTooLarge,
    /// It is refused, with a code.
    BeRefused,
    /// As malformed; or its body, which is not whole, ends the exchange without a word.
    BeMalformedOrCut,
    /// Either way: refused with a code, or the one request that all recorders agree about.
    BeOne,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// What it is about.
    pub kind: &'static str,
    /// Its bytes, with the words that stand for something.
    pub text: Vec<u8>,
    /// What must become of it.
    pub must: Must,
}

/// The words of one sending of it.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The service.
    pub host: &'a str,
    /// The mark.
    pub mark: &'a str,
}

impl Mutation {
    pub(crate) fn new(kind: &'static str, text: impl AsRef<[u8]>, must: Must) -> Self {
        Self { kind, text: text.as_ref().to_vec(), must }
    }

    /// The bytes that are sent.
    pub fn bytes(&self, words: Words<'_>) -> Vec<u8> {
        spelled(&self.text, words)
    }

    /// What arrives, where something must.
    pub fn arrival(&self, words: Words<'_>) -> Option<Seen> {
        let Must::Arrive(method, target, body) = self.must else { return None };
        let text = |word: &str| String::from_utf8_lossy(&spelled(word.as_bytes(), words)).into_owned();
        Some(Seen { status: 200, method: text(method), target: text(target), body: spelled(body.as_bytes(), words) })
    }
}

/// A body that is a request for whoever takes it for one.
fn smuggled(words: Words<'_>) -> String {
    format!("GET /smuggled-{} HTTP/1.1\r\nhost: {}\r\n\r\n", words.mark, words.host)
}

pub(crate) fn spelled(text: &[u8], words: Words<'_>) -> Vec<u8> {
    let body = smuggled(words);
    let values = [
        (&b"{H}"[..], words.host.to_owned()),
        (b"{T}", words.mark.to_owned()),
        (b"{N}", body.len().to_string()),
        (b"{X}", format!("{:x}", body.len())),
        (b"{B}", body),
    ];
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match values.iter().find(|(word, _)| text[at..].starts_with(word)) {
            Some((word, value)) => {
                out.extend_from_slice(value.as_bytes());
                at += word.len();
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// All of them.
pub fn all() -> Vec<Mutation> {
    let mut all = lengths::all();
    all.extend(chunks::all());
    all.extend(heads::all());
    all.extend(targets::all());
    all
}
