//! The client's end of one connection, which many requests share.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Pings, Stream, Trust};
use crate::head::RequestHead;
use crate::side::Broken;

/// How a connection is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientSettings {
    /// Who is at the other end.
    pub(crate) trust: Trust,
    /// Whether, and how, a silent peer is asked if it lives.
    pub(crate) pings: Option<Pings>,
}

/// One connection; clones share it. It ends when the last clone and the last stream are gone.
#[derive(Clone)]
pub(crate) struct Client;

impl Client {
    /// Exchanges prefaces and SETTINGS, so that the peer's limits are known before the first request. Somebody must poll the driver.
    pub(crate) async fn start<S>(_io: S, _settings: ClientSettings) -> Result<(Self, Driver<S>), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        todo!()
    }

    /// Opens a stream with this head; END_STREAM follows at once where the head says that no body does. Refused where the connection
    /// takes no more streams. Waits only where more streams are open than the peer allows.
    pub(crate) async fn send(&mut self, _head: &RequestHead) -> Result<Stream, Broken> {
        todo!()
    }

    /// Whether another stream may be opened at once: the connection takes requests and has fewer streams than the peer allows.
    pub(crate) fn has_room(&self) -> bool {
        todo!()
    }

    /// Streams that are open.
    pub(crate) fn streams_open(&self) -> usize {
        todo!()
    }

    /// Streams that may be open at once, by the peer's word and ours.
    pub(crate) fn streams_max(&self) -> usize {
        todo!()
    }

    /// Whether the peer takes extended CONNECT (RFC 8441): WebSocket.
    pub(crate) fn allows_extended_connect(&self) -> bool {
        todo!()
    }

    /// Whether it takes no more requests: closed, or told so by GOAWAY.
    pub(crate) fn is_going_away(&self) -> bool {
        todo!()
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        todo!()
    }
}

/// Moves the bytes of one connection; dropping it ends the connection and all streams.
pub(crate) struct Driver<S> {
    _io: PhantomData<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Future for Driver<S> {
    type Output = Result<(), Ended>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
