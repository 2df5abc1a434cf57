//! The supervision tree of a node and the state that it owns. The only crate that names ractor.
//!
//! - [`state`], [`enlist`]: the state directory and how a machine comes to have one
//! - [`standing`]: whom a node believes and what it may
//! - [`control`], [`ca`]: what an operator can ask of a running node
//! - [`address`]: how actors are reached

pub mod address;
pub mod ca;
pub mod control;
mod core;
pub mod enlist;
mod health;
mod identity;
mod ledger;
mod listeners;
mod membership;
pub mod metrics;
mod policy;
mod shell;
mod signer;
pub mod standing;
pub mod state;
pub mod store;
mod supervisor;
pub mod telemetry;
pub mod tree;
mod upstreams;
