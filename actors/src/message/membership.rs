//! What Membership is sent.

use std::net::SocketAddr;

use weft_gossip::catalog::ReplicaRecord;
use weft_gossip::membership::{Ended, LedgerPeer};
use weft_identity::Failure;

use crate::address::Reply;

/// What Membership is sent.
pub(crate) enum Message {
    /// What this node offers has changed.
    Publish,
    /// Could this be published?
    Fits(Vec<ReplicaRecord>, Reply<Result<(), Failure>>),
    /// The certificates, the trust or the enrolment are new.
    Renew,
    /// What this node holds of the ledger has changed.
    Mark,
    /// Connect to a member's ledger.
    LedgerPeer(SocketAddr, Reply<Result<LedgerPeer, Failure>>),
    /// Write the view to disk.
    Keep,
    /// Say goodbye.
    Leave(Reply<Result<(), Failure>>),
    /// Gossip has ended by itself.
    Ended(Ended),
}
