//! The links: QUIC connections to other members, a bounded queue each, and what comes in over them. chitchat's transport.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weft_identity::wire::{self, Kind};
use weft_identity::{NodeId, Trust};
use weft_ledger::sync::LedgerDesk;

use super::desk::Desk;
use super::exchange;
use crate::quic::{MESSAGE_LEN_MAX, PeerConnection, QuicEndpoint, QuicProtocol, peer_chain};

/// Messages that wait for one peer: two rounds of a busy pair; older ones would be stale.
const QUEUE_MAX: usize = 16;
/// Messages that wait for chitchat, which handles thousands a second.
const INBOX_MAX: usize = 256;
/// A message that is not acknowledged by then is on a dead connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// A message that began must end within this.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed dial the address rests.
const DIAL_REST: Duration = Duration::from_secs(1);
/// Connections of one peer: one each way, and those that a restart left behind.
const CONNECTIONS_A_PEER_MAX: usize = 4;
/// Messages a second that a peer may send, and how many at once: a pair exchanges about ten.
const RATE: f64 = 50.0;
const BURST: f64 = 100.0;
/// A probe's answer comes within this, or not at all.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a probe.
const PROBE_LEN_MAX: usize = 64;

/// Every link of this node.
pub(super) struct Links {
    endpoint: QuicEndpoint,
    desk: Arc<Desk>,
    seeds: BTreeSet<SocketAddr>,
    ledger: Option<Arc<dyn LedgerDesk>>,
    by_address: Mutex<BTreeMap<SocketAddr, Link>>,
    by_node: Mutex<BTreeMap<NodeId, Vec<Connection>>>,
    serial: AtomicU64,
    inbox: mpsc::Sender<(SocketAddr, ChitchatMessage)>,
    outbox: Mutex<Option<mpsc::Receiver<(SocketAddr, ChitchatMessage)>>>,
}

