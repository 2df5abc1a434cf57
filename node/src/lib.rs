//! Weft: a service mesh and API gateway in one program.
//!
//! - [`node`]: how a node is put together; [`demo`]: several in one process
//! - [`cli`]: the command line
//! - [`config`]: the node's configuration file
//! - [`admin`]: the admin API
//! - [`worker`]: the data path: workers, listeners
//! - `proxy`: the life of a request
//! - [`metrics`]: the data path's metrics
//! - [`explain`]: decisions as they are shown; [`refusals`]: the last ones
//! - [`hypothesis`]: a call as an operator describes it
//! - `problem`: how a failure reaches the caller

mod access_log;
pub mod admin;
mod body;
pub mod cli;
pub mod config;
pub mod demo;
mod dial;
pub mod explain;
mod http1;
mod http2;
pub mod hypothesis;
mod inbound;
pub mod metrics;
pub mod node;
mod outbound;
mod pool;
mod problem;
mod proxy;
pub mod refusals;
mod tcp;
mod trace;
mod vigil;
pub mod worker;
