//! Streams of any TCP protocol through the mesh: `weft-tcp/1`. A header names service, trace and origin, the other node replies
//! once its application accepted, then bytes go both ways. Because of the reply, a stream that no application took is tried
//! elsewhere before the caller has sent a byte. To an application of this machine the bytes go directly.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use weft_identity::Code;
use weft_identity::Protocol;
use weft_identity::wire::{self, Kind};
use weft_policy::endpoint::Endpoint;
use weft_policy::head::Sender;
use weft_policy::outcome::{Outcome, Try};
use weft_policy::retry::Repeat;
use weft_world::World;

use crate::dial::{self, PeerDial};
use crate::http1::Connection;
use crate::inbound::Caller;
use crate::metrics::{Direction, Slot};
use crate::pool::Host;
use crate::problem::Refusal;
use crate::proxy::{
    self, Arrival, Attempt, Attempted, Carriage, Ending, Exchange, Failed, Failure, Held, Lease, Matched, Record,
    ReplicaFlight, Source, Tally, TriesCall, Unanswered, delivered_here,
};
use crate::proxy_protocol::Ends;
use crate::side::Side;
use crate::trace::Trace;
use crate::transport::Transport;
use crate::vigil::{Cut, Footing, Permit, Subject, Watch};
use crate::worker::Worker;

/// Longest header or reply of a stream, envelope included: four names of one label each.
const HEADER_LEN_MAX: usize = 1024;

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

/// Opens a stream to a service: on another endpoint after a failure, as long as retries last. Nothing of the caller is sent yet,
/// so that every retry is safe. With it comes what it rests on: as what it was let pass, where its service is on this machine, and the labels
/// with which it was called. `ends` are of the caller's side, as far as it has its own.
pub(crate) async fn open<'w>(
    world: &'w World,
    exchange: &mut Exchange<'_>,
    matched: &'w Matched<'w>,
    ends: Option<Ends>,
) -> Result<(Lease, Footing<'w>), Failure> {
    let worker = Arc::clone(exchange.record.worker());
    let carriage = Carriage::new(world, (&worker, None), matched, None);
    carriage.enter(&mut exchange.record, &matched.state)?;
    if let Some(max) = carriage.traffic.connections_max {
        // Its place among the connections of its service, where these are limited.
        let slot = Slot::take(&matched.state.connections, max);
        exchange.record.occupies(slot.ok_or_else(|| carriage.at_limit(max, "connections"))?);
    }
    let call = TriesCall { world, matched, carriage: &carriage };
    let mut attempt = StreamTries { call, ends, admitted: None, over_at: Instant::now() + carriage.answer };
    // Large, and over before the first byte of a stream that may rest for hours.
    let lease = Box::pin(proxy::endpoints(exchange, call, &mut attempt)).await?;
    let caller = matched.credential.caller();
    let called = &matched.table.service;
    let protocol = attempt.admitted.filter(|_| lease.is_application());
    let permit = protocol.map(|protocol| Permit { caller, called, subject: Subject::Stream(protocol) });
    let labels = Some(&matched.credential.labels).filter(|labels| !labels.is_empty());
    let footing = Footing { permit, peer: lease.chain.clone(), labels };
    Ok((lease, footing))
}

/// A stream and all its tries.
struct StreamTries<'a> {
    call: TriesCall<'a>,
    /// Of the caller's side.
    ends: Option<Ends>,
    /// Let pass here, for a replica of this machine that speaks this protocol.
    admitted: Option<Protocol>,
    over_at: Instant,
}

