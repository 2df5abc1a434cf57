//! What a node is told and what it knows at one moment: the snapshot that the actors publish and the data path reads, and what the
//! node, its admin API and the command line tell each other. Knows neither the actors nor the data path.
//!
//! - [`World`], [`WorldCell`]: the snapshot
//! - [`settings`]: every interval, timeout and limit
//! - [`config`]: the node's configuration file
//! - [`opener`]: what the tree asks of the data path
//! - [`service_spec`]: how an operator wants a replica offered, and a local port bound
//! - [`server_names`]: the services that one port leads to by server name
//! - [`admin`]: the bodies of the admin API

pub mod admin;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod opener;
pub mod server_names;
pub mod service_spec;
pub mod settings;
mod world;

pub use world::{
    Credential, Credentials, LocalReplica, LocalService, LocalTable, NodeFacts, ServiceTable, World, WorldCell,
};
