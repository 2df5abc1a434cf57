//! The life of a request, in named phases: accept, identify, match, route, authorise, limit, choose, connect, forward, record.
//!
//! [`outbound`] takes a request from an application of this machine into the mesh, [`inbound`] takes one from the mesh to an
//! application. Both are called by the listeners once per request, with the caller's side; a request sees the one world it was given.

mod allowances;
mod arrival;
mod attempt;
mod carriage;
mod connect;
mod exchange;
mod forward;
mod judged;
mod lease;
mod local;
mod message;
mod mirror;
mod record;
mod replica;
mod request;
mod route;
mod serve;
mod settle;
mod stillness;
mod tee;
mod tries;

use std::sync::Arc;

use http::Method;
use weft_identity::Protocol;
use weft_identity::SpiffeId;
use weft_identity::{Code, ServiceName};
use weft_policy::authority;
use weft_policy::endpoint::EndpointTable;
use weft_policy::fields::Known;
use weft_policy::head::{Sender, Upgrade};
use weft_world::{Credential, LocalService, World};

use crate::head::{Form, RequestHead};
use crate::inbound::Caller;
use crate::metrics::{Direction, Meter, ServiceState};
use crate::outbound::Outbound;
use crate::problem::Refusal;
use crate::server::Serve;
use crate::side::{Side, reset};
use crate::tcp;
use crate::vigil::{Footing, Permit, Subject, Watch};
use crate::worker::Worker;

use request::RequestTries;
use route::Outcome;
use serve::{Served, serve, travel_back};
pub(crate) use settle::carried_by;
use settle::{goes_round_once, settled};
use tries::Call;

pub(crate) use arrival::{Arrival, name_host, normal_path, transparent};
pub(crate) use attempt::{Ending, Failed, Unanswered};
pub(crate) use carriage::{Carriage, hash_way};
pub(crate) use connect::Source;
pub(crate) use exchange::Exchange;
pub(crate) use forward::{closed, tunnel};
pub(crate) use lease::{Held, Lease, ReplicaFlight, Tally};
pub(crate) use local::Introduced;
pub(crate) use message::{Own, turn_away};
pub(crate) use record::Record;
pub(crate) use tee::{Tee, TeedBody};
pub(crate) use tries::{Attempt, Attempted, Call as TriesCall, delivered_here, endpoints};

/// Why a request is not served.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is refused, and its caller is told.
    Refusal(Refusal),
    /// It ends, and most often nobody is there to be told.
    Ending(Ending),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// Serves one request of an application of this machine.
pub(crate) async fn outbound(entry: &Outbound, side: &mut Side, watch: &mut Watch, head: &mut RequestHead) {
    let placed = match Record::start(entry.worker(), Direction::Outbound, entry.worker().noted()) {
        None => Box::pin(waited(entry, side, watch, head)).await,
        placed => placed,
    };
    let Some(record) = placed else { return };
    let world = entry.world.load();
    let mut exchange = Exchange::new(side, watch, record, Sender::Application);
    if let Err(failure) = call(entry, &world, &mut exchange, head).await {
        Box::pin(failed(&mut exchange, failure, &world, entry.caller(&world), head)).await;
    }
}

/// Serves one request that came in over mutual TLS.
pub(crate) async fn inbound(caller: &Caller, side: &mut Side, watch: &mut Watch, head: &mut RequestHead) {
    let placed = match Record::start(caller.worker(), Direction::Inbound, caller.worker().noted()) {
        None => Box::pin(waited(caller, side, watch, head)).await,
        placed => placed,
    };
    let Some(record) = placed else { return };
    let world = caller.world.load();
    let mut exchange = Exchange::new(side, watch, record, Sender::Node);
    if let Err(failure) = deliver(caller, &world, &mut exchange, head).await {
        Box::pin(failed(&mut exchange, failure, &world, Some(&caller.identity), head)).await;
    }
}

/// Takes a request in that has to wait for its place, or turns it away.
async fn waited<S: Serve>(entry: &S, side: &mut Side, watch: &mut Watch, head: &RequestHead) -> Option<Record> {
    match Record::enter(entry.worker(), S::DIRECTION, watch, Some(&mut *side)).await {
        Ok(record) => Some(record),
        Err(refusal) => {
            turn_away(entry, (side, watch), (head, &refusal)).await;
            None
        }
    }
}

