//! One entry of a journal: what is signed, and the body beside it. The signature covers the body by its salted hash, so that an entry
//! whose body is for gateways only can be carried and verified by every node.

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::wire::Signed;
use weft_identity::{Enrolment, MeshName, NodeId, PublicKey};

use super::super::hash::Hash;
use super::super::refusal::Refusal;

/// The use of an entry's signature.
pub const JOURNAL_CONTEXT: &str = "journal entry";
/// Longest body, in bytes.
pub const BODY_LEN_MAX: usize = 64 * 1024;
/// Longest kind, in bytes.
pub const ENTRY_KIND_LEN_MAX: usize = 32;
/// Bytes of an entry besides its body: signature, names, hashes.
const ENTRY_OVERHEAD: usize = 384;

/// Who gets an entry's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Every node.
    All,
    /// Gateways; the others get the entry without it.
    Gateways,
}

/// In what role a node asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Any node.
    Node,
    /// A gateway.
    Gateway,
}

/// What the writer signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The mesh.
    pub mesh: MeshName,
    /// Whose journal.
    pub writer: NodeId,
    /// Its place, from 1, without gaps.
    pub sequence: u64,
    /// The entry before; none for the first.
    pub previous: Option<Hash>,
    /// When; never before the entry before.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub at: Timestamp,
    /// What sort of entry, of `a-z` and `-`.
    pub kind: String,
    /// Who gets the body.
    pub audience: Audience,
    /// The hash of [`Body`].
    pub body: Hash,
}

/// What an entry says. The salt keeps its hash from being guessed by those who may not read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Random.
    pub salt: [u8; 16],
    /// The content.
    pub bytes: Vec<u8>,
}

/// An entry as it is sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEntry {
    /// What the writer signed.
    pub signed: Signed<JournalEntry>,
    /// The body, if the reader may have it.
    pub body: Option<Body>,
}

/// Two different entries of one number, both signed by the writer: the proof that its journal cannot be trusted from there on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// One.
    pub one: Signed<JournalEntry>,
    /// The other.
    pub two: Signed<JournalEntry>,
}

/// A verified entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// Its address: SHA-256 over the signed bytes.
    pub hash: Hash,
    /// What was signed.
    pub entry: JournalEntry,
    /// As it is sent.
    pub signed: SignedEntry,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.bytes.len())
    }
}

impl Body {
    /// What the writer signs of it.
    pub fn hash(&self) -> Hash {
        Hash::of_parts(&[&self.salt, &self.bytes])
    }
}

impl JournalEntry {
    /// The rule of form that it breaks, if any.
    fn broken_rule(&self) -> Option<&'static str> {
        let letters = self.kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if self.kind.is_empty() || self.kind.len() > ENTRY_KIND_LEN_MAX || !letters {
            Some("its kind is not of 1 to 32 of a-z and -")
        } else if self.sequence == 0 || (self.sequence == 1) != self.previous.is_none() {
            Some("the first entry, and only that, has none before it")
        } else {
            None
        }
    }
}

impl SignedEntry {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.bytes.len()) + ENTRY_OVERHEAD
    }

    /// The entry for this reader.
    pub(super) fn for_reader(&self, audience: Audience, reader: Reader) -> Self {
        match (audience, reader) {
            (Audience::Gateways, Reader::Node) => Self { signed: self.signed.clone(), body: None },
            _ => self.clone(),
        }
    }

    /// The entry, if it is the enrolled writer's. Says nothing about what comes before it.
    pub(super) fn verify(self, writer: &Enrolment) -> Result<VerifiedEntry, Refusal> {
        let entry = verify_signed(&self.signed, &writer.key)?;
        if entry.mesh != writer.mesh {
            return Err(Refusal::OtherMesh(entry.mesh));
        }
        if entry.writer != writer.node {
            return Err(Refusal::OtherWriter(writer.node.clone()));
        }
        if let Some(rule) = entry.broken_rule() {
            return Err(Refusal::Form(rule));
        }
        let body_holds = match &self.body {
            Some(body) => body.bytes.len() <= BODY_LEN_MAX && body.hash() == entry.body,
            None => entry.audience == Audience::Gateways,
        };
        if !body_holds {
            return Err(Refusal::Body(entry.sequence));
        }
        Ok(VerifiedEntry { hash: Hash::of(self.signed.bytes()), entry, signed: self })
    }
}

fn verify_signed(signed: &Signed<JournalEntry>, key: &PublicKey) -> Result<JournalEntry, Refusal> {
    signed.claim().map_err(|_| Refusal::Malformed)?;
    signed.verify(JOURNAL_CONTEXT, key).map_err(|_| Refusal::Signature)
}

impl Conflict {
    /// The number that was used twice, if both entries are the enrolled writer's and differ.
    pub(super) fn verify(&self, writer: &Enrolment) -> Result<u64, Refusal> {
        let one = verify_signed(&self.one, &writer.key)?;
        let two = verify_signed(&self.two, &writer.key)?;
        let of_writer = |entry: &JournalEntry| entry.writer == writer.node && entry.mesh == writer.mesh;
        if !of_writer(&one) || !of_writer(&two) {
            return Err(Refusal::OtherWriter(writer.node.clone()));
        }
        if one.sequence != two.sequence || self.one.bytes() == self.two.bytes() {
            return Err(Refusal::Form("the two entries are no conflict"));
        }
        Ok(one.sequence)
    }
}
