//! Whether a failed try may be made again: what is safe to repeat, and how much repeating a service may cost in all.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Most tries after the first. Two more replicas are enough to get past one that died; more only feeds an overload.
pub const RETRIES_MAX: usize = 2;
/// Every request adds this much of a retry, in thousandths: 20 % of the requests may be retried.
const EARNED_PER_REQUEST: i64 = 200;
/// Time adds retries, too, so that a quiet service has some: 3 a second.
const EARNED_PER_SECOND: i64 = 3_000;
/// The price of one retry, in thousandths.
const PRICE: i64 = 1_000;
/// What can be saved up: ten seconds of the time's share.
const SAVED_MAX: i64 = 10 * EARNED_PER_SECOND;

/// How far a failed try came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection came to be: nothing reached the other side.
    Connect,
    /// A pooled connection was closed before a byte of the request was written.
    Unsent,
    /// The connection broke after the request was sent and before an answer began.
    Sent,
    /// An answer began.
    Answered,
}

/// What repeating a request would mean.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// The method may be executed twice.
    pub idempotent: bool,
    /// The body can be sent again: there is none.
    pub replayable: bool,
}

/// Whether a failure at `stage` may be tried again at all; the budget has the last word.
pub fn is_safe(stage: Stage, repeat: Repeat) -> bool {
    match stage {
        Stage::Connect | Stage::Unsent => true,
        Stage::Sent => repeat.idempotent && repeat.replayable,
        Stage::Answered => false,
    }
}

/// The retries that one called service may cost this node: a fifth of the requests and three a second (DESIGN, section 4).
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
        Self { saved: AtomicI64::new(SAVED_MAX), filled_at_ns: AtomicU64::new(now_ns) }
    }

    /// Counts a first try.
    pub fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < SAVED_MAX {
            self.saved.fetch_add(EARNED_PER_REQUEST, Ordering::Relaxed);
        }
    }

    /// Takes one retry if there is one.
    pub fn spend(&self, now_ns: u64) -> bool {
        self.fill(now_ns);
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| (saved >= PRICE).then(|| saved - PRICE))
            .is_ok()
    }

    /// Adds what the time since the last call earned.
    fn fill(&self, now_ns: u64) {
        let since_ms = now_ns.saturating_sub(self.filled_at_ns.load(Ordering::Relaxed)) / 1_000_000;
        if since_ms == 0 {
            return;
        }
        self.filled_at_ns.store(now_ns, Ordering::Relaxed);
        let earned = i64::try_from(since_ms).unwrap_or(i64::MAX).saturating_mul(EARNED_PER_SECOND) / 1_000;
        let saved = self.saved.load(Ordering::Relaxed).saturating_add(earned).min(SAVED_MAX);
        self.saved.store(saved, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_happen_twice_is_repeated() {
        let post = Repeat { idempotent: false, replayable: false };
        let get = Repeat { idempotent: true, replayable: true };
        let put = Repeat { idempotent: true, replayable: false };
        for (stage, repeat, safe) in [
            (Stage::Connect, post, true),
            (Stage::Unsent, post, true),
            (Stage::Sent, post, false),
            (Stage::Sent, get, true),
            (Stage::Sent, put, false),
            (Stage::Answered, get, false),
        ] {
            assert_eq!(is_safe(stage, repeat), safe, "{stage:?} {repeat:?}");
        }
    }

    #[test]
    fn a_storm_is_cut_to_a_fifth_and_time_gives_three_a_second() {
        let budget = RetryBudget::new(0);
        while budget.spend(0) {}
        let retries = (0..1_000)
            .filter(|_| {
                budget.earn();
                budget.spend(0)
            })
            .count();
        assert_eq!(retries, 200);
        let later = (0..10).filter(|_| budget.spend(1_000_000_000)).count();
        assert_eq!(later, 3);
    }
}
