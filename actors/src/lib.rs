//! The supervision tree of a node and the state that it owns. The only crate that names ractor.
//!
//! - [`state`], [`enlist`]: the state directory and how a machine comes to have one
//! - [`standing`]: whom a node believes and what it may
//! - [`control`], [`ca`]: what an operator can ask of a running node
//! - [`address`], `message`: how actors are reached and what they are sent; `core`: what they share
//! - `actor`: the actors; [`tree`]: how they are put together

mod actor;
pub mod address;
pub mod ca;
pub mod control;
mod core;
pub mod enlist;
mod message;
pub mod metrics;
mod shell;
pub mod standing;
pub mod state;
mod supervisor;
pub mod telemetry;
pub mod tree;
