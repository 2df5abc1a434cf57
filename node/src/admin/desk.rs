//! What the admin API asks of the node, and the bodies of its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_actors::control::ledger::{DraftWish, Reach};
use weft_gossip::catalog::Protocol;
use weft_gossip::identity::LabelChanges;
use weft_gossip::ledger::{Hash, SignedDraft};
use weft_gossip::{CellName, Failure, ReplicaName, ServiceName};

use weft_proxy::hypothesis::Hypothesis;

/// Answers the admin API. The node implements it over its actors.
pub trait AdminDesk: Send + Sync + 'static {
    /// Whether the node can serve: its certificates are current and its listeners are open.
    fn ready(&self) -> bool;

    /// The metrics in the text form of Prometheus.
    fn metrics(&self) -> String;

    /// Answers one question; a failure carries its code to the CLI.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, Failure>>;
}

/// One request of the admin API.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Who this node is and how it fares.
    Status,
    /// The members.
    Nodes,
    /// The services and their replicas.
    Services,
    /// The certificates of this node.
    Certs,
    /// Offer a service.
    Expose(ExposeRequest),
    /// Offer it no more.
    Unexpose(ServiceName, Option<ReplicaName>),
    /// Lead a local port to a service.
    Bind(BindRequest),
    /// Close it.
    Unbind(u16),
    /// A token for a new node.
    CreateToken(TokenRequest),
    /// Roots, signers, operators, and who has seen what of them.
    Ca,
    /// The trust bundle in force.
    Bundle,
    /// Take the next trust bundle.
    TakeBundle(BundleRequest),
    /// Join the mesh again for more grants.
    Join(JoinRequest),
    /// The ledger in one look.
    Ledger,
    /// The documents in force.
    Documents,
    /// The newest change sets, so many.
    History(usize),
    /// What would change.
    Draft(Box<DraftWish>),
    /// Take in a signed change set.
    Apply(Box<ApplyRequest>),
    /// How a change set stands, and which nodes have it.
    Receipt(Hash),
    /// Why this node refused something, by the id that the caller was told.
    Why(String),
    /// How a call would be decided.
    Decide(Box<Hypothesis>),
    /// Say goodbye to the mesh and stop.
    Leave,
    /// Make this actor panic.
    #[cfg(feature = "crash-test")]
    Crash(String),
}

/// Body of `POST /v1/ledger/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The draft as the operator signed it.
    pub signed: SignedDraft,
    /// How many nodes it must reach.
    pub reach: Reach,
}

/// Body of `POST /v1/bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRequest {
    /// The signed bundle as `GET /v1/bundle` writes it.
    pub bundle: String,
}

/// Body of `POST /v1/join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token; secret.
    pub token: String,
    /// A node of the mesh to dial.
    pub at: SocketAddr,
}

/// Body of `POST /v1/services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposeRequest {
    /// The service.
    pub service: ServiceName,
    /// The replica's name; none names it like the service.
    #[serde(default)]
    pub replica: Option<ReplicaName>,
    /// Where the application listens.
    pub app: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Its share of the load, 1 to 1000.
    pub weight: u32,
    /// What routes choose its replicas by, beside the version.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How it is probed.
    pub health: HealthRequest,
}

/// How a replica is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum HealthRequest {
    /// Not at all.
    None,
    /// A connection is accepted.
    Tcp,
    /// `GET path` answers below 400.
    Http {
        /// The path.
        path: String,
    },
}

/// Body of `POST /v1/bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindRequest {
    /// The service.
    pub service: ServiceName,
    /// The local port.
    pub port: u16,
    /// Which of the node's services the calls come from.
    #[serde(default, rename = "as")]
    pub identity: Option<ServiceName>,
}

/// Body of `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The services that the new node may offer and call as.
    #[serde(default)]
    pub grants: Vec<ServiceName>,
    /// Whether it may offer every service.
    #[serde(default)]
    pub grant_all: bool,
    /// Whether it becomes a signer.
    #[serde(default)]
    pub signer: bool,
    /// What becomes of its labels: by name, the value that it gets, or null where the label is taken away.
    #[serde(default)]
    pub labels: LabelChanges,
    /// The cell it joins; the signer's own if none.
    #[serde(default)]
    pub cell: Option<CellName>,
    /// Life of the token in seconds.
    pub ttl_seconds: u64,
}

impl TokenRequest {
    /// Life of the token.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_seconds)
    }
}
