//! The phases choose and connect, again elsewhere after a failure: the one loop of tries, for requests and for streams of TCP. What a try
//! *is* lies behind [`Attempt`]; what may be tried again, and where, [`weft_policy::retry`] says.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::{Code, ServiceName};
use weft_policy::Stage;
use weft_policy::choose::{Again, Nowhere};
use weft_policy::endpoint::{Endpoint, review};
use weft_policy::outcome::{Outcome, Refused, Taken, Try, Witness};
use weft_policy::retry::{Failure as FailedTry, Repeat, Step, Wanted, next_step};
use weft_world::{LocalService, World};

use super::attempt::{Ending, Failed, Unanswered};
use super::connect::Source;
use super::exchange::Exchange;
use super::lease::{Held, Lease, Tally};
use super::{Carriage, Failure, Matched};
use crate::problem::{Delivery, Refusal, is_final};

/// What the tries of one call share.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) world: &'a World,
    pub(crate) matched: &'a Matched<'a>,
    pub(crate) carriage: &'a Carriage<'a>,
}

/// What one try does.
pub(crate) trait Attempt {
    /// Makes a try at an endpoint, over a pooled connection if that will do, and tells `held` when the request is given to one.
    async fn make(
        &mut self,
        exchange: &mut Exchange<'_>,
        endpoint: &Arc<Endpoint>,
        source: Source,
        held: &mut Try<Tally>,
    ) -> Result<(Lease, Outcome), Attempted>;

    /// What sending it again would mean, as far as it is.
    fn repeat(&self, exchange: &Exchange<'_>) -> Repeat;

    /// When there is no time left for another try.
    fn over_at(&self) -> Option<Instant>;
}

/// Why a try brought nothing.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// It failed, or its caller went.
    Unanswered(Unanswered),
    /// A policy refused it here, where its replica is.
    Refused(Refusal),
    /// An answer came that its caller cannot be given.
    Useless(Refusal),
    /// The other node refused it for its application, with this code and reason.
    Told(Code, String),
}

