//! The mesh port's TCP side: mutual TLS from other nodes. The handshake says who calls (certificate), which service was dialled
//! (SNI) and what is spoken (ALPN); only then does anything else of the connection count.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use weft_env::Stream;
use weft_gossip::enrol::{self, SignDesk};
use weft_identity::tls::{ALPN_HTTP2, ALPN_SIGN, ALPN_TCP};
use weft_identity::{GrantedLabels, ServiceName, SpiffeId, Subject, dialled_identity, peer_identity, peer_labels};
use weft_world::WorldCell;

use crate::http1::BUFFER_BYTES_MAX;
use crate::http2::{CONNECTION_WINDOW_BYTES, INBOUND_STREAMS_MAX, PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::vigil::{self, Chain};
use crate::worker::{Gate, Phase, Worker};
use crate::{proxy, tcp};

/// The mesh port on one worker.
pub(crate) struct Inbound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a connection and once a request.
    pub(crate) world: Arc<WorldCell>,
    /// Who answers `weft-sign/1`.
    pub(crate) desk: Option<Arc<dyn SignDesk>>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

/// One connection whose two ends are known.
pub(crate) struct Caller {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a request.
    pub(crate) world: Arc<WorldCell>,
    /// Who calls, as its certificate proves.
    pub(crate) identity: SpiffeId,
    /// The labels that a signer granted to the node that calls, by the same certificate.
    pub(crate) labels: Arc<GrantedLabels>,
    /// With what.
    pub(crate) chain: Chain,
    /// Which service was dialled, and proven to the caller.
    pub(crate) service: Option<ServiceName>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

impl Caller {
    /// What rules look at.
    pub(crate) fn proven(&self) -> weft_policy::Caller<'_> {
        weft_policy::Caller { identity: &self.identity, labels: &self.labels }
    }
}

/// A handshake that came to an end.
enum Greeted {
    Sign(TlsStream<Stream>),
    Call(TlsStream<Stream>),
}

/// Serves one connection.
pub(crate) async fn serve(entry: Arc<Inbound>, stream: Stream) {
    let peer = stream.peer_addr().ok();
    let greeted = match timeout(entry.worker.settings().head_timeout, greet(&entry, stream)).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => {
            entry.gate.count_refused();
            tracing::debug!(%error, ?peer, "handshake refused");
            return;
        }
        Err(_) => return entry.gate.count_refused(),
    };
    match greeted {
        Greeted::Sign(stream) => sign(&entry, stream).await,
        Greeted::Call(stream) => call(&entry, stream).await,
    }
}

async fn greet(entry: &Inbound, stream: Stream) -> std::io::Result<Greeted> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let credentials = Arc::clone(&entry.world.load().credentials);
    let is_sign = hello.client_hello().alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ALPN_SIGN));
    if is_sign && entry.desk.is_some() {
        return Ok(Greeted::Sign(hello.into_stream(Arc::clone(&credentials.inbound_sign)).await?));
    }
    Ok(Greeted::Call(hello.into_stream(Arc::clone(&credentials.inbound)).await?))
}

async fn sign(entry: &Inbound, stream: TlsStream<Stream>) {
    let Some(desk) = &entry.desk else { return };
    if let Err(error) = enrol::serve(stream, desk.as_ref(), &entry.worker.env.clock).await {
        tracing::debug!(%error, "signing exchange ended early");
    }
}

async fn call(entry: &Inbound, stream: TlsStream<Stream>) {
    let tls = stream.get_ref().1;
    let chain = vigil::chain_of(tls);
    let proven = |chain: Chain| Some((peer_identity(&chain).ok()?, peer_labels(&chain).ok()?, chain));
    let Some((identity, labels, chain)) = chain.and_then(proven) else {
        // The verifier let nobody through without one.
        return entry.gate.count_refused();
    };
    let world = entry.world.load();
    let dialled = tls.server_name().and_then(|name| dialled_identity(&world.facts.mesh, name));
    let service = match dialled.map(|id| id.subject) {
        Some(Subject::Service(service)) => Some(service),
        Some(Subject::Node(_) | Subject::Gateway(_)) | None => None,
    };
    drop(world);
    let caller = Caller {
        worker: Arc::clone(&entry.worker),
        world: Arc::clone(&entry.world),
        identity,
        labels: Arc::new(labels),
        chain: Arc::clone(&chain),
        service,
        gate: Arc::clone(&entry.gate),
    };
    let served = serve_call(caller, stream);
    tokio::select! {
        () = served => {}
        refusal = vigil::disbelieved(&entry.world, &chain) => {
            tracing::info!(why = refusal.why, "connection of a revoked peer closed");
        }
    }
}

async fn serve_call(caller: Caller, stream: TlsStream<Stream>) {
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_TCP) => tcp::inbound(&caller, stream).await,
        Some(ALPN_HTTP2) => serve_http2(caller, stream).await,
        _ => serve_http1(caller, stream).await,
    }
}

async fn serve_http1(caller: Caller, stream: TlsStream<Stream>) {
    let mut builder = http1::Builder::new();
    // No header timeout: a pooled connection rests between requests, and its other end is a proven member.
    builder.max_buf_size(BUFFER_BYTES_MAX).pipeline_flush(false);
    let mut phase = caller.gate.watch();
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let caller = Arc::clone(&caller);
        async move { Ok::<_, Infallible>(proxy::inbound(&caller, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        _ = phase.wait_for(|phase| *phase != Phase::Open) => connection.as_mut().graceful_shutdown(),
    }
    // Closing is the accept loop's: it drops this future.
    log_end(connection.await);
}

async fn serve_http2(caller: Caller, stream: TlsStream<Stream>) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(INBOUND_STREAMS_MAX)
        .max_header_list_size(u32::try_from(weft_policy::head::HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut phase = caller.gate.watch();
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let caller = Arc::clone(&caller);
        async move { Ok::<_, Infallible>(proxy::inbound(&caller, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        _ = phase.wait_for(|phase| *phase != Phase::Open) => connection.as_mut().graceful_shutdown(),
    }
    // Closing is the accept loop's: it drops this future.
    log_end(connection.await);
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "inbound connection ended");
    }
}
