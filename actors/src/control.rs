//! What an operator can ask of a running node; the admin API and the demo call it. Answers come from snapshots, changes go to
//! the actor that owns the matter.

mod ledger;
mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_gossip::signer::TokenWish;
use weft_identity::{
    CellName, Code, Failure, GrantedLabels, Grants, JoinToken, LabelChanges, MeshName, NodeId, ReplicaName, Roles,
    ServiceName, SpiffeId, ZoneName,
};
use weft_world::service_spec::{BindSpec, ServiceSpec};
use weft_world::{World, admin};

use crate::actor::health::check_fits;
use crate::actor::upstreams::check_agrees;
use crate::core::Core;
use crate::enlist::{self, JoinDone};
use crate::message::{health, identity, listeners, membership, signer};

pub use crate::actor::upstreams::Dissent;
pub use listing::{CertRow, EndpointRow, NodeRow, ServiceRow};

/// The life of a token that states none.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(600);

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
    /// What becomes of the node's labels.
    pub labels: LabelChanges,
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
    /// The labels that a signer granted to it.
    pub labels: GrantedLabels,
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
    /// The replicas that this node offers.
    pub exposed: Vec<ServiceSpec>,
    /// What it offers in another protocol than the mesh goes by, so that nobody calls it.
    pub dissents: Vec<Dissent>,
}

/// What can be asked of a running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeControl(pub(crate) Arc<Core>);

impl Default for TokenRequest {
    fn default() -> Self {
        let life_seconds = TOKEN_LIFE_DEFAULT.as_secs();
        let (grants, labels) = (BTreeSet::new(), LabelChanges::default());
        Self { grants, grant_all: false, signer: false, labels, cell: None, life_seconds }
    }
}

impl From<admin::TokenRequest> for TokenRequest {
    fn from(request: admin::TokenRequest) -> Self {
        Self {
            grants: request.grants.into_iter().collect(),
            grant_all: request.grant_all,
            signer: request.signer,
            labels: request.labels,
            cell: request.cell,
            life_seconds: request.ttl_seconds,
        }
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
            labels: core.standing.load().enrolment.labels.clone(),
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
            dissents: self.dissents().into_iter().filter(|one| one.node == file.node).collect(),
        }
    }

    /// What the data path decides by now.
    pub fn world(&self) -> Arc<World> {
        self.0.world.load()
    }

    /// Offers a replica of a service, or changes how it is offered; done once it is on disk and the service's certificate is there.
    /// Refused with [`Code::ProtocolMismatch`] where the other nodes speak the service in another protocol.
    pub async fn expose(&self, spec: ServiceSpec) -> Result<(), Failure> {
        check_agrees(&self.0, &spec)?;
        self.expose_anyway(spec).await
    }

    /// [`NodeControl::expose`], whatever the other nodes speak: most of them decide for which protocol the mesh goes.
    pub async fn expose_anyway(&self, spec: ServiceSpec) -> Result<(), Failure> {
        self.granted(&spec.service)?;
        check_fits(&self.0, &spec).await?;
        let id = SpiffeId::service(&self.0.file.mesh, &spec.service);
        self.0.identity.call(|reply| identity::Message::Want(id, reply)).await??;
        self.0.health.call(|reply| health::Message::Expose(spec, reply)).await?
    }

    /// Offers a service no more; or only one replica of it, if that is named.
    pub async fn unexpose(&self, service: ServiceName, replica: Option<ReplicaName>) -> Result<(), Failure> {
        self.0.health.call(|reply| health::Message::Unexpose(service, replica, reply)).await?
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
        if let Some(identity) = &spec.identity {
            self.granted(identity)?;
            let id = SpiffeId::service(&self.0.file.mesh, identity);
            self.0.identity.call(|reply| identity::Message::Want(id, reply)).await??;
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
            labels: request.labels,
            cell: request.cell.unwrap_or_else(|| file.cell.clone()),
            time_to_live: Duration::from_secs(request.life_seconds),
            seeds: vec![file.advertise],
        };
        let token = self.0.signer.call(|reply| signer::Message::CreateToken(wish, reply)).await??;
        Ok(TokenCreated { token: token.to_string(), at: file.advertise, expires_at_ms: token.expires_at.0 })
    }

    /// Joins the mesh again for more grants or other labels.
    pub async fn join(&self, token: &JoinToken, at: SocketAddr) -> Result<JoinDone, Failure> {
        enlist::join_again(&self.0, token, at).await
    }

    /// Tells the members that this node goes, and waits until some have heard it.
    pub async fn leave(&self) -> Result<(), Failure> {
        self.0.membership.call(membership::Message::Leave).await?
    }

    /// Makes an actor panic, for tests of the tree.
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
