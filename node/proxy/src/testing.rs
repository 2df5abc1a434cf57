//! A mesh for one test: its certificates, its worlds, its nodes and their metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use weft_env::{Clock, Env, Random, Timestamp};
use weft_identity::tls::{self, ALPN_HTTP1, ALPN_HTTP2, ALPN_TCP};
use weft_identity::{
    Founding, GrantedLabels, IssuedCertificate, LeafSubject, NewMesh, Protocol, Revocations, SigningKey, SpiffeId,
    Subject, Trust, TrustBundle, make_mesh,
};
use weft_policy::endpoint::{AppAddr, Endpoint, EndpointLoad, EndpointTable, PeerAddr};
use weft_policy::{Policy, compile, read_file};
use weft_world::opener::{ListenerSpec, OpenHandle, OpenListener};
use weft_world::settings::Settings;
use weft_world::{Credential, Credentials, LocalReplica, LocalService, NodeFacts, World, WorldCell};

use crate::worker::{DataPath, PathArgs, Placement};

/// A mesh for one test; `net` is the third byte of its addresses.
pub(crate) struct Mesh {
    seed: NewMesh,
    trust: Trust,
    random: Random,
    now: Timestamp,
    net: u8,
    /// Of the nodes that are made from now on.
    pub(crate) settings: Settings,
    /// The granted labels of nodes that are made from now on.
    pub(crate) labels: BTreeMap<u8, GrantedLabels>,
    /// The metrics of all of its nodes.
    recorder: Arc<PrometheusRecorder>,
    /// Of the nodes that are made from now on.
    pub(crate) access_log: Option<PathBuf>,
}

/// One node of it.
pub(crate) struct Node {
    pub(crate) path: DataPath,
    pub(crate) world: Arc<WorldCell>,
    pub(crate) listeners: Vec<Box<dyn OpenHandle>>,
    pub(crate) outbound: SocketAddr,
}

impl Mesh {
    pub(crate) fn new(net: u8) -> Self {
        let random = Random::machine();
        let now = Clock::machine().wall();
        let founding = Founding {
            mesh: "bank".parse().unwrap(),
            node: "vm-1".parse().unwrap(),
            cell: "default".parse().unwrap(),
            labels: GrantedLabels::default(),
        };
        let seed = make_mesh(&founding, now, &random).unwrap();
        let root = seed.root_certificate.clone().into();
        let bundle = TrustBundle::verify(&seed.bundle, &root).unwrap();
        let trust = Trust::new(bundle, Clock::machine());
        let settings = Settings { workers: 2, ..Settings::default() };
        let (labels, recorder) = (BTreeMap::new(), Arc::new(PrometheusBuilder::new().build_recorder()));
        Self { seed, trust, random, now, net, settings, labels, recorder, access_log: None }
    }

