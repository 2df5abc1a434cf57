//! What is under way at an endpoint from this node, and when it last gave a sign of life. Part of [`super::EndpointLoad`].

use std::sync::atomic::{AtomicU64, Ordering};

/// One try that waits for its answer, in the packed counts.
const WAITING: u64 = 1 << 32;
/// One exchange in flight, in the packed counts.
const IN_FLIGHT: u64 = 1;

/// What is under way at an endpoint.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// High half: tries without an outcome yet. Low half: exchanges that are not over.
    counts: AtomicU64,
    /// When something last began to wait while nothing else did.
    waiting_from_ns: AtomicU64,
    /// When the endpoint last answered anything.
    alive_ns: AtomicU64,
}

impl Flight {
    /// Counts an exchange in flight whose try waits for its answer.
    pub(super) fn begin(&self, now_ns: u64) {
        let before = self.counts.fetch_add(WAITING | IN_FLIGHT, Ordering::Relaxed);
        if before < WAITING {
            self.waiting_from_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    /// A try waits no longer.
    pub(super) fn settle(&self) {
        self.counts.fetch_sub(WAITING, Ordering::Relaxed);
    }

    /// An exchange is over.
    pub(super) fn leave(&self) {
        self.counts.fetch_sub(IN_FLIGHT, Ordering::Relaxed);
    }

    /// The endpoint answered something.
    pub(super) fn answer(&self, now_ns: u64) {
        self.alive_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Whether the endpoint answered nothing since then.
    pub(super) fn is_silent_since(&self, ns: u64) -> bool {
        self.alive_ns.load(Ordering::Relaxed) <= ns
    }

    /// Exchanges in flight.
    pub(super) fn in_flight(&self) -> u32 {
        // The low half.
        (self.counts.load(Ordering::Relaxed) & u64::from(u32::MAX)) as u32
    }

    /// Tries that wait for their answer.
    pub(super) fn waiting(&self) -> u32 {
        (self.counts.load(Ordering::Relaxed) >> 32) as u32
    }

    /// For how long something has been waiting without a sign of life: an endpoint that hangs shows here before any try gives up.
    pub(super) fn silence_ns(&self, now_ns: u64) -> u64 {
        if self.waiting() == 0 {
            return 0;
        }
        let since = self.waiting_from_ns.load(Ordering::Relaxed).max(self.alive_ns.load(Ordering::Relaxed));
        now_ns.saturating_sub(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_apart_from_what_is_in_flight() {
        let flight = Flight::default();
        flight.begin(10);
        flight.begin(20);
        flight.settle();
        assert_eq!((flight.waiting(), flight.in_flight()), (1, 2));
        flight.leave();
        flight.settle();
        flight.leave();
        assert_eq!((flight.waiting(), flight.in_flight()), (0, 0));
    }

    #[test]
    fn silence_lasts_from_the_first_that_waits_or_the_last_sign_of_life() {
        let flight = Flight::default();
        assert_eq!(flight.silence_ns(1_000), 0);
        flight.begin(1_000);
        flight.begin(1_400);
        assert_eq!(flight.silence_ns(1_500), 500);
        flight.answer(1_600);
        assert_eq!(flight.silence_ns(1_700), 100);
        assert!(flight.is_silent_since(1_600) && !flight.is_silent_since(1_599));
        flight.settle();
        flight.settle();
        assert_eq!(flight.silence_ns(9_000), 0);
    }
}
