//! The phases choose, connect and forward: which endpoint takes a request, and where it goes after a failure. Called by
//! [`super`] once a request.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use weft_identity::{Code, ServiceName};
use weft_policy::Stage;
use weft_policy::endpoint::Endpoint;
use weft_policy::retry::{Cause, RETRIES_MAX, Repeat, is_safe};
use weft_world::{LocalService, World};

use super::attempt::{self, Answer, Failed, Route, Source, Target, Wire};
use super::message::{self, Copied};
use super::{Arrival, Carriage, Exchange, Matched};
use crate::body::Body;
use crate::metrics::Meter;
use crate::pool::Host;
use crate::problem::{Delivery, REPLICA, Refusal};
use crate::worker::Worker;

/// Chooses, connects, sends; again elsewhere while that is wanted, safe and within the budget.
pub(super) async fn endpoints(
    world: &World,
    exchange: &mut Exchange,
    call: (&Matched<'_>, &Carriage<'_>),
    wire: Wire,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, Refusal> {
    let (matched, carriage) = call;
    let (worker, repeat) = (Arc::clone(exchange.worker()), message::repeat_of(&request));
    let mut tries = Tries { worker, world, matched, carriage, repeat, failed: 0, tried: Vec::new() };
    let mut source = Source::Pooled;
    let mut endpoint = tries.pick().ok_or_else(|| carriage.nowhere_to_go(matched.table))?;
    matched.state.budget.earn(carriage.rates);
    let mut arrived = false;
    let arrival = Arrival::new(world, matched.credential.caller(), &matched.table.service);
    loop {
        exchange.at_endpoint(endpoint);
        let route = tries.way_to(endpoint, wire);
        if matches!(route.to, Target::App(_)) && !arrived {
            arrival.request(exchange, &mut request)?;
            arrived = true;
        }
        let copy = Copied::of(&request, repeat);
        let failed = match tries.send(endpoint, &route, source, request).await {
            Ok(Answer { response, connection, .. }) => {
                exchange.answered_by(&route.host, connection);
                let Some(copy) = copy else { return Ok(response) };
                let Some(next) = tries.after_answer(endpoint, response.status()) else {
                    exchange.passed(&arrival, Some(copy).filter(|_| matches!(route.to, Target::App(_))));
                    return Ok(response);
                };
                (endpoint, source, request) = (next, Source::Pooled, copy.into_request());
                continue;
            }
            Err(failed) => failed,
        };
        tries.note(endpoint, &failed);
        let refusal =
            |failed: Failed| refusal(failed.code, carriage.because(failed.code, failed.why), failed.stage, endpoint);
        let mut failed = failed;
        let again = failed.request.take().map(|request| *request).or_else(|| copy.map(Copied::into_request));
        let Some(again) = again else { return Err(refusal(failed)) };
        let Some(next) = tries.after_failure(endpoint, &failed) else { return Err(refusal(failed)) };
        ((endpoint, source), request) = (next, again);
    }
}

/// The tries of one request.
struct Tries<'a, 'w> {
    worker: Arc<Worker>,
    world: &'a World,
    matched: &'a Matched<'w>,
    carriage: &'a Carriage<'a>,
    repeat: Repeat,
    /// How many tries failed.
    failed: usize,
    /// Where trying again makes no sense.
    tried: Vec<Arc<Endpoint>>,
}

impl<'a> Tries<'a, '_> {
    fn pick(&self) -> Option<&'a Arc<Endpoint>> {
        self.carriage.pick(&self.worker, self.world, self.matched.table, &self.tried)
    }

    /// The way to an endpoint: to the application when it is on this machine, else to the endpoint's node.
    fn way_to(&self, endpoint: &Endpoint, wire: Wire) -> Route<'a> {
        let Matched { credential, table, identity, state, meter } = self.matched;
        // An HTTP/2 caller of an HTTP/1.1 application takes the way through the mesh port, which translates.
        let here =
            delivered_here(self.world, &table.service, endpoint).filter(|local| Wire::of(local.protocol) == Some(wire));
        let (host, to) = match here.and_then(|local| local.chosen(endpoint)) {
            Some(replica) => (Host::App(Arc::clone(replica)), Target::App(replica.app)),
            None => {
                (Host::Peer(Arc::clone(&endpoint.load), Arc::clone(credential)), Target::Peer(endpoint.addr, identity))
            }
        };
        let limit = self.carriage.traffic.connections_max.map(|max| (max, &state.connections));
        let (connect, deadline) = (self.carriage.connect, self.carriage.try_deadline());
        Route { host, wire, to, connects: &meter.connects, connect, limit, deadline }
    }

    /// Makes one try. Another node's word that the request never reached its application counts as a failure.
    async fn send(
        &self,
        endpoint: &Endpoint,
        route: &Route<'_>,
        source: Source,
        mut request: Request<Body>,
    ) -> Result<Answer, Failed> {
        match (&endpoint.selector, &route.to) {
            (Some(selector), Target::Peer(..)) => drop(request.headers_mut().insert(REPLICA, selector.clone())),
            // What an application says of it counts for nothing.
            _ => drop(request.headers_mut().remove(REPLICA)),
        }
        let began = Instant::now();
        let answer = match attempt::send(&self.worker, route, source, request).await {
            Ok(answer) => answer,
            Err(failed) => {
                // As slow as this it is at least; else one that never answers would seem the fastest.
                if failed.code == Code::RequestTimeout && failed.stage == Stage::Sent {
                    endpoint.load.observe(began.elapsed(), self.worker.now_ns());
                }
                return Err(failed);
            }
        };
        undelivered(answer, &self.worker, endpoint, &route.to)
    }

    /// Where to try again after an answer that the documents do not want; none: the answer stands.
    fn after_answer(&mut self, endpoint: &'a Arc<Endpoint>, status: StatusCode) -> Option<&'a Arc<Endpoint>> {
        let is_safe = self.repeat.idempotent && self.repeat.replayable;
        let cause = Cause::Status(status.as_u16());
        if !is_safe || !self.carriage.wants(cause, self.failed) {
            return None;
        }
        self.failed += 1;
        self.tried.push(Arc::clone(endpoint));
        // Where there is no other, the same once more.
        let next = self.pick().unwrap_or(endpoint);
        self.spend().then_some(next)
    }

    /// Where to try again after a failure, and whether on a new connection.
    fn after_failure(&mut self, endpoint: &'a Arc<Endpoint>, failed: &Failed) -> Option<(&'a Arc<Endpoint>, Source)> {
        // A pooled connection that was closed meanwhile is nobody's failure.
        let is_stale = failed.stage == Stage::Unsent && self.failed < RETRIES_MAX;
        let wanted = is_stale || self.carriage.wants(cause_of(failed), self.failed);
        if !wanted || !is_safe(failed.stage, self.repeat) || failed.code == Code::Overloaded {
            return None;
        }
        self.failed += 1;
        self.tried.extend(self.spoken_of(endpoint, failed).into_iter().cloned());
        let next = match self.pick() {
            Some(other) => (other, Source::Pooled),
            // The only endpoint closed a pooled connection; a new one may do.
            None if failed.reused => (endpoint, Source::Fresh),
            None => return None,
        };
        self.spend().then_some(next)
    }

    fn spend(&self) -> bool {
        let may = self.matched.state.budget.spend(self.worker.now_ns(), self.carriage.rates);
        if may {
            self.matched.meter.retries.increment(1);
        }
        may
    }

    /// Takes the failure into account when it speaks against the endpoint.
    fn note(&self, endpoint: &'a Arc<Endpoint>, failed: &Failed) {
        let speaks_against = match failed.stage {
            // The time that was left may have been too short to connect to any, and a limit of connections is our own.
            Stage::Connect => !matches!(failed.code, Code::RequestTimeout | Code::Overloaded),
            _ => !failed.reused && failed.code == Code::UpstreamReset,
        };
        if speaks_against {
            for endpoint in self.spoken_of(endpoint, failed) {
                strike(&self.worker, (self.matched, self.carriage), endpoint, (failed.code, &failed.why));
            }
        }
    }

    /// The endpoints that a failure says something of: every one of a node that cannot be reached, else the one.
    fn spoken_of(&self, endpoint: &'a Arc<Endpoint>, failed: &Failed) -> Vec<&'a Arc<Endpoint>> {
        if failed.is_of_node { self.matched.table.of_node(&endpoint.node).collect() } else { vec![endpoint] }
    }
}

/// Counts a failure at an endpoint, which may be ejected for it.
pub(crate) fn strike(worker: &Worker, call: (&Matched<'_>, &Carriage<'_>), endpoint: &Endpoint, failure: (Code, &str)) {
    let ((matched, carriage), (code, why)) = (call, failure);
    if endpoint.load.fail(worker.now_ns(), &carriage.traffic.outlier) {
        matched.meter.ejections.increment(1);
        let (service, node, replica) = (&matched.table.service, &endpoint.node, &endpoint.replica);
        tracing::info!(%service, %node, %replica, %code, why, "endpoint ejected");
    }
}

/// A failure in the words of the documents.
fn cause_of(failed: &Failed) -> Cause {
    match failed.stage {
        Stage::Connect => Cause::Connect,
        _ if failed.code == Code::RequestTimeout => Cause::Timeout,
        // h2's own words for REFUSED_STREAM (RFC 9113, section 8.7); hyper shows no reason of its errors.
        _ if failed.why.contains("refused stream") => Cause::RefusedStream,
        _ => Cause::Reset,
    }
}

fn refusal(code: Code, why: String, stage: Stage, endpoint: &Endpoint) -> Refusal {
    Refusal::new(code, format!("node {}: {why}", endpoint.node)).delivered(Delivery::after(stage))
}

/// The service on this machine, if the endpoint is this node: both ends of such a call are one process, which has nothing to prove to
/// itself.
pub(crate) fn delivered_here<'w>(
    world: &'w World,
    service: &ServiceName,
    endpoint: &Endpoint,
) -> Option<&'w LocalService> {
    if endpoint.node != world.facts.node {
        return None;
    }
    world.local.get(service).map(Arc::as_ref)
}

