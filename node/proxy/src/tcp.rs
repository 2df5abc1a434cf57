//! Streams of any TCP protocol through the mesh: `weft-tcp/1`. A header names service, trace and origin, the other node replies
//! once its application accepted, then bytes go both ways. Because of the reply, a stream that no application took is tried
//! elsewhere before the caller has sent a byte. To an application of this machine the bytes go directly.

mod counted;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::time::{Instant, timeout};
use weft_env::Stream;
use weft_identity::wire::{self, Kind};
use weft_identity::{Code, Protocol, ServiceName};
use weft_policy::endpoint::Endpoint;
use weft_world::{World, WorldCell};

use crate::dial::{self, DialError, PeerDial};
use crate::inbound::Caller;
use crate::metrics::{Direction, Slot};
use crate::problem::{self, Refusal};
use crate::proxy::{self, Arrival, Carriage, Exchange, Matched};
use crate::worker::{Gate, Phase, Worker};
use crate::{trace, vigil};

use counted::Counted;
pub(crate) use stream::ServiceStream;

/// Longest header or reply of a stream, envelope included: four names of one label each.
const HEADER_LEN_MAX: usize = 1024;
/// What one direction of a stream buffers; two of them fill one TLS record.
const COPY_BUFFER_BYTES: usize = 16 * 1024;

/// The first message of a stream.
#[derive(Debug, Serialize, Deserialize)]
struct StreamHeader {
    /// The service that is called; must be the one that was dialled.
    service: String,
    /// The replica that was chosen, where the called node offers several.
    replica: Option<String>,
    /// W3C `traceparent`.
    trace: String,
    /// The node that the stream comes from, for its log.
    origin: String,
}

/// The reply to it: empty when bytes may flow, else the code of what is in the way, a space, and the id of the refusal.
#[derive(Debug, Serialize, Deserialize)]
struct StreamReply {
    refused: Option<String>,
}

/// A listener on a local port that leads to one TCP service.
pub(crate) struct Bound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a stream.
    pub(crate) world: Arc<WorldCell>,
    /// Where it leads.
    pub(crate) service: ServiceName,
    /// As whom.
    pub(crate) identity: Option<ServiceName>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

/// Carries one stream of an application of this machine; closes it when the service cannot be reached.
pub(crate) async fn outbound(bound: &Bound, stream: Stream) {
    let world = bound.world.load();
    let Some(mut exchange) = Exchange::start(&bound.worker, Direction::Outbound) else {
        return;
    };
    let context = trace::created(bound.worker.random(), bound.worker.random(), bound.worker.random());
    exchange.streamed(Some(context.clone()));
    let asked = (bound.identity.as_ref(), bound.service.as_str());
    let opened = match proxy::identify(&bound.worker, &world, &mut exchange, asked) {
        Ok(matched) if matched.table.protocol == Protocol::Http2 => {
            Err(Refusal::new(Code::ProtocolMismatch, "a bound port does not speak HTTP/2 for its callers"))
        }
        Ok(matched) => open(&bound.worker, &world, &mut exchange, &matched, context.to_str().unwrap_or_default()).await,
        Err(refusal) => Err(refusal),
    };
    match opened {
        Ok(peer) => {
            exchange.status(200);
            splice(stream, peer, exchange, &bound.gate).await;
        }
        Err(refusal) => {
            let credential = proxy::credential_of(&world, bound.identity.as_ref());
            let id = exchange.refused(&refusal, &world, credential.map(|credential| &credential.identity));
            tracing::debug!(service = %bound.service, code = %refusal.code, id, why = refusal.why, "stream refused");
        }
    }
}

