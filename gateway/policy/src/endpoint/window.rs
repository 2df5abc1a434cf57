//! How many of the last tries succeeded, over a window that slides. Part of [`super::EndpointLoad`]; [`super::review`] compares endpoints
//! by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a result counts: as long as the interval of Envoy's outlier detection.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
const WINDOW_NS: u64 = WINDOW.as_nanos() as u64;
/// One failure among the results, in a packed count; the low half counts all.
const FAILED: u64 = 1 << 32;

/// How many of the last tries succeeded. A worker that comes in while another turns the page may lose a result; none is counted twice.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number of the page that is written.
    page: AtomicU64,
    /// Failures in the high half, all results in the low half.
    current: AtomicU64,
    /// The same of the page before.
    before: AtomicU64,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tally {
    /// How many results.
    pub(super) count: f64,
    /// How many of them are successes.
    pub(super) succeeded: f64,
}

impl Window {
    /// Counts one result.
    pub(super) fn count(&self, is_success: Success, now_ns: u64) {
        self.turn(now_ns);
        let one = if is_success == Success::Yes { 1 } else { 1 | FAILED };
        self.current.fetch_add(one, Ordering::Relaxed);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.current.store(0, Ordering::Relaxed);
        self.before.store(0, Ordering::Relaxed);
    }

    /// The last [`WINDOW`], where the page before counts by the part of it that is still inside.
    pub(super) fn tally(&self, now_ns: u64) -> Tally {
        self.turn(now_ns);
        let inside = 1.0 - (now_ns % WINDOW_NS) as f64 / WINDOW_NS as f64;
        let (current, before) = (self.current.load(Ordering::Relaxed), self.before.load(Ordering::Relaxed));
        let low = |packed: u64| (packed & u64::from(u32::MAX)) as f64;
        let count = low(current) + low(before) * inside;
        let failed = (current >> 32) as f64 + (before >> 32) as f64 * inside;
        Tally { count, succeeded: (count - failed).max(0.0) }
    }

    /// Begins a new page when it is time.
    fn turn(&self, now_ns: u64) {
        let (page, next) = (self.page.load(Ordering::Relaxed), now_ns / WINDOW_NS);
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        // One of several workers turns it.
        if next <= page || self.page.compare_exchange(page, next, relaxed, kept).is_err() {
            return;
        }
        let full = self.current.swap(0, Ordering::Relaxed);
        self.before.store(if next == page + 1 { full } else { 0 }, Ordering::Relaxed);
    }
}

/// Whether a try succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Success {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// That is not for the endpoint to say; such a try is not counted.
    Neither,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn results_count_for_ten_seconds() {
        let window = Window::default();
        for result in [Success::Yes, Success::Yes, Success::Yes, Success::No] {
            window.count(result, 9 * SECOND);
        }
        assert_eq!(window.tally(9 * SECOND), Tally { count: 4.0, succeeded: 3.0 });
        assert_eq!(window.tally(15 * SECOND), Tally { count: 2.0, succeeded: 1.5 });
        window.count(Success::No, 15 * SECOND);
        assert_eq!(window.tally(20 * SECOND), Tally { count: 1.0, succeeded: 0.0 });
        assert_eq!(window.tally(50 * SECOND), Tally { count: 0.0, succeeded: 0.0 });
        window.count(Success::Yes, 50 * SECOND);
        window.clear();
        assert_eq!(window.tally(50 * SECOND), Tally { count: 0.0, succeeded: 0.0 });
    }
}
