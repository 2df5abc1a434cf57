//! Who is in the mesh and what each member says: identity, membership, catalog, wire format.
//!
//! - [`ids`]: the names of meshes, nodes, services and cells
//! - [`codes`]: the registry of error codes
//! - [`identity`]: keys, certificates, trust bundle, enrolment, tokens, the verifier
//! - [`enrol`]: joining and certificates over `weft-sign/1`
//! - [`signer`]: what a signer decides
//! - [`rotation`]: how signers, roots and operators change
//! - [`catalog`]: signed records of what each node offers
//! - [`ledger`]: the operators' signed change sets and the writers' journals, and how nodes exchange them
//! - [`membership`]: who is in the cell, by gossip that is verified before it is believed
//! - [`quic`]: the endpoint that gossip runs over
//! - [`metrics`]: names, help texts and handles
//! - [`wire`]: what messages look like in bytes

pub mod catalog;
pub mod codes;
pub mod enrol;
pub mod identity;
pub mod ids;
pub mod ledger;
pub mod membership;
pub mod metrics;
pub mod quic;
pub mod rotation;
pub mod signer;
pub mod wire;

pub use codes::{Code, Failure};
pub use ids::{CellName, MeshName, NodeId, ReplicaName, ServiceName, ZoneName};
