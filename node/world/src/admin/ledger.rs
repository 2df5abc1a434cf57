//! What an operator asks of the ledger, and what the node answers.

use serde::{Deserialize, Serialize};
use weft_identity::{NodeId, ServiceName};
use weft_ledger::{Document, DocumentId, Draft, Hash, Prune};

/// Most change sets in one history.
pub const HISTORY_MAX: usize = 1_000;

/// The ledger in one look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// The highest revision.
    pub revision: u64,
    /// Change sets that nothing builds upon; more than one while two sides of a split have not been built upon together.
    pub tips: Vec<Hash>,
    /// Documents that the revision has in force.
    pub documents: usize,
    /// The revision that the data path decides by; lower than `revision` while the newest cannot be compiled here.
    pub in_force: u64,
    /// Why the newest is not in force; empty if it is.
    pub mistakes: Vec<String>,
    /// Change sets made on this node that were set aside and not made again since.
    pub set_aside: Vec<HistoryView>,
}

/// One document in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentView {
    /// Kind and name.
    pub id: DocumentId,
    /// The services that it concerns; none means the whole mesh.
    pub services: Option<Vec<ServiceName>>,
    /// Where it was written.
    pub file: String,
    /// The first line of it there.
    pub line: u32,
    /// The revision that brought it.
    pub revision: u64,
    /// Its content's address.
    pub hash: Hash,
    /// The table as it was written.
    pub text: String,
}

/// One change set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryView {
    /// Its number.
    pub revision: u64,
    /// Its address.
    pub hash: Hash,
    /// The key that signed it, in hex.
    pub operator: String,
    /// The node on which it was made.
    pub node: NodeId,
    /// When, in milliseconds since the epoch, by that node's clock.
    pub at_ms: u64,
    /// What the operator says of it.
    pub message: String,
    /// Documents that it puts.
    pub puts: Vec<DocumentId>,
    /// Documents that it removes.
    pub removes: Vec<DocumentId>,
    /// `applied`, `set aside`, `unconfirmed`, `expired` or `uncounted`.
    pub standing: String,
    /// What the standing is due to; empty where it needs no words.
    pub because: String,
    /// Until when an unconfirmed one counts, in milliseconds since the epoch.
    pub until_ms: Option<u64>,
}

/// What a draft is to be made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftWish {
    /// These documents, and which others go.
    Documents {
        /// What is to be in force.
        documents: Vec<Document>,
        /// What is removed because it is not among them.
        prune: Prune,
    },
    /// The state as of a revision.
    Rollback {
        /// The revision.
        to: String,
        /// What becomes of revocations.
        revocations: Revoked,
    },
    /// A change set that was set aside or has expired, once more.
    Again(String),
    /// A confirmation of a change set that awaits one.
    Confirm(String),
}

/// What a rollback does with the documents that revoke something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revoked {
    /// They stay as they are: who goes back to older routes does not mean to trust a stolen machine again.
    Stay,
    /// They, too, become as they were.
    RollBack,
}

/// What would change, and whom it would reach.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DraftView {
    /// To be signed.
    pub draft: Draft,
    /// What this node would not compile of it.
    pub mistakes: Vec<String>,
    /// Nodes that it reaches now, this one among them.
    pub reached: Vec<NodeId>,
    /// Nodes that this node knows and that do not answer.
    pub unreached: Vec<NodeId>,
    /// Nodes that would decide by what changes.
    pub concerned: Vec<NodeId>,
    /// This node, which is named as the place where the change set was made.
    pub node: NodeId,
}

/// How many nodes a change set must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// At least half of those that are known.
    Half,
    /// However few.
    Anyway,
}

/// A change set that was taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    /// Its number.
    pub revision: u64,
    /// Its address.
    pub hash: Hash,
}

/// One node in a receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// The node.
    pub node: NodeId,
    /// `in-force`, `refused` (it is there and cannot be compiled), `lacking` or `silent` (the node does not answer).
    pub state: String,
    /// Why it is refused; empty otherwise.
    pub because: String,
}
