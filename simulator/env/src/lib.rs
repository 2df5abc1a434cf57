//! The seam between Weft and the machine: clock, randomness, network, disk.
//!
//! Production is a thin layer over tokio and the operating system; the simulated side runs in memory from one seed.

mod clock;
mod disk;
mod env;
mod network;
mod random;

pub use clock::{Clock, Timestamp};
pub use disk::{Disk, DiskLock, MemoryDisk, RandomAccess};
pub use env::Env;
pub use network::{Datagrams, Link, Listener, Network, Reuse, SimNetwork, SimStream, Stream, Traffic};
pub use random::Random;
