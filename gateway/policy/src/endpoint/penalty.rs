//! What a failing or overloaded endpoint costs beyond its latency, so that the balance turns away from it with the first failure, before
//! ejection has anything to count. Part of [`super::EndpointLoad`].

use std::sync::atomic::{AtomicU64, Ordering};

/// How fast the cost of failures fades: after this time it is 1/e, in nanoseconds. What a replica is found to do wrong by one call a caller
/// pays for, so that it is asked again only after some seconds.
const FAILING_FADE_NS: f64 = 4_000_000_000.0;
/// The same for an overload, which ends sooner, and costs no caller anything: what was refused is tried elsewhere.
const OVERLOADED_FADE_NS: f64 = 2_000_000_000.0;
/// One step is the time in which fourfold cost fades away: so much of the fading time (the logarithm of 4). Fourfold is enough to lose
/// against an equal that is idle, and little enough that it takes its part when that one is busy.
const STEP: f64 = 1.386_294_361;
/// Most steps: 64 times the cost.
const STEPS_MAX: f64 = 3.0;

/// What an endpoint costs beyond its latency.
#[derive(Debug, Default)]
pub(super) struct Penalty {
    /// When failures no longer cost anything.
    failing_until_ns: AtomicU64,
    /// When the last failure was counted.
    failed_at_ns: AtomicU64,
    /// When an overload no longer costs anything.
    overloaded_until_ns: AtomicU64,
}

impl Penalty {
    /// A try that began at `began_ns` failed, which counts for so many steps. What began before the last failure was known says nothing new.
    pub(super) fn fail(&self, steps: u8, began_ns: u64, now_ns: u64) {
        if began_ns >= self.failed_at_ns.load(Ordering::Relaxed) {
            self.failed_at_ns.store(now_ns, Ordering::Relaxed);
            raise(&self.failing_until_ns, f64::from(steps), FAILING_FADE_NS, now_ns);
        }
    }

    /// A try that began at `began_ns` was answered: what failed before it began is forgiven.
    pub(super) fn forgive(&self, began_ns: u64) {
        if self.failing_until_ns.load(Ordering::Relaxed) != 0 && began_ns >= self.failed_at_ns.load(Ordering::Relaxed) {
            self.failing_until_ns.store(0, Ordering::Relaxed);
        }
    }

    /// The endpoint said that it is at its limit. Answers to others do not change that.
    pub(super) fn overload(&self, now_ns: u64) {
        raise(&self.overloaded_until_ns, 1.0, OVERLOADED_FADE_NS, now_ns);
    }

    /// Whether an overload costs something still.
    pub(super) fn is_overloaded(&self, now_ns: u64) -> bool {
        self.overloaded_until_ns.load(Ordering::Relaxed) > now_ns
    }

    /// By what the cost is multiplied, at least 1.
    pub(super) fn factor(&self, now_ns: u64) -> f64 {
        let failing = left(&self.failing_until_ns, FAILING_FADE_NS, now_ns);
        let steps = failing.max(left(&self.overloaded_until_ns, OVERLOADED_FADE_NS, now_ns));
        if steps > 0.0 { steps.exp() } else { 1.0 }
    }
}

/// What is left, in fading times.
fn left(until_ns: &AtomicU64, fade_ns: f64, now_ns: u64) -> f64 {
    match until_ns.load(Ordering::Relaxed) {
        until if until > now_ns => (until - now_ns) as f64 / fade_ns,
        _ => 0.0,
    }
}

/// Some steps more, up to the most.
fn raise(until_ns: &AtomicU64, steps: f64, fade_ns: f64, now_ns: u64) {
    let span = |steps: f64| (steps * STEP * fade_ns) as u64;
    let raised = until_ns.load(Ordering::Relaxed).max(now_ns).saturating_add(span(steps));
    until_ns.store(raised.min(now_ns.saturating_add(span(STEPS_MAX))), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_failure_costs_four_times_as_much_and_fades() {
        let penalty = Penalty::default();
        assert!(penalty.factor(0) < 1.001);
        for (number, factor) in [(1, 4.0), (2, 16.0), (3, 64.0), (4, 64.0)] {
            penalty.fail(1, number, number);
            assert!((penalty.factor(number) / factor - 1.0).abs() < 0.001, "{number}: {}", penalty.factor(number));
        }
        assert!(penalty.factor(12 * SECOND) < 4.0 && penalty.factor(17 * SECOND) < 1.001);
    }

    #[test]
    fn what_failed_at_once_counts_once() {
        let penalty = Penalty::default();
        for _ in 0..10 {
            penalty.fail(1, 5, SECOND);
        }
        assert!(penalty.factor(SECOND) < 4.001);
    }

    #[test]
    fn an_answer_forgives_failures_that_came_before_it_and_no_overload() {
        let penalty = Penalty::default();
        penalty.fail(1, 0, SECOND);
        penalty.forgive(SECOND - 1);
        assert!(penalty.factor(SECOND) > 3.9, "it began before the failure");
        penalty.forgive(SECOND);
        assert!(penalty.factor(SECOND) < 1.001);
        penalty.overload(SECOND);
        penalty.forgive(2 * SECOND);
        assert!(penalty.factor(2 * SECOND) > 2.4 && penalty.is_overloaded(2 * SECOND));
        assert!(!penalty.is_overloaded(4 * SECOND));
    }
}
