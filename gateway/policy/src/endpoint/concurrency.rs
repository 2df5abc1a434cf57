//! How many tries may wait at an endpoint at once, found out by its latency: while more of them do not make answers slower, more may wait;
//! once they do, the tries beyond stand in a queue over there, and fewer may. Part of [`super::EndpointLoad`]; only fed where the documents
//! want it.
//!
//! The rule is that of a gradient (Netflix's concurrency-limits, 2018): the ratio of the latency that is usual to the latency of the last
//! short while. Under a load that never ends the usual latency would be that of a queue; so, as Envoy's adaptive concurrency does, it is
//! measured now and then with next to nothing waiting.
//!
//! ```text
//!    Gradient ── the limit was reached for some time ──▶ Draining ── a step ──▶ Measuring ── a step ──▶ Gradient
//! ```

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The limit at first.
const START: u32 = 20;
/// Never fewer: an endpoint that is as slow as it pleases is still asked.
const MIN: u32 = 4;
/// Never more.
const MAX: u32 = 1_000;
/// Tries that may wait beyond what the gradient gives: room in which to find out that there is more.
const HEADROOM: f64 = 4.0;
/// The latency may grow to this multiple of what is usual before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// One step takes at most so much away.
const GRADIENT_MIN: f64 = 0.5;
/// The share of a step that is made at once.
const SMOOTHING: f64 = 0.2;
/// The samples of one step: at least over this time, in nanoseconds …
const STEP_NS: u64 = 100_000_000;
/// … and at least so many.
const STEP_SAMPLES: u32 = 10;
/// How much of the difference to the last step's latency is learned as usual, downwards and upwards. At the limit, where it may be that of
/// a queue, nothing is learned upwards.
const LEARN_DOWN: f64 = 0.2;
const LEARN_UP: f64 = 0.02;
/// Steps at the limit before the usual latency is measured for the first time, and again: after a second, and after each half minute.
const MEASURE_FIRST: u32 = 10;
const MEASURE_AGAIN: u32 = 300;
/// The limit is kept in thousandths.
const THOUSANDTHS: u32 = 1_000;

/// How many tries may wait at an endpoint.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    /// The limit in thousandths; 0 until the first step.
    limit: AtomicU32,
    /// The latency that is usual, in nanoseconds; 0 until the first step.
    usual_ns: AtomicU64,
    /// When the step began that is being measured.
    step_ns: AtomicU64,
    /// The latencies of this step.
    sum_ns: AtomicU64,
    /// How many they are.
    samples: AtomicU32,
    /// How many tries of this step were refused for an overload or came too late.
    drops: AtomicU32,
    /// Most that waited at once.
    waiting_max: AtomicU32,
    /// The [`Phase`].
    phase: AtomicU8,
    /// Steps at the limit since the usual latency was measured.
    steps_at_limit: AtomicU32,
    /// How often it was measured.
    measured: AtomicU32,
}

/// What the limit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// It follows the gradient.
    Gradient = 0,
    /// It is at its least, and what waits is becoming less.
    Draining = 1,
    /// It is at its least, and the latency is the usual one.
    Measuring = 2,
}

/// What one try tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// How long its answer took.
    pub(super) latency_ns: u64,
    /// How many were waiting, itself included.
    pub(super) waiting: u32,
    /// Whether it found the endpoint overloaded.
    pub(super) fate: Fate,
}

/// How a try ended, as far as a limit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered.
    Answered,
    /// It was refused for an overload, or came too late.
    Dropped,
}

/// One step: what was measured.
struct Step {
    latency_ns: f64,
    waiting_max: u32,
    is_dropping: bool,
}

