//! What the Signer is sent.

use weft_gossip::enrol::{CertifyReply, CertifyRequest, JoinReply, JoinRequest};
use weft_gossip::signer::TokenWish;
use weft_identity::{Failure, JoinToken};

use crate::address::Reply;

/// What the Signer is sent.
pub(crate) enum Message {
    /// Make a token.
    CreateToken(TokenWish, Reply<Result<JoinToken, Failure>>),
    /// Admit a node.
    Join(Box<JoinRequest>, Reply<Result<JoinReply, Failure>>),
    /// Issue certificates.
    Certify(Box<CertifyRequest>, Reply<Result<CertifyReply, Failure>>),
}
