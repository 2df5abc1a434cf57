//! Weft: a service mesh and API gateway in one program.
//!
//! - [`node`]: how a node is put together; [`demo`]: several in one process
//! - [`admin`]: the admin API
//! - [`program`]: what the binary does

pub mod admin;
pub mod demo;
pub mod node;
pub mod program;