struct Link {
    serial: u64,
    queue: mpsc::Sender<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Links {
    /// Takes over an endpoint and the connections that others make to it.
    pub(super) fn start(
        endpoint: QuicEndpoint,
        accepted: mpsc::Receiver<PeerConnection>,
        desk: Arc<Desk>,
        seeds: BTreeSet<SocketAddr>,
        ledger: Option<Arc<dyn LedgerDesk>>,
    ) -> Arc<Self> {
        let (inbox, outbox) = mpsc::channel(INBOX_MAX);
        let links = Arc::new(Self {
            endpoint,
            desk,
            seeds,
            ledger,
            by_address: Mutex::default(),
            by_node: Mutex::default(),
            serial: AtomicU64::new(0),
            inbox,
            outbox: Mutex::new(Some(outbox)),
        });
        tokio::spawn(adopt_all(Arc::downgrade(&links), accepted));
        links
    }

    pub(super) fn endpoint(&self) -> &QuicEndpoint {
        &self.endpoint
    }

    /// Who answers ledger questions.
    pub(super) fn ledger_desk(&self) -> Option<Arc<dyn LedgerDesk>> {
        self.ledger.clone()
    }

    pub(super) fn trust(&self) -> Trust {
        self.desk.trust()
    }

    pub(super) fn refused_from(&self, node: &NodeId, reason: &'static str, detail: &str) {
        self.desk.metrics.refused_from(node, reason, detail);
    }

    /// Queues a message; drops it if the queue is full or the address is not to be dialled.
    fn send(self: &Arc<Self>, to: SocketAddr, message: Vec<u8>) {
        let mut by_address = lock(&self.by_address);
        if let Some(link) = by_address.get(&to) {
            match link.queue.try_send(message) {
                Err(mpsc::error::TrySendError::Closed(message)) => {
                    by_address.remove(&to);
                    drop(by_address);
                    self.send(to, message);
                }
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
            }
            return;
        }
        if !self.seeds.contains(&to) && !self.desk.has_address(to) {
            self.desk.metrics.refused("address");
            return;
        }
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        // The queue is new and empty.
        let _ = queue.try_send(message);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        by_address.insert(to, Link { serial, queue });
        drop(by_address);
        tokio::spawn(Arc::clone(self).dial(to, serial, waiting));
    }

    async fn dial(self: Arc<Self>, to: SocketAddr, serial: u64, waiting: mpsc::Receiver<Vec<u8>>) {
        match self.endpoint.dial(to, QuicProtocol::Gossip).await {
            Ok(peer) => {
                self.remember(&peer);
                tokio::spawn(Arc::clone(&self).receive(peer.clone()));
                self.deliver(&peer.connection, waiting).await;
            }
            Err(error) => {
                tracing::debug!(%error, "no gossip with this address now");
                tokio::time::sleep(DIAL_REST).await;
            }
        }
        self.unlink(to, serial);
    }

    /// Takes a connection that a peer made.
    fn adopt(self: &Arc<Self>, peer: PeerConnection) {
        self.remember(&peer);
        self.link(&peer);
        tokio::spawn(Arc::clone(self).receive(peer));
    }

    /// Leads what goes to the peer's address over this connection.
    fn link(self: &Arc<Self>, peer: &PeerConnection) {
        let address = peer.connection.remote_address();
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        lock(&self.by_address).insert(address, Link { serial, queue });
        let (links, peer) = (Arc::clone(self), peer.clone());
        tokio::spawn(async move {
            links.deliver(&peer.connection, waiting).await;
            links.unlink(address, serial);
        });
    }

    fn unlink(&self, address: SocketAddr, serial: u64) {
        let mut by_address = lock(&self.by_address);
        if by_address.get(&address).is_some_and(|link| link.serial == serial) {
            by_address.remove(&address);
        }
    }

    /// Counts the connection to its node; too many, and the oldest closes.
    fn remember(&self, peer: &PeerConnection) {
        let mut by_node = lock(&self.by_node);
        let connections = by_node.entry(peer.node.clone()).or_default();
        connections.retain(|connection| connection.close_reason().is_none());
        if connections.len() >= CONNECTIONS_A_PEER_MAX {
            self.desk.metrics.connection_refused("crowded");
            connections.remove(0).close(VarInt::from_u32(1), b"crowded");
        }
        connections.push(peer.connection.clone());
    }

    fn forget(&self, peer: &PeerConnection) {
        let mut by_node = lock(&self.by_node);
        if let Some(connections) = by_node.get_mut(&peer.node) {
            connections.retain(|connection| connection.stable_id() != peer.connection.stable_id());
            if connections.is_empty() {
                by_node.remove(&peer.node);
            }
        }
    }

    /// Closes the connections of peers whose certificates this trust no longer takes.
    pub(super) fn recheck(&self, trust: &Trust) {
        let by_node = lock(&self.by_node);
        let all = by_node.iter().flat_map(|(node, connections)| connections.iter().map(move |one| (node, one)));
        for (node, connection) in all {
            let checked = peer_chain(connection).map_or(Ok(()), |chain| trust.recheck(&chain));
            if let Err(refusal) = checked {
                tracing::info!(%node, %refusal, "a gossip connection was closed");
                connection.close(VarInt::from_u32(5), b"revoked");
            }
        }
    }

    /// Sends what is queued, one message after the other, until the connection or the queue ends.
    async fn deliver(&self, connection: &Connection, mut waiting: mpsc::Receiver<Vec<u8>>) {
        loop {
            let message = tokio::select! {
                message = waiting.recv() => message,
                _ = connection.closed() => None,
            };
            let Some(message) = message else { return };
            match timeout(SEND_TIMEOUT, send_message(connection, &message)).await {
                Ok(Some(())) => self.desk.metrics.messages_out.increment(1),
                Ok(None) if connection.close_reason().is_none() => {}
                Ok(None) | Err(_) => {
                    connection.close(VarInt::from_u32(3), b"no answer");
                    return;
                }
            }
        }
    }

    /// Receives until the connection ends: one message at a time.
    async fn receive(self: Arc<Self>, peer: PeerConnection) {
        self.desk.metrics.connections_open.increment(1.0);
        let mut rate = Rate::new(RATE, BURST);
        loop {
            tokio::select! {
                stream = peer.connection.accept_uni() => match stream {
                    Ok(stream) if rate.take() => self.receive_message(&peer, stream).await,
                    Ok(mut stream) => {
                        self.desk.metrics.refused_from(&peer.node, "rate", "more messages than a member sends");
                        let _ = stream.stop(VarInt::from_u32(4));
                    }
                    Err(_) => break,
                },
                stream = peer.connection.accept_bi() => match stream {
                    Ok((send, receive)) if rate.take() => answer_probe(send, receive).await,
                    Ok(_) => self.desk.metrics.refused("rate"),
                    Err(_) => break,
                },
            }
        }
        self.forget(&peer);
        self.desk.metrics.connections_open.decrement(1.0);
    }

    async fn receive_message(self: &Arc<Self>, peer: &PeerConnection, mut stream: RecvStream) {
        let bytes = match timeout(RECEIVE_TIMEOUT, stream.read_to_end(MESSAGE_LEN_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(quinn::ReadToEndError::TooLong)) => {
                return self.desk.metrics.refused_from(&peer.node, "size", "a message over 128 KiB");
            }
            Ok(Err(_)) | Err(_) => return self.desk.metrics.refused("stream"),
        };
        let Some(encoded) = self.desk.admit(&peer.node, &bytes) else { return };
        let Ok(message) = ChitchatMessage::deserialize(&mut encoded.as_slice()) else {
            return self.desk.metrics.refused_from(&peer.node, "malformed", "chitchat does not read the message");
        };
        // A second connection of the peer may have taken the address over and ended since: the answer goes where the question came from.
        if !lock(&self.by_address).contains_key(&peer.connection.remote_address()) {
            self.link(peer);
        }
        if self.inbox.try_send((peer.connection.remote_address(), message)).is_err() {
            self.desk.metrics.refused("inbox-full");
        }
    }

    /// Whether the node answers at this address, over a connection that it has or a new one.
    pub(super) async fn probe(&self, node: &NodeId, at: SocketAddr) -> bool {
        let newest = lock(&self.by_node).get(node).and_then(|connections| connections.last().cloned());
        let over_old = async {
            match newest {
                Some(connection) => ask(&connection).await.is_some(),
                None => false,
            }
        };
        let over_new = async {
            match self.endpoint.dial(at, QuicProtocol::Gossip).await {
                Ok(peer) => peer.node == *node && ask(&peer.connection).await.is_some(),
                Err(_) => false,
            }
        };
        let either = async {
            tokio::pin!(over_old, over_new);
            tokio::select! {
                answered = &mut over_old => answered || over_new.await,
                answered = &mut over_new => answered || over_old.await,
            }
        };
        timeout(PROBE_TIMEOUT, either).await.unwrap_or(false)
    }
}

/// Takes connections that peers make, until the links are dropped.
async fn adopt_all(links: Weak<Links>, mut accepted: mpsc::Receiver<PeerConnection>) {
    while let Some(peer) = accepted.recv().await {
        let Some(links) = links.upgrade() else { return };
        match peer.protocol {
            QuicProtocol::Gossip => links.adopt(peer),
            QuicProtocol::Ledger => exchange::answer_all(&links, peer),
        }
    }
}

/// Sends one message and waits for its acknowledgement.
async fn send_message(connection: &Connection, message: &[u8]) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(message).await.ok()?;
    stream.finish().ok()?;
    stream.stopped().await.ok()?;
    Some(())
}

