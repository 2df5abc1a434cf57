//! What the data path knows of an endpoint. Fed by the outcomes of tries alone ([`crate::outcome`]), read by
//! [`choose`](crate::choose::choose).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::concurrency::{Concurrency, Fate, Sample};
use super::ejection::{EJECTION_BASE, Ejection, Presence};
use super::flight::Flight;
use super::latency::{LATENCY_UNKNOWN, Latency};
use super::penalty::Penalty;
use super::window::{Success, Tally, Window};
use crate::outcome::{Change, Outcome, Refused, Taken, Terms, Why};
use crate::traffic::ReplicaLimit;

/// Tries in a row that their callers gave up, with nothing answered meanwhile, that count as one failure: a caller may go for reasons of its
/// own, three in a row on a replica that answers nobody do not.
const CANCELLED_MAX: u32 = 3;
/// Who waited longer than this, in nanoseconds, did so for an event: a long poll, or a stream of gRPC whose server has nothing to say yet.
const EVENT_NS: u64 = 60_000_000_000;
/// A wait below this says nothing, however fast the others answer: an application may pause for as long, to collect its garbage.
const PATIENCE_MIN_NS: u64 = 50_000_000;
/// The application wants less of this caller (RFC 6585, section 4): no failure, and no reason to send it more, however fast it says so.
const TOO_MANY: u16 = 429;
/// As how many ejections before it the first one counts of an endpoint that leaves calls unanswered: to find out whether it is back costs a
/// caller all the time that it waits, so that it is asked less often than one that fails at once.
const SILENT_STRIKES: u32 = 2;
/// What one failure adds to the cost, in steps, and what one does that took a caller's whole patience.
const STEPS: u8 = 1;
const SILENT_STEPS: u8 = 2;
/// What a replica that is new or came back gets of its share at first, in thousandths.
const SLOW_START_MIN: u64 = 100;
/// The whole share, in thousandths.
const WHOLE: u64 = 1_000;
/// One failure in the packed counts.
const FAILURE: u64 = 1 << 32;
/// One gateway error in the packed counts.
const GATEWAY_ERROR: u64 = 1;

/// What the data path knows of an endpoint; every field is of atomics, so that workers share it without a lock.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    flight: Flight,
    latency: Latency,
    penalty: Penalty,
    ejection: Ejection,
    window: Window,
    concurrency: Concurrency,
    /// Failures in a row in the high half, gateway errors in a row in the low half.
    in_a_row: AtomicU64,
    /// Tries in a row that their callers gave up.
    cancelled: AtomicU32,
    /// Since when it takes its part: when it was first seen, or came back; 0 before.
    since_ns: AtomicU64,
}

impl EndpointLoad {
    /// Requests and streams in flight.
    pub fn in_flight(&self) -> u32 {
        self.flight.in_flight()
    }

    /// Tries that wait for their answer.
    pub fn waiting(&self) -> u32 {
        self.flight.waiting()
    }

    /// Where the endpoint stands after failures.
    pub fn presence(&self, now_ns: u64) -> Presence {
        self.ejection.presence(now_ns)
    }

    /// Whether the endpoint is left out at `now_ns`.
    pub fn is_ejected(&self, now_ns: u64) -> bool {
        self.presence(now_ns) == Presence::Out
    }

    /// Whether the endpoint said of late that it is at its limit.
    pub fn is_overloaded(&self, now_ns: u64) -> bool {
        self.penalty.is_overloaded(now_ns)
    }

    /// Whether as many tries wait at the endpoint as its latency bears.
    pub fn is_full(&self, limit: ReplicaLimit) -> bool {
        limit == ReplicaLimit::Adaptive && self.flight.waiting() >= self.concurrency.limit()
    }

    /// How long an answer is expected to take; none while nothing is known.
    pub fn latency(&self, now_ns: u64) -> Option<Duration> {
        self.latency.expected_ns(now_ns).map(Duration::from_nanos)
    }

    /// The cost of sending one more request here: latency times (in flight + 1), times what failures add. The latency is at least as long
    /// as something has been waiting here in silence. While no endpoint of the table has answered, one that is idle costs nothing, so that
    /// it is found out, and each request in flight costs 100 ms, so that it is not flooded.
    pub fn cost(&self, now_ns: u64) -> u64 {
        let in_flight = u64::from(self.in_flight());
        let silence = self.flight.silence_ns(now_ns).min(EVENT_NS);
        let plain = match self.latency.expected_ns(now_ns) {
            Some(expected) => expected.max(silence).max(1).saturating_mul(in_flight + 1),
            None => LATENCY_UNKNOWN.max(silence).saturating_mul(in_flight),
        };
        match self.penalty.factor(now_ns) {
            factor if factor > 1.0 => (plain as f64 * factor) as u64,
            _ => plain,
        }
    }

    /// The part of its share that the endpoint gets, in thousandths: all of it but for a while after it was new or came back.
    pub fn share(&self, slow_start: Option<Duration>, now_ns: u64) -> u64 {
        let Some(span) = slow_start else { return WHOLE };
        let since = self.since_ns.load(Ordering::Relaxed);
        let (passed, span_ns) = (u128::from(now_ns.saturating_sub(since)), span.as_nanos().max(1));
        if since == 0 || passed >= span_ns {
            return WHOLE;
        }
        u64::try_from(passed * u128::from(WHOLE) / span_ns).unwrap_or(WHOLE).max(SLOW_START_MIN)
    }

