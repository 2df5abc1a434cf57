//! A network in memory: hosts, links with latency, jitter and loss, and cuts, all from one seed. Used by tests and the simulator.

mod connection;
mod inbox;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Network, Reuse};
use crate::Random;
use inbox::Inbox;

pub use connection::SimStream;
pub(super) use socket::{SimDatagrams, SimListener};

/// The first port that a socket without a wish gets, as IANA has it.
const EPHEMERAL_FIRST: u16 = 49_152;
/// A segment that got lost is sent again after this: the usual lower bound of TCP's timer.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);

/// What happens to a packet between two hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// One way.
    pub latency: Duration,
    /// Added to the latency, evenly between zero and this.
    pub jitter: Duration,
    /// The part of packets that get lost, from 0 to 1.
    pub loss: f64,
}

impl Default for Link {
    /// A datacenter: half a millisecond, no loss.
    fn default() -> Self {
        Self { latency: Duration::from_micros(500), jitter: Duration::from_micros(200), loss: 0.0 }
    }
}

/// What has passed through a network so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Datagrams given to the network.
    pub datagrams_sent: u64,
    /// Of those, the ones that were lost, cut off, or came to nobody.
    pub datagrams_lost: u64,
    /// Bytes in the datagrams sent.
    pub datagram_bytes: u64,
    /// Streams that were accepted.
    pub streams_opened: u64,
}

/// A network in memory. Clones are the same network. Deterministic when all its users run on one thread.
#[derive(Debug, Clone)]
pub struct SimNetwork {
    state: Arc<Mutex<State>>,
}

/// An address as seen from one host: loopback addresses are each host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Binding {
    host: IpAddr,
    address: SocketAddr,
}

#[derive(Debug)]
struct State {
    random: Random,
    link: Link,
    hosts: BTreeMap<IpAddr, u16>,
    /// Pairs of sides that cannot reach each other.
    cuts: Vec<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)>,
    isolated: BTreeSet<IpAddr>,
    sockets: BTreeMap<Binding, Arc<Inbox<Datagram>>>,
    listeners: BTreeMap<Binding, Vec<OpenListener>>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Datagram {
    bytes: Box<[u8]>,
    from: SocketAddr,
}

#[derive(Debug, Clone)]
struct OpenListener {
    reuse: Reuse,
    accepted: Arc<Inbox<(SimStream, SocketAddr)>>,
}

/// The network as one host sees it.
#[derive(Debug, Clone)]
pub(super) struct SimHost {
    network: SimNetwork,
    ip: IpAddr,
}

impl SimNetwork {
    /// A network without hosts.
    pub fn new(seed: u64, link: Link) -> Self {
        let state = State {
            random: Random::seeded(seed),
            link,
            hosts: BTreeMap::new(),
            cuts: Vec::new(),
            isolated: BTreeSet::new(),
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            traffic: Traffic::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The network as the host with this address sees it; adds the host if it is new.
    pub fn host(&self, ip: IpAddr) -> Network {
        self.locked().hosts.entry(ip).or_insert(EPHEMERAL_FIRST);
        Network::simulated(SimHost { network: self.clone(), ip })
    }

    /// Cuts one side off from the other. Datagrams get lost; streams wait, and end after a while.
    pub fn partition(&self, one_side: &[IpAddr], other_side: &[IpAddr]) {
        self.locked().cuts.push((one_side.iter().copied().collect(), other_side.iter().copied().collect()));
    }

    /// Cuts a host off from every other.
    pub fn isolate(&self, host: IpAddr) {
        self.locked().isolated.insert(host);
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        let mut state = self.locked();
        state.cuts.clear();
        state.isolated.clear();
    }

    /// Changes every link from now on.
    pub fn relink(&self, link: Link) {
        self.locked().link = link;
    }

    /// What has passed through so far.
    pub fn traffic(&self) -> Traffic {
        self.locked().traffic
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        let between = |(one, other): &(BTreeSet<IpAddr>, BTreeSet<IpAddr>)| {
            (one.contains(&from) && other.contains(&to)) || (one.contains(&to) && other.contains(&from))
        };
        let isolated = self.isolated.contains(&from) || self.isolated.contains(&to);
        from != to && (isolated || self.cuts.iter().any(between))
    }

    /// One way, this time.
    fn delay(&self, from: IpAddr, to: IpAddr) -> Duration {
        if from == to {
            return Duration::ZERO;
        }
        let jitter_ns = u64::try_from(self.link.jitter.as_nanos()).unwrap_or(u64::MAX);
        self.link.latency + Duration::from_nanos(self.random.below(jitter_ns))
    }

    fn loses(&self, from: IpAddr, to: IpAddr) -> bool {
        from != to && self.link.loss > 0.0 && self.random.fraction() < self.link.loss
    }

    /// When a piece of a stream arrives: a loss costs a retransmission.
    fn stream_delay(&self, from: IpAddr, to: IpAddr) -> Duration {
        let delay = self.delay(from, to);
        if self.loses(from, to) { delay + RETRANSMIT_AFTER } else { delay }
    }

    fn binding(&self, host: IpAddr, address: SocketAddr) -> Binding {
        let address = if address.ip().is_unspecified() { SocketAddr::new(host, address.port()) } else { address };
        let own = address.ip().is_loopback() && !self.hosts.contains_key(&address.ip());
        Binding { host: if own { host } else { address.ip() }, address }
    }

    /// The binding for a new socket of `host`, with a port.
    fn bind(&mut self, host: IpAddr, at: SocketAddr) -> io::Result<Binding> {
        let mut binding = self.binding(host, at);
        if binding.host != host {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        if binding.address.port() == 0 {
            binding.address.set_port(self.ephemeral_port(host));
        }
        Ok(binding)
    }

    fn ephemeral_port(&mut self, host: IpAddr) -> u16 {
        let next = self.hosts.entry(host).or_insert(EPHEMERAL_FIRST);
        let port = *next;
        *next = port.checked_add(1).unwrap_or(EPHEMERAL_FIRST);
        port
    }

    fn send(&mut self, from: Binding, bytes: &[u8], to: SocketAddr) {
        let target = self.binding(from.host, to);
        self.traffic.datagrams_sent += 1;
        self.traffic.datagram_bytes += bytes.len() as u64;
        let lost = self.is_cut(from.host, target.host) || self.loses(from.host, target.host);
        let arrives = Instant::now() + self.delay(from.host, target.host);
        let datagram = Datagram { bytes: bytes.into(), from: from.address };
        let taken = match self.sockets.get(&target) {
            Some(inbox) if !lost => inbox.push(arrives, datagram),
            _ => false,
        };
        if !taken {
            self.traffic.datagrams_lost += 1;
        }
    }

    /// The listener whose turn it is.
    fn listener(&mut self, target: Binding) -> Option<OpenListener> {
        let random = self.random.clone();
        let open = self.listeners.get(&target)?;
        let turn = if open.len() > 1 { random.below(open.len() as u64) as usize } else { 0 };
        open.get(turn).cloned()
    }
}

#[cfg(test)]
mod tests;
