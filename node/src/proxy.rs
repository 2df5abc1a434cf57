//! The life of a request, in named phases: accept, identify, match, authorise, limit, choose, connect, forward, record.
//!
//! [`outbound`] takes a request from an application of this machine into the mesh, [`inbound`] takes one from the mesh to an
//! application. Both are called by the listeners once per request; a request sees the one world it was given.

mod attempt;
mod exchange;
mod message;

use std::sync::Arc;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::Instant;
use weft_actors::world::{Credential, LocalService, World};
use weft_gateway::endpoint::{Endpoint, EndpointTable};
use weft_gateway::retry::{RETRIES_MAX, Repeat, is_safe};
use weft_gateway::{Choice, Stage, authority, choose, head};
use weft_gossip::catalog::Protocol;
use weft_gossip::identity::SpiffeId;
use weft_gossip::{Code, ServiceName};

use crate::body::Body;
use crate::metrics::{Direction, ServiceState};
use crate::outbound::Outbound;
use crate::pool::Host;
use crate::problem::{Delivery, Refusal};
use crate::worker::{Gate, Worker};
use crate::{inbound::Caller, tcp, trace};
use attempt::{Answer, Failed, Route, Source, Target, Wire};
pub(crate) use exchange::Exchange;
use message::{Copied, Framing};

/// Serves one request of an application of this machine.
pub(crate) async fn outbound(entry: &Outbound, request: Request<Incoming>) -> Response<Body> {
    let world = entry.world.load();
    let Some(mut exchange) = Exchange::start(&entry.worker, Direction::Outbound) else {
        return message::overloaded(&world, Direction::Outbound);
    };
    let version = request.version();
    let served = if request.method() == Method::CONNECT && version < Version::HTTP_2 {
        connect(entry, &world, &mut exchange, request).await
    } else {
        call(entry, &world, &mut exchange, request).await
    };
    match served {
        Ok(served) => message::forwarded(served, exchange, &entry.gate, closing(&world, version)),
        Err(refusal) => message::refused(&refusal, exchange, &world, Direction::Outbound),
    }
}

/// Serves one request that came in over mutual TLS.
pub(crate) async fn inbound(caller: &Caller, request: Request<Incoming>) -> Response<Body> {
    let world = caller.world.load();
    let Some(mut exchange) = Exchange::start(&caller.worker, Direction::Inbound) else {
        return message::overloaded(&world, Direction::Inbound);
    };
    let version = request.version();
    match deliver(caller, &world, &mut exchange, request).await {
        Ok(served) => message::forwarded(served, exchange, &caller.gate, closing(&world, version)),
        Err(refusal) => message::refused(&refusal, exchange, &world, Direction::Inbound),
    }
}

/// An answer on its way back.
pub(crate) enum Served {
    /// The service's answer; with the caller's side of an upgrade, if one was asked for.
    Answer(Response<Incoming>, Option<hyper::upgrade::OnUpgrade>),
    /// A tunnel to a stream that is open, and the caller's side of it.
    Tunnel(Box<tcp::PeerStream>, hyper::upgrade::OnUpgrade),
}

/// Whether the caller should not use its connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    /// The node is draining, and the connection carries one request at a time.
    Yes,
}

fn closing(world: &World, version: Version) -> Closing {
    if world.draining && version < Version::HTTP_2 { Closing::Yes } else { Closing::No }
}

/// Who calls, what, and how it is counted: the phases identify and match of an outbound request.
pub(crate) struct Matched<'w> {
    pub(crate) credential: &'w Arc<Credential>,
    pub(crate) table: &'w Arc<EndpointTable>,
    pub(crate) identity: SpiffeId,
    pub(crate) state: Arc<ServiceState>,
}

/// Identifies the caller and matches the service.
pub(crate) fn identify<'w>(
    worker: &Worker,
    world: &'w World,
    exchange: &mut Exchange,
    asked: (Option<&ServiceName>, &str),
) -> Result<Matched<'w>, Refusal> {
    let (identity, service) = asked;
    let credential = credential_of(world, identity).ok_or_else(|| {
        Refusal::new(Code::Internal, "this node has no certificate for its calls; see `weft ls certs`")
    })?;
    let lower;
    let key = if service.bytes().any(|b| b.is_ascii_uppercase()) {
        lower = service.to_ascii_lowercase();
        lower.as_str()
    } else {
        service
    };
    let Some(table) = world.services.get(key) else {
        exchange.counted_by(worker.states.meter_nowhere(Direction::Outbound, &credential.identity));
        return Err(Refusal::new(Code::ServiceUnknown, format!("no node of mesh {} offers {key:?}", world.facts.mesh)));
    };
    let state = worker.states.of(&table.service, worker.now_ns());
    exchange.counted_by(worker.states.meter(&state, Direction::Outbound, &credential.identity, &table.service));
    Ok(Matched { credential, table, identity: SpiffeId::service(&world.facts.mesh, &table.service), state })
}