    pub(crate) fn at(&self, node: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 77, self.net, node], port))
    }

    pub(crate) fn issue(&self, id: &str, labels: &GrantedLabels) -> IssuedCertificate {
        let id: SpiffeId = id.parse().unwrap();
        let key = SigningKey::generate(&self.random);
        let day = Duration::from_secs(86_400);
        let node = match &id.subject {
            Subject::Node(node) => node.clone(),
            _ => "vm-1".parse().unwrap(),
        };
        let subject = LeafSubject { id: &id, key: &key.public(), node: &node, labels };
        let chain = self.seed.issuer.issue(subject, day, self.now, &self.random).unwrap();
        IssuedCertificate::new(chain, key).unwrap()
    }

    pub(crate) fn credentials(&self, node: u8, services: &[&str]) -> Arc<Credentials> {
        let labels = self.labels.get(&node).cloned().unwrap_or_default();
        let mut ids = vec![format!("spiffe://bank/node/vm-{node}")];
        ids.extend(services.iter().map(|service| format!("spiffe://bank/svc/{service}")));
        let held: BTreeMap<SpiffeId, IssuedCertificate> =
            ids.iter().map(|id| (id.parse().unwrap(), self.issue(id, &labels))).collect();
        let dial = |own: &IssuedCertificate, alpn| tls::dial_config(&self.trust, own, alpn).unwrap();
        let identities = held.iter().map(|(id, own)| {
            let credential = Credential {
                identity: id.clone(),
                key: own.key.public(),
                labels: Arc::new(own.labels.clone()),
                dial_http1: dial(own, ALPN_HTTP1),
                dial_http2: dial(own, ALPN_HTTP2),
                dial_tcp: dial(own, ALPN_TCP),
                not_before: own.not_before,
                not_after: own.not_after,
            };
            (id.clone(), Arc::new(credential))
        });
        let identities = identities.collect();
        let first = held.values().next().unwrap();
        let inbound = tls::inbound_config(&self.trust, &held).unwrap();
        let inbound_sign = tls::inbound_sign_config(&self.trust, first).unwrap();
        let usual = Credentials::usual_of(&identities, &format!("spiffe://bank/node/vm-{node}").parse().unwrap());
        Arc::new(Credentials { generation: 1, usual, identities, inbound, inbound_sign })
    }

    /// A node that offers `local` (service, protocol) at its own port 8080 and reaches `remote` at these nodes.
    pub(crate) async fn node(&self, node: u8, local: &[(&str, Protocol)], remote: &[(&str, Protocol, &[u8])]) -> Node {
        self.placed(Placement::Here, node, local, remote).await
    }

    pub(crate) async fn placed(
        &self,
        placement: Placement,
        node: u8,
        local: &[(&str, Protocol)],
        remote: &[(&str, Protocol, &[u8])],
    ) -> Node {
        let (world, path) = (self.world(node, local, remote), self.path(placement));
        let outbound = self.at(node, 4512);
        let specs = [
            ListenerSpec::Inbound { at: self.at(node, 4510), desk: None },
            ListenerSpec::OutboundHttp { at: outbound, identity: None },
        ];
        let mut listeners = Vec::new();
        for spec in specs {
            listeners.push(path.open(spec, Arc::clone(&world)).await.unwrap());
        }
        Node { path, world, listeners, outbound }
    }

    /// A data path without listeners.
    pub(crate) fn path(&self, placement: Placement) -> DataPath {
        let args = PathArgs {
            env: Env::machine(),
            settings: self.settings.clone(),
            recorder: self.recorder.clone(),
            access_log: self.access_log.clone(),
            placement,
        };
        DataPath::start(args).unwrap()
    }

    /// What a node knows that offers and reaches this.
    pub(crate) fn world(
        &self,
        node: u8,
        local: &[(&str, Protocol)],
        remote: &[(&str, Protocol, &[u8])],
    ) -> Arc<WorldCell> {
        let names: Vec<&str> = local.iter().map(|(name, _)| *name).collect();
        let services =
            remote.iter().map(|(name, protocol, nodes)| (name.parse().unwrap(), self.table(name, *protocol, nodes)));
        let local = local.iter().map(|(name, protocol)| {
            let replica = LocalReplica {
                name: name.parse().unwrap(),
                app: AppAddr(self.at(node, 8080)),
                proxy_protocol: false,
                healthy: AtomicBool::new(true),
                in_flight: AtomicU32::new(0),
            };
            let service = LocalService {
                service: name.parse().unwrap(),
                protocol: *protocol,
                replicas: vec![Arc::new(replica)],
                turn: AtomicUsize::new(0),
            };
            (name.parse().unwrap(), Arc::new(service))
        });
        Arc::new(WorldCell::new(World {
            facts: Arc::new(NodeFacts {
                mesh: "bank".parse().unwrap(),
                node: format!("vm-{node}").parse().unwrap(),
                zone: None,
            }),
            services: Arc::new(services.collect()),
            local: Arc::new(local.collect()),
            credentials: self.credentials(node, &names),
            trust: self.trust.clone(),
            revocations: Arc::clone(&self.trust.revocations),
            policy: Arc::default(),
            draining: false,
        }))
    }

    pub(crate) fn table(&self, service: &str, protocol: Protocol, nodes: &[u8]) -> Arc<EndpointTable> {
        let endpoints = nodes.iter().map(|node| {
            Arc::new(Endpoint {
                node: format!("vm-{node}").parse().unwrap(),
                replica: service.parse().unwrap(),
                selector: None,
                generation: 1,
                addr: PeerAddr(self.at(*node, 4510)),
                zone: None,
                version: format!("v{node}"),
                labels: BTreeMap::new(),
                weight: 1,
                healthy: true,
                load: Arc::new(EndpointLoad::default()),
            })
        });
        Arc::new(EndpointTable::new(service.parse().unwrap(), protocol, endpoints.collect()))
    }

    /// The sum of a metric's series with all of these labels, over all nodes.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.recorder.handle().render();
        let series =
            text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the sum of a metric's series with all of these labels is this: an exchange is recorded when it is dropped.
    pub(crate) async fn counts(&self, name: &str, labels: &[&str], count: f64) {
        let counted = async {
            while self.sum(name, labels) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _late = tokio::time::timeout(Duration::from_secs(10), counted).await;
        assert_eq!(self.sum(name, labels), count, "{name} {labels:?}");
    }

    /// The failures of one code, once there is any: an exchange is recorded when its body is dropped.
    pub(crate) async fn errors(&self, direction: &str, code: &str) -> f64 {
        let labels = [format!("direction=\"{direction}\""), format!("code=\"{code}\"")];
        let labels = labels.each_ref().map(String::as_str);
        let counted = async {
            while self.sum("weft_request_errors_total", &labels) == 0.0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
        self.sum("weft_request_errors_total", &labels)
    }
}

impl Node {
    /// Puts a policy into force.
    pub(crate) fn apply(&self, policy: &Arc<Policy>) {
        self.world.change(|world| world.policy = Arc::clone(policy));
    }
}

/// The policy of one file, applied as one revision.
pub(crate) fn policy(revision: u64, text: &str) -> Arc<Policy> {
    let sources = read_file("policies/orders.toml", text).unwrap();
    let documents: Vec<_> = sources.into_iter().map(|source| (source, revision)).collect();
    Arc::new(compile(&documents).unwrap())
}

/// Lets a node know that this node is revoked.
pub(crate) fn revoke(at: &WorldCell, node: &str) {
    let nodes = [node.parse().unwrap()].into_iter().collect();
    let revocations = Arc::new(Revocations { nodes, ..Revocations::default() });
    at.change(|world| {
        world.revocations = Arc::clone(&revocations);
        world.trust = world.trust.clone().with_revocations(Arc::clone(&revocations));
    });
}
