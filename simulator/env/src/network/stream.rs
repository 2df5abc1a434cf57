//! A stream of bytes both ways. Made by `Network::connect` and `Listener::accept`.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::SimStream;
use super::machine::Liveness;
use super::window::{self, Window};

/// A connected stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// The machine's TCP.
    Tcp(TcpStream),
    /// A stream of a network in memory.
    Simulated(SimStream),
}

impl Stream {
    /// Where the other end is.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Simulated(stream) => Ok(stream.peer_addr()),
        }
    }

    /// Lets the end of this stream be a reset: the other end cannot take it for an orderly one.
    pub fn reset_on_close(&self) {
        match self {
            Self::Tcp(stream) => {
                // Refused only for a socket that is gone already.
                let _gone = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
            }
            Self::Simulated(stream) => stream.reset_on_close(),
        }
    }

    /// Gives up on the other end after 12 s without an acknowledgement, instead of 30: for calls that may be made again elsewhere.
    pub fn gives_up_early(&self) {
        match self {
            Self::Tcp(stream) => {
                // Refused only for a socket that is gone already.
                let _gone = Liveness::SHORT.set(&SockRef::from(stream));
            }
            Self::Simulated(stream) => stream.gives_up_early(),
        }
    }

    /// Gives the other end all the time it wants while it has no room for more and answers probes of its window, and its usual time to
    /// acknowledge otherwise. To be called at least every 4 s while bytes may wait; each call looks anew. Changes nothing where the kernel
    /// cannot be asked.
    pub fn mind_window(&self) {
        let Self::Tcp(stream) = self else { return };
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
        let Ok(window) = window::of(local, peer) else { return };
        let socket = SockRef::from(stream);
        let wanted = match window {
            Window::Open => Liveness::of(&socket).ok().map(Liveness::over_after),
            Window::Shut => None,
        };
        // Refused only for a socket that is gone already.
        let _gone = socket.set_tcp_user_timeout(wanted);
    }

    /// Where this end is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Simulated(stream) => Ok(stream.local_addr()),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Simulated(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Simulated(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
