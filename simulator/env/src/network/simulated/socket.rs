//! What a simulated host opens: streams, listeners and datagram sockets. Called by `Network`.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep};

use super::inbox::Inbox;
use super::{Binding, Datagram, OpenListener, SimHost, SimNetwork, SimStream};
use crate::network::Reuse;

/// Connections that wait for accept.
const BACKLOG: usize = 4096;
/// Datagrams that wait for the receiver; at 1,400 bytes about what the machine's sockets are given.
const INBOX_DATAGRAMS_MAX: usize = 2048;
/// The largest datagram over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// An attempt is made every second, as a kernel's first retransmission of a SYN.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Linux gives up on a SYN after 6 retransmissions, 127 s.
const CONNECT_ATTEMPTS_MAX: u32 = 127;

impl SimHost {
    pub(in crate::network) async fn connect(&self, to: SocketAddr) -> io::Result<SimStream> {
        for _ in 0..CONNECT_ATTEMPTS_MAX {
            if let Some(connected) = self.try_connect(to).await {
                return connected;
            }
            sleep(CONNECT_AGAIN_AFTER).await;
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// One attempt; none if nobody answered.
    async fn try_connect(&self, to: SocketAddr) -> Option<io::Result<SimStream>> {
        let (target, reachable, there, back) = {
            let state = self.network.locked();
            let target = state.binding(self.ip, to);
            let reachable = state.hosts.contains_key(&target.host) && !state.is_cut(self.ip, target.host);
            (target, reachable, state.delay(self.ip, target.host), state.delay(target.host, self.ip))
        };
        if !reachable {
            return None;
        }
        wait(there).await;
        let offered = self.offer(target);
        wait(back).await;
        match offered {
            Offered::Taken(stream) => Some(Ok(stream)),
            Offered::Refused => Some(Err(io::Error::from(io::ErrorKind::ConnectionRefused))),
            Offered::Full => None,
        }
    }

    fn offer(&self, target: Binding) -> Offered {
        let mut state = self.network.locked();
        let Some(listener) = state.listener(target) else {
            return Offered::Refused;
        };
        let local_ip = if target.host == self.ip { target.address.ip() } else { self.ip };
        let local = SocketAddr::new(local_ip, state.ephemeral_port(self.ip));
        let ends = [(self.ip, local), (target.host, target.address)];
        let (dialled, accepted) = SimStream::pair(&self.network, ends);
        state.traffic.streams_opened += 1;
        // What a full queue gives back closes when it is dropped, and that asks the network: not under its lock.
        drop(state);
        if listener.accepted.push(Instant::now(), (accepted, local)) { Offered::Taken(dialled) } else { Offered::Full }
    }

    pub(in crate::network) fn listen(&self, at: SocketAddr, reuse: Reuse) -> io::Result<SimListener> {
        let mut state = self.network.locked();
        let binding = state.bind(self.ip, at)?;
        let open = state.listeners.entry(binding).or_default();
        if open.iter().any(|other| other.reuse == Reuse::Exclusive || reuse == Reuse::Exclusive) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        let accepted = Arc::new(Inbox::new(BACKLOG));
        open.push(OpenListener { reuse, accepted: Arc::clone(&accepted) });
        Ok(SimListener { network: self.network.clone(), binding, accepted })
    }

    pub(in crate::network) fn datagrams(&self, at: SocketAddr) -> io::Result<SimDatagrams> {
        let mut state = self.network.locked();
        let binding = state.bind(self.ip, at)?;
        if state.sockets.contains_key(&binding) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        let inbox = Arc::new(Inbox::new(INBOX_DATAGRAMS_MAX));
        state.sockets.insert(binding, Arc::clone(&inbox));
        Ok(SimDatagrams { network: self.network.clone(), binding, inbox })
    }
}

enum Offered {
    Taken(SimStream),
    Refused,
    Full,
}

async fn wait(span: Duration) {
    if !span.is_zero() {
        sleep(span).await;
    }
}

#[derive(Debug)]
pub(in crate::network) struct SimListener {
    network: SimNetwork,
    binding: Binding,
    accepted: Arc<Inbox<(SimStream, SocketAddr)>>,
}

impl SimListener {
    pub(in crate::network) async fn accept(&self) -> (SimStream, SocketAddr) {
        poll_fn(|cx| self.accepted.poll_next(cx)).await
    }

    pub(in crate::network) fn local_addr(&self) -> SocketAddr {
        self.binding.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.network.locked();
        if let Some(open) = state.listeners.get_mut(&self.binding) {
            open.retain(|listener| !Arc::ptr_eq(&listener.accepted, &self.accepted));
            if open.is_empty() {
                state.listeners.remove(&self.binding);
            }
        }
    }
}

#[derive(Debug)]
pub(in crate::network) struct SimDatagrams {
    network: SimNetwork,
    binding: Binding,
    inbox: Arc<Inbox<Datagram>>,
}

impl SimDatagrams {
    pub(in crate::network) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the datagram is too large"));
        }
        self.network.locked().send(self.binding, bytes, to);
        Ok(bytes.len())
    }

    pub(in crate::network) fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<SocketAddr> {
        self.inbox.poll_next(cx).map(|datagram| {
            let len = datagram.bytes.len().min(buf.remaining());
            buf.put_slice(&datagram.bytes[..len]);
            datagram.from
        })
    }

    pub(in crate::network) fn local_addr(&self) -> SocketAddr {
        self.binding.address
    }
}

impl Drop for SimDatagrams {
    fn drop(&mut self) {
        self.network.locked().sockets.remove(&self.binding);
    }
}
