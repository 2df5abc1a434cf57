//! The life of a request, in named phases: accept, identify, match, authorise, limit, choose, connect, forward, record.
//!
//! [`outbound`] takes a request from an application of this machine into the mesh, [`inbound`] takes one from the mesh to an
//! application. Both are called by the listeners once per request; a request sees the one world it was given.

mod allowances;
mod arrival;
mod attempt;
mod carriage;
mod deadline;
mod exchange;
mod held;
mod judged;
mod message;
mod mirror;
mod route;
mod tee;
mod tries;

use std::sync::Arc;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use weft_identity::{Code, Protocol, ServiceName, SpiffeId};
use weft_policy::endpoint::EndpointTable;
use weft_policy::{authority, head};
use weft_world::{Credential, LocalService, World};

use crate::body::Body;
use crate::metrics::{Direction, Meter, ServiceState};
use crate::outbound::Outbound;
use crate::problem::{REPLICA, Refusal};
use crate::worker::{Gate, Worker};
use crate::{inbound::Caller, tcp, trace};
pub(crate) use arrival::Arrival;
use attempt::Wire;
pub(crate) use carriage::{Carriage, hash_way};
pub(crate) use deadline::Deadline;
pub(crate) use exchange::Exchange;
pub(crate) use message::Copied;
use message::Framing;
use route::Outcome;
pub(crate) use tee::{Tee, TeedBody};
pub(crate) use tries::{delivered_here, strike};

/// Serves one request of an application of this machine.
pub(crate) async fn outbound(entry: &Outbound, request: Request<Incoming>) -> Response<Body> {
    let world = entry.world.load();
    let Some(mut exchange) = Exchange::start(&entry.worker, Direction::Outbound) else {
        return message::overloaded(&entry.worker, &world, Direction::Outbound);
    };
    let version = request.version();
    let served = if request.method() == Method::CONNECT && version < Version::HTTP_2 {
        connect(entry, &world, &mut exchange, request).await
    } else {
        call(entry, &world, &mut exchange, request).await
    };
    match served {
        Ok(served) => message::forwarded(served, exchange, &entry.gate, closing(&world, version)),
        Err(refusal) => {
            let credential = credential_of(&world, entry.identity.as_ref());
            message::refused(&refusal, exchange, &world, credential.map(|credential| &credential.identity))
        }
    }
}

/// Serves one request that came in over mutual TLS.
pub(crate) async fn inbound(caller: &Caller, request: Request<Incoming>) -> Response<Body> {
    let world = caller.world.load();
    let Some(mut exchange) = Exchange::start(&caller.worker, Direction::Inbound) else {
        return message::overloaded(&caller.worker, &world, Direction::Inbound);
    };
    let version = request.version();
    match deliver(caller, &world, &mut exchange, request).await {
        Ok(served) => message::forwarded(served, exchange, &caller.gate, closing(&world, version)),
        Err(refusal) => message::refused(&refusal, exchange, &world, Some(&caller.identity)),
    }
}

/// An answer on its way back.
pub(crate) enum Served {
    /// The service's answer; with the caller's side of an upgrade, if one was asked for.
    Answer(Response<Incoming>, Option<hyper::upgrade::OnUpgrade>),
    /// An answer of our own: a redirect, or a failure made on purpose.
    Own(Response<Body>),
    /// A tunnel to a stream that is open, and the caller's side of it.
    Tunnel(tcp::ServiceStream, hyper::upgrade::OnUpgrade),
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
    pub(crate) meter: Arc<Meter>,
}

impl<'w> Matched<'w> {
    /// A call of a service with this credential.
    fn of(world: &'w World, worker: &Worker, credential: &'w Arc<Credential>, table: &'w Arc<EndpointTable>) -> Self {
        let state = worker.states.of(&table.service, worker.now_ns());
        let meter = worker.states.meter(&state, Direction::Outbound, &credential.identity, &table.service);
        Self { credential, table, identity: SpiffeId::service(&world.facts.mesh, &table.service), state, meter }
    }
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
    let matched = Matched::of(world, worker, credential, table);
    exchange.counted_by(Arc::clone(&matched.meter));
    Ok(matched)
}