/// Tells a caller why its request is not served, where it can be told.
async fn failed(
    exchange: &mut Exchange<'_>,
    failure: Failure,
    world: &World,
    caller: Option<&SpiffeId>,
    head: &RequestHead,
) {
    exchange.record.received = exchange.upload.bytes;
    let refusal = match failure {
        Failure::Refusal(refusal) => refusal,
        Failure::Ending(Ending::Malformed(why)) => Refusal::new(Code::RequestMalformed, why),
        Failure::Ending(Ending::Stalled) => {
            let span = exchange.record.worker().settings().upload_timeout;
            Refusal::new(Code::CallerTooSlow, format!("nothing of the request's body came for {span:?}"))
        }
        Failure::Ending(Ending::Gone) => return exchange.side.cut(reset::CANCEL),
        Failure::Ending(Ending::Cut(cut)) => {
            closed(exchange, cut);
            return exchange.side.cut(reset::CANCEL);
        }
    };
    message::refuse(exchange, &refusal, world, caller, head).await;
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
        let state = worker.states.of(&table.service, &world.facts.node, worker.noted_ns());
        let meter = worker.states.meter(&state, Direction::Outbound, &credential.identity, &table.service);
        Self { credential, table, identity: SpiffeId::service(&world.facts.mesh, &table.service), state, meter }
    }
}

/// Identifies the caller and matches the service.
pub(crate) fn identify<'w>(
    worker: &Worker,
    world: &'w World,
    record: &mut Record,
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
        record.counted_by(worker.states.meter_nowhere(Direction::Outbound, &credential.identity));
        return Err(Refusal::new(Code::ServiceUnknown, format!("no node of mesh {} offers {key:?}", world.facts.mesh)));
    };
    let matched = Matched::of(world, worker, credential, table);
    record.counted_by(Arc::clone(&matched.meter));
    Ok(matched)
}

/// The identity that a call carries: the one asked for, else the node's usual one.
pub(crate) fn credential_of<'w>(world: &'w World, asked: Option<&ServiceName>) -> Option<&'w Arc<Credential>> {
    match asked {
        Some(service) => world.credentials.identities.get(&SpiffeId::service(&world.facts.mesh, service)),
        None => world.credentials.usual.as_ref(),
    }
}

/// As whom a call is made.
pub(crate) fn caller_of<'w>(world: &'w World, asked: Option<&ServiceName>) -> Option<&'w SpiffeId> {
    credential_of(world, asked).map(|credential| &credential.identity)
}

/// A request into the mesh.
async fn call(
    entry: &Outbound,
    world: &Arc<World>,
    exchange: &mut Exchange<'_>,
    head: &mut RequestHead,
) -> Result<(), Failure> {
    let upgrade = settled(exchange, head)?;
    if let Some(address) = entry.passed_on_for {
        local::passed_on(head, address);
    }
    let named = match &entry.service {
        Some(service) => Ok(service.as_str()),
        None => authority::service_of(&head.authority),
    };
    if head.method == Method::CONNECT && head.protocol.is_none() {
        if let Some(service) = &entry.service {
            return Err(not_http_by_connect(service).into());
        }
        let service = named.map_err(|code| Refusal::new(code, "CONNECT names no service"))?;
        return Box::pin(connect(entry, world, exchange, service)).await;
    }
    let service = named.map_err(|code| Refusal::new(code, "the Host header or the URI must name a service"))?;
    let mut matched = identify(&entry.worker, world, &mut exchange.record, (entry.identity.as_ref(), service))?;
    goes_round_once(&matched, head)?;
    let departure = match routed(world, exchange, &matched.table.service, head).await? {
        Outcome::Unrouted => None,
        Outcome::Answered(own) => {
            Box::pin(message::answer_own(exchange, own, head)).await;
            return Ok(());
        }
        Outcome::Routed(departure) => Some(departure),
    };
    let dialled = &matched.table.service;
    let elsewhere = departure.and_then(|departure| Some((departure.rule, departure.target?.service.as_ref()?)));
    if let Some((rule, service)) = elsewhere.filter(|(_, service)| *service != dialled) {
        matched = route::matched_for(world, &entry.worker, &matched, service, rule)?;
        exchange.record.counted_by(Arc::clone(&matched.meter));
    }
    let wire = connect::Wire::of(matched.table.protocol).ok_or_else(|| not_http(&matched.table.service))?;
    // HTTP/2 has no 101 (RFC 9113, section 8.6): the request goes on without its wish.
    let upgrade = carried_by(wire, upgrade, head)?;
    let mut carriage = Carriage::new(world, (&entry.worker, exchange.patience), &matched, Some(&head.fields));
    if let Some(departure) = departure {
        carriage = carriage.routed(departure.rule, departure.target);
    }
    carriage.enter(&mut exchange.record, &matched.state)?;
    if world.policy.reads_requests(&matched.table.service) {
        name_host(&mut head.fields, &head.authority);
    }
    if let Some(departure) = departure.filter(|_| upgrade == Upgrade::None) {
        mirror::send(world, exchange, &matched, departure, head);
    }
    let call = Call { world, matched: &matched, carriage: &carriage };
    let mut attempt = RequestTries::new(call, head, upgrade);
    let lease = tries::endpoints(exchange, call, &mut attempt).await?;
    let mut response = std::mem::take(&mut attempt.response);
    let other = if lease.is_application() { judged::Other::Same } else { judged::Other::Answered };
    if !lease.is_application() {
        exchange.record.judged.allowances.forget();
    }
    let permit = attempt.permit(&lease);
    let labels = Some(&matched.credential.labels).filter(|labels| upgrade == Upgrade::Asked && !labels.is_empty());
    let footing = Footing { permit, peer: lease.chain.clone(), labels };
    travel_back(exchange, &mut response, message::sender_of(lease.is_application()), other);
    if let Some(departure) = departure {
        departure.rule.response_headers.apply(&mut response.fields);
    }
    Ok(serve(exchange, Served::Answer(lease, response, footing), head).await?)
}

