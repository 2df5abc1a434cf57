//! The mesh port's TCP side: mutual TLS from other nodes. The handshake says who calls (certificate), which service was dialled
//! (SNI) and what is spoken (ALPN); only then does anything else of the connection count.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use weft_env::Stream;
use weft_gossip::enrol::{self, SignDesk};
use weft_identity::ServiceName;
use weft_identity::tls::{ALPN_HTTP2, ALPN_SIGN, ALPN_TCP};
use weft_identity::{Fingerprint, GrantedLabels, SpiffeId, Subject, dialled_identity, peer_identity, peer_labels};
use weft_world::{World, WorldCell};

use crate::head::RequestHead;
use crate::http1::{Connection, HeadLimits};
use crate::http2::Trust;
use crate::metrics::Direction;
use crate::proxy::{self, Introduced};
use crate::server::{self, Serve};
use crate::side::Side;
use crate::tcp;
use crate::transport::Transport;
use crate::vigil::{self, Chain, Watch};
use crate::worker::{Gate, Worker};

/// How long a handshake may take: three round trips of a slow line, and not as long as a head, because until then anybody holds a place.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The mesh port on one worker.
pub(crate) struct Inbound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a connection and once a request.
    pub(crate) world: Arc<WorldCell>,
    /// Who answers `weft-sign/1`.
    pub(crate) desk: Option<Arc<dyn SignDesk>>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

/// One connection whose two ends are known.
pub(crate) struct Caller {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a request.
    pub(crate) world: Arc<WorldCell>,
    /// Who calls, as its certificate proves.
    pub(crate) identity: SpiffeId,
    /// The labels that a signer granted to the node that calls, by the same certificate.
    pub(crate) labels: Arc<GrantedLabels>,
    /// Which service was dialled, and proven to the caller.
    pub(crate) service: Option<ServiceName>,
    /// Who calls, as applications are told.
    pub(crate) introduced: Introduced,
}

impl Caller {
    /// What rules look at.
    pub(crate) fn proven(&self) -> weft_policy::Caller<'_> {
        weft_policy::Caller { identity: &self.identity, labels: &self.labels }
    }
}

impl Serve for Caller {
    const DIRECTION: Direction = Direction::Inbound;
    const TRUST: Trust = Trust::Proven;

    fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    fn world(&self) -> &Arc<WorldCell> {
        &self.world
    }

    fn caller<'a>(&'a self, _world: &'a World) -> Option<&'a SpiffeId> {
        Some(&self.identity)
    }

    async fn request(&self, side: &mut Side, watch: &mut Watch, head: &mut RequestHead) {
        proxy::inbound(self, side, watch, head).await;
    }
}

/// A handshake that came to an end.
enum Greeted {
    Sign(TlsStream<Stream>),
    Call(TlsStream<Stream>),
}

/// Serves one connection.
pub(crate) async fn serve(entry: Arc<Inbound>, stream: Stream) {
    let peer = stream.peer_addr().ok();
    let Some(handshake) = peer.and_then(|peer| entry.gate.handshake(peer.ip())) else {
        return entry.gate.count_refused();
    };
    let limit = entry.worker.settings().head_timeout.min(HANDSHAKE_TIMEOUT);
    let greeted = Box::pin(timeout(limit, greet(&entry, stream))).await;
    drop(handshake);
    let greeted = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => {
            entry.gate.count_refused();
            tracing::debug!(%error, ?peer, "handshake refused");
            return;
        }
        Err(_) => return entry.gate.count_refused(),
    };
    match greeted {
        Greeted::Sign(stream) => Box::pin(sign(&entry, stream)).await,
        Greeted::Call(stream) => call(&entry, stream).await,
    }
}

async fn greet(entry: &Inbound, stream: Stream) -> std::io::Result<Greeted> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let credentials = Arc::clone(&entry.world.load().credentials);
    let is_sign = hello.client_hello().alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ALPN_SIGN));
    if is_sign && entry.desk.is_some() {
        return Ok(Greeted::Sign(hello.into_stream(Arc::clone(&credentials.inbound_sign)).await?));
    }
    Ok(Greeted::Call(hello.into_stream(Arc::clone(&credentials.inbound)).await?))
}

async fn sign(entry: &Inbound, stream: TlsStream<Stream>) {
    let Some(desk) = &entry.desk else { return };
    let served = enrol::serve(stream, desk.as_ref(), &entry.worker.env.clock);
    let mut served = Box::pin(served);
    let mut watch = Watch::new(&entry.worker, &entry.world, &entry.gate, None);
    let served = watch.until(None, &vigil::Footing::default(), |cx| served.as_mut().poll(cx)).await;
    if let Ok(Err(error)) = served {
        tracing::debug!(%error, "signing exchange ended early");
    }
}

async fn call(entry: &Inbound, stream: TlsStream<Stream>) {
    let tls = stream.get_ref().1;
    let chain = vigil::chain_of(tls);
    let proven = |chain: Chain| Some((peer_identity(&chain).ok()?, peer_labels(&chain).ok()?, chain));
    let Some((identity, labels, chain)) = chain.and_then(proven) else {
        // The verifier let nobody through without one.
        return entry.gate.count_refused();
    };
    let world = entry.world.load();
    let dialled = tls.server_name().and_then(|name| dialled_identity(&world.facts.mesh, name));
    let service = match dialled.map(|id| id.subject) {
        Some(Subject::Service(service)) => Some(service),
        Some(Subject::Node(_) | Subject::Gateway(_)) | None => None,
    };
    let by = service.as_ref().map(|service| SpiffeId::service(&world.facts.mesh, service).to_string());
    let address = stream.get_ref().0.peer_addr().ok().map(|addr| addr.ip());
    let hash = Fingerprint::of(chain.first().map_or(&[][..], |own| own.as_ref())).to_string();
    let introduced = Introduced::new(&by.unwrap_or_default(), &hash, &identity.to_string(), address);
    drop(world);
    let alpn = tls.alpn_protocol().map(<[u8]>::to_vec);
    let caller = Arc::new(Caller {
        worker: Arc::clone(&entry.worker),
        world: Arc::clone(&entry.world),
        identity,
        labels: Arc::new(labels),
        service,
        introduced,
    });
    let watch = Watch::new(&entry.worker, &entry.world, &entry.gate, Some(chain));
    let transport = Transport::Accepted(Box::new(stream));
    match alpn.as_deref() {
        Some(ALPN_TCP) => Box::pin(tcp::inbound(&caller, transport, watch)).await,
        Some(ALPN_HTTP2) => Box::pin(server::serve_http2(caller, transport, Bytes::new(), watch)).await,
        _ => server::serve(caller, Connection::new(transport, HeadLimits::NODE), watch).await,
    }
}
