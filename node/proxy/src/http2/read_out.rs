//! The transport of one connection, which a client reads to its end although it cannot be written to any more. h2 gives a connection up with
//! the first write that fails, and what its peer said before that is unread then: answers, and which requests it did not take. Used by
//! [`super::guard`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// A transport, and what becomes of what is written to it.
pub(super) struct ReadOut {
    io: Transport,
    writes: Writes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// They go to the transport, and its failure is whose they are.
    Plain,
    /// The same, until it fails for good.
    UntilLost,
    /// They go nowhere.
    Lost,
}

impl ReadOut {
    /// A server's: of a client that is gone, nothing more is wanted.
    pub(super) fn server(io: Transport) -> Self {
        Self { io, writes: Writes::Plain }
    }

    /// A client's.
    pub(super) fn client(io: Transport) -> Self {
        Self { io, writes: Writes::UntilLost }
    }

    /// Whether the last write, and each that follows, goes nowhere.
    pub(super) fn is_lost(&self) -> bool {
        self.writes == Writes::Lost
    }

    /// What is told of a write of so many bytes.
    fn told<T>(&mut self, wrote: io::Result<T>, taken: T) -> io::Result<T> {
        match wrote {
            Err(error) if self.writes == Writes::UntilLost && is_for_good(&error) => {
                self.writes = Writes::Lost;
                Ok(taken)
            }
            wrote => wrote,
        }
    }
}

/// Whether a failure means that the transport is over in both directions, so that reading it comes to an end.
fn is_for_good(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

impl AsyncRead for ReadOut {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ReadOut {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.is_lost() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let wrote = ready!(Pin::new(&mut me.io).poll_write(cx, bytes));
        Poll::Ready(me.told(wrote, bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let len = parts.iter().map(|part| part.len()).sum();
        if me.is_lost() {
            return Poll::Ready(Ok(len));
        }
        let wrote = ready!(Pin::new(&mut me.io).poll_write_vectored(cx, parts));
        Poll::Ready(me.told(wrote, len))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.is_lost() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut me.io).poll_flush(cx));
        Poll::Ready(me.told(flushed, ()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
