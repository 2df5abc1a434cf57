//! One try of one request at one endpoint or replica: take a pooled connection or open one, send, wait for the head.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use metrics::Counter;
use tokio::time::{Instant, timeout, timeout_at};
use weft_identity::{Code, Protocol, SpiffeId};
use weft_policy::Stage;
use weft_policy::endpoint::{AppAddr, PeerAddr};

use crate::body::Body;
use crate::dial::{self, DialError, PeerDial};
use crate::http1::{Http1, SendError};
use crate::http2::Http2;
use crate::metrics::Slot;
use crate::pool::Host;
use crate::vigil;
use crate::worker::Worker;

/// How long a connection that makes room may take to end: it has nothing left to send.
const CLOSE_MAX: Duration = Duration::from_millis(100);
/// Space between two looks whether it has.
const CLOSE_POLL: Duration = Duration::from_millis(1);

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
    /// A new one: a pooled one just turned out to be dead.
    Fresh,
}

/// Where a try goes.
pub(crate) struct Route<'a> {
    /// The pool's name for it.
    pub(crate) host: Host,
    /// The version.
    pub(crate) wire: Wire,
    /// The address.
    pub(crate) to: Target<'a>,
    /// Counts the connections that are opened.
    pub(crate) connects: &'a Counter,
    /// How long opening a connection may take.
    pub(crate) connect: Duration,
    /// How many connections may be open, and how many are.
    pub(crate) limit: Option<(u32, &'a Arc<AtomicU32>)>,
    /// The head of the answer must be here by then.
    pub(crate) deadline: Instant,
}

impl Route<'_> {
    /// What is left for connecting.
    fn connect_within(&self) -> Duration {
        self.connect.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// A place for one more connection, where there is a limit. At the limit an idle connection makes room: it may lead elsewhere, or
    /// belong to another worker.
    async fn slot(&self, worker: &Worker) -> Result<Option<Slot>, DialError> {
        let Some((max, open)) = self.limit else { return Ok(None) };
        if let Some(slot) = Slot::take(open, max) {
            return Ok(Some(slot));
        }
        let patience = CLOSE_MAX.min(self.connect_within());
        if worker.close_idle(open)
            && let Ok(slot) = timeout(patience, freed(open, max)).await
        {
            return Ok(Some(slot));
        }
        Err(DialError {
            code: Code::Overloaded,
            why: format!("{max} connections are in use already, as many as the traffic document of the service allows"),
        })
    }
}

/// Waits for a place that is about to be free.
async fn freed(open: &Arc<AtomicU32>, max: u32) -> Slot {
    loop {
        if let Some(slot) = Slot::take(open, max) {
            return slot;
        }
        tokio::time::sleep(CLOSE_POLL).await;
    }
}

/// The address of a try.
pub(crate) enum Target<'a> {
    /// Another node, which must prove to be the service.
    Peer(PeerAddr, &'a SpiffeId),
    /// An application of this machine.
    App(AppAddr),
}

/// An answer's head, and the connection to give back once the rest is read.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Option<Http1>,
    /// When the request was given to its connection: what opening one cost says nothing of the next request.
    pub(crate) asked: Instant,
}

/// A try that got no answer.
pub(crate) struct Failed {
    pub(crate) code: Code,
    pub(crate) why: String,
    pub(crate) stage: Stage,
    /// The connection came from the pool, so that the failure says little of the endpoint.
    pub(crate) reused: bool,
    /// No connection to the node came to be: none of its replicas can be reached.
    pub(crate) is_of_node: bool,
    /// The request, if it was not written.
    pub(crate) request: Option<Box<Request<Body>>>,
}

/// Makes one try.
pub(crate) async fn send(
    worker: &Arc<Worker>,
    route: &Route<'_>,
    source: Source,
    request: Request<Body>,
) -> Result<Answer, Failed> {
    match route.wire {
        Wire::Http1 => send_http1(worker, route, source, request).await,
        Wire::Http2 => send_http2(worker, route, source, request).await,
    }
}

async fn send_http1(
    worker: &Arc<Worker>,
    route: &Route<'_>,
    source: Source,
    request: Request<Body>,
) -> Result<Answer, Failed> {
    let pooled = if source == Source::Pooled { worker.pool.take(&route.host) } else { None };
    let reused = pooled.is_some();
    let mut connection = match pooled {
        Some(connection) => connection,
        None => match open_http1(worker, route).await {
            Ok(connection) => connection,
            Err(error) => return Err(unconnected(error, request, route)),
        },
    };
    let asked = Instant::now();
    match timeout_at(route.deadline, connection.send(request)).await {
        Ok(Ok(response)) => Ok(Answer { response, connection: Some(connection), asked }),
        // At an exchange's deadline its body is cut, too, and either may be noticed first.
        Ok(Err(_)) if Instant::now() >= route.deadline => Err(late(reused)),
        Ok(Err(error)) => Err(unanswered(error, reused)),
        Err(_) => Err(late(reused)),
    }
}

