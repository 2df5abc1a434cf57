//! The four seams of one node, handed down from where a node is put together to everything that needs one of them.

use crate::{Clock, Disk, Network, Random};

/// Everything a node takes from the machine it runs on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    /// Monotonic and wall time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Streams and datagrams.
    pub network: Network,
    /// Files.
    pub disk: Disk,
}

impl Env {
    /// The real machine.
    pub fn machine() -> Self {
        Self { clock: Clock::machine(), random: Random::machine(), network: Network::machine(), disk: Disk::machine() }
    }
}
