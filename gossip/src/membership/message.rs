//! chitchat's messages in our own terms: parsed and encoded here, so that bytes from a peer are judged before chitchat sees them.
//!
//! Format of chitchat 0.11.2: `magic u16 | version u8 | type u8`, then digest and cluster name (SYN), digest and delta (SYN-ACK) or
//! delta (ACK). A delta is a stream of operations in blocks that may be compressed by zstd. Integers are little endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use chitchat::ChitchatId;

/// First bytes of every chitchat message.
const MAGIC: u16 = 45_139;
/// A digest holds no more members: the hard limit of a cell.
pub(super) const DIGEST_NODES_MAX: usize = 1_000;
/// A block decompresses to no more, as in chitchat.
const BLOCK_LEN_MAX: usize = u16::MAX as usize;
/// All blocks of a delta together: 65 KB of compressed records seldom exceed four times that.
const DELTA_LEN_MAX: usize = 512 * 1024;

/// What cannot be read as a chitchat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the message does not decode")]
    Malformed,
    #[error("the digest has more than {DIGEST_NODES_MAX} members")]
    DigestSize,
}

/// A chitchat message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Syn { cluster: String, digest: Vec<DigestEntry> },
    SynAck { digest: Vec<DigestEntry>, delta: Vec<NodeDelta> },
    Ack { delta: Vec<NodeDelta> },
    BadCluster,
}

/// What a peer knows of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DigestEntry {
    pub(super) id: ChitchatId,
    pub(super) heartbeat: u64,
    pub(super) gc_version: u64,
    pub(super) max_version: u64,
}

/// News of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeDelta {
    pub(super) id: ChitchatId,
    pub(super) gc_version: u64,
    pub(super) from_version: u64,
    pub(super) values: Vec<KeyValue>,
    pub(super) max_version: Option<u64>,
}

/// One value of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyValue {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) version: u64,
    /// 0: set; anything else: deleted, now or later.
    pub(super) status: u8,
}

impl Message {
    /// Reads one message; nothing may be left over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut input = Input(bytes);
        if input.u16()? != MAGIC || input.u8()? != 0 {
            return Err(MessageError::Malformed);
        }
        let message = match input.u8()? {
            0 => {
                let digest = input.digest()?;
                Self::Syn { digest, cluster: input.text()?.to_owned() }
            }
            1 => {
                let digest = input.digest()?;
                Self::SynAck { digest, delta: input.delta()? }
            }
            2 => Self::Ack { delta: input.delta()? },
            3 => Self::BadCluster,
            _ => return Err(MessageError::Malformed),
        };
        if input.0.is_empty() { Ok(message) } else { Err(MessageError::Malformed) }
    }

    /// Writes the message as chitchat reads it, without compression: it goes no further than this process.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_le_bytes().to_vec();
        out.push(0);
        match self {
            Self::Syn { cluster, digest } => {
                out.push(0);
                put_digest(&mut out, digest);
                put_text(&mut out, cluster);
            }
            Self::SynAck { digest, delta } => {
                out.push(1);
                put_digest(&mut out, digest);
                put_delta(&mut out, delta);
            }
            Self::Ack { delta } => {
                out.push(2);
                put_delta(&mut out, delta);
            }
            Self::BadCluster => out.push(3),
        }
        out
    }
}

