//! The QUIC endpoint of a node: gossip now, more protocols later. Mutual TLS on every connection, everything bounded; certificates
//! are replaced while connections live. The membership uses it.

mod setup;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming, TokioRuntime, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use weft_env::Env;
use weft_identity::tls::{ALPN_GOSSIP, ALPN_LEDGER};
use weft_identity::{
    Code, Failure, IssuedCertificate, NodeId, SigningKey, Subject, Trust, any_node_name, peer_identity,
};

use crate::metrics::GossipMetrics;
use setup::Setup;
use socket::CountingSocket;

/// Longest message on a stream: chitchat's 65 KB with room for a looser encoding.
pub const MESSAGE_LEN_MAX: usize = 128 * 1024;
/// Handshakes at once beyond which a caller must first prove its address (RFC 9000, section 8.1.2).
const HANDSHAKES_FREE: usize = 16;
/// Most handshakes at once: each costs about a millisecond of signatures.
const HANDSHAKES_MAX: usize = 64;
/// A handshake takes two round trips; who needs longer than this is not there.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for goodbyes to leave this machine.
const GOODBYE: Duration = Duration::from_millis(100);
/// Connections that finished their handshake and wait to be taken.
const ACCEPTED_QUEUE: usize = 64;

/// What is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuicProtocol {
    /// One unidirectional stream a message.
    Gossip,
    /// One bidirectional stream a question.
    Ledger,
}

impl QuicProtocol {
    const ALL: [Self; 2] = [Self::Gossip, Self::Ledger];

    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Gossip => ALPN_GOSSIP,
            Self::Ledger => ALPN_LEDGER,
        }
    }
}

/// A connection and whose it is.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    /// The connection.
    pub connection: Connection,
    /// The node that its certificate names.
    pub node: NodeId,
    /// What is spoken over it.
    pub protocol: QuicProtocol,
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address or configuration cannot be used.
    #[error("QUIC connection to {0} cannot be started: {1}")]
    Start(SocketAddr, quinn::ConnectError),
    /// The handshake failed.
    #[error("QUIC handshake with {0} failed: {1}")]
    Handshake(SocketAddr, quinn::ConnectionError),
    /// Nothing answered.
    #[error("QUIC handshake with {0} timed out; is UDP port {port} open between the machines?", port = .0.port())]
    Timeout(SocketAddr),
    /// Its certificate names no node.
    #[error("{0} showed a certificate that names no node")]
    Identity(SocketAddr),
}

/// The endpoint. Dropping it closes every connection.
#[derive(Debug)]
pub struct QuicEndpoint {
    endpoint: Endpoint,
    socket: Arc<CountingSocket>,
    setup: Setup,
    metrics: Arc<GossipMetrics>,
}

impl QuicEndpoint {
    /// Opens the endpoint and starts to accept. Connections that others make come out of the receiver.
    pub async fn open(
        env: &Env,
        at: SocketAddr,
        credentials: QuicCredentials<'_>,
        metrics: Arc<GossipMetrics>,
    ) -> Result<(Self, mpsc::Receiver<PeerConnection>), Failure> {
        let datagrams = env.network.datagrams(at).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Failure::new(Code::PortInUse, format!("UDP {at} is in use")),
            _ => Failure::new(Code::AddressInvalid, format!("open UDP {at}: {error}")),
        })?;
        let setup = Setup::new(credentials.key, &env.random);
        setup.renew(credentials.trust, credentials.certificate)?;
        let socket = CountingSocket::new(datagrams, Arc::clone(&metrics))
            .map_err(|error| Failure::new(Code::Internal, format!("use UDP {at}: {error}")))?;
        let socket = Arc::new(socket);
        let endpoint = Endpoint::new_with_abstract_socket(
            setup.endpoint_config(&env.random),
            Some(setup.server_config()),
            Arc::clone(&socket) as _,
            Arc::new(TokioRuntime),
        )
        .map_err(|error| Failure::new(Code::Internal, format!("start QUIC at {at}: {error}")))?;
        let (accepted, receiver) = mpsc::channel(ACCEPTED_QUEUE);
        tokio::spawn(accept_all(endpoint.clone(), accepted, Arc::clone(&metrics)));
        Ok((Self { endpoint, socket, setup, metrics }, receiver))
    }

    /// Uses another certificate or bundle for every handshake from now on.
    pub fn renew(&self, trust: &Trust, certificate: &IssuedCertificate) -> Result<(), Failure> {
        self.setup.renew(trust, certificate)?;
        self.endpoint.set_server_config(Some(self.setup.server_config()));
        Ok(())
    }

    /// Connects to whichever node of this mesh answers at an address. Cancel safe.
    pub async fn dial(&self, to: SocketAddr, protocol: QuicProtocol) -> Result<PeerConnection, DialError> {
        let name = any_node_name();
        let connecting = self
            .endpoint
            .connect_with(self.setup.client_config(protocol), to, &name.to_str())
            .map_err(|error| DialError::Start(to, error))?;
        let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(finished) => finished.map_err(|error| DialError::Handshake(to, error))?,
            Err(_) => return Err(DialError::Timeout(to)),
        };
        identified(connection, &self.metrics).ok_or(DialError::Identity(to))
    }

    /// The address, with the port that was taken.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.endpoint.local_addr().ok()
    }

    /// Closes every connection without goodbye, and gives the address free.
    pub fn shut(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"stopped");
        self.socket.release();
    }

    /// Says goodbye to every peer, then gives the address free.
    pub async fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"stopped");
        // The goodbye leaves at once; answers to it are not needed.
        let _ = tokio::time::timeout(GOODBYE, self.endpoint.wait_idle()).await;
        self.socket.release();
    }
}

