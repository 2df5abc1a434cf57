//! HTTP/2 on the `h2` crate, under our own bodies. A [`Server`] hands out the requests of one connection, a [`Client`] sends requests over
//! one, and a [`Stream`] of either is one side of an exchange.
//!
//! ```text
//!             Server / Client            one a connection: requests, drain, deadlines (Pulse)
//!                   |
//!   Stream  <->  h2 crate                HPACK, streams, windows
//!   Inbox, Outbox   |
//!                 Guard                  looks at the head of each frame both ways: budgets, turns, the greeting
//!                   |
//!               Transport
//! ```
//!
//! What is held for a stream is bounded by its window on the way in and by its connection's [`backlog`] on the way out: a slow reader stalls
//! its own stream, a socket that nobody reads holds one backlog, and the window of a connection is as wide as all its streams'.

mod backlog;
mod budget;
mod client;
mod ended;
mod fault;
mod field;
mod frame;
mod guard;
mod inbox;
mod named;
mod observed;
mod outbox;
mod pulse;
mod read_out;
mod regroup;
mod request;
mod response;
mod server;
mod stream;
mod trailing;

pub(crate) use client::{Client, ClientSettings, Driver};
pub(crate) use ended::Ended;
pub(crate) use pulse::Pings;
pub(crate) use server::{Arrival, Server, ServerSettings};
pub(crate) use stream::Stream;

use crate::http1::HeadLimits;

/// Who is at the other end of a connection: what it may send follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// An application of this machine, or anybody: it answers for what it sends.
    Stranger,
    /// Another node: it carries many callers over one connection, and has held each of them to a budget.
    Proven,
}

impl Trust {
    /// Streams that it may have open at once.
    pub(crate) fn streams_max(self) -> u32 {
        match self {
            // What RFC 9113, section 6.5.2, calls the least, and what browsers and gRPC expect.
            Self::Stranger => 100,
            // All callers of that node share a few connections.
            Self::Proven => 1_000,
        }
    }

    fn head_limits(self) -> HeadLimits {
        match self {
            Self::Stranger => HeadLimits::APPLICATION,
            Self::Proven => HeadLimits::NODE,
        }
    }
}

/// Flow-control window of one stream: a good 20 ms of a gigabit.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Most that h2 keeps for one stream that waits to be written; what keeps a writer busy until the next turn.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// What h2 takes of a header block, by its measure (32 bytes a field beside name and value); four times as much ends the connection. Above
/// every [`HeadLimits`], so that whoever sends more than those is answered by us, with a body that says what was too much.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// Flow-control window of a connection: wide enough for all of its streams, so that it never decides (at most 2^31 - 1).
fn connection_window(streams: u32) -> u32 {
    streams.saturating_mul(STREAM_WINDOW_BYTES).min(i32::MAX as u32)
}

#[cfg(test)]
mod tests;