/// Takes an answer in: a sample of latency, or the other node's word that the request never reached its application.
fn undelivered(answer: Answer, worker: &Worker, endpoint: &Endpoint, by: &Target<'_>) -> Result<Answer, Failed> {
    let code = match by {
        Target::Peer(..) => message::undelivered_code(&answer.response),
        // An application's word on that counts for nothing.
        Target::App(_) => None,
    };
    let Some(code) = code else {
        endpoint.load.observe(answer.asked.elapsed(), worker.now_ns());
        endpoint.load.restore();
        return Ok(answer);
    };
    let why = format!("it answered {code} for its application");
    Err(Failed { code, why, stage: Stage::Connect, reused: false, is_of_node: false, request: None })
}

/// Sends to the local replica; once more on a new connection when a pooled one turned out to be dead. With the answer comes the copy of the
/// request's head that was kept for that, if it was not needed.
pub(super) async fn replica(
    exchange: &mut Exchange,
    local: &LocalService,
    (named, meter): (Option<HeaderValue>, &Meter),
    wire: Wire,
    request: Request<Body>,
) -> Result<(Response<Incoming>, Option<Copied>), Refusal> {
    let worker = Arc::clone(exchange.worker());
    let replica = local.for_call(named.as_ref().map(HeaderValue::as_bytes)).ok_or_else(|| {
        Refusal::new(Code::NoHealthyReplica, format!("no application is exposed as {}, or not as asked", local.service))
    })?;
    exchange.at_replica(replica);
    let deadline = exchange.head_by(None);
    let repeat: Repeat = message::repeat_of(&request);
    let copy = Copied::of(&request, repeat);
    let route = Route {
        host: Host::App(Arc::clone(replica)),
        wire,
        to: Target::App(replica.app),
        connects: &meter.connects,
        connect: worker.settings().connect_timeout,
        limit: None,
        deadline,
    };
    let mut failed = match attempt::send(&worker, &route, Source::Pooled, request).await {
        Ok(Answer { response, connection, .. }) => {
            exchange.answered_by(&route.host, connection);
            return Ok((response, copy));
        }
        Err(failed) => failed,
    };
    let again = failed.request.take().map(|request| *request).or_else(|| copy.map(Copied::into_request));
    if let (true, true, Some(request)) = (failed.reused, is_safe(failed.stage, repeat), again) {
        match attempt::send(&worker, &route, Source::Fresh, request).await {
            Ok(Answer { response, connection, .. }) => {
                exchange.answered_by(&route.host, connection);
                return Ok((response, None));
            }
            Err(second) => failed = second,
        }
    }
    Err(Refusal::new(failed.code, failed.why).delivered(Delivery::after(failed.stage)))
}
