//! The outbound HTTP listener: plain HTTP/1.1 (Host or absolute form, CONNECT, upgrades) and HTTP/2 with prior knowledge from
//! applications of this machine.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use weft_env::Stream;
use weft_identity::ServiceName;
use weft_world::WorldCell;

use crate::http1::BUFFER_BYTES_MAX;
use crate::http2::{CONNECTION_WINDOW_BYTES, OUTBOUND_STREAMS_MAX, PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::proxy;
use crate::worker::{Gate, Phase, Worker};

/// One outbound listener on one worker.
pub(crate) struct Outbound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a request.
    pub(crate) world: Arc<WorldCell>,
    /// As whom its requests call.
    pub(crate) identity: Option<ServiceName>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

/// Serves one connection until it ends, or until the listener drains and its requests are done.
pub(crate) async fn serve(entry: Arc<Outbound>, stream: Stream) {
    let settings = entry.worker.settings();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper's one timer also runs while a connection rests between two requests, and clients pool theirs.
        .header_read_timeout(settings.head_timeout.max(settings.idle_timeout))
        .max_buf_size(BUFFER_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(OUTBOUND_STREAMS_MAX)
        .max_header_list_size(u32::try_from(weft_policy::head::HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut phase = entry.gate.watch();
    let service = service_fn(move |request| {
        let entry = Arc::clone(&entry);
        async move { Ok::<_, Infallible>(proxy::outbound(&entry, request).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        _ = phase.wait_for(|phase| *phase != Phase::Open) => connection.as_mut().graceful_shutdown(),
    }
    // Closing is the accept loop's: it drops this future.
    log_end(connection.await);
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "outbound connection ended");
    }
}
