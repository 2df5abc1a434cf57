//! Who is there and what each member says: QUIC, membership, catalog, and how nodes talk of enrolment and the ledger.
//!
//! - [`enrol`]: joining and certificates over `weft-sign/1`
//! - [`signer`]: what a signer decides
//! - [`rotation`]: how signers, roots and operators change
//! - [`catalog`]: signed records of what each node offers
//! - [`membership`]: who is in the cell, by gossip that is verified before it is believed
//! - [`quic`]: the endpoint that gossip runs over
//! - [`metrics`]: names, help texts and handles

pub mod catalog;
pub mod enrol;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod membership;
pub mod metrics;
pub mod quic;
pub mod rotation;
pub mod signer;
