//! The one snapshot that the data path reads: what this node knows at one moment. Loaded once per request and passed down, so
//! that a request sees one world. Each part is published by one actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use weft_env::Timestamp;
use weft_identity::{
    GrantedLabels, MeshName, NodeId, Protocol, PublicKey, ReplicaName, Revocations, ServiceName, SpiffeId, Subject,
    Trust, ZoneName,
};
use weft_policy::endpoint::{AppAddr, Endpoint, EndpointTable};
use weft_policy::{Caller, Policy};

/// What a node is called and where it stands; fixed for the life of the process.
#[derive(Debug)]
pub struct NodeFacts {
    /// The mesh.
    pub mesh: MeshName,
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: Option<ZoneName>,
}

/// The endpoint tables by service; published by the pool actors.
pub type ServiceTable = BTreeMap<ServiceName, Arc<EndpointTable>>;
/// The services that this node offers; published by the Health actor.
pub type LocalTable = BTreeMap<ServiceName, Arc<LocalService>>;

/// What this node knows at one moment.
#[derive(Clone)]
pub struct World {
    /// Names.
    pub facts: Arc<NodeFacts>,
    /// Every service known in the mesh.
    pub services: Arc<ServiceTable>,
    /// What this node offers itself.
    pub local: Arc<LocalTable>,
    /// What this node can prove.
    pub credentials: Arc<Credentials>,
    /// Whom this node believes. [`Trust::recheck`] tells whether the peer of an open connection still counts.
    pub trust: Trust,
    /// What was revoked, as in `trust`; another `Arc` when it changes.
    pub revocations: Arc<Revocations>,
    /// What the operators' documents say; the last that could be compiled.
    pub policy: Arc<Policy>,
    /// True from SIGTERM on: nothing new is taken in.
    pub draining: bool,
}

/// A service that this node offers, with its replicas on this machine.
#[derive(Debug)]
pub struct LocalService {
    /// The service.
    pub service: ServiceName,
    /// What its replicas speak.
    pub protocol: Protocol,
    /// The replicas on this machine, at least one.
    pub replicas: Vec<Arc<LocalReplica>>,
    /// Turn of the round robin among them.
    pub turn: AtomicUsize,
}

/// One application process on this machine.
#[derive(Debug)]
pub struct LocalReplica {
    /// Its name among the replicas of its service.
    pub name: ReplicaName,
    /// Where it listens.
    pub app: AppAddr,
    /// Each stream to it begins with a PROXY header of version 2.
    pub proxy_protocol: bool,
    /// What the last probes said; healthy until the first probe speaks against it.
    pub healthy: AtomicBool,
    /// Requests and streams in flight to it.
    pub in_flight: AtomicU32,
}

impl LocalService {
    /// The replica that a call names. One that is not healthy is taken, too: the caller chose by what its node was told last.
    pub fn named(&self, name: &[u8]) -> Option<&Arc<LocalReplica>> {
        self.replicas.iter().find(|replica| replica.name.as_str().as_bytes() == name)
    }

    /// The replica of an endpoint that is this node; the next in turn if it is offered no more.
    pub fn chosen(&self, endpoint: &Endpoint) -> Option<&Arc<LocalReplica>> {
        self.named(endpoint.replica.as_str().as_bytes()).or_else(|| self.next_replica())
    }

    /// The replica that a call names, if it is still offered; the next in turn for a call that names none.
    pub fn for_call(&self, named: Option<&[u8]>) -> Option<&Arc<LocalReplica>> {
        named.map_or_else(|| self.next_replica(), |name| self.named(name))
    }

    /// The next healthy replica in turn; any replica when none is healthy, because a probe may be wrong.
    pub fn next_replica(&self) -> Option<&Arc<LocalReplica>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        (0..count)
            .map(|step| &self.replicas[(start.wrapping_add(step)) % count])
            .find(|replica| replica.healthy.load(Ordering::Relaxed))
            .or_else(|| self.replicas.first())
    }
}

