//! The connection of one try: a pooled one, or a new one within the limits of its endpoint, that is given the head of the request.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::Poll;
use std::time::Duration;

use metrics::Counter;
use tokio::time::{Instant, timeout, timeout_at};
use weft_identity::Code;
use weft_identity::Protocol;
use weft_identity::SpiffeId;
use weft_policy::Stage;
use weft_policy::endpoint::{AppAddr, PeerAddr};
use weft_policy::head::Upgrade;
use weft_world::WorldCell;

use super::attempt::{Ending, Failed, Times, Unanswered, failed};
use super::exchange::Exchange;
use super::lease::Lease;
use crate::dial::{self, DialError, PeerDial};
use crate::head::{Overlay, RequestHead};
use crate::http1::{Connection, Hangup, HeadLimits};
use crate::http2::{Client, ClientSettings, Driver, Ended, Pings, Trust};
use crate::metrics::Slot;
use crate::pool::{Host, Shared, Upstream};
use crate::side::{Broken, Side};
use crate::transport::Transport;
use crate::vigil::{Chain, Cut, Footing, Watch};
use crate::worker::Worker;

/// How long a connection that makes room may take to end: it has nothing left to send.
const CLOSE_MAX: Duration = Duration::from_millis(100);
/// How long a connection may take to come back from an exchange that is over.
const GIVE_BACK_MAX: Duration = Duration::from_millis(5);
/// Space between two looks whether it has.
const CLOSE_POLL: Duration = Duration::from_millis(1);
/// Shared connections to one endpoint from one worker, opened as those that are open fill up.
const SHARED_MAX: usize = 8;

/// Which version of HTTP goes over the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Pooled, one request at a time.
    Http1,
    /// Shared.
    Http2,
}

impl Wire {
    /// What an application of this protocol is spoken to in; none for one that speaks no HTTP.
    pub(crate) fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Http => Some(Self::Http1),
            Protocol::Http2 => Some(Self::Http2),
            Protocol::Tcp => None,
        }
    }
}

/// Whether a pooled connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A pooled one, or a new one if there is none.
    Pooled,
    /// One that was opened no earlier than this: older ones are in doubt.
    Fresh(Instant),
}

impl Source {
    fn since(self) -> Option<Instant> {
        match self {
            Self::Pooled => None,
            Self::Fresh(since) => Some(since),
        }
    }
}

/// Where a try goes.
pub(crate) struct Way<'a> {
    /// The pool's name for it.
    pub(crate) host: Host,
    /// The version.
    pub(crate) wire: Wire,
    /// The address.
    pub(crate) to: Destination<'a>,
    /// Counts the connections that are opened.
    pub(crate) connects: &'a Counter,
    /// How long opening a connection may take.
    pub(crate) connect: Duration,
    /// How many connections may be open, and how many are.
    pub(crate) limit: Option<(u32, &'a Arc<AtomicU32>)>,
}

/// The address of a try.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// Another node, which must prove to be the service.
    Peer(PeerAddr, &'a SpiffeId),
    /// An application of this machine.
    App(AppAddr),
}

impl Way<'_> {
    /// A place for one more connection, where there is a limit. At the limit an idle connection makes room: it may lead elsewhere, or
    /// belong to another worker.
    async fn slot(&self, worker: &Worker) -> Result<Option<Slot>, DialError> {
        let Some((max, open)) = self.limit else { return Ok(None) };
        if let Some(slot) = Slot::take(open, max) {
            return Ok(Some(slot));
        }
        // One that is just being given back is neither idle nor in use.
        let patience = if worker.close_idle(open) { CLOSE_MAX } else { GIVE_BACK_MAX };
        let freed = timeout(patience.min(self.connect), freed(worker, open, max));
        if let Ok(slot) = freed.await {
            return Ok(Some(slot));
        }
        Err(DialError {
            code: Code::Overloaded,
            why: format!("{max} connections are in use already, as many as the traffic document of the service allows"),
        })
    }

    /// A new connection. Where the machine has no descriptor left for it, idle ones make room, once.
    async fn transport(&self, worker: &Worker) -> Result<Transport, DialError> {
        match self.dialled(worker).await {
            Err(short) if short.code == Code::Overloaded => {
                worker.pool.clear_idle();
                self.dialled(worker).await
            }
            dialled => dialled,
        }
    }

    async fn dialled(&self, worker: &Worker) -> Result<Transport, DialError> {
        self.connects.increment(1);
        match (&self.to, &self.host) {
            (Destination::Peer(addr, identity), Host::Peer(_, credential)) => {
                let config = if self.wire == Wire::Http2 { &credential.dial_http2 } else { &credential.dial_http1 };
                let dial = PeerDial { addr: *addr, identity, config, within: self.connect };
                let stream = dial::peer(&worker.env.network, dial).await?;
                stream.get_ref().0.gives_up_early();
                Ok(Transport::Dialled(Box::new(stream)))
            }
            (Destination::App(addr), _) => Ok(Transport::Plain(dial::app(worker, *addr, self.connect).await?)),
            (Destination::Peer(..), Host::App(_)) => {
                Err(DialError { code: Code::Internal, why: "a peer's address with an application's pool".to_owned() })
            }
        }
    }

    fn limits(&self) -> HeadLimits {
        match self.to {
            Destination::Peer(..) => HeadLimits::NODE,
            Destination::App(_) => HeadLimits::APPLICATION,
        }
    }
}

