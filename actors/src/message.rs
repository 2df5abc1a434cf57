//! What each actor is sent, and what travels with it. Below the actors, so that none of them needs to know another.

pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod listeners;
pub(crate) mod membership;
pub(crate) mod policy;
pub(crate) mod signer;
pub(crate) mod store;
pub(crate) mod telemetry;
pub(crate) mod upstreams;
