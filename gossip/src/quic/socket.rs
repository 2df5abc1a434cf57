//! quinn's socket over the seam's datagrams. Drops and counts what cannot be QUIC version 1 before quinn spends work on it.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::ReadBuf;
use weft_env::Datagrams;

use crate::metrics::GossipMetrics;

/// Shortest packet with a short header: 1 byte, the connection id of 8, 4 of number and payload, the tag of 16, less the number that is
/// sampled (RFC 9001, section 5.4.2). Below it is also no stateless reset (RFC 9000, section 10.3).
const SHORT_PACKET_LEN_MIN: usize = 21;
/// A client's first datagram is padded to this (RFC 9000, section 14.1).
const INITIAL_LEN_MIN: usize = 1200;
/// The only version spoken here (RFC 9000).
const VERSION_1: [u8; 4] = [0, 0, 0, 1];
/// After so many dropped datagrams in a row the task yields, so that a flood does not hold its thread.
const DROPS_A_POLL_MAX: usize = 64;

/// The adapter.
pub(super) struct CountingSocket {
    /// None once released.
    datagrams: RwLock<Option<Datagrams>>,
    local_addr: SocketAddr,
    metrics: Arc<GossipMetrics>,
}

impl CountingSocket {
    pub(super) fn new(datagrams: Datagrams, metrics: Arc<GossipMetrics>) -> io::Result<Self> {
        let local_addr = datagrams.local_addr()?;
        Ok(Self { datagrams: RwLock::new(Some(datagrams)), local_addr, metrics })
    }

    /// Gives the address free at once. quinn holds its socket for seconds after the last connection closed, and a restarted
    /// membership needs the same address.
    pub(super) fn release(&self) {
        *self.datagrams.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn datagrams(&self) -> Option<Datagrams> {
        self.datagrams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The kind of QUIC packet that the datagram starts with, or the reason why it is none.
fn classify(datagram: &[u8]) -> Result<&'static str, &'static str> {
    let first = *datagram.first().ok_or("empty")?;
    if datagram.len() < SHORT_PACKET_LEN_MIN {
        return Err("short");
    }
    if first & 0x40 == 0 {
        return Err("fixed-bit");
    }
    if first & 0x80 == 0 {
        return Ok("one-rtt");
    }
    if datagram[1..5] != VERSION_1 {
        return Err("version");
    }
    match (first & 0x30) >> 4 {
        0 if datagram.len() < INITIAL_LEN_MIN => Err("initial-short"),
        0 => Ok("initial"),
        2 => Ok("handshake"),
        _ => Ok("other-long"),
    }
}

impl fmt::Debug for CountingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountingSocket({})", self.local_addr)
    }
}

impl AsyncUdpSocket for CountingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(datagrams) = self.datagrams() else { return Ok(()) };
        match datagrams.try_send_to(transmit.contents, transmit.destination) {
            Ok(_) => Ok(()),
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => Err(full),
            // An unreachable peer is a lost datagram to QUIC, not a broken socket.
            Err(_) => {
                self.metrics.datagram_dropped("send-failed");
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(datagrams) = self.datagrams() else { return Poll::Pending };
        let mut filled = 0;
        let mut dropped = 0;
        while filled < bufs.len().min(meta.len()) {
            let mut buf = ReadBuf::new(&mut bufs[filled]);
            let from = match datagrams.poll_recv_from(cx, &mut buf) {
                Poll::Ready(Ok(from)) => from,
                // Somebody else's refusal of an earlier datagram.
                Poll::Ready(Err(error)) if is_passing(&error) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if filled > 0 => break,
                Poll::Pending => return Poll::Pending,
            };
            match classify(buf.filled()) {
                Ok(kind) => {
                    self.metrics.datagram(kind);
                    let len = buf.filled().len();
                    meta[filled] = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip: None };
                    filled += 1;
                }
                Err(reason) => {
                    self.metrics.datagram_dropped(reason);
                    dropped += 1;
                }
            }
            if dropped >= DROPS_A_POLL_MAX && filled == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(filled))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for room to send; one a connection.
struct WritePoller {
    socket: Arc<CountingSocket>,
    waiting: Option<Writable>,
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(datagrams) = this.socket.datagrams() else { return Poll::Ready(Ok(())) };
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(async move { datagrams.writable().await }));
        let polled = waiting.as_mut().poll(cx);
        if polled.is_ready() {
            this.waiting = None;
        }
        polled
    }
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WritePoller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, version: [u8; 4], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes[1..5].copy_from_slice(&version);
        bytes
    }

    #[test]
    fn only_what_may_be_quic_passes() {
        let cases: &[(&[u8], Result<&str, &str>)] = &[
            (&[], Err("empty")),
            (&[0x40; 20], Err("short")),
            (&[0x40; 21], Ok("one-rtt")),
            (&[0x00; 40], Err("fixed-bit")),
            (&packet(0xc0, [0, 0, 0, 1], 1199), Err("initial-short")),
            (&packet(0xc0, [0, 0, 0, 1], 1200), Ok("initial")),
            (&packet(0xc0, [9, 9, 9, 9], 1200), Err("version")),
            (&packet(0xe0, [0, 0, 0, 1], 100), Ok("handshake")),
            (&packet(0xf0, [0, 0, 0, 1], 100), Ok("other-long")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(classify(bytes), *expected, "{} bytes", bytes.len());
        }
    }
}
