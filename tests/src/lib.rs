//! Real processes and sockets: starts `weft` nodes, the programs behind and before them, and looks at what comes out.
//!
//! - [`mesh`]: a mesh of `weft` processes on loopback addresses of its own
//! - [`weft`]: the command line of `weft`, and what it answered
//! - [`operator`]: policy files and the key that signs them
//! - [`by_hand`]: change sets signed past what the command line checks
//! - [`process`]: a child process, its output, its end
//! - [`peer`]: applications and callers that speak raw bytes
//! - [`mutation`], [`recorder`]: requests in forms that parsers read differently, and four applications that tell how they read them
//! - [`frame_mutation`], [`frames`], [`hpack`]: what callers of HTTP/2 may say wrongly, and the frames and heads to say it in
//! - [`strict`], [`lenient`]: the two readers of our own among those
//! - [`hostile`], [`answer`]: answers that break rules, and the strictest of callers
//! - [`websocket`]: frames, an application, callers, and what they say to each other
//! - [`http`]: a small HTTP/1.1 client that hides nothing
//! - [`load`]: a steady load that counts every reply
//! - [`programs`]: nginx, Python, PostgreSQL and tcpdump
//! - [`rogue`]: a member with a valid certificate that lies, and datagrams as an outsider can make them
//! - [`scratch`], [`loopback`], [`wait`]: directories, addresses and deadlines

// The house's clock and print rules are for the product; a test of real processes needs the real clock and a terminal.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test's output is its terminal")]

pub mod answer;
pub mod by_hand;
pub mod frame_mutation;
pub mod frames;
pub mod hostile;
pub mod hpack;
pub mod http;
pub mod lenient;
pub mod load;
pub mod loopback;
pub mod mesh;
pub mod mutation;
pub mod operator;
pub mod peer;
pub mod process;
pub mod programs;
pub mod readers;
pub mod recorder;
pub mod rogue;
pub mod scratch;
pub mod strict;
pub mod wait;
pub mod websocket;
pub mod weft;

pub use mesh::{Mesh, Node};
pub use wait::until;
