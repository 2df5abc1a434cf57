//! What the node answers about the mesh's trust: `weft ca status`.

use serde::{Deserialize, Serialize};
use weft_identity::{NodeId, RootStanding, SignerStanding};

/// The mesh's trust in one look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaStatus {
    /// The epoch of the bundle in force on this node.
    pub epoch: u64,
    /// The roots, oldest first.
    pub roots: Vec<RootRow>,
    /// The signers, oldest first; one row for each root that signed one.
    pub signers: Vec<SignerRow>,
    /// The operators.
    pub operators: Vec<OperatorRow>,
    /// What each member has seen of it, this node among them.
    pub members: Vec<SeenRow>,
}

/// One root in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootRow {
    /// SHA-256 of its certificate.
    pub root: String,
    /// Where it stands.
    pub state: RootStanding,
    /// Since when its certificate is valid, in milliseconds since the epoch.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
}

/// One signer in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignerRow {
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub state: SignerStanding,
    /// The services that it may speak for; none are all.
    pub scope: Option<Vec<String>>,
    /// The root that signed it.
    pub root: String,
    /// Since when its certificate is valid, in milliseconds since the epoch.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
}

/// One operator in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorRow {
    /// The public key.
    pub key: String,
    /// `active`, `retired`, or `ended` past its end.
    pub state: String,
    /// The services whose policies it may change; none are all.
    pub scope: Option<Vec<String>>,
    /// Until when it may sign, in milliseconds since the epoch; none for one without an end.
    pub not_after_ms: Option<u64>,
}

/// What one member has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeenRow {
    /// The member.
    pub node: NodeId,
    /// The epoch of the bundle that it holds.
    pub epoch: u64,
    /// How many of its certificates, its enrolment counted with them, are still of a signer or root on its way out.
    pub outgoing: u32,
    /// The key that it would issue with, if it has the signer role.
    pub signer_key: Option<String>,
}