    /// A try begins.
    pub(crate) fn begin(&self, now_ns: u64) {
        self.flight.begin(now_ns);
        self.ejection.begin(now_ns);
    }

    /// Whether the try that began then is the one that finds out whether an ejected endpoint is back.
    pub(crate) fn is_probe(&self, began_ns: u64) -> bool {
        self.ejection.is_probe(began_ns)
    }

    /// A try waits no longer.
    pub(crate) fn settle(&self) {
        self.flight.settle();
    }

    /// An exchange is over.
    pub(crate) fn leave(&self) {
        self.flight.leave();
    }

    /// Takes in what is typical of the table, if that is known; the first time, the endpoint is new.
    pub(super) fn compare(&self, typical_ns: Option<u64>, now_ns: u64) {
        if let Some(typical_ns) = typical_ns {
            self.latency.compare(typical_ns, now_ns);
        }
        if self.since_ns.load(Ordering::Relaxed) == 0 {
            self.since_ns.store(now_ns.max(1), Ordering::Relaxed);
        }
    }

    /// Its latency, if it says something of the table: it is known, and nothing is wrong here.
    pub(super) fn exemplary_ns(&self, now_ns: u64) -> Option<u64> {
        let is_well = self.in_a_row.load(Ordering::Relaxed) == 0
            && self.cancelled.load(Ordering::Relaxed) == 0
            && self.presence(now_ns) == Presence::In;
        Some(self.latency.known_ns()).filter(|known| is_well && *known != 0)
    }

    /// The results of the last while.
    pub(super) fn results(&self, now_ns: u64) -> Tally {
        self.window.tally(now_ns)
    }

    /// Takes in what became of a try. Tells if the endpoint was ejected for it, or came back. A failure of a try that began before the last
    /// ejection is known already.
    pub(crate) fn learn(&self, outcome: Outcome, taken: &Taken, terms: &Terms) -> Option<Change> {
        let change = match outcome {
            Outcome::Answered { status } if status >= 500 => self.answered(Success::No, taken),
            Outcome::Answered { status: TOO_MANY } => self.answered(Success::Neither, taken),
            Outcome::Answered { .. } | Outcome::Opened => self.answered(Success::Yes, taken),
            Outcome::Undelivered(Refused::Stale | Refused::Unread) | Outcome::Withheld => None,
            _ if !self.ejection.is_news(taken.began_ns) => None,
            Outcome::GatewayError { .. } => {
                self.flight.answer(taken.ended_ns);
                self.gateway_error(taken, terms)
            }
            Outcome::Undelivered(Refused::Stream) => self.gateway_error(taken, terms),
            Outcome::Undelivered(Refused::Connect) | Outcome::Reset => self.failed(taken, terms),
            Outcome::Overloaded => self.overloaded(taken),
            Outcome::Late => self.late(taken, terms),
            Outcome::Cancelled => self.cancelled(taken, terms),
        };
        if terms.replica_limit == ReplicaLimit::Adaptive && outcome != Outcome::Withheld {
            self.adapt(outcome, taken);
        }
        self.ejection.release(taken.began_ns);
        change
    }

    /// An answer that had begun broke off: its head was taken for a success.
    pub(crate) fn broke(&self, taken: &Taken) {
        self.count_failure(STEPS, taken);
    }

    /// Leaves the endpoint out.
    pub(super) fn eject(&self, why: Why, terms: &Terms, now_ns: u64) -> Option<Change> {
        let strikes_min = if matches!(why, Why::Silent(_)) { SILENT_STRIKES } else { 0 };
        let span = self.ejection.eject(&terms.outlier, strikes_min, now_ns)?;
        self.in_a_row.store(0, Ordering::Relaxed);
        self.cancelled.store(0, Ordering::Relaxed);
        self.window.clear();
        Some(Change::Ejected { span, why })
    }

    /// The application answered. A status from 500 on, or one that asks for less, costs as any failure does, or an application that fails at
    /// once would get every call.
    fn answered(&self, success: Success, taken: &Taken) -> Option<Change> {
        let now_ns = taken.ended_ns;
        self.flight.answer(now_ns);
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        self.forget_cancelled();
        match success {
            Success::Yes => {
                self.window.count(success, now_ns);
                self.penalty.forgive(taken.began_ns);
            }
            Success::No => self.count_failure(STEPS, taken),
            Success::Neither => self.penalty.fail(STEPS, taken.began_ns, now_ns),
        }
        if self.ejection.is_news(taken.began_ns) && self.ejection.restore() {
            self.latency.restart(taken.waited_ns(), now_ns);
            self.since_ns.store(now_ns.max(1), Ordering::Relaxed);
            return Some(Change::Returned);
        }
        match success {
            Success::Yes => self.latency.observe(taken.waited_ns(), now_ns),
            Success::No | Success::Neither => self.latency.observe_failure(taken.waited_ns(), now_ns),
        }
        None
    }

