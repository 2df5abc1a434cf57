//! The server name in the first message of TLS, read and not touched: what follows is between the client and the application. Asked by
//! [`crate::bound`] for ports that lead by server name.

use std::fmt;

use weft_world::server_names::is_host_name;

/// Longest first message that is read, its records' heads counted: those of browsers have two kilobytes.
pub(crate) const HELLO_LEN_MAX: usize = 16 * 1024;
/// Type, version, length (RFC 8446, section 5.1).
const RECORD_HEAD_LEN: usize = 5;
const RECORD_LEN_MAX: usize = 1 << 14;
const RECORD_OF_HANDSHAKE: u8 = 22;
/// Of TLS in every version; the one of 1.0 and up.
const VERSION_MAJOR: u8 = 3;
/// Type and length (section 4).
const MESSAGE_HEAD_LEN: usize = 4;
const CLIENT_HELLO: u8 = 1;
/// Version and random bytes.
const FIXED_LEN: usize = 2 + 32;
/// RFC 6066, section 3.
const EXTENSION_SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The server that a client wants; none where it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerName(pub(crate) Option<String>);

/// What is at hand of a first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// More of it must come before another look is of use: this much in all.
    Needs(usize),
    /// All of it.
    Whole(ServerName),
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HelloFault {
    /// It does not begin like TLS.
    Foreign,
    /// It is TLS, and wrong.
    Malformed(&'static str),
}

impl fmt::Display for HelloFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str(
                "it does not begin like TLS; protocols that ask for TLS by a message of their own, as PostgreSQL's does, have no server name here",
            ),
            Self::Malformed(why) => write!(f, "its ClientHello is malformed: {why}"),
        }
    }
}

/// An alert that ends a connection before TLS has begun (RFC 8446, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alert {
    /// The message cannot be read.
    DecodeError = 50,
    /// No service has this name.
    UnrecognizedName = 112,
}

impl Alert {
    /// As it is sent: one record of TLS 1.2, which all versions read.
    pub(crate) fn record(self) -> [u8; 7] {
        const RECORD_OF_ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [RECORD_OF_ALERT, VERSION_MAJOR, 3, 0, 2, FATAL, self as u8]
    }
}

/// Reads what a client sent first. Its message may lie in several records.
pub(crate) fn read(received: &[u8]) -> Result<Hello, HelloFault> {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let Some(head) = received.get(at..at + RECORD_HEAD_LEN) else {
            check_start(&received[at..])?;
            return more(at + RECORD_HEAD_LEN);
        };
        check_start(head)?;
        let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if len == 0 || len > RECORD_LEN_MAX {
            return Err(HelloFault::Malformed("a record is empty or too long"));
        }
        at += RECORD_HEAD_LEN;
        let Some(piece) = received.get(at..at + len) else { return more(at + len) };
        message.extend_from_slice(piece);
        at += len;
        if let Some(body) = body_of(&message)? {
            return server_name(body).map(Hello::Whole);
        }
    }
}

fn more(len: usize) -> Result<Hello, HelloFault> {
    if len > HELLO_LEN_MAX { Err(HelloFault::Malformed("it is longer than 16 KiB")) } else { Ok(Hello::Needs(len)) }
}

/// Whether a record of a handshake can begin so.
fn check_start(head: &[u8]) -> Result<(), HelloFault> {
    let expected = [RECORD_OF_HANDSHAKE, VERSION_MAJOR];
    let compared = head.len().min(expected.len());
    if head[..compared] == expected[..compared] { Ok(()) } else { Err(HelloFault::Foreign) }
}

/// What the message holds, once all of it is there.
fn body_of(message: &[u8]) -> Result<Option<&[u8]>, HelloFault> {
    let Some((&[kind, high, middle, low], rest)) = message.split_first_chunk::<MESSAGE_HEAD_LEN>() else {
        return Ok(None);
    };
    if kind != CLIENT_HELLO {
        return Err(HelloFault::Malformed("it is another message"));
    }
    let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if len > HELLO_LEN_MAX {
        return Err(HelloFault::Malformed("it is longer than 16 KiB"));
    }
    if rest.len() > len {
        return Err(HelloFault::Malformed("another message follows before an answer"));
    }
    Ok((rest.len() == len).then_some(rest))
}

/// Takes pieces off the front of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], HelloFault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(HelloFault::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Result<usize, HelloFault> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A piece whose length stands before it, in this many bytes.
    fn vector(&mut self, len_len: usize) -> Result<Self, HelloFault> {
        let len = self.number(len_len)?;
        self.take(len).map(Self)
    }
}

/// The name in a whole ClientHello (RFC 8446, section 4.1.2).
fn server_name(body: &[u8]) -> Result<ServerName, HelloFault> {
    let mut hello = Reader(body);
    hello.take(FIXED_LEN)?;
    let _session = hello.vector(1)?;
    let _ciphers = hello.vector(2)?;
    let _compressions = hello.vector(1)?;
    let mut name = None;
    if hello.0.is_empty() {
        // Before TLS 1.3 there may be no extensions at all.
        return Ok(ServerName(None));
    }
    let mut extensions = hello.vector(2)?;
    if !hello.0.is_empty() {
        return Err(HelloFault::Malformed("something follows its extensions"));
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(EXTENSION_SERVER_NAME) && name.replace(host_name(content)?).is_some() {
            return Err(HelloFault::Malformed("it states two server names"));
        }
    }
    Ok(ServerName(name))
}

/// The one name that the extension states. Names of another kind are not known to anybody, so that nobody can mean another server by one.
fn host_name(mut content: Reader<'_>) -> Result<String, HelloFault> {
    let mut list = content.vector(2)?;
    if list.number(1)? != usize::from(HOST_NAME) {
        return Err(HelloFault::Malformed("its server name is of an unknown kind"));
    }
    let name = list.vector(2)?.0;
    if !list.0.is_empty() || !content.0.is_empty() {
        return Err(HelloFault::Malformed("it states two server names"));
    }
    // A dot at the end changes nothing of what is meant, and some clients send it.
    let name = name.strip_suffix(b".").unwrap_or(name);
    match std::str::from_utf8(name) {
        Ok(name) if is_host_name(name) => Ok(name.to_owned()),
        _ => Err(HelloFault::Malformed("its server name is no host name")),
    }
}

#[cfg(test)]
mod tests;
