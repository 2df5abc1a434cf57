//! What is no longer trusted: nodes, keys, join tokens. Asked when a connection is made, and for open ones when it changes.

use std::collections::BTreeMap;

use weft_identity::{NodeId, PublicKey, TokenId};

use super::place::Place;
use super::raw::RawRevocation;
use crate::strict::{Mistakes, Spanned};

/// Why something is no longer trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Where it was written.
    pub place: Place,
    /// Why.
    pub reason: String,
}

/// Everything that is no longer trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    nodes: BTreeMap<NodeId, Revoked>,
    keys: BTreeMap<PublicKey, Revoked>,
    tokens: BTreeMap<TokenId, Revoked>,
}

/// What one document revokes.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    Node(NodeId),
    Key(PublicKey),
    Token(TokenId),
}

impl Revocations {
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.keys.is_empty() && self.tokens.is_empty()
    }

    /// Why a node is revoked, if it is.
    pub fn node(&self, node: &NodeId) -> Option<&Revoked> {
        self.nodes.get(node)
    }

    /// Why a key is revoked, if it is.
    pub fn key(&self, key: &PublicKey) -> Option<&Revoked> {
        self.keys.get(key)
    }

    /// Why a token is revoked, if it is.
    pub fn token(&self, token: &TokenId) -> Option<&Revoked> {
        self.tokens.get(token)
    }

    /// Every node that is revoked.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Revoked)> {
        self.nodes.iter()
    }

    /// Every key that is revoked.
    pub fn keys(&self) -> impl Iterator<Item = (&PublicKey, &Revoked)> {
        self.keys.iter()
    }

    /// Every token that is revoked.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenId, &Revoked)> {
        self.tokens.iter()
    }

    /// Adds what a document revokes; the first document that revokes something is the one that is named.
    pub(crate) fn insert(&mut self, subject: Subject, revoked: Revoked) {
        match subject {
            Subject::Node(node) => self.nodes.entry(node).or_insert(revoked),
            Subject::Key(key) => self.keys.entry(key).or_insert(revoked),
            Subject::Token(token) => self.tokens.entry(token).or_insert(revoked),
        };
    }
}

/// What a document revokes, and why.
pub(crate) fn parse(raw: RawRevocation, place: Place, mistakes: &mut Mistakes<'_>) -> Option<(Subject, Revoked)> {
    let revoked = Revoked { place, reason: raw.reason.value };
    let subject = match (raw.node, raw.key, raw.token) {
        (Some(node), None, None) => Some(Subject::Node(node.value)),
        (None, Some(key), None) => hex_of(&key, "key", mistakes).map(|raw| Subject::Key(PublicKey(raw))),
        (None, None, Some(token)) => hex_of(&token, "token", mistakes).map(|raw| Subject::Token(TokenId(raw))),
        _ => {
            if raw.wrong.spares(&["node", "key", "token"]) {
                mistakes.add(Some(raw.name.span), "a revocation needs exactly one of `node`, `key` and `token`");
            }
            None
        }
    };
    Some((subject?, revoked))
}

fn hex_of<const N: usize>(text: &Spanned<String>, key: &str, mistakes: &mut Mistakes<'_>) -> Option<[u8; N]> {
    let digits: Option<Vec<u32>> = text.value.chars().map(|c| c.to_digit(16)).collect();
    let bytes = digits.filter(|digits| digits.len() == 2 * N).map(|digits| {
        let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap_or(0);
        digits.chunks_exact(2).map(byte).collect::<Vec<u8>>()
    });
    let raw = bytes.and_then(|bytes| bytes.try_into().ok());
    if raw.is_none() {
        mistakes.add(Some(text.span.clone()), format!("`{key}` must be {} hexadecimal digits", 2 * N));
    }
    raw
}
