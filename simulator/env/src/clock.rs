//! Time: the monotonic clock is tokio's (so that a paused runtime is virtual time), the wall clock is the machine's or simulated.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Wall time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus a span; saturates.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The span from `earlier` to this time; zero if it lies after.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[derive(Debug)]
enum Wall {
    Machine,
    /// Unix milliseconds at `start` of tokio's clock.
    Virtual {
        start: Instant,
        at_start_ms: u64,
    },
}

/// The clock of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: Arc<Wall>,
    skew_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock.
    pub fn machine() -> Self {
        Self { wall: Arc::new(Wall::Machine), skew_ms: Arc::default() }
    }

    /// A wall clock that starts at `at_start` now and advances with tokio's (virtual) time.
    pub fn simulated(at_start: Timestamp) -> Self {
        Self {
            wall: Arc::new(Wall::Virtual { start: Instant::now(), at_start_ms: at_start.0 }),
            skew_ms: Arc::default(),
        }
    }

    /// Makes the wall clock wrong by `skew_ms`, for tests and simulated faults.
    pub fn skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall time.
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn wall(&self) -> Timestamp {
        let true_ms = match &*self.wall {
            Wall::Machine => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Wall::Virtual { start, at_start_ms } => Timestamp(*at_start_ms).after(start.elapsed()).0,
        };
        Timestamp(true_ms.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed)))
    }

    /// Waits.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_wall_time_moves_with_virtual_time_and_skew() {
        let clock = Clock::simulated(Timestamp(1_000));
        clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.wall(), Timestamp(3_000));
        clock.skew(-500);
        assert_eq!(clock.wall(), Timestamp(2_500));
    }
}
