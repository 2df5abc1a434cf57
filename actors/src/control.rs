//! What an operator can ask of a running node; the admin API and the demo call it. Answers come from snapshots, changes go to
//! the actor that owns the matter.

pub mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_gossip::catalog::Protocol;
use weft_gossip::identity::{Grants, JoinToken, Roles};
use weft_gossip::membership::{Member, MemberState};
use weft_gossip::signer::TokenWish;
use weft_gossip::{CellName, Code, Failure, MeshName, NodeId, ServiceName, ZoneName};

use crate::core::Core;
use crate::enlist::{self, JoinDone};
use crate::{health, identity, listeners, membership, signer};

/// The share of a replica that states none.
pub const WEIGHT_DEFAULT: u16 = 100;
/// The life of a token that states none.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(600);

/// A service that this node offers: an application on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The service.
    pub service: ServiceName,
    /// Where the application listens.
    pub app: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// The version that the operator gives it; may be empty.
    pub version: String,
    /// Its share of the calls, 100 by default.
    pub weight: u16,
    /// What routes choose its replicas by, beside the version.
    pub labels: BTreeMap<String, String>,
    /// How it is probed.
    pub health: HealthSpec,
}

/// How a replica is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// What a probe does.
    pub kind: ProbeKind,
    /// Space between two probes in milliseconds; none takes the node's setting.
    pub interval_ms: Option<u64>,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// `GET` of this path must answer below 400.
    Http(String),
    /// The port must accept a connection.
    Tcp,
    /// No probe: always healthy.
    Off,
}

/// A local port that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindSpec {
    /// Where to listen.
    pub at: SocketAddr,
    /// The service that it leads to.
    pub service: ServiceName,
    /// The service whose identity the streams carry; none lets the node choose.
    pub identity: Option<ServiceName>,
}

/// What a new token is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRequest {
    /// The services that the node may offer.
    pub grants: BTreeSet<ServiceName>,
    /// Every service, whatever `grants` says.
    pub grant_all: bool,
    /// The signer role.
    pub signer: bool,
    /// The cell; none is this node's.
    pub cell: Option<CellName>,
    /// Seconds that it admits.
    pub life_seconds: u64,
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The token; secret.
    pub token: String,
    /// The address to join at.
    pub at: SocketAddr,
    /// Until when, in milliseconds since the epoch.
    pub expires_at_ms: u64,
}

/// A node in one look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The mesh.
    pub mesh: MeshName,
    /// The node.
    pub node: NodeId,
    /// Its cell.
    pub cell: CellName,
    /// Its zone.
    pub zone: Option<ZoneName>,
    /// Where others reach it.
    pub advertise: SocketAddr,
    /// Where it listens for others.
    pub bind: SocketAddr,
    /// Whether it issues certificates.
    pub signer: bool,
    /// Whether every certificate of it is valid now.
    pub certificates_current: bool,
    /// Why no other node believes this one any more, as far as it has heard.
    pub revoked: Option<String>,
    /// Whether it is going down.
    pub draining: bool,
    /// Services known in the mesh.
    pub services: usize,
    /// Members, this node among them.
    pub members: usize,
    /// Restarts by actor.
    pub restarts: BTreeMap<String, u64>,
    /// The local ports that lead to services.
    pub bindings: Vec<BindSpec>,
    /// The services that this node offers.
    pub exposed: Vec<ServiceSpec>,
}

/// One member in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// Where it is reached.
    pub addr: SocketAddr,
    /// `alive` or `suspect`.
    pub state: String,
    /// Its zone.
    pub zone: Option<ZoneName>,
    /// The generation of its process.
    pub generation: u64,
    /// The services that it offers.
    pub services: Vec<ServiceName>,
}

/// One service in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceRow {
    /// The service.
    pub service: ServiceName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Who offers it.
    pub endpoints: Vec<EndpointRow>,
}

