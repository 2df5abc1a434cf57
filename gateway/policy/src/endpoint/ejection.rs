//! Whether an endpoint is left out after failures. Part of [`super::EndpointLoad`].
//!
//! ```text
//!           ejected                its time is over              a try begins
//!    In ──────────────▶ Out ─────────────────────▶ HalfOpen ──────────────────▶ Probed
//!    ▲                   ▲                             ▲                        │ │ │
//!    │                   └───────── the probe fails ───┼────────────────────────┘ │ │
//!    │                                                 └─── it says nothing ──────┘ │
//!    └───────────────────────────────── it is answered ─────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::traffic::Outlier;

/// The first ejection lasts this long; each further one in a row doubles it.
pub const EJECTION_BASE: Duration = Duration::from_secs(1);
/// No ejection is longer.
pub const EJECTION_MAX: Duration = Duration::from_secs(30);
/// An ejection doubles at most so often: from a second to half a minute by default, from minutes to hours where operators say so.
const STRIKES_MAX: u32 = 5;
/// A probe that says nothing for so long keeps no other from being made, in nanoseconds: it may be a call that waits for an event.
const PROBE_MAX_NS: u64 = 10_000_000_000;

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It takes its part.
    In,
    /// It is left out for a time.
    Out,
    /// That time is over; the next try finds out.
    HalfOpen,
    /// A try is finding out.
    Probed,
}

/// Whether an endpoint is left out. Times are of the data path's clock.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// When the time of the present ejection is over; 0 without one.
    until_ns: AtomicU64,
    /// When the last ejection began.
    began_ns: AtomicU64,
    /// When the last ejection was to end, whether or not the endpoint came back earlier.
    ends_ns: AtomicU64,
    /// Ejections in a row before the last, for the backoff.
    strikes: AtomicU32,
    /// When the probe began; 0 while there is none.
    probe_ns: AtomicU64,
}

impl Ejection {
    /// Where the endpoint stands.
    pub(super) fn presence(&self, now_ns: u64) -> Presence {
        match self.until_ns.load(Ordering::Relaxed) {
            0 => Presence::In,
            until if until > now_ns => Presence::Out,
            _ if self.is_probed(now_ns) => Presence::Probed,
            _ => Presence::HalfOpen,
        }
    }

    fn is_probed(&self, now_ns: u64) -> bool {
        let probe = self.probe_ns.load(Ordering::Relaxed);
        probe != 0 && now_ns.saturating_sub(probe) < PROBE_MAX_NS
    }

    /// A try begins; it is the probe where one is wanted.
    pub(super) fn begin(&self, now_ns: u64) {
        if self.presence(now_ns) == Presence::HalfOpen {
            self.probe_ns.store(now_ns.max(1), Ordering::Relaxed);
        }
    }

    /// Whether the try that began then is the probe.
    pub(super) fn is_probe(&self, began_ns: u64) -> bool {
        self.probe_ns.load(Ordering::Relaxed) == began_ns.max(1)
    }

    /// The try that began then said nothing: if it was the probe, the next is one.
    pub(super) fn release(&self, began_ns: u64) {
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        // It was no probe, or its time was over and there is another.
        let _other = self.probe_ns.compare_exchange(began_ns.max(1), 0, relaxed, kept);
    }

    /// Whether a try that began then can say anything of the endpoint as it is now: not if it was ejected meanwhile.
    pub(super) fn is_news(&self, began_ns: u64) -> bool {
        began_ns >= self.began_ns.load(Ordering::Relaxed)
    }

    /// Leaves the endpoint out, as if it had been so at least `strikes_min` times in a row before; tells for how long. None where another
    /// report did so at the same time, or before.
    pub(super) fn eject(&self, outlier: &Outlier, strikes_min: u32, now_ns: u64) -> Option<Duration> {
        let before = self.until_ns.load(Ordering::Relaxed);
        if before > now_ns {
            return None;
        }
        let (last, strikes) = (self.ends_ns.load(Ordering::Relaxed), self.strikes.load(Ordering::Relaxed));
        let in_a_row = last != 0 && now_ns.saturating_sub(last) <= nanoseconds(outlier.ejection_max);
        let strikes = if in_a_row { strikes + 1 } else { 0 }.clamp(strikes_min, STRIKES_MAX);
        let span = outlier.ejection.saturating_mul(1 << strikes).min(outlier.ejection_max);
        let until = now_ns.saturating_add(nanoseconds(span)).max(1);
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        self.until_ns.compare_exchange(before, until, relaxed, kept).ok()?;
        self.strikes.store(strikes, Ordering::Relaxed);
        self.began_ns.store(now_ns, Ordering::Relaxed);
        self.ends_ns.store(until, Ordering::Relaxed);
        self.probe_ns.store(0, Ordering::Relaxed);
        Some(span)
    }

