//! A signer's book: which tokens it made and which nodes it admitted. Kept on disk by the Signer actor.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::{CellName, Enrolment, GrantedLabels, Grants, LabelChanges, NodeId, PublicKey, Roles, TokenId};

/// A used or expired token is remembered this long, so that a second use gets the true reason.
pub const TOKEN_MEMORY: Duration = Duration::from_secs(86_400);

/// A signer's book; kept on disk by the Store actor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerState {
    /// The serial of the last enrolment.
    pub serial: u64,
    /// Tokens by their id.
    pub tokens: BTreeMap<TokenId, TokenEntry>,
    /// Enrolled nodes.
    pub enrolled: BTreeMap<NodeId, EnrolledNode>,
}

/// What a signer keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// Until when it admits.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub expires_at: Timestamp,
    /// What it grants.
    pub grants: Grants,
    /// The roles that it gives.
    pub roles: Roles,
    /// What it does to labels.
    pub labels: LabelChanges,
    /// The cell that it is for.
    pub cell: CellName,
    /// Who used it.
    pub redeemed: Option<Redemption>,
}

/// Who used a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The node.
    pub node: NodeId,
    /// Its key.
    pub key: PublicKey,
    /// When.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub at: Timestamp,
}

/// What a signer keeps of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledNode {
    /// Its key.
    pub key: PublicKey,
    /// Its cell.
    pub cell: CellName,
    /// What it may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// Its labels.
    pub labels: GrantedLabels,
    /// The serial of its last enrolment.
    pub serial: u64,
    /// When that was made.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub enrolled_at: Timestamp,
    /// Whether it was thrown out.
    pub revoked: bool,
}

impl SignerState {
    /// The book of a mesh's first signer, with the first node in it.
    pub fn founded(first: &Enrolment) -> Self {
        let enrolled = [(first.node.clone(), EnrolledNode::of(first))].into();
        Self { serial: 1, tokens: BTreeMap::new(), enrolled }
    }

    /// Forgets tokens that are long used or expired.
    pub(super) fn forget_tokens(&mut self, now: Timestamp) {
        self.tokens.retain(|_, token| {
            let over = token.redeemed.as_ref().map_or(token.expires_at, |used| used.at);
            now.since(over) < TOKEN_MEMORY
        });
    }
}

impl EnrolledNode {
    /// What the book says of a node with this enrolment.
    pub(crate) fn of(enrolment: &Enrolment) -> Self {
        Self {
            key: enrolment.key,
            cell: enrolment.cell.clone(),
            grants: enrolment.grants.clone(),
            roles: enrolment.roles,
            labels: enrolment.labels.clone(),
            serial: enrolment.serial,
            enrolled_at: enrolment.issued_at,
            revoked: false,
        }
    }
}
