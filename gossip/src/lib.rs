//! Who is in the mesh and what each member says: identity, membership, catalog, wire format.
//!
//! - [`ids`]: the names of meshes, nodes, services and cells
//! - [`codes`]: the registry of error codes
//! - [`identity`]: keys, certificates, trust bundle, enrolment, tokens, the verifier
//! - [`enrol`]: joining and certificates over `weft-sign/1`
//! - [`signer`]: what a signer decides
//! - [`catalog`]: signed records of what each node offers
//! - [`wire`]: what messages look like in bytes

pub mod catalog;
pub mod codes;
pub mod enrol;
pub mod identity;
pub mod ids;
pub mod signer;
pub mod wire;

pub use codes::{Code, Failure};
pub use ids::{CellName, MeshName, NodeId, ServiceName, ZoneName};
