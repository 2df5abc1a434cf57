//! What the fuzzer runs.

mod beside_hyper;
mod targets;

pub use targets::targets;
