//! A service in virtual time: replicas that answer as a test says, and callers that make one call after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Chance, Watch};
use crate::choose::{Again, Choice, Way, choose};
use crate::endpoint::{Endpoint, EndpointTable, review};
use crate::outcome::{Outcome, Terms, Try, Witness};
use crate::retry::{Failure, Repeat, Stage, Wanted, next_step};
use crate::traffic::Traffic;

/// What a replica does with a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) after_ns: u64,
}

/// How a replica behaves: what it does at this time with so many calls in flight there.
pub(crate) type Replica = Box<dyn Fn(u64, u32) -> Answer>;

impl Answer {
    /// This status after so many milliseconds.
    pub(crate) fn status(status: u16, after_ms: u64) -> Self {
        Self { outcome: Outcome::of_status(status), after_ns: after_ms * super::MS }
    }

    /// This outcome after so many milliseconds.
    pub(crate) fn of(outcome: Outcome, after_ms: u64) -> Self {
        Self { outcome, after_ns: after_ms * super::MS }
    }

    /// Never.
    pub(crate) fn never() -> Self {
        Self { outcome: Outcome::Late, after_ns: u64::MAX }
    }
}

/// A service and what calls it.
pub(crate) struct Service {
    pub(crate) table: EndpointTable,
    pub(crate) replicas: BTreeMap<String, Replica>,
    pub(crate) traffic: Traffic,
    pub(crate) watch: Rc<Watch>,
    pub(crate) chance: Chance,
    /// In place of `p2c`: in turn.
    pub(crate) in_turn: bool,
    /// Most tries after the first.
    pub(crate) attempts: usize,
    pub(crate) turn: u64,
}

/// What callers do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    /// How many callers at once.
    pub(crate) callers: usize,
    /// How many calls in all.
    pub(crate) count: usize,
    /// When they give up.
    pub(crate) patience: Duration,
    /// How long each waits between two calls.
    pub(crate) pause: Duration,
}

impl Calls {
    /// One after the other, each given up after 250 ms.
    pub(crate) fn in_a_row(count: usize) -> Self {
        Self { callers: 1, count, patience: Duration::from_millis(250), pause: Duration::ZERO }
    }
}

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Calls that failed: with a status from 500 or without an answer.
    pub(crate) failed: usize,
    /// When they did.
    pub(crate) failed_at: Vec<u64>,
    /// Tries by replica.
    pub(crate) tries: BTreeMap<String, usize>,
    /// Most tries in flight at once, by replica.
    pub(crate) in_flight_max: BTreeMap<String, u32>,
    /// How long the calls took that did not fail.
    pub(crate) took: Vec<u64>,
    /// Tries by replica, each with its time.
    pub(crate) times: Vec<(u64, String)>,
}

/// A try under way.
struct UnderWay {
    held: Try<Rc<Watch>>,
    tried: Vec<Arc<Endpoint>>,
    outcome: Outcome,
    began_ns: u64,
    gives_up_ns: u64,
    ends_ns: u64,
}

impl Service {
    /// Of these replicas.
    pub(crate) fn new(replicas: Vec<(&str, Replica)>) -> Self {
        let endpoints = replicas.iter().map(|(name, _)| super::endpoint(name, None)).collect();
        Self {
            table: super::table(endpoints),
            replicas: replicas.into_iter().map(|(name, replica)| (name.to_owned(), replica)).collect(),
            traffic: Traffic::default(),
            watch: Watch::at(super::SECOND),
            chance: Chance(0x9e37_79b9_7f4a_7c15),
            in_turn: false,
            attempts: 2,
            turn: 0,
        }
    }

    /// A replica joins, as a new table says it.
    pub(crate) fn join(&mut self, name: &str, replica: Replica) {
        let mut endpoints: Vec<_> = self.table.endpoints.iter().map(Arc::clone).collect();
        endpoints.push(Arc::new(super::endpoint(name, None)));
        let (service, protocol) = (self.table.service.clone(), self.table.protocol);
        self.table = EndpointTable::new(service, protocol, endpoints.into());
        self.replicas.insert(name.to_owned(), replica);
    }

    /// Another behaviour from now on.
    pub(crate) fn becomes(&mut self, name: &str, replica: Replica) {
        self.replicas.insert(name.to_owned(), replica);
    }

