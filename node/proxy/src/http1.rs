//! HTTP/1.1, both ends of it: framing, and whether a connection may carry another exchange. Nothing else of the data path knows where a
//! message ends.
//!
//! A [`Connection`] is a transport with what was received and not used, and what was written and not sent. Each direction of an exchange is
//! in one state; the fitness for another exchange is computed from both when the exchange is over, and nobody can set it.
//!
//! ```text
//! receiving   Head --> Body(n) | Body(chunked) | Body(until close) --> Done
//!                \________________________________________________/       any error, or an end too early --> Broken
//! sending     Head --> Body(n) | Body(chunked) | Body(until close) --> Done
//! ```
//!
//! In a tunnel, after a 101 or a CONNECT and for plain TCP, both directions are bytes until the end of each.

mod buffer;
mod chunked;
mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod parse;
mod receiving;
mod scan;
mod sending;
mod write;

pub(crate) use connection::{Connection, Fitness, Role};
pub(crate) use parse::is_forbidden_in_trailers;
pub(crate) use receiving::{Hangup, HeadFault, Received};
pub(crate) use scan::HeadLimits;
pub(crate) use sending::Persistence;