/// One endpoint of a service in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The node.
    pub node: NodeId,
    /// Its mesh port.
    pub addr: SocketAddr,
    /// Its zone.
    pub zone: Option<ZoneName>,
    /// Its share.
    pub weight: u32,
    /// Whether it counts as healthy.
    pub healthy: bool,
    /// Requests and streams in flight from this node.
    pub in_flight: u32,
}

/// One certificate in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertRow {
    /// Who.
    pub identity: String,
    /// Since when, in milliseconds since the epoch.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
}

/// What can be asked of a running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeControl(pub(crate) Arc<Core>);

impl Default for TokenRequest {
    fn default() -> Self {
        let life_seconds = TOKEN_LIFE_DEFAULT.as_secs();
        Self { grants: BTreeSet::new(), grant_all: false, signer: false, cell: None, life_seconds }
    }
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self { kind: ProbeKind::Tcp, interval_ms: None }
    }
}

impl ServiceSpec {
    /// A service with the usual weight, probed by a TCP connect.
    pub fn new(service: ServiceName, app: SocketAddr, protocol: Protocol) -> Self {
        let health = HealthSpec::default();
        let (version, labels) = (String::new(), BTreeMap::new());
        Self { service, app, protocol, version, weight: WEIGHT_DEFAULT, labels, health }
    }
}

impl NodeControl {
    /// The node in one look.
    pub fn status(&self) -> NodeStatus {
        let (core, world) = (&self.0, self.0.world.load());
        let file = &core.file;
        NodeStatus {
            mesh: file.mesh.clone(),
            node: file.node.clone(),
            cell: file.cell.clone(),
            zone: file.zone.clone(),
            advertise: file.advertise,
            bind: file.bind,
            signer: core.standing.load().issuer.is_some(),
            certificates_current: core.certificates.load().iter().all(|held| held.not_after > core.env.clock.wall()),
            revoked: world
                .policy
                .revocations()
                .node(&file.node)
                .map(|found| format!("{} ({})", found.reason, found.place)),
            draining: world.draining,
            services: world.services.len(),
            members: self.nodes().len(),
            restarts: core.restarts.by_name().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            bindings: core.bindings.load().values().cloned().collect(),
            exposed: core.exposed.load().values().cloned().collect(),
        }
    }

    /// Every member, this node among them.
    pub fn nodes(&self) -> Vec<NodeRow> {
        let (core, view) = (&self.0, self.0.members.borrow().clone());
        let others = view.members.values().filter(|member| member.record.node != core.file.node);
        let mut rows: Vec<_> = others.map(node_row).collect();
        rows.push(NodeRow {
            node: core.file.node.clone(),
            addr: core.file.advertise,
            state: "alive".to_owned(),
            zone: core.file.zone.clone(),
            generation: core.generation.load(Ordering::Relaxed),
            services: core.exposed.load().keys().cloned().collect(),
        });
        rows.sort_by(|one, two| one.node.cmp(&two.node));
        rows
    }

    /// Every service known in the mesh.
    pub fn services(&self) -> Vec<ServiceRow> {
        let world = self.0.world.load();
        let row = |endpoint: &Arc<weft_gateway::endpoint::Endpoint>| EndpointRow {
            node: endpoint.node.clone(),
            addr: endpoint.addr.0,
            zone: endpoint.zone.clone(),
            weight: endpoint.weight,
            healthy: endpoint.healthy,
            in_flight: endpoint.load.in_flight(),
        };
        let tables = world.services.values();
        tables
            .map(|table| ServiceRow {
                service: table.service.clone(),
                protocol: table.protocol,
                endpoints: table.endpoints.iter().map(row).collect(),
            })
            .collect()
    }

    /// The certificates of this node.
    pub fn certs(&self) -> Vec<CertRow> {
        let world = self.0.world.load();
        let row = |credential: &Arc<crate::world::Credential>| CertRow {
            identity: credential.identity.to_string(),
            not_before_ms: credential.not_before.0,
            not_after_ms: credential.not_after.0,
        };
        world.credentials.identities.values().map(row).collect()
    }

