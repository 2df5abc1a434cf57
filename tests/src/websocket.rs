//! WebSocket by hand (RFC 6455): frames, an application that keeps every byte it got, callers over both versions of HTTP, and talks between
//! them of which every byte is known beforehand.

mod application;
mod call;
mod talk;

pub use application::{ACCEPT, Application, EXTENSION, Kept, SUBPROTOCOL};
pub use call::{Call, Caller, End, Gets, Sends, Version};
pub use talk::{Talk, all, payload};

/// The rest of a message.
pub const CONTINUATION: u8 = 0x0;
/// A message of text, or its beginning.
pub const TEXT: u8 = 0x1;
/// A message of bytes, or its beginning.
pub const BINARY: u8 = 0x2;
/// The close of a connection.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;
/// Its answer.
pub const PONG: u8 = 0xa;
/// The last frame of a message.
pub const FIN: u8 = 0x80;
/// A length that is said in two bytes.
const LEN_16: u8 = 126;
/// A length that is said in eight bytes.
const LEN_64: u8 = 127;
/// The bit of a frame that is masked.
const MASKED: u8 = 0x80;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits, and the opcode.
    pub first: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message, or a frame of control.
    pub fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { first: FIN | opcode, payload: payload.as_ref().to_vec() }
    }

    /// A part of a message that goes on.
    pub fn part(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { first: opcode, payload: payload.as_ref().to_vec() }
    }

    /// A close with a code and a reason.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::whole(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// As a server sends it.
    pub fn bare(&self) -> Vec<u8> {
        [self.head(0), self.payload.clone()].concat()
    }

    /// As a client sends it, with this key.
    pub fn masked(&self, key: [u8; 4]) -> Vec<u8> {
        let payload = self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let mut bytes = self.head(MASKED);
        bytes.extend(key);
        bytes.extend(payload);
        bytes
    }

    /// As a client sends it, its length said in eight bytes whatever it is.
    pub fn masked_at_length(&self, key: [u8; 4]) -> Vec<u8> {
        let usual = self.masked(key);
        let mut bytes = vec![self.first, MASKED | LEN_64];
        bytes.extend((self.payload.len() as u64).to_be_bytes());
        bytes.extend(key);
        bytes.extend(&usual[usual.len() - self.payload.len()..]);
        bytes
    }

    fn head(&self, mask: u8) -> Vec<u8> {
        let len = self.payload.len();
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len), _) if len < LEN_16 => vec![self.first, mask | len],
            (_, Ok(len)) => [&[self.first, mask | LEN_16], &len.to_be_bytes()[..]].concat(),
            _ => [&[self.first, mask | LEN_64], &(len as u64).to_be_bytes()[..]].concat(),
        }
    }
}