/// The identity that a call carries: the one asked for, else the node's usual one.
pub(crate) fn credential_of<'w>(world: &'w World, asked: Option<&ServiceName>) -> Option<&'w Arc<Credential>> {
    match asked {
        Some(service) => world.credentials.identities.get(&SpiffeId::service(&world.facts.mesh, service)),
        None => world.credentials.usual.as_ref(),
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
    Ok(Served::Tunnel(stream, caller))
}

/// An HTTP request into the mesh.
async fn call(
    entry: &Outbound,
    world: &Arc<World>,
    exchange: &mut Exchange,
    mut request: Request<Incoming>,
) -> Result<Served, Refusal> {
    let worker = &entry.worker;
    head::check(request.version(), request.uri(), request.headers()).map_err(|(code, why)| Refusal::new(code, why))?;
    let trace = trace::carry(request.headers_mut(), || worker.random());
    exchange.asked(&request, trace);
    let named = head::authority_of(request.uri(), request.headers()).and_then(authority::service_of);
    let service = named.map_err(|code| Refusal::new(code, "the Host header or the URI must name a service"))?;
    let mut matched = identify(worker, world, exchange, (entry.identity.as_ref(), service))?;
    exchange.ends_by(worker.total_deadline(exchange.started()));
    let departure = match route::route(world, exchange, &matched.table.service, &mut request).await? {
        Outcome::Unrouted => None,
        Outcome::Answered(own) => return Ok(Served::Own(own)),
        Outcome::Routed(departure) => Some(departure),
    };
    let dialled = &matched.table.service;
    let elsewhere = departure.and_then(|departure| Some((departure.rule, departure.target?.service.as_ref()?)));
    if let Some((rule, service)) = elsewhere.filter(|(_, service)| *service != dialled) {
        matched = route::matched_for(world, worker, &matched, service, rule)?;
        exchange.counted_by(Arc::clone(&matched.meter));
    }
    let spoken = Wire::of(matched.table.protocol).ok_or_else(|| not_http(&matched.table.service))?;
    let wire = if request.version() == Version::HTTP_2 { Wire::Http2 } else { spoken };
    let mut carriage = Carriage::new(world, exchange, &matched, Some(request.headers()));
    if let Some(departure) = departure {
        carriage = carriage.routed(departure.rule, departure.target, exchange);
    }
    carriage.enter(exchange, &matched.state)?;
    carriage.tell_patience(request.headers_mut());
    let (mut request, caller) = message::prepared(request, Framing::of(wire), exchange)?;
    if caller.is_some() {
        exchange.opened_with(matched.credential);
    }
    if let Some(departure) = departure.filter(|departure| departure.mirror.is_some() && caller.is_none()) {
        mirror::send(worker, world, &matched, departure, &mut request);
    }
    let mut response = tries::endpoints(world, exchange, (&matched, &carriage), wire, request).await?;
    if let Some(departure) = departure {
        departure.rule.response_headers.apply(response.headers_mut());
    }
    Ok(Served::Answer(response, caller))
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
    let meter = worker.states.meter(&state, Direction::Inbound, &caller.identity, &local.service);
    exchange.counted_by(Arc::clone(&meter));
    exchange.ends_by(worker.total_deadline(exchange.started()));
    let named = request.headers_mut().remove(REPLICA);
    let arrival = Arrival::new(world, caller.proven(), &local.service);
    arrival.request(exchange, &mut request)?;
    let wire = Wire::of(local.protocol).ok_or_else(|| not_http(&local.service))?;
    let (request, upgrade) = message::prepared(request, Framing::of(wire), exchange)?;
    let (response, copy) = tries::replica(exchange, local, (named, &meter), wire, request).await?;
    exchange.passed(&arrival, copy);
    if upgrade.is_some() {
        exchange.carried_with(Some(Arc::clone(&caller.chain)));
    }
    Ok(Served::Answer(response, upgrade))
}

fn not_http(service: &ServiceName) -> Refusal {
    Refusal::new(Code::ProtocolMismatch, format!("{service} is a TCP service"))
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

/// The gate of a listener, for tunnels that outlive their request.
pub(crate) type SharedGate = Arc<Gate>;