impl Drop for QuicEndpoint {
    fn drop(&mut self) {
        self.shut();
    }
}

/// What the endpoint proves itself with.
#[derive(Debug, Clone, Copy)]
pub struct QuicCredentials<'a> {
    /// Whom it believes.
    pub trust: &'a Trust,
    /// The node's certificate.
    pub certificate: &'a IssuedCertificate,
    /// The node's key: the keys for stateless resets and retry tokens derive from it, so that they outlive a restart.
    pub key: &'a SigningKey,
}

/// Accepts until the endpoint closes; each handshake in a task of its own, no more than the limit at once.
async fn accept_all(endpoint: Endpoint, accepted: mpsc::Sender<PeerConnection>, metrics: Arc<GossipMetrics>) {
    let pending = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = endpoint.accept().await {
        let busy = pending.load(Ordering::Relaxed);
        if busy >= HANDSHAKES_MAX {
            metrics.connection_refused("busy");
            incoming.ignore();
            continue;
        }
        if busy >= HANDSHAKES_FREE && !incoming.remote_address_validated() && incoming.may_retry() {
            metrics.connection_refused("retry");
            let _ = incoming.retry();
            continue;
        }
        let slot = Slot::take(&pending);
        tokio::spawn(shake_hands(incoming, slot, accepted.clone(), Arc::clone(&metrics)));
    }
}

async fn shake_hands(
    incoming: Incoming,
    slot: Slot,
    accepted: mpsc::Sender<PeerConnection>,
    metrics: Arc<GossipMetrics>,
) {
    let finished = tokio::time::timeout(HANDSHAKE_TIMEOUT, incoming).await;
    drop(slot);
    let connection = match finished {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%error, "QUIC handshake failed");
            return metrics.connection_refused("handshake");
        }
        Err(_) => return metrics.connection_refused("timeout"),
    };
    let Some(peer) = identified(connection, &metrics) else { return };
    if let Err(refused) = accepted.try_send(peer) {
        metrics.connection_refused("crowded");
        refused.into_inner().connection.close(VarInt::from_u32(1), b"crowded");
    }
}

/// The chain that a peer showed; it was verified in the handshake.
pub fn peer_chain(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok().map(|chain| *chain)
}

/// The connection with the node that its certificate names; closes it if that is none. The chain was verified in the handshake.
fn identified(connection: Connection, metrics: &GossipMetrics) -> Option<PeerConnection> {
    let id = peer_chain(&connection).and_then(|chain| peer_identity(&chain).ok());
    match (id.map(|id| id.subject), spoken(&connection)) {
        (Some(Subject::Node(node)), Some(protocol)) => Some(PeerConnection { connection, node, protocol }),
        _ => {
            metrics.connection_refused("identity");
            connection.close(VarInt::from_u32(2), b"not a node");
            None
        }
    }
}

/// The protocol that the two sides agreed on.
fn spoken(connection: &Connection) -> Option<QuicProtocol> {
    let handshake = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let agreed = handshake.protocol?;
    QuicProtocol::ALL.into_iter().find(|protocol| protocol.alpn() == agreed)
}

/// One handshake in progress.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(pending: &Arc<AtomicUsize>) -> Self {
        pending.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pending))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
