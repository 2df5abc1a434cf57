//! The phases choose, connect and forward: which endpoint takes a request, and where it goes after a failure. Called by
//! [`super`] once a request.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use weft_actors::world::{LocalService, World};
use weft_gateway::endpoint::{Endpoint, EndpointTable};
use weft_gateway::retry::{RETRIES_MAX, Repeat, is_safe};
use weft_gateway::{Choice, Stage, choose};
use weft_gossip::{Code, ServiceName};

use super::attempt::{self, Answer, Failed, Route, Source, Target, Wire};
use super::message::{self, Copied};
use super::{Arrival, Exchange, Matched};
use crate::body::Body;
use crate::metrics::Meter;
use crate::pool::Host;
use crate::problem::{Delivery, Refusal};
use crate::worker::Worker;

/// Chooses, connects, sends; again elsewhere while that is safe and within the budget.
pub(super) async fn endpoints(
    world: &World,
    exchange: &mut Exchange,
    matched: &Matched<'_>,
    wire: Wire,
    request: Request<Body>,
) -> Result<Response<Incoming>, Refusal> {
    let worker = Arc::clone(exchange.worker());
    let deadline = exchange.head_by();
    let repeat = message::repeat_of(&request);
    let mut tried = Vec::new();
    let mut source = Source::Pooled;
    let mut request = request;
    let mut endpoint = pick(&worker, world, matched.table, &tried).ok_or_else(|| nowhere_to_go(matched.table))?;
    matched.state.budget.earn();
    let mut arrived = false;
    loop {
        exchange.at_endpoint(endpoint.load.enter(), endpoint.node.clone());
        let route = way_to(endpoint, world, matched, (wire, deadline));
        if matches!(route.to, Target::App(_)) && !arrived {
            Arrival::new(world, &matched.credential.identity, &matched.table.service)
                .request(exchange, &mut request)?;
            arrived = true;
        }
        let copy = Copied::of(&request, repeat);
        let failed = match attempt::send(&worker, &route, source, request).await {
            Ok(answer) => match undelivered(answer, &worker, endpoint, &route.to) {
                Ok(Answer { response, connection, .. }) => {
                    exchange.answered_by(&route.host, connection);
                    return Ok(response);
                }
                Err(failed) => failed,
            },
            Err(failed) => failed,
        };
        note(&worker, matched, endpoint, &failed);
        let again = failed.request.map(|request| *request).or_else(|| copy.map(Copied::into_request));
        let may = tried.len() < RETRIES_MAX && is_safe(failed.stage, repeat) && Instant::now() < deadline;
        let (Some(next), true) = (again, may && matched.state.budget.spend(worker.now_ns())) else {
            return Err(refusal(failed.code, failed.why, failed.stage, endpoint));
        };
        tried.push(Arc::clone(endpoint));
        source = Source::Pooled;
        endpoint = match pick(&worker, world, matched.table, &tried) {
            Some(other) => other,
            // The only endpoint closed a pooled connection; a new one may do.
            None if failed.reused => {
                source = Source::Fresh;
                endpoint
            }
            None => return Err(refusal(failed.code, failed.why, failed.stage, endpoint)),
        };
        matched.meter.retries.increment(1);
        request = next;
    }
}

pub(crate) fn pick<'t>(
    worker: &Worker,
    world: &World,
    table: &'t EndpointTable,
    tried: &[Arc<Endpoint>],
) -> Option<&'t Arc<Endpoint>> {
    let choice = Choice { now_ns: worker.now_ns(), zone: world.facts.zone.as_ref(), tried };
    choose(table, &choice, &mut |bound| worker.random_below(bound))
}

pub(crate) fn nowhere_to_go(table: &EndpointTable) -> Refusal {
    let why = match table.endpoints.len() {
        0 => format!("no node offers {} any more", table.service),
        count => format!("none of the {count} nodes that offer {} has a healthy replica", table.service),
    };
    Refusal::new(Code::NoHealthyReplica, why)
}

fn refusal(code: Code, why: String, stage: Stage, endpoint: &Endpoint) -> Refusal {
    Refusal::new(code, format!("node {}: {why}", endpoint.node)).delivered(Delivery::after(stage))
}

/// The way to an endpoint: to the application when it is on this machine, else to the endpoint's node.
fn way_to<'a>(
    endpoint: &Arc<Endpoint>,
    world: &'a World,
    matched: &'a Matched<'_>,
    head: (Wire, Instant),
) -> Route<'a> {
    let (wire, deadline) = head;
    // An HTTP/2 caller of an HTTP/1.1 application takes the way through the mesh port, which translates.
    let here =
        delivered_here(world, &matched.table.service, endpoint).filter(|local| Wire::of(local.protocol) == Some(wire));
    let (host, to) = match here.and_then(|local| local.next_replica()) {
        Some(replica) => (Host::App(Arc::clone(replica)), Target::App(replica.app)),
        None => (
            Host::Peer(Arc::clone(&endpoint.load), Arc::clone(matched.credential)),
            Target::Peer(endpoint.addr, &matched.identity),
        ),
    };
    Route { host, wire, to, connects: &matched.meter.connects, deadline }
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
    Err(Failed { code, why, stage: Stage::Connect, reused: false, request: None })
}

/// Ejects the endpoint when the failure speaks against it.
fn note(worker: &Worker, matched: &Matched<'_>, endpoint: &Endpoint, failed: &Failed) {
    let speaks_against = match failed.stage {
        // The time that was left may have been too short to connect to any.
        Stage::Connect => failed.code != Code::RequestTimeout,
        _ => !failed.reused && failed.code == Code::UpstreamReset,
    };
    if speaks_against && endpoint.load.eject(worker.now_ns()) {
        matched.meter.ejections.increment(1);
        tracing::info!(
            service = %matched.table.service, node = %endpoint.node, code = %failed.code, why = failed.why, "endpoint ejected"
        );
    }
}

/// Sends to the local replica; once more on a new connection when a pooled one turned out to be dead.
pub(super) async fn replica(
    exchange: &mut Exchange,
    local: &LocalService,
    meter: &Meter,
    wire: Wire,
    request: Request<Body>,
) -> Result<Response<Incoming>, Refusal> {
    let worker = Arc::clone(exchange.worker());
    let replica = local.next_replica().ok_or_else(|| {
        Refusal::new(Code::NoHealthyReplica, format!("no application is exposed as {}", local.service))
    })?;
    exchange.at_replica(replica);
    let deadline = exchange.head_by();
    let repeat: Repeat = message::repeat_of(&request);
    let copy = Copied::of(&request, repeat);
    let route = Route {
        host: Host::App(Arc::clone(replica)),
        wire,
        to: Target::App(replica.app),
        connects: &meter.connects,
        deadline,
    };
    let mut failed = match attempt::send(&worker, &route, Source::Pooled, request).await {
        Ok(Answer { response, connection, .. }) => {
            exchange.answered_by(&route.host, connection);
            return Ok(response);
        }
        Err(failed) => failed,
    };
    let again = failed.request.take().map(|request| *request).or_else(|| copy.map(Copied::into_request));
    if let (true, true, Some(request)) = (failed.reused, is_safe(failed.stage, repeat), again) {
        match attempt::send(&worker, &route, Source::Fresh, request).await {
            Ok(Answer { response, connection, .. }) => {
                exchange.answered_by(&route.host, connection);
                return Ok(response);
            }
            Err(second) => failed = second,
        }
    }
    Err(Refusal::new(failed.code, failed.why).delivered(Delivery::after(failed.stage)))
}
