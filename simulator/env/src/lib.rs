//! The seam between Weft and the machine: clock, randomness, network, disk.
//!
//! Production is a thin layer over tokio and the operating system; the simulated side runs in memory from one seed.

mod clock;

pub use clock::{Clock, Timestamp};
