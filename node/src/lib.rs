//! Weft: a service mesh and API gateway in one program.
//!
//! - [`node`]: how a node is put together; [`demo`]: several in one process
//! - [`cli`]: the command line
//! - [`config`]: the node's configuration file
//! - [`admin`]: the admin API

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod node;