/// Opens a stream to a service: on another endpoint after a failure, as long as retries last. Nothing of the caller is sent yet,
/// so that every retry is safe.
pub(crate) async fn open(
    worker: &Arc<Worker>,
    world: &World,
    exchange: &mut Exchange,
    matched: &Matched<'_>,
    trace: &str,
) -> Result<ServiceStream, Refusal> {
    let carriage = Carriage::new(world, exchange, matched, None);
    carriage.enter(exchange, &matched.state)?;
    occupy(exchange, matched, &carriage)?;
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    matched.state.budget.earn(carriage.rates);
    let mut last = carriage.nowhere_to_go(matched.table);
    while tried.len() <= carriage.attempts {
        let Some(endpoint) = carriage.pick(worker, world, matched.table, &tried) else {
            return Err(last);
        };
        if !tried.is_empty() {
            if !matched.state.budget.spend(worker.now_ns(), carriage.rates) {
                return Err(last);
            }
            matched.meter.retries.increment(1);
        }
        exchange.at_endpoint(endpoint);
        if let Some(local) = proxy::delivered_here(world, &matched.table.service, endpoint) {
            let arrival = Arrival::new(world, matched.credential.caller(), &matched.table.service);
            arrival.stream(exchange, local.protocol)?;
        }
        matched.meter.connects.increment(1);
        let header = StreamHeader {
            service: matched.table.service.as_str().to_owned(),
            replica: endpoint.selector.as_ref().map(|_| endpoint.replica.as_str().to_owned()),
            trace: trace.to_owned(),
            origin: world.facts.node.as_str().to_owned(),
        };
        let began = Instant::now();
        match open_at((worker, world), endpoint, (matched, &carriage), &header).await {
            Ok(stream) => {
                endpoint.load.observe(began.elapsed(), worker.now_ns());
                endpoint.load.restore();
                exchange.carried_with(stream.peer());
                exchange.opened_with(matched.credential);
                return Ok(stream);
            }
            Err(error) if problem::is_final(error.code) => {
                return Err(Refusal::new(error.code, format!("node {}: {}", endpoint.node, error.why)));
            }
            Err(error) => {
                proxy::strike(worker, (matched, &carriage), endpoint, (error.code, &error.why));
                last = Refusal::new(error.code, format!("node {}: {}", endpoint.node, error.why));
                tried.push(Arc::clone(endpoint));
            }
        }
    }
    Err(last)
}

/// Takes the stream's place among the connections of its service, where these are limited.
fn occupy(exchange: &mut Exchange, matched: &Matched<'_>, carriage: &Carriage<'_>) -> Result<(), Refusal> {
    let Some(max) = carriage.traffic.connections_max else { return Ok(()) };
    let slot = Slot::take(&matched.state.connections, max).ok_or_else(|| carriage.at_limit(max, "connections"))?;
    exchange.occupies(slot);
    Ok(())
}

async fn open_at(
    place: (&Arc<Worker>, &World),
    endpoint: &Endpoint,
    call: (&Matched<'_>, &Carriage<'_>),
    header: &StreamHeader,
) -> Result<ServiceStream, DialError> {
    let ((worker, world), (matched, carriage)) = (place, call);
    let within = carriage.connect.min(carriage.deadline.saturating_duration_since(Instant::now()));
    let here = proxy::delivered_here(world, &matched.table.service, endpoint);
    if let Some(replica) = here.and_then(|local| local.chosen(endpoint)) {
        return dial::app(&worker.env.network, replica.app, within).await.map(ServiceStream::App);
    }
    let dial =
        PeerDial { addr: endpoint.addr, identity: &matched.identity, config: &matched.credential.dial_tcp, within };
    let mut stream = dial::peer(&worker.env.network, dial).await?;
    let broken = |error: wire::WireError| {
        let code = dial::code_of(&error).unwrap_or(Code::UpstreamReset);
        DialError { code, why: format!("open a stream: {error}") }
    };
    let asked = async {
        wire::write(&mut stream, Kind::StreamHeader, header).await?;
        wire::read::<StreamReply, _>(&mut stream, Kind::StreamReply, HEADER_LEN_MAX).await
    };
    // The other node has its own connect to make, in the same time.
    let reply = match timeout(within * 2, asked).await {
        Ok(reply) => reply.map_err(broken)?,
        Err(_) => {
            return Err(DialError { code: Code::ConnectTimeout, why: "no answer to the stream's header".to_owned() });
        }
    };
    match reply.refused {
        None => Ok(ServiceStream::Peer(Box::new(stream))),
        Some(text) => {
            let (code, id) = text.split_once(' ').unwrap_or((&text, ""));
            let code = Code::find(code).unwrap_or(Code::UpstreamReset);
            let why = match id {
                "" => format!("it answered {code} for its application"),
                id => format!("it answered {code}, and keeps the reason under {id}"),
            };
            Err(DialError { code, why })
        }
    }
}

