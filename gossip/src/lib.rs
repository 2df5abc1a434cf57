//! Who is in the mesh and what each member says: identity, membership, catalog, wire format.
//!
//! - [`ids`]: the names of meshes, nodes, services and cells
//! - [`codes`]: the registry of error codes
//! - [`identity`]: keys, certificates, trust bundle, enrolment, tokens, the verifier
//! - [`catalog`]: signed records of what each node offers

pub mod catalog;
pub mod codes;
pub mod identity;
pub mod ids;

pub use codes::{Code, Failure};
pub use ids::{CellName, MeshName, NodeId, ServiceName, ZoneName};