/// The phase route; nothing where no document routes the service, which is most often.
async fn routed<'w>(
    world: &'w World,
    exchange: &mut Exchange<'_>,
    service: &'w ServiceName,
    head: &mut RequestHead,
) -> Result<Outcome<'w>, Failure> {
    exchange.record.judged.decided_by(world.policy.revision());
    exchange.record.judged.traced_if_asked(&mut head.fields);
    if world.policy.routes_service(service) {
        return Box::pin(route::route(world, exchange, service, head)).await;
    }
    Ok(Outcome::Unrouted)
}

/// `CONNECT service:port`: a tunnel to a TCP service.
async fn connect(entry: &Outbound, world: &World, exchange: &mut Exchange<'_>, service: &str) -> Result<(), Failure> {
    let matched = identify(&entry.worker, world, &mut exchange.record, (entry.identity.as_ref(), service))?;
    if matched.table.protocol != Protocol::Tcp {
        let why = format!("{service} is an HTTP service; CONNECT is for TCP");
        return Err(Refusal::new(Code::ProtocolMismatch, why).into());
    }
    let (lease, footing) = tcp::open(world, exchange, &matched, exchange.side.ends()).await?;
    Ok(serve(exchange, Served::Tunnel(lease, footing), &RequestHead::default()).await?)
}

/// A request from the mesh to the local replica.
async fn deliver(
    caller: &Caller,
    world: &World,
    exchange: &mut Exchange<'_>,
    head: &mut RequestHead,
) -> Result<(), Failure> {
    let upgrade = settled(exchange, head)?;
    let local = local_of(caller, world, &mut exchange.record)?;
    let state = caller.worker.states.of(&local.service, &world.facts.node, caller.worker.noted_ns());
    let meter = caller.worker.states.meter(&state, Direction::Inbound, &caller.identity, &local.service);
    exchange.record.counted_by(Arc::clone(&meter));
    let is_bare = head.form == Form::Authority || (head.method == Method::CONNECT && upgrade == Upgrade::None);
    if is_bare {
        return Err(Refusal::new(Code::ProtocolMismatch, "CONNECT reaches no application over HTTP").into());
    }
    let (named, patience) = (head.fields.first(Known::WeftReplica), head.fields.first(Known::WeftPatience));
    let named = named.map(<[u8]>::to_vec);
    let patience = patience.and_then(|ms| replica::patience_of(ms, exchange, world, &local.service));
    exchange.patience = patience.or(exchange.patience);
    exchange.record.judged.traced_if_asked(&mut head.fields);
    if world.policy.reads_requests(&local.service) {
        name_host(&mut head.fields, &head.authority);
    }
    let arrival = Arrival::new(world, caller.proven(), &local.service);
    let path = arrival.request(&mut exchange.record, head)?;
    let to = replica::To { local, named, meter: &meter, path };
    let (lease, mut response) = replica::answer(exchange, to, caller, head, upgrade).await?;
    let permit = Permit { caller: caller.proven(), called: &local.service, subject: Subject::Request(head) };
    let footing = Footing { permit: Some(permit), ..Footing::default() };
    travel_back(exchange, &mut response, Sender::Application, judged::Other::None);
    Ok(serve(exchange, Served::Answer(lease, response, footing), head).await?)
}

fn not_http_by_connect(service: &ServiceName) -> Refusal {
    Refusal::new(
        Code::ProtocolMismatch,
        format!("this port leads to {service}, which is an HTTP service; CONNECT is for TCP"),
    )
}

fn not_http(service: &ServiceName) -> Refusal {
    Refusal::new(Code::ProtocolMismatch, format!("{service} is a TCP service"))
}

/// The service that the caller dialled, if this node offers it.
pub(crate) fn local_of<'w>(
    caller: &Caller,
    world: &'w World,
    record: &mut Record,
) -> Result<&'w Arc<LocalService>, Refusal> {
    let dialled = caller.service.as_ref();
    dialled.and_then(|service| world.local.get(service)).ok_or_else(|| {
        record.counted_by(caller.worker.states.meter_nowhere(Direction::Inbound, &caller.identity));
        let name = dialled.map_or("nothing", ServiceName::as_str);
        Refusal::new(Code::ServiceUnknown, format!("node {} does not offer {name:?}", world.facts.node))
    })
}
