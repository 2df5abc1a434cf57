//! How fast an endpoint answers: a peak-EWMA (Finagle's), which a new endpoint starts from what is typical of its table. Part of
//! [`super::EndpointLoad`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How fast an old latency is forgotten: after this time without a sample its weight is 1/e.
pub const EWMA_DECAY: Duration = Duration::from_secs(10);
/// What stands for the latency of an endpoint while no endpoint of its table has answered, in nanoseconds: 100 ms, more than most services
/// take, so that it is found out with one request or a few.
pub(super) const LATENCY_UNKNOWN: u64 = 100_000_000;

/// No sample counts for more than so many times what is typical: enough to lose every comparison with an equal that is not itself that busy,
/// and little enough that one call that is slow by its nature, or one pause, keeps an endpoint out for half a minute and not for two.
const PEAK_MAX: u64 = 16;

/// How fast an endpoint answers.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// The peak-EWMA in nanoseconds; 0 while it is not known.
    known_ns: AtomicU64,
    /// When `known_ns` was written.
    at_ns: AtomicU64,
    /// What is typical of the endpoint's table; 0 while nobody knows.
    typical_ns: AtomicU64,
}

impl Latency {
    /// Takes in a sample: a higher one counts at once (peak), a lower one by exponential decay.
    pub(super) fn observe(&self, sample_ns: u64, now_ns: u64) {
        let sample_ns = match self.typical_ns() {
            0 => sample_ns,
            typical => sample_ns.min(typical.saturating_mul(PEAK_MAX)),
        };
        let at = self.at_ns.swap(now_ns, Ordering::Relaxed);
        let old = self.known_ns.load(Ordering::Relaxed);
        let new = if sample_ns >= old { sample_ns } else { decayed(old, sample_ns, now_ns.saturating_sub(at)) };
        self.known_ns.store(new.max(1), Ordering::Relaxed);
    }

    /// Takes in how long something took that was no success: it may make the endpoint look slower, never faster, and not faster than what
    /// is typical either.
    pub(super) fn observe_failure(&self, waited_ns: u64, now_ns: u64) {
        let floor = match (self.known_ns(), self.typical_ns()) {
            (0, 0) => LATENCY_UNKNOWN,
            (known, typical) => known.max(typical),
        };
        self.observe(waited_ns.max(floor), now_ns);
    }

    /// Starts anew from one sample, or from what is typical if that is more.
    pub(super) fn restart(&self, sample_ns: u64, now_ns: u64) {
        self.known_ns.store(sample_ns.max(self.typical_ns()).max(1), Ordering::Relaxed);
        self.at_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Takes over what is typical of the table; an endpoint that is not known yet starts from it.
    pub(super) fn compare(&self, typical_ns: u64, now_ns: u64) {
        self.typical_ns.store(typical_ns, Ordering::Relaxed);
        if self.known_ns() == 0 && typical_ns > 0 {
            self.at_ns.store(now_ns, Ordering::Relaxed);
            self.known_ns.store(typical_ns, Ordering::Relaxed);
        }
    }

    /// The peak-EWMA as it was last written; 0 while it is not known.
    pub(super) fn known_ns(&self) -> u64 {
        self.known_ns.load(Ordering::Relaxed)
    }

    /// What is typical of the table; 0 while nobody knows.
    pub(super) fn typical_ns(&self) -> u64 {
        self.typical_ns.load(Ordering::Relaxed)
    }

    /// What to expect. A known latency fades while nothing is sent, so that one slow answer does not keep an endpoint out for ever.
    pub(super) fn expected_ns(&self, now_ns: u64) -> Option<u64> {
        let known = self.known_ns();
        let idle_ns = now_ns.saturating_sub(self.at_ns.load(Ordering::Relaxed));
        (known != 0).then(|| decayed(known, 0, idle_ns))
    }
}

/// `old` drawn towards `sample` by the share that `elapsed_ns` of [`EWMA_DECAY`] gives it.
fn decayed(old: u64, sample: u64, elapsed_ns: u64) -> u64 {
    let keep = (-(elapsed_ns as f64) / EWMA_DECAY.as_nanos() as f64).exp();
    (old as f64 * keep + sample as f64 * (1.0 - keep)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_slow_answer_counts_at_once_and_fades() {
        let latency = Latency::default();
        latency.observe(MS, SECOND);
        latency.observe(100 * MS, 2 * SECOND);
        assert_eq!(latency.expected_ns(2 * SECOND), Some(100 * MS));
        for second in 3..60 {
            latency.observe(MS, second * SECOND);
        }
        assert!(latency.expected_ns(59 * SECOND).unwrap() < 2 * MS);
    }

    #[test]
    fn a_latency_fades_while_nothing_is_sent() {
        let latency = Latency::default();
        latency.observe(100 * MS, SECOND);
        assert!(latency.expected_ns(11 * SECOND).unwrap() < 50 * MS);
        assert!(latency.expected_ns(61 * SECOND).unwrap() < MS);
    }

    #[test]
    fn a_fast_failure_makes_nothing_look_fast() {
        let latency = Latency::default();
        latency.observe_failure(MS, SECOND);
        assert_eq!(latency.known_ns(), LATENCY_UNKNOWN, "nothing is known yet");
        let latency = Latency::default();
        latency.observe(MS, SECOND);
        latency.compare(50 * MS, SECOND);
        latency.observe_failure(10, SECOND);
        assert_eq!(latency.known_ns(), 50 * MS, "as slow as the others at least");
        latency.observe_failure(80 * MS, SECOND);
        assert_eq!(latency.known_ns(), 80 * MS);
    }

    #[test]
    fn one_slow_call_does_not_keep_an_endpoint_out_for_long() {
        let latency = Latency::default();
        latency.compare(MS, SECOND);
        latency.observe(15 * SECOND, SECOND);
        assert_eq!(latency.known_ns(), PEAK_MAX * MS);
        assert!(latency.expected_ns(30 * SECOND).unwrap() < MS);
    }

    #[test]
    fn what_is_new_starts_from_what_is_typical() {
        let (new, old) = (Latency::default(), Latency::default());
        old.observe(3 * MS, SECOND);
        for latency in [&new, &old] {
            latency.compare(5 * MS, 2 * SECOND);
        }
        assert_eq!((new.known_ns(), old.known_ns()), (5 * MS, 3 * MS));
        assert!(new.expected_ns(22 * SECOND).unwrap() < MS, "and fades like any other");
    }
}
