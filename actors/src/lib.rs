//! The supervision tree of a node and the state that it owns. The only crate that names ractor.
//!
//! - [`world`]: the snapshot that the data path reads
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint
//! - [`settings`]: every interval, timeout and limit
//! - [`opener`]: what the tree asks of the data path
//! - [`address`]: how actors are reached

pub mod address;
pub mod endpoint;
pub mod opener;
pub mod settings;
mod shell;
mod supervisor;
pub mod store;
pub mod world;
