//! What was taken back before its time: nodes, keys, tokens. The ledger brings the set; every verifier asks it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::keys::PublicKey;
use super::token::TokenId;
use crate::ids::NodeId;

/// Everything that was revoked. Immutable; replaced whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// Nodes that are thrown out, with every certificate that they hold.
    pub nodes: BTreeSet<NodeId>,
    /// Keys that count no more: of a replica's certificate, or an enrolled one.
    pub keys: BTreeSet<PublicKey>,
    /// Tokens that admit nobody.
    pub tokens: BTreeSet<TokenId>,
}

impl Revocations {
    /// Whether a node with this enrolled key is thrown out.
    pub fn covers(&self, node: &NodeId, key: &PublicKey) -> bool {
        self.nodes.contains(node) || self.keys.contains(key)
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.keys.is_empty() && self.tokens.is_empty()
    }
}
