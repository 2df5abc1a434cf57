//! What Identity is sent, and what a renewal brings.

use weft_identity::{Failure, IssuedCertificate, SignedBundle, SpiffeId};

use crate::address::Reply;
use crate::standing::News;

/// What Identity is sent.
pub(crate) enum Message {
    /// Look whether something is due.
    Tick,
    /// Get a certificate for an identity, now; answers when it is there, with the labels of the enrolment in force.
    Want(SpiffeId, Reply<Result<(), Failure>>),
    /// A renewal ended.
    Renewed(Result<Obtained, Failure>),
    /// Newer bundles, another enrolment, other revocations; answers when they are on disk and in force.
    Adopt(News, Reply<Result<(), Failure>>),
    /// A member was asked for newer bundles.
    Fetched(Result<Vec<SignedBundle>, Failure>),
}

/// What a renewal brought.
pub(crate) struct Obtained {
    /// The certificates that were asked for, or none.
    pub(crate) certificates: Vec<IssuedCertificate>,
    /// What the signer knew besides.
    pub(crate) news: News,
}