/// Carries one stream from the mesh to the local replica.
pub(crate) async fn inbound(caller: &Caller, mut stream: tokio_rustls::server::TlsStream<Stream>) {
    let header_timeout = caller.worker.settings().head_timeout;
    let header = wire::read::<StreamHeader, _>(&mut stream, Kind::StreamHeader, HEADER_LEN_MAX);
    let header = match timeout(header_timeout, header).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            tracing::debug!(%error, caller = %caller.identity, "stream without a header");
            return;
        }
        Err(_) => return,
    };
    let Some(mut exchange) = Exchange::start(&caller.worker, Direction::Inbound) else {
        answer(&mut stream, Some(Code::Overloaded.to_string())).await;
        return;
    };
    exchange.streamed(http::HeaderValue::from_str(&header.trace).ok());
    let world = caller.world.load();
    match deliver(caller, &world, &mut exchange, &header).await {
        Ok(app) => {
            exchange.status(200);
            if answer(&mut stream, None).await {
                splice(stream, app, exchange, &caller.gate).await;
            }
        }
        Err(refusal) => {
            let id = exchange.refused(&refusal, &world, Some(&caller.identity));
            tracing::debug!(code = %refusal.code, id, why = refusal.why, origin = header.origin, "stream refused");
            answer(&mut stream, Some(format!("{} {id}", refusal.code))).await;
        }
    }
}

/// Connects to the replica that the header names; where it names none, to each of them in turn before it gives up.
async fn deliver(
    caller: &Caller,
    world: &World,
    exchange: &mut Exchange,
    header: &StreamHeader,
) -> Result<Stream, Refusal> {
    let worker = &caller.worker;
    let local = proxy::local_of(caller, world, exchange)?;
    let state = worker.states.of(&local.service, worker.now_ns());
    let meter = worker.states.meter(&state, Direction::Inbound, &caller.identity, &local.service);
    exchange.counted_by(Arc::clone(&meter));
    if header.service != local.service.as_str() {
        return Err(Refusal::new(Code::RequestMalformed, "the header names another service than was dialled"));
    }
    Arrival::new(world, caller.proven(), &local.service).stream(exchange, local.protocol)?;
    let mut last = Refusal::new(
        Code::NoHealthyReplica,
        format!("no application is exposed as {}, or not as asked", local.service),
    );
    let named = header.replica.as_ref().map(String::as_bytes);
    let tries = if named.is_some() { 1 } else { local.replicas.len() };
    for _ in 0..tries {
        let Some(replica) = local.for_call(named) else { break };
        exchange.at_replica(replica);
        meter.connects.increment(1);
        match dial::app(&worker.env.network, replica.app, worker.settings().connect_timeout).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Refusal::new(error.code, error.why),
        }
    }
    Err(last)
}

/// Sends the reply; false when the caller is gone.
async fn answer(stream: &mut tokio_rustls::server::TlsStream<Stream>, refused: Option<String>) -> bool {
    let is_refused = refused.is_some();
    let reply = StreamReply { refused };
    let sent = wire::write(stream, Kind::StreamReply, &reply).await.is_ok();
    if is_refused {
        // Said goodbye or not, the stream ends here.
        let _closed = timeout(GOODBYE_MAX, stream.shutdown()).await;
    }
    sent
}

/// How long a refused caller may take to see the end of its stream.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Copies both ways until both sides ended, one broke, or the listener was closed. A half-closed side passes on as such.
pub(crate) async fn splice<A, B>(caller: A, service: B, mut exchange: Box<Exchange>, gate: &Arc<Gate>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let _open = gate.hold();
    let mut phase = gate.watch();
    let footing = exchange.watched();
    let cell = exchange.worker().world();
    let ended = async {
        match &cell {
            Some(cell) => vigil::ended(cell, &footing).await,
            None => std::future::pending().await,
        }
    };
    let (received, sent) = exchange.flows();
    let (mut caller, mut service) = (Counted::new(caller, received), Counted::new(service, sent));
    let copied =
        async { copy_bidirectional_with_sizes(&mut caller, &mut service, COPY_BUFFER_BYTES, COPY_BUFFER_BYTES).await };
    tokio::select! {
        copied = copied => match copied {
            Ok(_) => exchange.complete(),
            Err(error) => {
                tracing::debug!(%error, "stream broke");
                exchange.broken();
            }
        },
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => exchange.broken(),
        refusal = ended => exchange.closed_by(&refusal, cell.as_deref()),
    }
}