/// The identity that a call carries: the one asked for; else the single service that this node may act as; else the node's own.
pub(crate) fn credential_of<'w>(world: &'w World, asked: Option<&ServiceName>) -> Option<&'w Arc<Credential>> {
    let identities = &world.credentials.identities;
    if let Some(service) = asked {
        return identities.get(&SpiffeId::service(&world.facts.mesh, service));
    }
    let is_service = |id: &SpiffeId| matches!(id.subject, weft_gossip::identity::Subject::Service(_));
    let mut services = identities.iter().filter(|(id, _)| is_service(id));
    match (services.next(), services.next()) {
        (Some((_, only)), None) => Some(only),
        _ => identities.get(&SpiffeId::node(&world.facts.mesh, &world.facts.node)),
    }
}

/// `CONNECT service:port`: a tunnel to a TCP service.
async fn connect(
    entry: &Outbound,
    world: &World,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Served, Refusal> {
    let trace = trace::carry(request.headers_mut(), || entry.worker.random());
    exchange.asked(&request, trace.clone());
    let named = head::authority_of(request.uri(), request.headers()).and_then(authority::service_of);
    let service = named.map_err(|code| Refusal::new(code, "CONNECT names no service"))?;
    let matched = identify(&entry.worker, world, exchange, (entry.identity.as_ref(), service))?;
    if matched.table.protocol != Protocol::Tcp {
        return Err(Refusal::new(
            Code::ProtocolMismatch,
            format!("{} is an HTTP service; CONNECT is for TCP", service),
        ));
    }
    let stream = tcp::open(&entry.worker, world, exchange, &matched, trace.to_str().unwrap_or_default()).await?;
    let caller = hyper::upgrade::on(&mut request);
    Ok(Served::Tunnel(Box::new(stream), caller))
}

/// An HTTP request into the mesh.
async fn call(
    entry: &Outbound,
    world: &World,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Served, Refusal> {
    let worker = &entry.worker;
    head::check(request.version(), request.uri(), request.headers()).map_err(|(code, why)| Refusal::new(code, why))?;
    let trace = trace::carry(request.headers_mut(), || worker.random());
    exchange.asked(&request, trace);
    let named = head::authority_of(request.uri(), request.headers()).and_then(authority::service_of);
    let service = named.map_err(|code| Refusal::new(code, "the Host header or the URI must name a service"))?;
    let matched = identify(worker, world, exchange, (entry.identity.as_ref(), service))?;
    let wire = match matched.table.protocol {
        Protocol::Tcp => {
            let why = format!("{} is a TCP service", matched.table.service);
            return Err(Refusal::new(Code::ProtocolMismatch, why));
        }
        Protocol::Http2 => Wire::Http2,
        Protocol::Http if request.version() == Version::HTTP_2 => Wire::Http2,
        Protocol::Http => Wire::Http1,
    };
    let (request, caller) = message::prepared(request, Framing::of(wire), exchange)?;
    let response = try_endpoints(world, exchange, &matched, wire, request).await?;
    Ok(Served::Answer(response, caller))
}

/// Chooses, connects, sends; again elsewhere while that is safe and within the budget.
async fn try_endpoints(
    world: &World,
    exchange: &mut Exchange,
    matched: &Matched<'_>,
    wire: Wire,
    request: Request<Body>,
) -> Result<Response<Incoming>, Refusal> {
    let worker = Arc::clone(exchange.worker());
    let deadline = exchange.started() + worker.settings().request_timeout;
    let repeat = message::repeat_of(&request);
    let mut tried = Vec::new();
    let mut source = Source::Pooled;
    let mut request = request;
    let mut endpoint = pick(&worker, world, matched.table, &tried).ok_or_else(|| nowhere_to_go(matched.table))?;
    matched.state.budget.earn();
    loop {
        let copy = Copied::of(&request, repeat);
        exchange.at_endpoint(endpoint.load.enter(), endpoint.node.clone());
        let route = Route {
            host: Host::Peer(Arc::clone(&endpoint.load), Arc::clone(matched.credential)),
            wire,
            to: Target::Peer(endpoint.addr, &matched.identity),
            connects: &matched.state.connects,
            deadline,
        };
        let failed = match attempt::send(&worker, &route, source, request).await {
            Ok(answer) => match undelivered(answer, &worker, endpoint) {
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
        matched.state.retries.increment(1);
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
    let delivery = if matches!(stage, Stage::Connect | Stage::Unsent) { Delivery::None } else { Delivery::Possible };
    Refusal { code, why: format!("node {}: {why}", endpoint.node), delivery }
}

/// Takes an answer in: a sample of latency, or the other node's word that the request never reached its application.
fn undelivered(answer: Answer, worker: &Worker, endpoint: &Endpoint) -> Result<Answer, Failed> {
    let code = message::undelivered_code(&answer.response);
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
    let speaks_against =
        matches!(failed.stage, Stage::Connect) || (!failed.reused && failed.code == Code::UpstreamReset);
    if speaks_against && endpoint.load.eject(worker.now_ns()) {
        matched.state.ejections.increment(1);
        tracing::info!(
            service = %matched.table.service, node = %endpoint.node, code = %failed.code, why = failed.why, "endpoint ejected"
        );
    }
}

/// An HTTP request from the mesh to the local replica.
async fn deliver(
    caller: &Caller,
    world: &World,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Served, Refusal> {
    let worker = &caller.worker;
    head::check(request.version(), request.uri(), request.headers()).map_err(|(code, why)| Refusal::new(code, why))?;
    let trace = trace::carry(request.headers_mut(), || worker.random());
    exchange.asked(&request, trace);
    let local = local_of(caller, world, exchange)?;
    let state = worker.states.of(&local.service, worker.now_ns());
    exchange.counted_by(worker.states.meter(&state, Direction::Inbound, &caller.identity, &local.service));
    let wire = match local.protocol {
        Protocol::Http => Wire::Http1,
        Protocol::Http2 => Wire::Http2,
        Protocol::Tcp => {
            return Err(Refusal::new(Code::ProtocolMismatch, format!("{} is a TCP service", local.service)));
        }
    };
    let (request, upgrade) = message::prepared(request, Framing::of(wire), exchange)?;
    let response = try_replica(exchange, local, &state, wire, request).await?;
    Ok(Served::Answer(response, upgrade))
}

/// The service that the caller dialled, if this node offers it.
pub(crate) fn local_of<'w>(
    caller: &Caller,
    world: &'w World,
    exchange: &mut Exchange,
) -> Result<&'w Arc<LocalService>, Refusal> {
    let dialled = caller.service.as_ref();
    dialled.and_then(|service| world.local.get(service)).ok_or_else(|| {
        exchange.counted_by(caller.worker.states.meter_nowhere(Direction::Inbound, &caller.identity));
        let name = dialled.map_or("nothing", ServiceName::as_str);
        Refusal::new(Code::ServiceUnknown, format!("node {} does not offer {name:?}", world.facts.node))
    })
}

/// Sends to the local replica; once more on a new connection when a pooled one turned out to be dead.
async fn try_replica(
    exchange: &mut Exchange,
    local: &LocalService,
    state: &ServiceState,
    wire: Wire,
    request: Request<Body>,
) -> Result<Response<Incoming>, Refusal> {
    let worker = Arc::clone(exchange.worker());
    let replica = local.next_replica().ok_or_else(|| {
        Refusal::new(Code::NoHealthyReplica, format!("no application is exposed as {}", local.service))
    })?;
    exchange.at_replica(replica);
    let deadline = exchange.started() + worker.settings().request_timeout;
    let repeat: Repeat = message::repeat_of(&request);
    let copy = Copied::of(&request, repeat);
    let route = Route {
        host: Host::App(Arc::clone(replica)),
        wire,
        to: Target::App(replica.app),
        connects: &state.connects,
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
    let delivery =
        if matches!(failed.stage, Stage::Connect | Stage::Unsent) { Delivery::None } else { Delivery::Possible };
    Err(Refusal { code: failed.code, why: failed.why, delivery })
}

/// The gate of a listener, for tunnels that outlive their request.
pub(crate) type SharedGate = Arc<Gate>;