    /// Asks a half-open endpoint again only after this span.
    pub(super) fn postpone(&self, span: Duration, now_ns: u64) {
        if self.until_ns.load(Ordering::Relaxed) != 0 {
            self.until_ns.store(now_ns.saturating_add(nanoseconds(span)), Ordering::Relaxed);
            self.probe_ns.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the endpoint back; false where it was not left out.
    pub(super) fn restore(&self) -> bool {
        if self.until_ns.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.probe_ns.store(0, Ordering::Relaxed);
        self.until_ns.swap(0, Ordering::Relaxed) != 0
    }
}

/// A span in nanoseconds.
fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_ejection_ends_with_one_probe() {
        let ejection = Ejection::default();
        assert_eq!(ejection.eject(&Outlier::default(), 0, SECOND), Some(EJECTION_BASE));
        assert_eq!(ejection.eject(&Outlier::default(), 0, SECOND), None, "it is out already");
        assert_eq!(ejection.presence(2 * SECOND - 1), Presence::Out);
        assert_eq!(ejection.presence(2 * SECOND), Presence::HalfOpen);
        ejection.begin(2 * SECOND);
        assert_eq!(ejection.presence(2 * SECOND + 1), Presence::Probed);
        ejection.begin(2 * SECOND + 1);
        assert!(ejection.is_probe(2 * SECOND) && !ejection.is_probe(2 * SECOND + 1));
        ejection.release(2 * SECOND + 1);
        assert_eq!(ejection.presence(2 * SECOND + 2), Presence::Probed, "another try is no probe");
        ejection.release(2 * SECOND);
        assert_eq!(ejection.presence(2 * SECOND + 2), Presence::HalfOpen);
        ejection.begin(3 * SECOND);
        assert_eq!(ejection.presence(13 * SECOND), Presence::HalfOpen, "a probe does not last for ever");
        assert!(ejection.restore() && !ejection.restore());
        assert_eq!(ejection.presence(13 * SECOND), Presence::In);
    }

    #[test]
    fn ejections_in_a_row_double_and_a_quiet_time_ends_the_row() {
        let (ejection, outlier) = (Ejection::default(), Outlier::default());
        let mut now = SECOND;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let span = ejection.eject(&outlier, 0, now).unwrap();
            assert_eq!(span.as_secs(), seconds);
            now += nanoseconds(span);
            assert!(ejection.restore());
        }
        now += nanoseconds(outlier.ejection_max) + 1;
        assert_eq!(ejection.eject(&outlier, 0, now), Some(EJECTION_BASE));
        assert_eq!(Ejection::default().eject(&outlier, 2, now), Some(4 * EJECTION_BASE));
    }

    #[test]
    fn what_began_before_an_ejection_says_nothing_after_it() {
        let ejection = Ejection::default();
        assert!(ejection.is_news(0));
        assert!(ejection.eject(&Outlier::default(), 0, SECOND).is_some());
        assert!(!ejection.is_news(SECOND - 1) && ejection.is_news(SECOND));
        assert!(ejection.restore());
        assert!(!ejection.is_news(SECOND - 1));
    }

    #[test]
    fn a_probe_that_meets_an_overload_is_put_off_without_a_strike() {
        let ejection = Ejection::default();
        assert!(ejection.eject(&Outlier::default(), 0, 0).is_some());
        ejection.begin(SECOND);
        ejection.postpone(EJECTION_BASE, SECOND + 1);
        assert_eq!(ejection.presence(2 * SECOND), Presence::Out);
        assert_eq!(ejection.presence(2 * SECOND + 1), Presence::HalfOpen);
        assert_eq!(ejection.eject(&Outlier::default(), 0, 3 * SECOND), Some(2 * EJECTION_BASE));
    }
}