    /// Offers a service, or changes how it is offered; done once it is on disk and its certificate is there.
    pub async fn expose(&self, spec: ServiceSpec) -> Result<(), Failure> {
        self.granted(&spec.service)?;
        health::check_fits(&self.0, &spec).await?;
        let service = spec.service.clone();
        self.0.identity.call(|reply| identity::Message::Want(service, reply)).await??;
        self.0.health.call(|reply| health::Message::Expose(spec, reply)).await?
    }

    /// Offers a service no more.
    pub async fn unexpose(&self, service: ServiceName) -> Result<(), Failure> {
        self.0.health.call(|reply| health::Message::Unexpose(service, reply)).await?
    }

    /// Whether this node may offer a service and call as it.
    fn granted(&self, service: &ServiceName) -> Result<(), Failure> {
        if self.0.standing.load().enrolment.grants.allows(service) {
            return Ok(());
        }
        let detail = format!("node {} is not granted the service {service}", self.0.file.node);
        Err(Failure::new(Code::GrantMissing, detail))
    }

    /// Opens a local port that leads to a service; done once the identity that it names can be proven.
    pub async fn bind(&self, spec: BindSpec) -> Result<(), Failure> {
        if let Some(identity) = spec.identity.clone() {
            self.granted(&identity)?;
            self.0.identity.call(|reply| crate::identity::Message::Want(identity, reply)).await??;
        }
        self.0.listeners.call(|reply| listeners::Message::Bind(spec, reply)).await?
    }

    /// Closes a local port that leads to a service.
    pub async fn unbind(&self, at: SocketAddr) -> Result<(), Failure> {
        self.0.listeners.call(|reply| listeners::Message::Unbind(at, reply)).await?
    }

    /// Makes a join token; only on a signer.
    pub async fn create_token(&self, request: TokenRequest) -> Result<TokenCreated, Failure> {
        let file = &self.0.file;
        let wish = TokenWish {
            grants: if request.grant_all { Grants::All } else { Grants::Only(request.grants) },
            roles: Roles { signer: request.signer },
            cell: request.cell.unwrap_or_else(|| file.cell.clone()),
            time_to_live: Duration::from_secs(request.life_seconds),
            seeds: vec![file.advertise],
        };
        let token = self.0.signer.call(|reply| signer::Message::CreateToken(wish, reply)).await??;
        Ok(TokenCreated { token: token.to_string(), at: file.advertise, expires_at_ms: token.expires_at.0 })
    }

    /// Joins the mesh again for more grants.
    pub async fn join(&self, token: &JoinToken, at: SocketAddr) -> Result<JoinDone, Failure> {
        enlist::join_again(&self.0, token, at).await
    }

    /// Tells the members that this node goes, and waits until some have heard it.
    pub async fn leave(&self) -> Result<(), Failure> {
        self.0.membership.call(membership::Message::Leave).await?
    }

    /// Makes an actor panic, for tests of the tree.
    #[cfg(any(test, feature = "crash-test"))]
    pub fn crash(&self, name: &str) -> Result<(), Failure> {
        let core = &self.0;
        let crashed = match name {
            "store" => core.store.crash(),
            "identity" => core.identity.crash(),
            "health" => core.health.crash(),
            "ledger" => core.ledger_actor.crash(),
            "membership" => core.membership.crash(),
            "policy" => core.policy_actor.crash(),
            "upstreams" => core.upstreams.crash(),
            "telemetry" => core.telemetry_actor.crash(),
            "signer" => core.signer.crash(),
            "listeners" => core.listeners.crash(),
            _ => return Err(Failure::new(Code::UsageInvalid, format!("there is no actor {name}"))),
        };
        Ok(crashed?)
    }
}

fn node_row(member: &Member) -> NodeRow {
    let record = &member.record;
    let state = match member.state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
    };
    NodeRow {
        node: record.node.clone(),
        addr: record.addr,
        state: state.to_owned(),
        zone: record.zone.clone(),
        generation: record.generation,
        services: record.replicas.iter().map(|replica| replica.service.clone()).collect(),
    }
}
