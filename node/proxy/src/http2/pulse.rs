//! The clock of one connection.

use std::time::Duration;

/// How a silent peer is asked whether it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pings {
    /// Silence after which it is asked.
    pub(crate) interval: Duration,
    /// It is given up this long after.
    pub(crate) timeout: Duration,
}
