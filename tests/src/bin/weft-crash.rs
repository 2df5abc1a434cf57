//! `weft` as it is shipped, with one more admin request: `POST /v1/crash/ACTOR` makes an actor panic. Started by `tests/crash.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft::program::main()
}