impl Attempt for StreamTries<'_> {
    async fn make(
        &mut self,
        exchange: &mut Exchange<'_>,
        endpoint: &Arc<Endpoint>,
        _source: Source,
        held: &mut Try<Tally>,
    ) -> Result<(Lease, Outcome), Attempted> {
        let TriesCall { world, matched, carriage } = self.call;
        let here = delivered_here(world, &matched.table.service, endpoint);
        if let (Some(local), None) = (here, self.admitted) {
            let arrival = Arrival::new(world, matched.credential.caller(), &matched.table.service);
            arrival.stream(&mut exchange.record, local.protocol)?;
            self.admitted = Some(local.protocol);
        }
        matched.meter.connects.increment(1);
        held.asked();
        let within = carriage.connect.min(self.over_at.saturating_duration_since(Instant::now()));
        let worker = Arc::clone(exchange.record.worker());
        let opening = Opening { world, matched, within, ends: self.ends, trace: exchange.record.trace_text() };
        let opened = async {
            match here.and_then(|local| local.chosen(endpoint)) {
                Some(replica) => opening.at_application(&worker, replica).await,
                None => opening.at_peer(&worker, endpoint).await,
            }
        };
        let left = self.over_at.saturating_duration_since(Instant::now());
        match exchange.watch.within(left, opened).await {
            Ok(opened) => opened.map(|lease| (lease, Outcome::Opened)),
            Err(Cut::Due) => Err(unopened(Code::ConnectTimeout, "the time for the stream was over".to_owned(), false)),
            Err(cut) => Err(Unanswered::Ending(Ending::Cut(cut)).into()),
        }
    }

    fn repeat(&self, _exchange: &Exchange<'_>) -> Repeat {
        Repeat::STREAM
    }

    fn over_at(&self) -> Option<Instant> {
        Some(self.over_at)
    }
}

/// One opening of a stream.
struct Opening<'a> {
    world: &'a World,
    matched: &'a Matched<'a>,
    within: Duration,
    ends: Option<Ends>,
    trace: String,
}

impl Opening<'_> {
    async fn at_application(
        &self,
        worker: &Worker,
        replica: &Arc<weft_world::LocalReplica>,
    ) -> Result<Lease, Attempted> {
        let caller = &self.matched.credential.identity;
        let dialled = dial::application(worker, replica, (caller, self.ends), self.within).await;
        let stream = dialled.map_err(|error| unopened(error.code, error.why, false))?;
        let side = Side::Http1(Connection::tunnel(Transport::Plain(stream)));
        Ok(Lease::new(side, Host::App(Arc::clone(replica)), None, None, false))
    }

    async fn at_peer(&self, worker: &Worker, endpoint: &Arc<Endpoint>) -> Result<Lease, Attempted> {
        let Matched { credential, identity, table, .. } = self.matched;
        let header = StreamHeader {
            service: table.service.as_str().to_owned(),
            replica: endpoint.selector.as_ref().map(|_| endpoint.replica.as_str().to_owned()),
            trace: self.trace.clone(),
            origin: self.world.facts.node.as_str().to_owned(),
        };
        let dial = PeerDial { addr: endpoint.addr, identity, config: &credential.dial_tcp, within: self.within };
        let dialled = dial::peer(&worker.env.network, dial).await;
        let mut stream = dialled.map_err(|error| unopened(error.code, error.why, true))?;
        let asked = async {
            wire::write(&mut stream, Kind::StreamHeader, &header).await?;
            wire::read::<StreamReply, _>(&mut stream, Kind::StreamReply, HEADER_LEN_MAX).await
        };
        // The other node has its own connect to make, in the same time.
        let reply = match timeout(self.within * 2, asked).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                let code = dial::code_of(&error).unwrap_or(Code::UpstreamReset);
                return Err(unopened(code, format!("open a stream: {error}"), false));
            }
            Err(_) => {
                return Err(unopened(Code::ConnectTimeout, "no answer to the stream's header".to_owned(), false));
            }
        };
        if let Some(text) = reply.refused {
            let (code, id) = text.split_once(' ').unwrap_or((&text, ""));
            let code = Code::find(code).unwrap_or(Code::UpstreamReset);
            let kept = if id.is_empty() { String::new() } else { format!(", and keeps the reason under {id}") };
            return Err(Attempted::Told(code, format!("it answered {code} for its application{kept}")));
        }
        let transport = Transport::Dialled(Box::new(stream));
        let chain = transport.peer_chain();
        let host = Host::Peer(Arc::clone(&endpoint.load), Arc::clone(credential));
        Ok(Lease::new(Side::Http1(Connection::tunnel(transport)), host, chain, None, false))
    }
}

fn unopened(code: Code, why: String, is_of_node: bool) -> Attempted {
    let stage = weft_policy::Stage::Connect;
    Unanswered::Failed(Failed { is_of_node, ..Failed::new(code, why, stage) }).into()
}

