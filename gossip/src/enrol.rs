//! Joining a mesh and getting certificates: the protocol `weft-sign/1` over TLS on the mesh port. One request, one reply.
//!
//! The caller may have no certificate, or an expired one: it proves the key of its node by a signature over the TLS exporter, so that a
//! request is worth nothing on any other connection.

mod dialler;
mod messages;
mod serve;

pub use dialler::{Certified, Enrolled, JoinWish, Joined, certify, fetch_bundles, join};
pub use messages::{CertificateWish, CertifyReply, CertifyRequest, JoinReply, JoinRequest};
pub use serve::{SignDesk, serve};

#[cfg(test)]
mod tests;