/// Waits for a place that is about to be free.
async fn freed(worker: &Worker, open: &Arc<AtomicU32>, max: u32) -> Slot {
    loop {
        if let Some(slot) = Slot::take(open, max) {
            return slot;
        }
        tokio::time::sleep(CLOSE_POLL).await;
        worker.close_idle(open);
    }
}

/// Takes a connection and gives it the head of a request, with what this try changes of it. It takes no longer than the exchange has, and
/// no longer than its caller waits.
pub(crate) async fn begin(
    worker: &Arc<Worker>,
    exchange: &mut Exchange<'_>,
    way: &Way<'_>,
    source: Source,
    (sent, times): ((&RequestHead, &Overlay, Upgrade), &Times),
) -> Result<Lease, Unanswered> {
    let world = Arc::clone(exchange.watch.world());
    let beginning = begun(worker, &world, way, source, sent);
    let mut beginning = std::pin::pin!(beginning);
    let due = [times.total, times.answer_by].into_iter().flatten().min();
    let Exchange { watch, side, .. } = exchange;
    let footing = Footing::default();
    let waited = watch.until(due, &footing, |cx| {
        if let Poll::Ready(begun) = beginning.as_mut().poll(cx) {
            return Poll::Ready(Some(begun));
        }
        let is_gone = matches!(side.poll_gone(cx), Poll::Ready(Hangup::Failed));
        if is_gone { Poll::Ready(None) } else { Poll::Pending }
    });
    match waited.await {
        Ok(Some(begun)) => begun,
        Ok(None) => Err(Unanswered::Ending(Ending::Gone)),
        Err(Cut::Due) => {
            let why = "the time was over before there was a connection".to_owned();
            Err(Unanswered::Failed(Failed::new(Code::RequestTimeout, why, Stage::Connect)))
        }
        Err(cut) => Err(Unanswered::Ending(Ending::Cut(cut))),
    }
}

/// See [`begin`].
async fn begun(
    worker: &Arc<Worker>,
    world: &Arc<WorldCell>,
    way: &Way<'_>,
    source: Source,
    (head, overlay, upgrade): (&RequestHead, &Overlay, Upgrade),
) -> Result<Lease, Unanswered> {
    if way.wire == Wire::Http2 {
        return Box::pin(begin_http2(worker, world, way, source, &overlay.applied(head))).await;
    }
    let pooled = if source == Source::Pooled { worker.take_upstream(&way.host, world) } else { None };
    let reused = pooled.is_some();
    let mut upstream = match pooled {
        Some(upstream) => upstream,
        None => {
            let opened = Box::pin(open_http1(worker, way)).await;
            opened.map_err(|error| unconnected(error, way))?
        }
    };
    upstream.connection.send_request(head, overlay, upgrade);
    let Upstream { connection, chain, slot, rings } = upstream;
    Ok(Lease::new(Side::Http1(connection), way.host.clone(), chain, slot, reused).believed_at(rings))
}

async fn open_http1(worker: &Arc<Worker>, way: &Way<'_>) -> Result<Upstream, DialError> {
    let slot = way.slot(worker).await?;
    let rings = worker.bell().rings();
    let transport = way.transport(worker).await?;
    let chain = transport.peer_chain();
    Ok(Upstream { rings, connection: Connection::new(transport, way.limits()), chain, slot })
}

async fn begin_http2(
    worker: &Arc<Worker>,
    world: &Arc<WorldCell>,
    way: &Way<'_>,
    source: Source,
    head: &RequestHead,
) -> Result<Lease, Unanswered> {
    let pooled = worker.pool.shared(&way.host, Instant::now(), source.since());
    let reused = pooled.is_some();
    let mut shared = match pooled {
        Some(shared) => shared,
        None => shared_http2(worker, world, way, source).await.map_err(|error| unconnected(error, way))?,
    };
    match timeout(way.connect, shared.client.send(head)).await {
        Ok(Ok(stream)) => Ok(Lease::new(Side::Http2(Box::new(stream)), way.host.clone(), shared.chain, None, reused)),
        // Nothing was sent: the head has no form in HTTP/2, and its caller chose it.
        Ok(Err(Broken::Malformed(malformed))) => Err(Unanswered::Ending(Ending::Malformed(malformed.why))),
        Ok(Err(broken)) => Err(Unanswered::Failed(failed(&broken, Stage::Unsent, reused))),
        Err(_) => {
            let why = "as many streams are open as the other side allows".to_owned();
            Err(Unanswered::Failed(Failed { reused, ..Failed::new(Code::Overloaded, why, Stage::Unsent) }))
        }
    }
}