/// What this node can prove at one moment; published by the Identity actor, replaced whole at each renewal.
pub struct Credentials {
    /// Grows with each renewal; pooled connections of an older generation are not used for new requests.
    pub generation: u64,
    /// The identities that this node may act as: its own and those of its granted services.
    pub identities: BTreeMap<SpiffeId, Arc<Credential>>,
    /// As whom a call goes that names no identity: the single service that this node may act as; else the node itself.
    pub usual: Option<Arc<Credential>>,
    /// For the mesh port: presents the certificate that the dialled name asks for, and demands one of this mesh.
    /// Offers `http/1.1`, `h2` and `weft-tcp/1`.
    pub inbound: Arc<rustls::ServerConfig>,
    /// For `weft-sign/1` on the mesh port: the node's certificate; the caller may have none yet.
    pub inbound_sign: Arc<rustls::ServerConfig>,
}

impl Credentials {
    /// The labels that a signer granted to this node: all of its certificates carry the same.
    pub fn labels(&self) -> Option<&Arc<GrantedLabels>> {
        self.identities.values().next().map(|credential| &credential.labels)
    }

    /// The one that [`Credentials::usual`] holds.
    pub fn usual_of(identities: &BTreeMap<SpiffeId, Arc<Credential>>, node: &SpiffeId) -> Option<Arc<Credential>> {
        let mut services = identities.iter().filter(|(id, _)| matches!(id.subject, Subject::Service(_)));
        match (services.next(), services.next()) {
            (Some((_, only)), None) => Some(Arc::clone(only)),
            _ => identities.get(node).cloned(),
        }
    }
}

/// One identity with its TLS configurations for dialling, one for each protocol.
pub struct Credential {
    /// Who.
    pub identity: SpiffeId,
    /// The key that its certificate is for.
    pub key: PublicKey,
    /// The labels that a signer granted to this node, as the certificate carries them.
    pub labels: Arc<GrantedLabels>,
    /// ALPN `http/1.1`.
    pub dial_http1: Arc<rustls::ClientConfig>,
    /// ALPN `h2`.
    pub dial_http2: Arc<rustls::ClientConfig>,
    /// ALPN `weft-tcp/1`.
    pub dial_tcp: Arc<rustls::ClientConfig>,
    /// When its certificate starts to be valid.
    pub not_before: Timestamp,
    /// When its certificate ends.
    pub not_after: Timestamp,
}

impl Credential {
    /// Who calls with it.
    pub fn caller(&self) -> Caller<'_> {
        Caller { identity: &self.identity, labels: &self.labels }
    }
}

/// The cell that holds the current [`World`]. Owned above the actors, so that a crash of one leaves it as it was.
pub struct WorldCell {
    world: ArcSwap<World>,
    /// How often the policy became another.
    policies: watch::Sender<u64>,
    /// How often it became another whom this node believes, or which labels it has.
    trusts: watch::Sender<u64>,
}

impl WorldCell {
    /// A cell with a first world.
    pub fn new(world: World) -> Self {
        let (policies, trusts) = (watch::Sender::default(), watch::Sender::default());
        Self { world: ArcSwap::from_pointee(world), policies, trusts }
    }

    /// The current world; an owned reference, safe to keep across an await.
    pub fn load(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Replaces the world by a change of one; concurrent changes are both kept.
    pub fn change(&self, mut change: impl FnMut(&mut World)) {
        let mut changed = Changed::default();
        self.world.rcu(|current| {
            let mut next = World::clone(current);
            change(&mut next);
            changed = Changed::between(current, &next);
            next
        });
        // After the world is there: whoever wakes reads the new one.
        if changed.policy {
            self.policies.send_modify(|count| *count += 1);
        }
        if changed.trust {
            self.trusts.send_modify(|count| *count += 1);
        }
    }

    /// Follows the policy: what is open is judged again when it becomes another.
    pub fn watch_policy(&self) -> watch::Receiver<u64> {
        self.policies.subscribe()
    }

    /// Follows whom this node believes (bundle and revocations), and its own labels.
    pub fn watch_trust(&self) -> watch::Receiver<u64> {
        self.trusts.subscribe()
    }
}

/// What a change of the world changes for what is open already.
#[derive(Default)]
struct Changed {
    policy: bool,
    trust: bool,
}

impl Changed {
    fn between(old: &World, new: &World) -> Self {
        let same_trust = Arc::ptr_eq(&old.trust.bundle, &new.trust.bundle)
            && Arc::ptr_eq(&old.trust.revocations, &new.trust.revocations)
            && old.credentials.labels() == new.credentials.labels();
        Self { policy: !Arc::ptr_eq(&old.policy, &new.policy), trust: !same_trust }
    }
}
