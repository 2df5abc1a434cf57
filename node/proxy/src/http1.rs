//! The HTTP/1.1 interface of the data path: hyper behind it today, a codec of our own later. Nothing outside this file and the
//! two listeners names hyper's HTTP/1 types.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Body;
use crate::vigil::{Chain, Driven};
use crate::worker::Worker;

/// Bytes that one connection buffers of what it reads: heads up to the limit fit several times.
pub(crate) const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// One client connection; takes one request at a time.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Body>,
    peer: Option<Chain>,
    /// Where its service's connections are limited, what counts them.
    counter: Option<Arc<AtomicU32>>,
}

/// A request that was not answered.
pub(crate) struct SendError {
    /// What went wrong.
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was written.
    pub(crate) unsent: Option<Box<Request<Body>>>,
}

impl From<TrySendError<Request<Body>>> for SendError {
    fn from(mut failed: TrySendError<Request<Body>>) -> Self {
        Self { unsent: failed.take_message().map(Box::new), error: failed.into_error() }
    }
}

impl Http1 {
    /// Speaks HTTP/1.1 on an open stream; the connection is driven by a task of the worker until either side ends it, or until
    /// its peer is no longer believed.
    pub(crate) async fn start<S>(worker: &Worker, stream: S, driven: Driven) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let peer = driven.peer.clone();
        let counter = driven.slot.as_ref().map(|slot| Arc::clone(slot.counter()));
        worker.spawn(driven.drive(worker.world(), connection.with_upgrades()));
        Ok(Self { sender, peer, counter })
    }

    /// What the other node proved itself with; none for an application.
    pub(crate) fn peer(&self) -> Option<&Chain> {
        self.peer.as_ref()
    }

    /// Sends a request and waits for the head of its answer. Dropping the future closes the connection.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        self.sender.try_send_request(request).await.map_err(SendError::from)
    }

    /// Whether this counts it among the connections of its service.
    pub(crate) fn is_counted_by(&self, counter: &Arc<AtomicU32>) -> bool {
        self.counter.as_ref().is_some_and(|own| Arc::ptr_eq(own, counter))
    }

    /// Whether it can take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