/// A shared connection with room for a stream. Where as many are open as may be, it waits for a stream of one to end.
async fn shared_http2(
    worker: &Arc<Worker>,
    world: &Arc<WorldCell>,
    way: &Way<'_>,
    source: Source,
) -> Result<Shared, DialError> {
    let asked = Instant::now();
    let room = worker.pool.room(&way.host, asked);
    loop {
        let mut freed = std::pin::pin!(room.notified());
        // From here on no end of a stream is missed.
        freed.as_mut().enable();
        if let Some(shared) = shared_or_opened(worker, world, way, (source, asked)).await? {
            return Ok(shared);
        }
        if timeout_at(asked + way.connect, freed).await.is_err() {
            let why = format!(
                "{SHARED_MAX} connections have as many streams open as the other side allows, and none ended within {:?}",
                way.connect
            );
            return Err(DialError { code: Code::Overloaded, why });
        }
    }
}

/// A shared connection, opened by the first of those who want it at once; none where no more may be opened.
async fn shared_or_opened(
    worker: &Arc<Worker>,
    world: &Arc<WorldCell>,
    way: &Way<'_>,
    (source, asked): (Source, Instant),
) -> Result<Option<Shared>, DialError> {
    let opening = worker.pool.opening(&way.host, asked);
    let mut turn = opening.lock().await;
    if let Some(shared) = worker.pool.shared(&way.host, Instant::now(), source.since()) {
        return Ok(Some(shared));
    }
    // Whoever waited for an opening that failed has its answer: it does not wait for another one.
    if let Some((_, error)) = turn.as_ref().filter(|(failed_at, _)| *failed_at >= asked) {
        return Err(error.clone());
    }
    if worker.pool.shared_count(&way.host) >= SHARED_MAX {
        return Ok(None);
    }
    let opened = open_http2(worker, world, way).await;
    *turn = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
    opened.map(Some)
}

async fn open_http2(worker: &Arc<Worker>, world: &Arc<WorldCell>, way: &Way<'_>) -> Result<Shared, DialError> {
    let slot = way.slot(worker).await?;
    let transport = way.transport(worker).await?;
    let chain = transport.peer_chain();
    let trust = if chain.is_some() { Trust::Proven } else { Trust::Stranger };
    let pings = chain.is_some().then(Pings::default);
    let settings = ClientSettings { trust, head_timeout: way.connect, pings };
    let opened_at = Instant::now();
    let room = worker.pool.room(&way.host, opened_at);
    let (client, driver) = Client::start(transport, settings, room).await.map_err(|ended| match ended {
        Ended::Late(_) => {
            let why = format!("the other side did not begin HTTP/2 within {:?}", way.connect);
            DialError { code: Code::ConnectTimeout, why }
        }
        ended => DialError { code: Code::UpstreamReset, why: format!("start HTTP/2: {ended}") },
    })?;
    let shared = Shared { client, chain: chain.clone(), opened_at };
    worker.spawn(Box::pin(driven(driver, Watch::of_upstream(worker, world), chain, slot)));
    worker.pool.share(&way.host, shared.clone(), Instant::now());
    Ok(shared)
}

/// Drives a shared connection to its end, or until its peer is no longer believed.
async fn driven(driver: Driver, mut watch: Watch, chain: Option<Chain>, slot: Option<Slot>) {
    let _slot = slot;
    let footing = Footing { peer: chain, ..Footing::default() };
    let mut driver = std::pin::pin!(driver);
    loop {
        match watch.until(None, &footing, |cx| driver.as_mut().poll(cx)).await {
            Ok(Ok(())) => return,
            Ok(Err(ended)) => return tracing::debug!(%ended, "upstream connection ended"),
            Err(Cut::Refused(refusal)) => {
                return tracing::info!(why = refusal.why, "connection to a revoked peer closed");
            }
            // The listener that a first request came by is not the connection's.
            Err(Cut::Due | Cut::Closed) => {}
        }
    }
}

fn unconnected(error: DialError, way: &Way<'_>) -> Unanswered {
    let DialError { code, why } = error;
    // What this node lacks says nothing of the other.
    let is_of_node = matches!(way.to, Destination::Peer(..)) && code != Code::Overloaded;
    Unanswered::Failed(Failed { is_of_node, ..Failed::new(code, why, Stage::Connect) })
}
