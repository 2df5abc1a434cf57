//! What internal messages look like in bytes: bincode inside a versioned, size-checked envelope. The only file that names bincode.
//!
//! ```text
//! 'W' 'F' | version u8 | kind u8 | length u32, big endian | body, exactly `length` bytes
//! ```
//!
//! A decoder allocates no more than its limit, takes exactly one message, and never panics, whatever the bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{PublicKey, Signature, SigningKey};

/// First bytes of every message.
const MAGIC: [u8; 2] = *b"WF";
/// The version of the envelope and of every body in it.
const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_LEN: usize = 8;
/// No message between nodes is longer: a record has 48 KB, a gossip message 64 KB, a bundle of 20 signers 20 KB.
pub const MESSAGE_LEN_MAX: usize = 256 * 1024;
/// No value that a node keeps on its own disk is longer: the signer's book of 1,000 nodes has about 300 KB.
pub const STATE_LEN_MAX: usize = 16 * 1024 * 1024;

/// What a message is; bytes of one kind are never read as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The content of a [`Signed`] value.
    Signed = 1,
    /// A join token.
    Token = 2,
    /// A request to a signer.
    SignRequest = 3,
    /// A signer's reply.
    SignReply = 4,
    /// The first message of a `weft-tcp/1` stream.
    StreamHeader = 5,
    /// The reply to a [`Kind::StreamHeader`].
    StreamReply = 6,
    /// A member's record in gossip.
    Record = 7,
    /// Are you there?
    Probe = 8,
    /// A value in a node's own store.
    State = 9,
    /// What a node asks another about the ledger.
    LedgerQuestion = 10,
    /// The answer to a [`Kind::LedgerQuestion`].
    LedgerAnswer = 11,
    /// A document; its hash is over these bytes.
    Document = 12,
    /// A change set with its operator's signature.
    ChangeSet = 13,
    /// An entry of a journal with its writer's signature.
    JournalEntry = 14,
}

/// Bytes that are not the message that was expected.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Too short, or the length in it is not the length of it.
    #[error("message of {len} bytes is cut short or has bytes left over")]
    Length {
        /// What came.
        len: usize,
    },
    /// Longer than the reader takes.
    #[error("message of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// The length that it has or claims.
        len: usize,
        /// The reader's limit.
        limit: usize,
    },
    /// Not of this protocol, version or kind.
    #[error("message is not a {expected:?} message of version {VERSION}")]
    Foreign {
        /// What was expected.
        expected: Kind,
    },
    /// The body is not a value of the type.
    #[error("message body does not decode: {0}")]
    Body(String),
    /// A value that cannot be encoded.
    #[error("value does not encode: {0}")]
    Encode(String),
    /// The signature is not the named key's over these bytes.
    #[error("signature does not verify")]
    Signature,
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] std::io::Error),
}

/// Encodes one message; what no reader would take, over [`STATE_LEN_MAX`], is refused here.
pub fn encode<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![MAGIC[0], MAGIC[1], VERSION, kind as u8, 0, 0, 0, 0];
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| WireError::Encode(error.to_string()))?;
    let too_long = WireError::TooLong { len: body.len(), limit: STATE_LEN_MAX };
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= STATE_LEN_MAX - HEADER_LEN).ok_or(too_long)?;
    bytes[4..].copy_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Decodes exactly one message of at most `limit` bytes in all.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong { len: bytes.len(), limit });
    }
    let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(WireError::Length { len: bytes.len() })?;
    if body_len(kind, header, limit)? != body.len() {
        return Err(WireError::Length { len: bytes.len() });
    }
    decode_body(body)
}

/// The length of the body that a header announces, if it is one of this kind and within the limit.
fn body_len(kind: Kind, header: &[u8; HEADER_LEN], limit: usize) -> Result<usize, WireError> {
    let [magic_1, magic_2, version, found, length @ ..] = *header;
    if [magic_1, magic_2] != MAGIC || version != VERSION || found != kind as u8 {
        return Err(WireError::Foreign { expected: kind });
    }
    let len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if len > limit.saturating_sub(HEADER_LEN) {
        return Err(WireError::TooLong { len, limit });
    }
    Ok(len)
}

fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    // The limit bounds what bincode allocates on the word of a length inside the body.
    let decoded = if body.len() <= MESSAGE_LEN_MAX {
        bincode::serde::decode_from_slice(body, bincode::config::standard().with_limit::<MESSAGE_LEN_MAX>())
    } else {
        bincode::serde::decode_from_slice(body, bincode::config::standard().with_limit::<STATE_LEN_MAX>())
    };
    let (value, used) = decoded.map_err(|error| WireError::Body(error.to_string()))?;
    if used != body.len() {
        return Err(WireError::Length { len: body.len() });
    }
    Ok(value)
}

/// Reads one message of at most `limit` bytes from a stream. Not cancel safe.
pub async fn read<T, S>(stream: &mut S, kind: Kind, limit: usize) -> Result<T, WireError>
where
    T: DeserializeOwned,
    S: AsyncRead + Unpin,
{
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let len = body_len(kind, &header, limit)?;
    let mut body = Vec::new();
    // Grows with what arrives, not with what was announced.
    stream.take(len as u64).read_to_end(&mut body).await?;
    if body.len() != len {
        return Err(WireError::Length { len: body.len() });
    }
    decode_body(&body)
}

/// Writes one message to a stream and flushes it. Not cancel safe.
pub async fn write<T, S>(stream: &mut S, kind: Kind, value: &T) -> Result<(), WireError>
where
    T: Serialize + ?Sized,
    S: AsyncWrite + Unpin,
{
    let bytes = encode(kind, value)?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// A value with somebody's signature over its bytes. Whose, and whether it holds, only [`Signed::verify`] tells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Signature,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Signed<T> {
    /// Signs a value. `context` names the use, so that a signature for one is none for another.
    pub fn sign(value: &T, context: &'static str, key: &SigningKey) -> Result<Self, WireError> {
        let bytes = encode(Kind::Signed, value)?;
        let signature = key.sign(context, &bytes);
        Ok(Self { bytes, signature, of: PhantomData })
    }

    /// The value, if `key` signed these bytes for this use.
    pub fn verify(&self, context: &'static str, key: &PublicKey) -> Result<T, WireError> {
        if !key.verify(context, &self.bytes, &self.signature) {
            return Err(WireError::Signature);
        }
        self.claim()
    }

    /// The value as claimed, unverified: only to learn which key it must be verified with.
    pub fn claim(&self) -> Result<T, WireError> {
        decode(Kind::Signed, &self.bytes, MESSAGE_LEN_MAX)
    }

    /// Length of the signed bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no bytes at all, which no signed value does.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that the signature is over.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signature, unverified.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.bytes.len())
    }
}

/// A wall time as milliseconds, for `#[serde(with = "crate::wire::timestamp")]`.
pub mod timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use weft_env::Timestamp;

    /// Writes the milliseconds.
    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        time.0.serialize(serializer)
    }

    /// Reads the milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp)
    }
}

/// A wall time or none, for `#[serde(with = "crate::wire::optional_timestamp")]`.
pub mod optional_timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use weft_env::Timestamp;

    /// Writes the milliseconds, if any.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.0).serialize(serializer)
    }

    /// Reads the milliseconds, if any.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|time| time.map(Timestamp))
    }
}

#[cfg(test)]
mod tests;
