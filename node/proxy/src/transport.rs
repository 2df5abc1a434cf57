//! What carries the bytes of one connection: a plain stream or either end of TLS. Concrete, so that nothing above it is generic.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio_rustls::{client, server};
use weft_env::Stream;

use crate::proxy_protocol::Ends;
use crate::vigil::{self, Chain};

/// The transport of a connection.
pub(crate) enum Transport {
    /// No TLS.
    Plain(Stream),
    /// TLS that this node dialled.
    Dialled(Box<client::TlsStream<Stream>>),
    /// TLS that this node accepted.
    Accepted(Box<server::TlsStream<Stream>>),
    /// Both ends in one test.
    #[cfg(any(test, fuzzing))]
    Memory(tokio::io::DuplexStream),
}

/// Calls a method of whatever stream a transport is.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => $call,
            Transport::Dialled($stream) => $call,
            Transport::Accepted($stream) => $call,
            #[cfg(any(test, fuzzing))]
            Transport::Memory($stream) => $call,
        }
    };
}

impl Transport {
    /// What the other node proved itself with; none without TLS.
    pub(crate) fn peer_chain(&self) -> Option<Chain> {
        match self {
            Self::Dialled(stream) => vigil::chain_of(stream.get_ref().1),
            Self::Accepted(stream) => vigil::chain_of(stream.get_ref().1),
            _ => None,
        }
    }

    /// The stream below TLS.
    pub(crate) fn socket(&self) -> Option<&Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Dialled(stream) => Some(stream.get_ref().0),
            Self::Accepted(stream) => Some(stream.get_ref().0),
            #[cfg(any(test, fuzzing))]
            Self::Memory(_) => None,
        }
    }

    /// Where it comes from, and where it was accepted.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let socket = self.socket()?;
        Some(Ends { source: socket.peer_addr().ok()?, destination: socket.local_addr().ok()? })
    }

    /// Reads once; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let read = each!(self, stream => Pin::new(stream).poll_read(cx, &mut buffer));
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes one piece behind another, as much as fits.
    pub(crate) fn poll_write_both(&mut self, cx: &mut Context<'_>, parts: [&[u8]; 2]) -> Poll<io::Result<usize>> {
        let written = match parts {
            [one, []] | [[], one] => each!(self, stream => Pin::new(stream).poll_write(cx, one)),
            [first, second] => {
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                each!(self, stream => Pin::new(stream).poll_write_vectored(cx, &slices))
            }
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => other,
        }
    }

    /// Hands on what TLS still holds.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // A socket holds nothing back.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Dialled(stream) => Pin::new(stream).poll_flush(cx),
            Self::Accepted(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Ends the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    /// Whether nothing came, no end and no byte, as far as the last turn of the reactor knows: an idle connection that may be used again.
    /// Costs no system call.
    pub(crate) fn is_quiet(&mut self) -> bool {
        // A task that has used up its turn would hear that nothing came, whatever did.
        let look = unconstrained(poll_fn(|cx| Poll::Ready(self.looks_quiet(cx))));
        matches!(pin!(look).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true))
    }

    fn looks_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::Plain(Stream::Tcp(stream)) = self {
            match stream.poll_read_ready(cx) {
                Poll::Pending => return true,
                // Perhaps left from a read that filled its buffer: the read below tells.
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return false,
            }
        }
        let mut byte = [0];
        self.poll_read(cx, &mut byte).is_pending()
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
