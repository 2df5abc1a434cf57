//! The server's end of one connection: driven inside the task of whoever accepted it, it hands out one [`Arrival`] a request.

use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Pings, Stream, Trust};
use crate::head::{Malformed, RequestHead};

/// What one connection is served by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerSettings {
    /// Who is at the other end: how many streams and frames it may send.
    pub(crate) trust: Trust,
    /// Preface and SETTINGS must come within it, and the rest of a header block after its first frame.
    pub(crate) head_timeout: Duration,
    /// A connection without streams ends after it.
    pub(crate) idle_timeout: Duration,
    /// Whether, and how, a silent peer is asked if it lives.
    pub(crate) pings: Option<Pings>,
}

/// A request that came.
pub(crate) struct Arrival {
    /// Its head; malformed, the stream is there to be answered.
    pub(crate) head: Result<RequestHead, Malformed>,
    /// Where its body comes from and the answer goes to.
    pub(crate) stream: Stream,
}

/// One connection.
pub(crate) struct Server<S> {
    _io: PhantomData<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Server<S> {
    /// Exchanges prefaces. `received` is what was read of the connection already, to find out what it speaks.
    pub(crate) async fn start(_io: S, _received: Bytes, _settings: ServerSettings) -> Result<Self, Ended> {
        todo!()
    }

    /// Waits for the next request and drives the connection meanwhile: all streams stand still while nobody polls this. None when the
    /// connection is over. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrival>, Ended> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Server::next`].
    pub(crate) fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Option<Arrival>, Ended>> {
        todo!()
    }

    /// Asks the peer to open no more streams (GOAWAY); [`Server::next`] ends when those that are open have ended.
    pub(crate) fn drain(&mut self) {
        todo!()
    }

    /// Ends the connection and all its streams, with this code in a GOAWAY; [`Server::next`] ends soon after.
    pub(crate) fn abort(&mut self, _code: u32) {
        todo!()
    }
}