impl Concurrency {
    /// How many tries may wait.
    pub(super) fn limit(&self) -> u32 {
        if self.phase() == Phase::Gradient { self.limit_thousandths() / THOUSANDTHS } else { MIN }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Draining,
            2 => Phase::Measuring,
            _ => Phase::Gradient,
        }
    }

    fn limit_thousandths(&self) -> u32 {
        match self.limit.load(Ordering::Relaxed) {
            0 => START * THOUSANDTHS,
            thousandths => thousandths,
        }
    }

    /// Takes in one try.
    pub(super) fn take_in(&self, sample: Sample, now_ns: u64) {
        self.waiting_max.fetch_max(sample.waiting, Ordering::Relaxed);
        if sample.fate == Fate::Dropped {
            self.drops.fetch_add(1, Ordering::Relaxed);
        } else {
            self.sum_ns.fetch_add(sample.latency_ns, Ordering::Relaxed);
        }
        let samples = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        let began = self.step_ns.load(Ordering::Relaxed);
        if samples < STEP_SAMPLES || now_ns.saturating_sub(began) < STEP_NS {
            return;
        }
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        // One of several workers makes the step.
        if self.step_ns.compare_exchange(began, now_ns, relaxed, kept).is_ok() {
            self.step();
        }
    }

    /// Ends a step. Only one worker does so at a time.
    fn step(&self) {
        let (sum, samples) = (self.sum_ns.swap(0, Ordering::Relaxed), self.samples.swap(0, Ordering::Relaxed));
        let drops = self.drops.swap(0, Ordering::Relaxed);
        let waiting_max = self.waiting_max.swap(0, Ordering::Relaxed);
        let answered = samples.saturating_sub(drops);
        let usual = self.usual_ns.load(Ordering::Relaxed) as f64;
        let latency_ns = if answered == 0 { usual } else { sum as f64 / f64::from(answered) };
        let step = Step { latency_ns, waiting_max, is_dropping: drops > 0 };
        let phase = match self.phase() {
            Phase::Gradient => self.follow(&step, usual),
            Phase::Draining => Phase::Measuring,
            Phase::Measuring => {
                self.usual_ns.store(latency_ns as u64, Ordering::Relaxed);
                self.measured.fetch_add(1, Ordering::Relaxed);
                self.steps_at_limit.store(0, Ordering::Relaxed);
                Phase::Gradient
            }
        };
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn follow(&self, step: &Step, usual: f64) -> Phase {
        let limit = f64::from(self.limit_thousandths()) / f64::from(THOUSANDTHS);
        let (next_limit, usual) = next(limit, usual, step);
        // Both are positive, and far below what the types hold.
        self.usual_ns.store(usual as u64, Ordering::Relaxed);
        self.limit.store((next_limit * f64::from(THOUSANDTHS)) as u32, Ordering::Relaxed);
        if !step.reaches(limit) {
            return Phase::Gradient;
        }
        let steps = self.steps_at_limit.fetch_add(1, Ordering::Relaxed) + 1;
        let due = if self.measured.load(Ordering::Relaxed) == 0 { MEASURE_FIRST } else { MEASURE_AGAIN };
        if steps >= due { Phase::Draining } else { Phase::Gradient }
    }
}

impl Step {
    fn reaches(&self, limit: f64) -> bool {
        f64::from(self.waiting_max) + 1.0 >= limit
    }
}

/// The limit and the usual latency after a step.
fn next(limit: f64, usual_ns: f64, step: &Step) -> (f64, f64) {
    let learn = match step.latency_ns {
        latency if latency < usual_ns => LEARN_DOWN,
        _ if step.reaches(limit) => 0.0,
        _ => LEARN_UP,
    };
    let usual = if usual_ns > 0.0 { usual_ns + (step.latency_ns - usual_ns) * learn } else { step.latency_ns };
    // A limit that nobody comes near says nothing, and must not grow by it.
    if f64::from(step.waiting_max) * 2.0 < limit && !step.is_dropping {
        return (limit, usual);
    }
    let gradient = match step.is_dropping {
        true => GRADIENT_MIN,
        false => (TOLERANCE * usual / step.latency_ns.max(1.0)).clamp(GRADIENT_MIN, 1.0),
    };
    let wanted = limit * gradient + if step.is_dropping { 0.0 } else { HEADROOM };
    let moved = limit + (wanted - limit) * SMOOTHING;
    (moved.clamp(f64::from(MIN), f64::from(MAX)), usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Lets an endpoint that works on `slots` at once and takes `work_ms` for each be used as much as the limit lets; tells the limit.
    fn settled(concurrency: &Concurrency, slots: u32, work_ms: u64, from_ms: u64) -> u32 {
        for ms in (from_ms..from_ms + 120_000).step_by(5) {
            let waiting = concurrency.limit();
            let latency_ns = work_ms * MS * u64::from(waiting.max(slots)) / u64::from(slots);
            concurrency.take_in(Sample { latency_ns, waiting, fate: Fate::Answered }, ms * MS);
        }
        concurrency.limit()
    }

    #[test]
    fn the_limit_settles_a_little_above_what_the_endpoint_can_do_at_once() {
        for slots in [5, 10, 50] {
            let limit = settled(&Concurrency::default(), slots, 10, 0);
            assert!(limit > slots && limit <= slots * 3, "{slots}: {limit}");
        }
    }

    #[test]
    fn the_limit_follows_an_endpoint_that_becomes_faster_or_slower() {
        let concurrency = Concurrency::default();
        let before = settled(&concurrency, 10, 10, 0);
        let wider = settled(&concurrency, 40, 10, 120_000);
        assert!(wider > 2 * before, "{before} {wider}");
        let narrow = settled(&concurrency, 5, 10, 240_000);
        assert!(narrow < before, "{before} {narrow}");
        let slow = settled(&concurrency, 10, 100, 360_000);
        assert!(slow > 10, "an endpoint that takes longer for each is used as well: {slow}");
    }

    #[test]
    fn a_limit_that_nobody_reaches_stays() {
        let concurrency = Concurrency::default();
        for ms in 0..10_000 {
            concurrency.take_in(Sample { latency_ns: MS, waiting: 2, fate: Fate::Answered }, ms * MS);
        }
        assert_eq!(concurrency.limit(), START);
    }

    #[test]
    fn refusals_shrink_it_to_the_least_and_no_further() {
        let concurrency = Concurrency::default();
        for ms in 0..20_000 {
            concurrency.take_in(Sample { latency_ns: MS, waiting: 20, fate: Fate::Dropped }, ms * MS);
        }
        assert_eq!(concurrency.limit(), MIN);
    }
}