    /// Time passes without calls.
    pub(crate) fn wait(&self, span: Duration) {
        self.watch.now_ns.set(self.watch.now_ns() + u64::try_from(span.as_nanos()).unwrap());
    }

    /// Makes the calls.
    pub(crate) fn call(&mut self, calls: Calls) -> Told {
        let (mut told, mut left) = (Told::default(), calls.count);
        let mut under_way: Vec<Option<UnderWay>> = (0..calls.callers).map(|_| None).collect();
        let mut events: BinaryHeap<Reverse<(u64, usize)>> =
            (0..calls.callers).map(|caller| Reverse((self.watch.now_ns(), caller))).collect();
        while let Some(Reverse((now_ns, caller))) = events.pop() {
            self.watch.now_ns.set(now_ns);
            let next = match under_way[caller].take() {
                Some(ended) => self.end(ended, &mut told),
                None if left > 0 => {
                    left -= 1;
                    let patience = u64::try_from(calls.patience.as_nanos()).unwrap();
                    self.try_at((Vec::new(), Again::Never), now_ns.saturating_add(patience), &mut told)
                }
                None => continue,
            };
            let at = next.as_ref().map_or(now_ns + u64::try_from(calls.pause.as_nanos()).unwrap(), |next| next.ends_ns);
            events.push(Reverse((at, caller)));
            under_way[caller] = next;
        }
        told
    }

    /// A try at what is chosen; none if nothing can be.
    fn try_at(
        &mut self,
        (tried, again): (Vec<Arc<Endpoint>>, Again),
        gives_up_ns: u64,
        told: &mut Told,
    ) -> Option<UnderWay> {
        let (now_ns, terms) = (self.watch.now_ns(), Terms::of(&self.traffic));
        review(&self.table, &terms, now_ns, &mut |endpoint, change| self.watch.changed(endpoint, change));
        self.turn += 1;
        let way = if self.in_turn { Way::Turn(self.turn) } else { Way::PowerOfTwo };
        let choice = Choice { tried: &tried, again, ..Choice::new(now_ns, None, &self.traffic, way) };
        let Ok(endpoint) = choose(&self.table, &choice, &mut |bound| self.chance.below(bound)) else {
            told.failed += usize::from(tried.is_empty());
            return None;
        };
        let name = endpoint.node.to_string();
        let mut held = Try::begin(endpoint, terms, Rc::clone(&self.watch));
        held.asked();
        let in_flight = endpoint.load.in_flight();
        let answer = self.replicas[&name](now_ns, in_flight);
        let most = told.in_flight_max.entry(name.clone()).or_default();
        *most = (*most).max(in_flight);
        *told.tries.entry(name.clone()).or_default() += 1;
        told.times.push((now_ns, name));
        let ends_ns = now_ns.saturating_add(answer.after_ns).min(gives_up_ns);
        Some(UnderWay { held, tried, outcome: answer.outcome, began_ns: now_ns, gives_up_ns, ends_ns })
    }

    /// A try is over; the next one of its call, if it is tried again.
    fn end(&mut self, mut ended: UnderWay, told: &mut Told) -> Option<UnderWay> {
        let now_ns = self.watch.now_ns();
        if now_ns >= ended.gives_up_ns {
            told.failed += 1;
            told.failed_at.push(now_ns);
            return None;
        }
        ended.held.report(ended.outcome);
        let wanted = Wanted { attempts: self.attempts, on: &[], repeat: Repeat::STREAM };
        let failure = Failure {
            outcome: ended.outcome,
            stage: Stage::Sent,
            is_probe: ended.held.is_probe(),
            retried: ended.tried.len(),
            left: Duration::from_nanos(ended.gives_up_ns - now_ns),
        };
        let is_failure = !matches!(ended.outcome, Outcome::Answered { status: ..500 } | Outcome::Opened);
        let again = if is_failure { next_step(&wanted, &failure).again() } else { None };
        if let Some(again) = again {
            let mut tried = ended.tried;
            tried.push(Arc::clone(ended.held.endpoint()));
            drop(ended.held);
            if let Some(again) = self.try_at((tried, again), ended.gives_up_ns, told) {
                return Some(UnderWay { began_ns: ended.began_ns, ..again });
            }
        }
        if is_failure {
            told.failed += 1;
            told.failed_at.push(now_ns);
        } else {
            told.took.push(now_ns - ended.began_ns);
        }
        None
    }
}
