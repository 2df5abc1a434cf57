//! The command line of `weft`: reads it, does what it says, prints the outcome and returns the exit code. The node and the demo,
//! which are programs of their own, are handed in.
//!
//! - [`main`]: from the words to the exit code; [`Programs`]: what is handed in
//! - [`Cli`]: every command and option

mod apply;
mod args;
mod ca;
mod check;
mod client;
mod curl;
mod history;
mod key;
mod life;
mod log;
mod output;
mod pages;
mod passphrase;
mod plan;
mod policies;
mod program;
mod receipt;
mod remote;
mod revoke;
mod status;
mod target;
mod why;

pub use args::{Cli, Command};
pub use output::Output;
pub use program::{Programs, main};
