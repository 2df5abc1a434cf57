//! The data path: it reads snapshots and moves bytes. It knows neither the actors that make the snapshots nor the command line.
//!
//! - [`worker`]: workers and listeners; [`explain`]: what would become of a call
//! - `proxy`: the life of a request; `tcp`: the life of a stream; `proxy_protocol`: the header before one; `client_hello`: the server
//!   name in one
//! - `server`: the requests of one connection; `outbound`, `inbound`, `bound`: who may send them, and streams
//! - `http1`, `http2`: the two versions of HTTP; `head`: their heads; `side`: one end of an exchange; `pump`: bodies between two
//! - `admission`: who is let in at the limit, and who waits; `memory`: what is not taken on when memory runs short
//! - `handshakes`: who may hold how many places before it has proven itself
//! - `stock`: heads that are used again
//! - `pool`: upstream connections; `dial`: how they are opened
//! - `vigil`: what may end what is open; `bell`, `timer`: how it costs nothing
//! - [`metrics`], `access_log`, [`refusals`]: what is told of all that; `problem`: what callers are told
//! - `hypothesis`: a call as an operator describes it

mod access_log;
mod admission;
mod bell;
mod bound;
mod client_hello;
mod dial;
pub mod explain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handshakes;
mod head;
mod http1;
mod http2;
mod hypothesis;
mod inbound;
mod memory;
pub mod metrics;
mod outbound;
mod pool;
mod problem;
mod proxy;
mod proxy_protocol;
mod pump;
pub mod refusals;
mod server;
mod side;
mod stock;
mod tcp;
#[cfg(test)]
mod testing;
mod timer;
mod trace;
mod transport;
mod vigil;
pub mod worker;
