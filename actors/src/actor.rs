//! The actors, one a file; `docs/actors.md` lists what each owns. The tree starts them; they know each other by messages.

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