/// Asks whether the peer is there.
async fn ask(connection: &Connection) -> Option<()> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(&wire::encode(Kind::Probe, &()).ok()?).await.ok()?;
    send.finish().ok()?;
    let answer = receive.read_to_end(PROBE_LEN_MAX).await.ok()?;
    wire::decode(Kind::Probe, &answer, PROBE_LEN_MAX).ok()
}

async fn answer_probe(mut send: SendStream, mut receive: RecvStream) {
    let Ok(Ok(question)) = timeout(RECEIVE_TIMEOUT, receive.read_to_end(PROBE_LEN_MAX)).await else { return };
    if wire::decode::<()>(Kind::Probe, &question, PROBE_LEN_MAX).is_ok() {
        let _ = timeout(RECEIVE_TIMEOUT, send.write_all(&question)).await;
        let _ = send.finish();
    }
}

/// A token bucket.
pub(super) struct Rate {
    a_second: f64,
    at_once: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(a_second: f64, at_once: f64) -> Self {
        Self { a_second, at_once, left: at_once, at: Instant::now() }
    }

    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * self.a_second).min(self.at_once);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// chitchat's side of the links.
pub(super) struct LinkTransport(pub(super) Arc<Links>);

struct LinkSocket {
    links: Arc<Links>,
    outbox: mpsc::Receiver<(SocketAddr, ChitchatMessage)>,
}

#[async_trait]
impl Transport for LinkTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let outbox = lock(&self.0.outbox).take().ok_or_else(|| anyhow::anyhow!("the links serve one chitchat"))?;
        Ok(Box::new(LinkSocket { links: Arc::clone(&self.0), outbox }))
    }
}

#[async_trait]
impl Socket for LinkSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.links.send(to, message.serialize_to_vec());
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.outbox.recv().await.ok_or_else(|| anyhow::anyhow!("the links are closed"))
    }
}
