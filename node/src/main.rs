//! The binary `weft`: everything is in the library's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft::cli::main()
}