async fn send_http2(
    worker: &Arc<Worker>,
    route: &Route<'_>,
    source: Source,
    request: Request<Body>,
) -> Result<Answer, Failed> {
    let shared = if source == Source::Pooled { worker.pool.shared(&route.host, Instant::now()) } else { None };
    let reused = shared.is_some();
    let mut connection = match shared {
        Some(connection) => connection,
        None => match shared_http2(worker, route).await {
            Ok(connection) => connection,
            Err(error) => return Err(unconnected(error, request, route)),
        },
    };
    let asked = Instant::now();
    match timeout_at(route.deadline, connection.send(request)).await {
        Ok(Ok(response)) => Ok(Answer { response, connection: None, asked }),
        // At an exchange's deadline its body is cut, too, and either may be noticed first.
        Ok(Err(_)) if Instant::now() >= route.deadline => Err(late(reused)),
        Ok(Err(error)) => Err(unanswered(error, reused)),
        Err(_) => Err(late(reused)),
    }
}

async fn open_http1(worker: &Arc<Worker>, route: &Route<'_>) -> Result<Http1, DialError> {
    route.connects.increment(1);
    let slot = route.slot(worker).await?;
    let within = route.connect_within();
    let started = match (&route.to, &route.host) {
        (Target::Peer(addr, identity), Host::Peer(_, credential)) => {
            let config = &credential.dial_http1;
            let dial = PeerDial { addr: *addr, identity, config, within };
            let stream = dial::peer(&worker.env.network, dial).await?;
            let peer = vigil::chain_of(stream.get_ref().1);
            Http1::start(worker, stream, vigil::Driven { peer, slot }).await
        }
        (Target::App(addr), _) => {
            let stream = dial::app(&worker.env.network, *addr, within).await?;
            Http1::start(worker, stream, vigil::Driven { peer: None, slot }).await
        }
        (Target::Peer(..), Host::App(_)) => return Err(mixed()),
    };
    started.map_err(|error| DialError { code: Code::UpstreamReset, why: format!("start HTTP/1.1: {error}") })
}

/// The shared connection, opened by the first of those who want it at once.
async fn shared_http2(worker: &Arc<Worker>, route: &Route<'_>) -> Result<Http2, DialError> {
    let opening = worker.pool.opening(&route.host, Instant::now());
    let _turn = opening.lock().await;
    if let Some(connection) = worker.pool.shared(&route.host, Instant::now()) {
        return Ok(connection);
    }
    route.connects.increment(1);
    let slot = route.slot(worker).await?;
    let within = route.connect_within();
    let started = match (&route.to, &route.host) {
        (Target::Peer(addr, identity), Host::Peer(_, credential)) => {
            let config = &credential.dial_http2;
            let dial = PeerDial { addr: *addr, identity, config, within };
            let stream = dial::peer(&worker.env.network, dial).await?;
            let peer = vigil::chain_of(stream.get_ref().1);
            Http2::start(worker, stream, vigil::Driven { peer, slot }).await
        }
        (Target::App(addr), _) => {
            let stream = dial::app(&worker.env.network, *addr, within).await?;
            Http2::start(worker, stream, vigil::Driven { peer: None, slot }).await
        }
        (Target::Peer(..), Host::App(_)) => return Err(mixed()),
    };
    let connection =
        started.map_err(|error| DialError { code: Code::UpstreamReset, why: format!("start HTTP/2: {error}") })?;
    worker.pool.share(&route.host, connection.clone(), Instant::now());
    Ok(connection)
}

fn mixed() -> DialError {
    DialError { code: Code::Internal, why: "a peer's address with an application's pool".to_owned() }
}

fn unconnected(error: DialError, request: Request<Body>, route: &Route<'_>) -> Failed {
    let DialError { mut code, why } = error;
    if code == Code::ConnectTimeout && Instant::now() >= route.deadline {
        code = Code::RequestTimeout;
    }
    let is_of_node = matches!(route.to, Target::Peer(..));
    Failed { code, why, stage: Stage::Connect, reused: false, is_of_node, request: Some(Box::new(request)) }
}

fn unanswered(failed: SendError, reused: bool) -> Failed {
    let stage = if failed.unsent.is_some() { Stage::Unsent } else { Stage::Sent };
    let code = dial::code_of(&failed.error).unwrap_or(Code::UpstreamReset);
    let why = format!("the connection broke before an answer: {}", with_cause(&failed.error));
    Failed { code, why, stage, reused, is_of_node: false, request: failed.unsent }
}

fn late(reused: bool) -> Failed {
    let why = "no answer within the timeout of requests, or the total one".to_owned();
    Failed { code: Code::RequestTimeout, why, stage: Stage::Sent, reused, is_of_node: false, request: None }
}

fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
