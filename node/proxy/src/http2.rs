//! HTTP/2 towards other nodes and towards applications that speak it without TLS (gRPC): one connection shared by all streams.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Body;
use crate::http1::SendError;
use crate::vigil::Driven;
use crate::worker::Worker;

/// Flow-control window of one stream: a good 20 ms of a gigabit.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection: four streams' (DESIGN, section 8).
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// Streams that an application of this machine may have open on one connection.
pub(crate) const OUTBOUND_STREAMS_MAX: u32 = 100;
/// Streams that another node may have open on its one connection: all callers there share it.
pub(crate) const INBOUND_STREAMS_MAX: u32 = 1_000;
/// A peer that is silent is asked this often whether it lives.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(10);
/// And is given up after this.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// One client connection; clones share it.
#[derive(Clone)]
pub(crate) struct Http2(http2::SendRequest<Body>);

impl Http2 {
    /// Speaks HTTP/2 on an open stream; the connection is driven by a task of the worker, until its peer is no longer believed.
    pub(crate) async fn start<S>(worker: &Worker, stream: S, driven: Driven) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(weft_policy::head::HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        worker.spawn(driven.drive(worker.world(), connection));
        Ok(Self(sender))
    }

    /// Sends a request on a stream of its own and waits for the head of its answer. Dropping the future resets the stream.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        self.0.try_send_request(request).await.map_err(SendError::from)
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
