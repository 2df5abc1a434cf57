//! The admin API of a node: everything on a Unix socket in the state directory, which the CLI talks to; metrics and health
//! alone on a loopback port. Started by `node.rs`; what it answers comes from an [`AdminDesk`].

mod desk;
mod ledger;
mod routes;
mod serve;

pub use desk::{AdminDesk, Question};
pub use ledger::DRAFT_LEN_MAX;
pub use routes::{local_routes, public_routes};
pub use serve::AdminListeners;

#[cfg(test)]
mod tests;
