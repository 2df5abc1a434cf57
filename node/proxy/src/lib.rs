//! The data path of a node: reads snapshots, moves bytes. Knows neither the actors nor the command line.
//!
//! - [`worker`]: workers, listeners, what starts them
//! - `proxy`: the life of a request
//! - [`metrics`]: the data path's metrics
//! - [`explain`]: decisions as they are shown; [`refusals`]: the last ones
//! - `hypothesis`: a call as an operator describes it
//! - `problem`: how a failure reaches the caller

mod access_log;
mod body;
mod dial;
pub mod explain;
mod http1;
mod http2;
mod hypothesis;
mod inbound;
pub mod metrics;
mod outbound;
mod pool;
mod problem;
mod proxy;
pub mod refusals;
mod tcp;
mod trace;
mod vigil;
pub mod worker;
