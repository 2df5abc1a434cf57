//! The binary `weft`: the command line, with this library's node and demo.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft::program::main()
}
