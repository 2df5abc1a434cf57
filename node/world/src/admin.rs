//! The admin API as the node and the command line both see it: its socket, and the bodies of its requests and answers.

pub mod ca;
pub mod ledger;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_identity::{CellName, GrantedLabels, LabelChanges, Protocol, ReplicaName, ServiceName};
use weft_ledger::SignedDraft;

use crate::server_names::ServerNames;
use ledger::Reach;

/// The socket's file in the state directory.
pub const SOCKET_FILE: &str = "weft.sock";

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
    /// Each stream to it begins with a PROXY header of version 2.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether the other nodes must speak it in the same protocol.
    #[serde(default)]
    pub agreement: Agreement,
}

/// What a service is measured by that other nodes offer, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Agreement {
    /// It is refused where the others speak another protocol.
    #[default]
    Needed,
    /// It is offered whatever the others speak.
    Waived,
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
    /// The service; none where server names lead to several.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Services by the server name that a client of TLS states.
    #[serde(default)]
    pub server_names: Option<ServerNames>,
    /// The local port.
    pub port: u16,
    /// Which of the node's services the calls come from.
    #[serde(default, rename = "as")]
    pub identity: Option<ServiceName>,
    /// Each stream from its callers begins with a PROXY header of version 2.
    #[serde(default)]
    pub proxy_protocol: bool,
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

/// A call, as an operator describes it. The body of `POST /v1/why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// Who calls: a service, `node/NAME` or `gw/NAME`; none is as whom this node calls usually.
    #[serde(default)]
    pub from: Option<String>,
    /// The labels that the caller's certificate is supposed to carry; none are those of this node where `from` is none, else no labels.
    #[serde(default)]
    pub labels: Option<GrantedLabels>,
    /// Whom.
    pub to: ServiceName,
    /// The method; without it, the call is a stream of which only its ends are known.
    #[serde(default)]
    pub method: Option<String>,
    /// The path, and its query after a `?`.
    #[serde(default)]
    pub path: Option<String>,
    /// Header fields, each `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
}
