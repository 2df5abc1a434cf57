//! How much repeating a service may cost in all: a share of its requests, and a few a second.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::traffic::ServiceRetries;

/// The price of one retry, in thousandths.
const PRICE: i64 = 1_000;
/// Seconds of the time's share that can be saved up.
const SAVED_SECONDS_MAX: i64 = 10;

/// What the retries of a service may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRates {
    /// What each request adds, in thousandths of a retry.
    per_request: i64,
    /// What each second adds, so that a quiet service has some, in thousandths of a retry.
    per_second: i64,
}

impl RetryRates {
    /// As a service's documents say it.
    pub fn of(retries: &ServiceRetries) -> Self {
        let per_request = i64::from(retries.budget.millionths()) / 1_000;
        Self { per_request, per_second: i64::from(retries.budget_per_second) * PRICE }
    }

    /// What can be saved up; a whole retry even where time adds nothing.
    fn saved_max(self) -> i64 {
        (SAVED_SECONDS_MAX * self.per_second).max(PRICE)
    }
}

/// The retries that one called service may cost this node, all of its workers together: by default a fifth of the requests and three a
/// second.
#[derive(Debug)]
pub struct RetryBudget {
    /// Thousandths of a retry in hand.
    saved: AtomicI64,
    /// When the time's share was last added, in nanoseconds of the data path's clock.
    filled_at_ns: AtomicU64,
}

impl RetryBudget {
    /// A full budget.
    pub fn new(now_ns: u64) -> Self {
        let saved = RetryRates::of(&ServiceRetries::default()).saved_max();
        Self { saved: AtomicI64::new(saved), filled_at_ns: AtomicU64::new(now_ns) }
    }

    /// Counts a first try.
    pub fn earn(&self, rates: RetryRates) {
        if self.saved.load(Ordering::Relaxed) < rates.saved_max() {
            self.saved.fetch_add(rates.per_request, Ordering::Relaxed);
        }
    }

    /// Takes one retry if there is one.
    pub fn spend(&self, now_ns: u64, rates: RetryRates) -> bool {
        self.fill(now_ns, rates);
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| (saved >= PRICE).then(|| saved - PRICE))
            .is_ok()
    }

    /// Adds what the time since the last call earned.
    fn fill(&self, now_ns: u64, rates: RetryRates) {
        let filled_at_ns = self.filled_at_ns.load(Ordering::Relaxed);
        let since_ms = now_ns.saturating_sub(filled_at_ns) / 1_000_000;
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        // One of several workers adds it.
        if since_ms == 0 || self.filled_at_ns.compare_exchange(filled_at_ns, now_ns, relaxed, kept).is_err() {
            return;
        }
        let earned = i64::try_from(since_ms).unwrap_or(i64::MAX).saturating_mul(rates.per_second) / 1_000;
        let filled = |saved: i64| Some(saved.saturating_add(earned).min(rates.saved_max()));
        // It always has a next value.
        let _before = self.saved.fetch_update(relaxed, kept, filled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_to_a_fifth_and_time_gives_three_a_second() {
        let rates = RetryRates::of(&ServiceRetries::default());
        let budget = RetryBudget::new(0);
        while budget.spend(0, rates) {}
        let retries = (0..1_000)
            .filter(|_| {
                budget.earn(rates);
                budget.spend(0, rates)
            })
            .count();
        assert_eq!(retries, 200);
        let later = (0..10).filter(|_| budget.spend(1_000_000_000, rates)).count();
        assert_eq!(later, 3);
    }
}
