//! The machine's sockets with the options that a proxy needs. Called by `Network`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::Reuse;

/// Connections that wait for accept; the kernel cuts it to net.core.somaxconn, whose default is this.
const BACKLOG: i32 = 4096;
/// Silent peers are asked so often before they count as gone. With a user timeout Linux does not count probes: the first that is due after
/// that time ends the stream once any went unanswered. So all of them lie within it, or one lost segment would end an idle stream.
const KEEPALIVE_PROBES: u32 = 3;

/// When a peer counts as gone, instead of the kernel's 15 minutes: when it answered none of the probes, or acknowledged nothing for as long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Liveness {
    /// A silent peer is asked after this,
    after: Duration,
    /// and again.
    every: Duration,
}

impl Liveness {
    /// Probes at 15, 20 and 25 s; where none was answered the stream ends at 30 s.
    pub(super) const USUAL: Self = Self { after: Duration::from_secs(15), every: Duration::from_secs(5) };
    /// Probes at 6, 8 and 10 s; the end at 12 s.
    pub(super) const SHORT: Self = Self { after: Duration::from_secs(6), every: Duration::from_secs(2) };

    /// What a socket has.
    ///
    /// # Errors
    /// For a socket that is gone.
    pub(super) fn of(socket: &SockRef<'_>) -> io::Result<Self> {
        Ok(Self { after: socket.tcp_keepalive_time()?, every: socket.tcp_keepalive_interval()? })
    }

    /// When all probes were sent.
    pub(super) fn over_after(self) -> Duration {
        self.after + self.every * KEEPALIVE_PROBES
    }

    /// Sets a socket to it.
    ///
    /// # Errors
    /// For a socket that is gone.
    pub(super) fn set(self, socket: &SockRef<'_>) -> io::Result<()> {
        let keepalive = TcpKeepalive::new().with_time(self.after).with_interval(self.every);
        socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
        socket.set_tcp_user_timeout(Some(self.over_after()))
    }
}

/// Room for a burst of datagrams while the receiving task waits for its turn.
const DATAGRAM_BUFFER_BYTES: usize = 2 * 1024 * 1024;

pub(super) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    tune(&SockRef::from(&socket))?;
    socket.connect(to).await
}

/// Linux hands a listener's options down to what it accepts, so accepting costs no further system call.
pub(super) fn listen(at: SocketAddr, reuse: Reuse) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse == Reuse::Shared {
        socket.set_reuse_port(true)?;
    }
    tune(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn datagrams(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel may grant less; that costs datagrams in a burst, which QUIC sends again.
    socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES)?;
    socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}

fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    Liveness::USUAL.set(socket)
}