/// The rest of the bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MessageError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], MessageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(MessageError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, MessageError> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| MessageError::Malformed)
    }

    fn id(&mut self) -> Result<ChitchatId, MessageError> {
        let node_id: Arc<str> = Arc::from(self.text()?);
        let generation_id = self.u64()?;
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(MessageError::Malformed),
        };
        Ok(ChitchatId { node_id, generation_id, gossip_advertise_addr: SocketAddr::new(ip, self.u16()?) })
    }

    fn digest(&mut self) -> Result<Vec<DigestEntry>, MessageError> {
        let len = usize::from(self.u16()?);
        if len > DIGEST_NODES_MAX {
            return Err(MessageError::DigestSize);
        }
        let mut digest = Vec::new();
        for _ in 0..len {
            let id = self.id()?;
            digest.push(DigestEntry { id, heartbeat: self.u64()?, gc_version: self.u64()?, max_version: self.u64()? });
        }
        Ok(digest)
    }

    fn delta(&mut self) -> Result<Vec<NodeDelta>, MessageError> {
        let operations = self.blocks()?;
        let mut input = Input(&operations);
        let mut delta: Vec<NodeDelta> = Vec::new();
        while !input.0.is_empty() {
            match input.u8()? {
                0 => {
                    let node = input.node()?;
                    let is_repeated = delta.iter().any(|earlier| earlier.id == node.id);
                    delta.push(node);
                    (delta.len() <= DIGEST_NODES_MAX && !is_repeated).then_some(()).ok_or(MessageError::Malformed)?;
                }
                1 => {
                    let (key, value) = (input.text()?.to_owned(), input.text()?.to_owned());
                    let value = KeyValue { key, value, version: input.u64()?, status: input.u8()? };
                    delta.last_mut().ok_or(MessageError::Malformed)?.values.push(value);
                }
                2 => {
                    let max_version = input.u64()?;
                    delta.last_mut().ok_or(MessageError::Malformed)?.max_version = Some(max_version);
                }
                _ => return Err(MessageError::Malformed),
            }
        }
        Ok(delta)
    }

    /// The operation that begins the news of a member.
    fn node(&mut self) -> Result<NodeDelta, MessageError> {
        let (id, gc_version, from_version) = (self.id()?, self.u64()?, self.u64()?);
        Ok(NodeDelta { id, gc_version, from_version, values: Vec::new(), max_version: None })
    }

    /// The blocks of a delta, decompressed and joined.
    fn blocks(&mut self) -> Result<Vec<u8>, MessageError> {
        let mut joined = Vec::new();
        loop {
            let kind = self.u8()?;
            if kind == 0 {
                return Ok(joined);
            }
            let len = usize::from(self.u16()?);
            let block = self.take(len)?;
            match kind {
                1 => {
                    let plain = zstd::bulk::decompress(block, BLOCK_LEN_MAX).map_err(|_| MessageError::Malformed)?;
                    joined.extend_from_slice(&plain);
                }
                2 => joined.extend_from_slice(block),
                _ => return Err(MessageError::Malformed),
            }
            if joined.len() > DELTA_LEN_MAX {
                return Err(MessageError::Malformed);
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Every text came from a length of 16 bits, or is a name of at most 127 bytes.
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(len.to_le_bytes());
    out.extend(&text.as_bytes()[..usize::from(len)]);
}

fn put_id(out: &mut Vec<u8>, id: &ChitchatId) {
    put_text(out, &id.node_id);
    out.extend(id.generation_id.to_le_bytes());
    match id.gossip_advertise_addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(id.gossip_advertise_addr.port().to_le_bytes());
}

fn put_digest(out: &mut Vec<u8>, digest: &[DigestEntry]) {
    let len = u16::try_from(digest.len()).unwrap_or(u16::MAX);
    out.extend(len.to_le_bytes());
    for entry in digest.iter().take(usize::from(len)) {
        put_id(out, &entry.id);
        for number in [entry.heartbeat, entry.gc_version, entry.max_version] {
            out.extend(number.to_le_bytes());
        }
    }
}

fn put_delta(out: &mut Vec<u8>, delta: &[NodeDelta]) {
    let mut operations = Vec::new();
    for node in delta {
        operations.push(0);
        put_id(&mut operations, &node.id);
        operations.extend(node.gc_version.to_le_bytes());
        operations.extend(node.from_version.to_le_bytes());
        for value in &node.values {
            operations.push(1);
            put_text(&mut operations, &value.key);
            put_text(&mut operations, &value.value);
            operations.extend(value.version.to_le_bytes());
            operations.push(value.status);
        }
        if let Some(max_version) = node.max_version {
            operations.push(2);
            operations.extend(max_version.to_le_bytes());
        }
    }
    for block in operations.chunks(BLOCK_LEN_MAX) {
        out.push(2);
        // A chunk is no longer than 16 bits can say.
        out.extend(u16::try_from(block.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(block);
    }
    out.push(0);
}

#[cfg(test)]
mod tests;
