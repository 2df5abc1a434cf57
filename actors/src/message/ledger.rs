//! What Ledger is sent, and what it publishes to the other actors.

use std::net::SocketAddr;

use weft_identity::{Failure, NodeId};
use weft_ledger::journal::{CheckedJournal, Journals, Posting};
use weft_ledger::{Checked, Hash, Ledger, LedgerMark, SignedDraft};

use crate::address::Reply;

/// What a node holds of the ledger; a snapshot, replaced whole.
#[derive(Debug, Clone)]
pub(crate) struct LedgerHeld {
    pub(crate) ledger: Ledger,
    pub(crate) journals: Journals,
}

/// What Ledger is sent.
pub(crate) enum Message {
    /// Take in what an operator signed on this node; answers with its hash once it is on disk.
    Apply(Box<SignedDraft>, Reply<Result<Hash, Failure>>),
    /// Take in change sets that a pull brought and verified.
    Take(Box<Checked>, Reply<Result<(), Failure>>),
    /// Take in a journal that a pull brought and verified.
    TakeJournal(Box<CheckedJournal>, Reply<Result<(), Failure>>),
    /// Append to this node's own journal.
    Post(Posting, Reply<Result<(), Failure>>),
    /// Look whether a member has something that this node lacks.
    Look(Reason),
    /// The pull from this member ended.
    Pulled(Box<Peer>, Outcome),
}

/// Why to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A member's record changed.
    Hint,
    /// It is time.
    Slow,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It brought something.
    News,
    /// This node had it all, or nothing of it was good.
    Nothing,
    /// The exchange failed.
    Failed,
}

/// A member that is to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) at: SocketAddr,
    /// What it says of its ledger.
    pub(crate) mark: LedgerMark,
}
