//! What the binary `weft` does: it reads the command line, and starts the node or the demo where that says so.

use std::process::ExitCode;

use weft_cli::Programs;

use crate::demo::{self, DemoMode};
use crate::node::{self, NodeOptions};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    weft_cli::main(&Programs {
        node: |dir| Box::pin(node::run(NodeOptions::new(dir))),
        demo: || Box::pin(demo::run(DemoMode::Stay)),
        demo_check: || Box::pin(demo::run(DemoMode::Check)),
    })
}