impl From<Unanswered> for Attempted {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl From<Refusal> for Attempted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Chooses, connects, sends; again elsewhere while that is wanted, safe and within the budget.
pub(crate) async fn endpoints(
    exchange: &mut Exchange<'_>,
    call: Call<'_>,
    attempt: &mut impl Attempt,
) -> Result<Lease, Failure> {
    let Call { world, matched, carriage } = call;
    let worker = Arc::clone(exchange.record.worker());
    let tally = Tally { worker: Arc::clone(&worker), meter: Arc::clone(&matched.meter) };
    let pick = |tried: &[Arc<Endpoint>], again| carriage.pick(&worker, world, matched.table, (tried, again));
    review(matched.table, &carriage.terms(), worker.noted_ns(), &mut |endpoint, change| {
        tally.changed(endpoint, change)
    });
    let (mut tried, mut retried, mut source) = (Vec::new(), 0, Source::Pooled);
    let mut endpoint = pick(&tried, Again::Never).map_err(|nowhere| carriage.nowhere_to_go(matched.table, nowhere))?;
    matched.state.budget.earn(carriage.rates);
    loop {
        exchange.record.goes_to(endpoint);
        let mut held = Try::begin(endpoint, carriage.terms(), tally.clone());
        let made = attempt.make(exchange, endpoint, source, &mut held).await;
        let tried_so = match tried_with(made, endpoint, carriage) {
            Ok(tried) => tried,
            Err((outcome, failure)) => {
                held.report(outcome);
                return Err(failure);
            }
        };
        let Tried { outcome, stage, lease, refusal, of_node } = reported(exchange, tried_so, &mut held);
        if of_node {
            spread(call, outcome, endpoint, &tally);
        }
        let failed = FailedTry {
            outcome,
            stage,
            is_probe: held.is_probe(),
            retried,
            left: left_until(attempt.over_at(), worker.noted()),
        };
        let wanted = Wanted { attempts: carriage.attempts, on: carriage.on, repeat: attempt.repeat(exchange) };
        let is_final = refusal.as_ref().is_some_and(|refusal| is_final(refusal.code)) || exchange.is_given_up;
        let step = if is_final { Step::Stop } else { next_step(&wanted, &failed) };
        let from = after_stale(outcome);
        let next = step.again().and_then(|again| {
            if let Some(from) = from {
                return Some((endpoint, from));
            }
            tried.push(Arc::clone(endpoint));
            if of_node {
                tried.extend(matched.table.of_node(&endpoint.node).cloned());
            }
            let same = (again == Again::WhereNoneIsLeft).then_some(endpoint);
            let other = pick(&tried, again).ok().or(same)?;
            let is_tried = tried.iter().any(|tried| Arc::ptr_eq(tried, other));
            let is_in_doubt = is_tried && lease.is_none();
            Some((other, if is_in_doubt { Source::Fresh(Instant::now()) } else { Source::Pooled }))
        });
        let may = |_: &_| from.is_some() || matched.state.budget.spend(worker.noted_ns(), carriage.rates);
        let Some((other, other_from)) = next.filter(may) else {
            let none = || carriage.nowhere_to_go(matched.table, Nowhere::NoReplica);
            let Some(mut lease) = lease else { return Err(refusal.unwrap_or_else(none).into()) };
            lease.held = Some(Held::Endpoint(held));
            return Ok(lease);
        };
        if let Some(lease) = lease {
            lease.forgo(&worker).await;
        }
        if from.is_none() {
            matched.meter.retries.increment(1);
        }
        retried += usize::from(outcome != Outcome::Undelivered(Refused::Unread));
        exchange.upload.restart();
        (endpoint, source) = (other, other_from);
    }
}

/// What one try came to.
struct Tried {
    outcome: Outcome,
    stage: Stage,
    /// Where an answer began.
    lease: Option<Lease>,
    /// Where none did.
    refusal: Option<Refusal>,
    /// No connection to the node came to be.
    of_node: bool,
}

/// Reports what a try came to.
fn reported(exchange: &Exchange<'_>, tried: Tried, held: &mut Try<Tally>) -> Tried {
    if exchange.is_given_up && tried.lease.is_none() {
        // Whoever asked has shut its side and may be gone: the endpoint has let it wait too long.
        held.report(Outcome::Cancelled);
    }
    let is_callers = exchange.is_over_for_caller(tried.outcome);
    let outcome = if is_callers { Outcome::Cancelled } else { tried.outcome };
    held.report(outcome);
    Tried { outcome, ..tried }
}

/// What a try came to, or why the call ends with it, and what that says of its endpoint.
fn tried_with(
    made: Result<(Lease, Outcome), Attempted>,
    endpoint: &Endpoint,
    carriage: &Carriage<'_>,
) -> Result<Tried, (Outcome, Failure)> {
    match made {
        Ok((lease, outcome)) => {
            Ok(Tried { outcome, stage: Stage::Answered, lease: Some(lease), refusal: None, of_node: false })
        }
        Err(Attempted::Refused(refusal)) => Err((Outcome::Withheld, refusal.into())),
        // It answered, and not what can be passed on.
        Err(Attempted::Useless(refusal)) => Err((Outcome::Answered { status: 200 }, refusal.into())),
        Err(Attempted::Unanswered(Unanswered::Ending(ending))) => {
            let outcome = if matches!(ending, Ending::Gone) { Outcome::Cancelled } else { Outcome::Withheld };
            Err((outcome, Failure::Ending(ending)))
        }
        Err(Attempted::Told(code, why)) => {
            let refusal = Some(Refusal::new(code, format!("node {}: {why}", endpoint.node)));
            Ok(Tried { outcome: Outcome::of_code(code), stage: Stage::Connect, lease: None, refusal, of_node: false })
        }
        Err(Attempted::Unanswered(Unanswered::Failed(failed))) => {
            let (outcome, of_node) = (outcome_of(&failed), failed.is_of_node);
            let Failed { code, why, stage, .. } = failed;
            let why = format!("node {}: {}", endpoint.node, carriage.because(code, why));
            let refusal = Some(Refusal::new(code, why).delivered(Delivery::after(stage)));
            Ok(Tried { outcome, stage, lease: None, refusal, of_node })
        }
    }
}

/// Over which connection an endpoint is tried that has not been, because a connection from before was at fault. One that says that it ends
/// is in no pool any more.
fn after_stale(outcome: Outcome) -> Option<Source> {
    match outcome {
        Outcome::Undelivered(Refused::Stale) => Some(Source::Fresh(Instant::now())),
        Outcome::Undelivered(Refused::Unread) => Some(Source::Pooled),
        _ => None,
    }
}

fn outcome_of(failed: &Failed) -> Outcome {
    match (failed.code, failed.stage) {
        // The end of a connection that many use is not its endpoint's.
        _ if failed.is_unread => Outcome::Undelivered(Refused::Unread),
        _ if failed.is_refused && failed.reused => Outcome::Undelivered(Refused::Stale),
        _ if failed.is_refused => Outcome::Undelivered(Refused::Stream),
        // A limit of this node's own.
        (Code::Overloaded, _) => Outcome::Withheld,
        (Code::RequestTimeout, _) => Outcome::Late,
        (_, Stage::Connect) => Outcome::Undelivered(Refused::Connect),
        _ if failed.reused => Outcome::Undelivered(Refused::Stale),
        _ => Outcome::Reset,
    }
}

fn left_until(over: Option<Instant>, now: Instant) -> Duration {
    over.map_or(Duration::MAX, |over| over.saturating_duration_since(now))
}

/// A node that cannot be reached has none of its replicas: what was found out at one says something of each.
fn spread(call: Call<'_>, outcome: Outcome, endpoint: &Arc<Endpoint>, tally: &Tally) {
    let now = tally.now_ns();
    let taken = Taken { began_ns: now, asked_ns: now, ended_ns: now };
    for other in call.matched.table.of_node(&endpoint.node).filter(|other| !Arc::ptr_eq(other, endpoint)) {
        if let Some(change) = other.learn(outcome, &taken, &call.carriage.terms()) {
            tally.changed(other, change);
        }
    }
}

/// The service on this machine, if the endpoint is this node: both ends of such a call are one process, which has nothing to prove to
/// itself.
pub(crate) fn delivered_here<'w>(
    world: &'w World,
    service: &ServiceName,
    endpoint: &Endpoint,
) -> Option<&'w Arc<LocalService>> {
    if endpoint.node != world.facts.node {
        return None;
    }
    world.local.get(service)
}
