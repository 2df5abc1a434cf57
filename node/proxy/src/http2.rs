//! HTTP/2 on the `h2` crate, under our own bodies: [`Server`] takes the requests of one connection, [`Client`] sends requests over one,
//! and a [`Stream`] of either is one side of an exchange. What neither h2 nor flow control limits, [`guard`] does.

mod budget;
mod client;
mod ended;
mod pulse;
mod server;
mod stream;

pub(crate) use budget::Trust;
pub(crate) use client::{Client, ClientSettings, Driver};
pub(crate) use ended::Ended;
pub(crate) use pulse::Pings;
pub(crate) use server::{Arrival, Server, ServerSettings};
pub(crate) use stream::Stream;

/// Flow-control window of one stream: a good 20 ms of a gigabit.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
