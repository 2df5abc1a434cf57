//! Datagrams at one address. Made by `Network::datagrams`; the gossip's QUIC endpoint lives on it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::simulated::SimDatagrams;

/// A datagram socket. Cheap to clone; clones are the same socket.
#[derive(Debug, Clone)]
pub struct Datagrams {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Machine(Arc<UdpSocket>),
    Simulated(Arc<SimDatagrams>),
}

impl Datagrams {
    pub(super) fn machine(socket: UdpSocket) -> Self {
        Self { kind: Kind::Machine(Arc::new(socket)) }
    }

    pub(super) fn simulated(socket: SimDatagrams) -> Self {
        Self { kind: Kind::Simulated(Arc::new(socket)) }
    }

    /// Sends one datagram, or fails with `WouldBlock` if there is no room now.
    pub fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        match &self.kind {
            Kind::Machine(socket) => socket.try_send_to(bytes, to),
            Kind::Simulated(socket) => socket.send(bytes, to),
        }
    }

    /// Receives one datagram; what does not fit is cut off. Only the last task that asked is woken.
    pub fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<SocketAddr>> {
        match &self.kind {
            Kind::Machine(socket) => socket.poll_recv_from(cx, buf),
            Kind::Simulated(socket) => socket.poll_recv_from(cx, buf).map(Ok),
        }
    }

    /// Whether there may be room to send. Only the last task that asked is woken: use [`Self::writable`] where there are several.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Machine(socket) => socket.poll_send_ready(cx),
            Kind::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    /// Waits until there may be room to send. Any number of tasks may wait. Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Machine(socket) => socket.writable().await,
            Kind::Simulated(_) => Ok(()),
        }
    }

    /// Sends one datagram; waits for room. Cancel safe.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        loop {
            match self.try_send_to(bytes, to) {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                sent => return sent,
            }
        }
    }

    /// Receives one datagram into `bytes`: its length and where it comes from. For one receiving task. Cancel safe.
    pub async fn recv_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut buf = ReadBuf::new(bytes);
        let from = poll_fn(|cx| self.poll_recv_from(cx, &mut buf)).await?;
        Ok((buf.filled().len(), from))
    }

    /// The address, with the port that was taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.kind {
            Kind::Machine(socket) => socket.local_addr(),
            Kind::Simulated(socket) => Ok(socket.local_addr()),
        }
    }
}
