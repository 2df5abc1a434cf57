//! The heads of messages, the same for every version of HTTP: what the phases of a request read and change. Filled by [`crate::http1`] and
//! [`crate::http2`], which also write them in their own form.

use http::Method;
use weft_policy::fields::{Fields, Known};
use weft_policy::head::Upgrade;

/// Which version of HTTP a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// How a request names its target (RFC 9112, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// `/path?query`; of HTTP/2, `:path`.
    #[default]
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Length {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Exact(u64),
    /// Bytes until the sender says that it is the end, with trailers or without.
    Unknown,
}

impl Length {
    /// Whether a body follows.
    pub(crate) fn is_some(self) -> bool {
        self != Self::None
    }
}

/// A request's head. `content-length` and `transfer-encoding` are not among the fields: [`RequestHead::length`] says what they said.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHead {
    pub(crate) version: HttpVersion,
    pub(crate) method: Method,
    pub(crate) form: Form,
    /// Host and port as they were named: of the absolute form or `:authority`, else of `Host`. Empty where nothing names one.
    pub(crate) authority: String,
    /// Path and query: ASCII, no space, no control byte, no fragment; starts with `/`, or is `*`, or is empty for CONNECT.
    pub(crate) path: String,
    /// Of extended CONNECT (RFC 8441): `:protocol`.
    pub(crate) protocol: Option<Box<str>>,
    /// [`RequestHead::authority`] is the host; a field `host` is there for rules only, and never written.
    pub(crate) fields: Fields,
    pub(crate) length: Length,
}

impl RequestHead {
    /// The path without its query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(path, _)| path)
    }

    /// A request for a WebSocket over HTTP/2 (extended CONNECT, RFC 8441) in the form in which HTTP/1.1 asks for it and applications see it,
    /// before anything is decided about it. [`RequestHead::protocol`] tells how it came.
    pub(crate) fn ask_as_http1(&mut self) -> Result<Upgrade, &'static str> {
        if self.protocol.as_deref() != Some("websocket") {
            return Err("extended CONNECT for a protocol other than websocket");
        }
        if matches!(self.length, Length::Exact(_)) {
            return Err("extended CONNECT states a length");
        }
        self.method = Method::GET;
        self.length = Length::None;
        self.fields.put(Known::Upgrade, b"websocket");
        Ok(Upgrade::Asked)
    }

    /// The query, if there is one.
    pub(crate) fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }
}

/// What one try sends beside a request's head, and in the place of parts of it: the head itself stays as it arrived, so that the next try
/// starts from there.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Another path and query.
    pub(crate) path: Option<String>,
    /// Fields that stay behind.
    pub(crate) without: KnownSet,
    /// Fields behind the others.
    pub(crate) plus: Fields,
    /// A request for another protocol as the version of the next hop has it.
    pub(crate) method: Option<Method>,
}

/// Some known names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KnownSet(u64);

impl KnownSet {
    /// Adds a name.
    pub(crate) fn insert(&mut self, known: Known) {
        self.0 |= 1 << (known as u8);
    }

    /// Whether a name is among them; none that is not known is.
    pub(crate) fn has(self, known: Known) -> bool {
        known != Known::Other && self.0 & 1 << (known as u8) != 0
    }
}

impl Overlay {
    /// Sends this field in the place of those of its name.
    pub(crate) fn put(&mut self, known: Known, value: &[u8]) {
        self.without.insert(known);
        self.plus.add(known, value);
    }

    /// The head as it is sent, where it must be one.
    pub(crate) fn applied(&self, head: &RequestHead) -> RequestHead {
        let mut sent = head.clone();
        sent.fields.retain(|known, _| !self.without.has(known));
        self.plus.iter().for_each(|(name, value)| sent.fields.push(name, value));
        if let Some(path) = &self.path {
            sent.path.clone_from(path);
        }
        if let Some(method) = &self.method {
            sent.method = method.clone();
        }
        sent
    }
}

/// The head of an answer. `content-length` and `transfer-encoding` are not among the fields: [`ResponseHead::length`] says what they said,
/// and [`ResponseHead::stated`] what the head states of a body that does not follow.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHead {
    pub(crate) version: HttpVersion,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) length: Length,
    /// `content-length` of an answer without a body: to HEAD, and of 304.
    pub(crate) stated: Option<u64>,
}

/// A message that breaks a rule of its protocol, by whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What is wrong, for people.
    pub(crate) why: &'static str,
    /// Whether it is only too large.
    pub(crate) is_too_large: bool,
}

impl Malformed {
    pub(crate) const fn new(why: &'static str) -> Self {
        Self { why, is_too_large: false }
    }

    pub(crate) const fn too_large(why: &'static str) -> Self {
        Self { why, is_too_large: true }
    }
}

/// What Content-Length states: digits and nothing else, of up to 18 places.
pub(crate) fn content_length(text: &[u8]) -> Result<u64, Malformed> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::new("Content-Length is not a number"));
    }
    Ok(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Whether a host and a port may have this byte. None is an `@`: nobody is named before them.
pub(crate) fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

/// Whether a request of this method usually has a body, so that one without says that there is none (RFC 9110, section 8.6).
pub(crate) fn has_usually_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Most fields of a head.
pub(crate) const FIELDS_MAX: usize = 100;
/// Most bytes of a head, as HTTP/1.1 writes it.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_about_is_what_applications_see() {
        let mut head =
            RequestHead { method: Method::CONNECT, protocol: Some("websocket".into()), ..RequestHead::default() };
        head.length = Length::Unknown;
        assert_eq!(head.ask_as_http1(), Ok(Upgrade::Asked));
        assert_eq!((&head.method, head.length), (&Method::GET, Length::None));
        assert_eq!(head.fields.first(Known::Upgrade), Some(&b"websocket"[..]));
        for (protocol, length) in [("h2c", Length::None), ("websocket", Length::Exact(5))] {
            let mut head = RequestHead { protocol: Some(protocol.into()), length, ..RequestHead::default() };
            assert!(head.ask_as_http1().is_err(), "{protocol}");
        }
    }
}
