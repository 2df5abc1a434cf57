//! Whether a failed try may be made again: what is safe to repeat, and how much repeating a service may cost in all.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::raw::route::RetryOn;
use crate::traffic::ServiceRetries;

/// Most tries after the first, where a document says nothing. Two more replicas are enough to get past one that died; more only feeds an overload.
pub const RETRIES_MAX: usize = 2;
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

/// Why a try failed, in the words of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection came to be.
    Connect,
    /// The connection broke before an answer began.
    Reset,
    /// The other side refused the stream before it looked at it.
    RefusedStream,
    /// This status.
    Status(u16),
    /// The try took too long.
    Timeout,
}

/// Whether the documents want another try after a failure. Where they name none, after each that brought no answer.
pub fn is_wanted(on: &[RetryOn], cause: Cause) -> bool {
    if on.is_empty() {
        return !matches!(cause, Cause::Status(_));
    }
    on.iter().any(|on| match (on, cause) {
        (RetryOn::ConnectFailure, Cause::Connect)
        | (RetryOn::Reset, Cause::Reset | Cause::RefusedStream)
        | (RetryOn::RefusedStream, Cause::RefusedStream)
        | (RetryOn::Timeout, Cause::Timeout) => true,
        (RetryOn::GatewayError, Cause::Status(status)) => matches!(status, 502..=504),
        (RetryOn::ServerError, Cause::Status(status)) => status >= 500,
        _ => false,
    })
}

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
    fn the_documents_say_after_what_a_request_is_tried_again() {
        use Cause::{Connect, RefusedStream, Reset, Status, Timeout};
        for cause in [Connect, Reset, RefusedStream, Timeout] {
            assert!(is_wanted(&[], cause), "{cause:?}");
        }
        assert!(!is_wanted(&[], Status(503)));
        let on = [RetryOn::GatewayError, RetryOn::Timeout];
        let wanted =
            [Connect, Reset, Status(500), Status(502), Status(504), Timeout].map(|cause| is_wanted(&on, cause));
        assert_eq!(wanted, [false, false, false, true, true, true]);
        assert!(is_wanted(&[RetryOn::ServerError], Status(500)) && !is_wanted(&[RetryOn::ServerError], Status(404)));
        assert!(is_wanted(&[RetryOn::RefusedStream], RefusedStream) && !is_wanted(&[RetryOn::RefusedStream], Reset));
    }

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