    /// The application, or its node, did not want the call.
    fn gateway_error(&self, taken: &Taken, terms: &Terms) -> Option<Change> {
        self.forget_cancelled();
        self.count_failure(STEPS, taken);
        self.latency.observe_failure(taken.waited_ns(), taken.ended_ns);
        let count = self.count_in_a_row(GATEWAY_ERROR) as u32;
        let is_enough = count >= terms.outlier.consecutive_gateway_errors;
        self.judge(is_enough, Why::GatewayErrors(count), taken, terms)
    }

    /// Nothing came of the try.
    fn failed(&self, taken: &Taken, terms: &Terms) -> Option<Change> {
        self.count_failure(STEPS, taken);
        self.latency.observe_failure(taken.waited_ns(), taken.ended_ns);
        self.strike(Why::Failures, taken, terms)
    }

    /// No answer in its time. A failure of the endpoint if it answered nothing else meanwhile; else one of the call.
    fn late(&self, taken: &Taken, terms: &Terms) -> Option<Change> {
        self.latency.observe_failure(taken.waited_ns(), taken.ended_ns);
        if !self.flight.is_silent_since(taken.began_ns) {
            self.count_failure(STEPS, taken);
            return None;
        }
        self.count_failure(SILENT_STEPS, taken);
        self.strike(Why::Silent, taken, terms)
    }

    /// The caller went. Its wait is a sample if it was longer than what is expected. It speaks against the endpoint if it was longer than
    /// what is typical, and nothing was answered meanwhile.
    fn cancelled(&self, taken: &Taken, terms: &Terms) -> Option<Change> {
        let (waited, now_ns) = (taken.waited_ns(), taken.ended_ns);
        if waited > EVENT_NS {
            return None;
        }
        if self.latency.expected_ns(now_ns).is_none_or(|expected| waited > expected) {
            self.latency.observe(waited, now_ns);
        }
        if waited <= self.patience_ns() || !self.flight.is_silent_since(taken.began_ns) {
            return None;
        }
        self.count_failure(SILENT_STEPS, taken);
        let count = self.cancelled.fetch_add(1, Ordering::Relaxed) + 1;
        if count < CANCELLED_MAX && !self.is_probe(taken.began_ns) {
            return None;
        }
        self.forget_cancelled();
        self.strike(Why::Silent, taken, terms)
    }

    /// It is alive, and wants less for a while.
    fn overloaded(&self, taken: &Taken) -> Option<Change> {
        self.flight.answer(taken.ended_ns);
        self.forget_cancelled();
        self.latency.observe_failure(0, taken.ended_ns);
        self.penalty.overload(taken.ended_ns);
        if self.ejection.is_probe(taken.began_ns) {
            self.ejection.postpone(EJECTION_BASE, taken.ended_ns);
        }
        None
    }

    /// Counts a failure that is one of the endpoint, not of a call.
    fn strike(&self, why: fn(u32) -> Why, taken: &Taken, terms: &Terms) -> Option<Change> {
        let count = (self.count_in_a_row(FAILURE) >> 32) as u32;
        self.judge(count >= terms.outlier.consecutive_failures, why(count), taken, terms)
    }

    /// Ejects the endpoint if its failures are enough, or if this was the one try that it had.
    fn judge(&self, is_enough: bool, why: Why, taken: &Taken, terms: &Terms) -> Option<Change> {
        match self.presence(taken.ended_ns) {
            Presence::In if is_enough => self.eject(why, terms, taken.ended_ns),
            Presence::HalfOpen | Presence::Probed => self.eject(Why::Probe, terms, taken.ended_ns),
            Presence::In | Presence::Out => None,
        }
    }

    /// Counts one more in a row; both counts, packed.
    fn count_in_a_row(&self, one: u64) -> u64 {
        self.in_a_row.fetch_add(one, Ordering::Relaxed) + one
    }

    fn count_failure(&self, steps: u8, taken: &Taken) {
        self.window.count(Success::No, taken.ended_ns);
        self.penalty.fail(steps, taken.began_ns, taken.ended_ns);
    }

    /// A wait that is no longer than this says nothing: what is typical.
    fn patience_ns(&self) -> u64 {
        match self.latency.typical_ns() {
            0 => LATENCY_UNKNOWN,
            typical => typical.max(PATIENCE_MIN_NS),
        }
    }

    fn forget_cancelled(&self) {
        if self.cancelled.load(Ordering::Relaxed) != 0 {
            self.cancelled.store(0, Ordering::Relaxed);
        }
    }

    fn adapt(&self, outcome: Outcome, taken: &Taken) {
        let fate = match outcome {
            Outcome::Answered { .. } | Outcome::Opened => Fate::Answered,
            Outcome::Overloaded | Outcome::Late => Fate::Dropped,
            _ => return,
        };
        // The try itself has been counted out.
        let waiting = self.flight.waiting() + 1;
        self.concurrency.take_in(Sample { latency_ns: taken.waited_ns(), waiting, fate }, taken.ended_ns);
    }
}

#[cfg(test)]
mod tests;