/// Carries one stream from the mesh to the local replica.
pub(crate) async fn inbound(caller: &Caller, mut transport: Transport, mut watch: Watch) {
    let header_timeout = caller.worker.settings().head_timeout;
    let header = wire::read::<StreamHeader, _>(&mut transport, Kind::StreamHeader, HEADER_LEN_MAX);
    let header = match watch.within(header_timeout, header).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            tracing::debug!(%error, caller = %caller.identity, "stream without a header");
            return;
        }
        Err(_) => return,
    };
    let mut record = match Record::enter(&caller.worker, Direction::Inbound, &mut watch, None).await {
        Ok(record) => record,
        Err(refusal) => {
            let mut record = Record::of_none(&caller.worker, Direction::Inbound);
            record.counted_by(caller.worker.states.meter_nowhere(Direction::Inbound, &caller.identity));
            let id = record.failed_by(&refusal, &caller.world.load(), Some(&caller.identity), None);
            answer(&mut transport, Some(format!("{} {id}", refusal.code))).await;
            return;
        }
    };
    record.streamed(Trace::stated(header.trace.as_bytes()));
    let heard = watch.heard();
    let world = caller.world.load();
    let ends = transport.ends();
    match deliver(caller, &world, &mut record, &header, ends).await {
        Ok((lease, permit)) => {
            record.status = 200;
            if answer(&mut transport, None).await {
                let mut side = Side::Http1(Connection::tunnel(transport));
                let mut exchange = Exchange::new(&mut side, &mut watch, record, Sender::Node);
                exchange.heard = heard;
                let footing = Footing { permit: Some(permit), ..Footing::default() };
                let idle = caller.worker.settings().stream_timeout;
                proxy::tunnel(&mut exchange, lease, &footing, idle).await;
            }
        }
        Err(refusal) => {
            let id = record.failed_by(&refusal, &world, Some(&caller.identity), None);
            tracing::debug!(code = %refusal.code, id, why = refusal.why, origin = header.origin, "stream refused");
            answer(&mut transport, Some(format!("{} {id}", refusal.code))).await;
        }
    }
}

/// Connects to the replica that the header names; where it names none, to each of them in turn before it gives up.
async fn deliver<'w>(
    caller: &'w Caller,
    world: &'w World,
    record: &mut Record,
    header: &StreamHeader,
    ends: Option<Ends>,
) -> Result<(Lease, Permit<'w>), Refusal> {
    let worker = &caller.worker;
    let local = proxy::local_of(caller, world, record)?;
    let state = worker.states.of(&local.service, &world.facts.node, worker.noted_ns());
    let meter = worker.states.meter(&state, Direction::Inbound, &caller.identity, &local.service);
    record.counted_by(Arc::clone(&meter));
    if header.service != local.service.as_str() {
        return Err(Refusal::new(Code::RequestMalformed, "the header names another service than was dialled"));
    }
    Arrival::new(world, caller.proven(), &local.service).stream(record, local.protocol)?;
    let mut last = Refusal::new(
        Code::NoHealthyReplica,
        format!("no application is exposed as {}, or not as asked", local.service),
    );
    let named = header.replica.as_ref().map(String::as_bytes);
    let tries = if named.is_some() { 1 } else { local.replicas.len() };
    for _ in 0..tries {
        let Some(replica) = local.for_call(named) else { break };
        let flight = ReplicaFlight::enter(replica);
        meter.connects.increment(1);
        let within = worker.settings().connect_timeout;
        match dial::application(worker, replica, (&caller.identity, ends), within).await {
            Ok(stream) => {
                let side = Side::Http1(Connection::tunnel(Transport::Plain(stream)));
                let mut lease = Lease::new(side, Host::App(Arc::clone(replica)), None, None, false);
                lease.held = Some(Held::Replica(flight));
                let subject = Subject::Stream(local.protocol);
                return Ok((lease, Permit { caller: caller.proven(), called: &local.service, subject }));
            }
            Err(error) => last = Refusal::new(error.code, error.why),
        }
    }
    Err(last)
}

/// Sends the reply; false when the caller is gone.
async fn answer(stream: &mut Transport, refused: Option<String>) -> bool {
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

/// Reads both messages of a stream, for tests and fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_header(bytes: &[u8]) {
    weft_identity::testing::fuzz_message::<StreamHeader>(Kind::StreamHeader, bytes);
    weft_identity::testing::fuzz_message::<StreamReply>(Kind::StreamReply, bytes);
}
