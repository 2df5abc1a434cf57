//! A stream to a service: over mutual TLS to another node, or plain to an application of this machine. Made by [`super::open`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use weft_env::Stream;

use crate::vigil::{self, Chain};

/// An open stream to a service.
pub(crate) enum ServiceStream {
    /// To another node.
    Peer(Box<TlsStream<Stream>>),
    /// To an application of this machine.
    App(Stream),
}

impl ServiceStream {
    /// What the other node proved itself with.
    pub(crate) fn peer(&self) -> Option<Chain> {
        match self {
            Self::Peer(stream) => vigil::chain_of(stream.get_ref().1),
            Self::App(_) => None,
        }
    }
}

impl AsyncRead for ServiceStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Peer(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::App(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ServiceStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Peer(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::App(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Peer(stream) => Pin::new(stream).poll_flush(cx),
            Self::App(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Peer(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::App(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
