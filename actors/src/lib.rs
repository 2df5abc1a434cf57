//! The supervision tree of a node and the state that it owns. The only crate that names ractor.
//!
//! - [`world`]: the snapshot that the data path reads
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint

pub mod endpoint;
pub mod world;
