//! How an operator wants a replica offered, and a local port bound. Read from the configuration or the admin API, kept on disk by Health
//! and Listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weft_identity::{Code, Failure, Protocol, ReplicaName, ServiceName};

use crate::admin::{BindRequest, ExposeRequest, HealthRequest};
use crate::config::{HealthKind, ServiceConfig};
use crate::server_names::ServerNames;

/// The share of a replica that states none.
pub const WEIGHT_DEFAULT: u16 = 100;

/// One replica of this node.
pub type ReplicaId = (ServiceName, ReplicaName);

/// A replica that this node offers: an application on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The service.
    pub service: ServiceName,
    /// Its name among the replicas of the service on this node.
    pub replica: ReplicaName,
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
    /// Each stream to it begins with a PROXY header of version 2. Kept in a row of its own, so that older rows are read.
    #[serde(skip)]
    pub proxy_protocol: bool,
}

/// A local port that leads to a service, or to several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindSpec {
    /// Where to listen.
    pub at: SocketAddr,
    /// What it leads to.
    #[serde(flatten)]
    pub leads_to: LeadsTo,
    /// The service whose identity the streams carry; none lets the node choose.
    pub identity: Option<ServiceName>,
    /// Each stream from its callers begins with a PROXY header of version 2.
    pub proxy_protocol: bool,
}

/// What a local port leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadsTo {
    /// One service.
    Service(ServiceName),
    /// The service that has the server name for which its client's TLS asks. The TLS is the application's, and passes as it is.
    ServerNames(ServerNames),
}

impl LeadsTo {
    /// One or the other, and not both.
    pub fn new(service: Option<ServiceName>, server_names: Option<ServerNames>) -> Result<Self, &'static str> {
        match (service, server_names) {
            (Some(service), None) => Ok(Self::Service(service)),
            (None, Some(names)) => Ok(Self::ServerNames(names)),
            _ => Err("a port leads to a service, or to several by `server_names`: give one of the two"),
        }
    }

    /// Every service that it leads to.
    pub fn services(&self) -> Vec<&ServiceName> {
        match self {
            Self::Service(service) => vec![service],
            Self::ServerNames(names) => names.services().collect(),
        }
    }
}

impl fmt::Display for LeadsTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: BTreeSet<&str> = self.services().into_iter().map(ServiceName::as_str).collect();
        let services: Vec<&str> = services.into_iter().collect();
        match self {
            Self::Service(service) => f.write_str(service.as_str()),
            Self::ServerNames(_) => write!(f, "{} by server name", services.join(", ")),
        }
    }
}

impl BindRequest {
    /// What is to be bound, at this address.
    pub fn spec(self, at: SocketAddr) -> Result<BindSpec, Failure> {
        let leads_to = LeadsTo::new(self.service, self.server_names);
        let leads_to = leads_to.map_err(|why| Failure::new(Code::UsageInvalid, why))?;
        Ok(BindSpec { at, leads_to, identity: self.identity, proxy_protocol: self.proxy_protocol })
    }
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

impl Default for HealthSpec {
    fn default() -> Self {
        Self { kind: ProbeKind::Tcp, interval_ms: None }
    }
}

impl ServiceSpec {
    /// A replica called like its service, with the usual weight, probed by a TCP connect.
    pub fn new(service: ServiceName, app: SocketAddr, protocol: Protocol) -> Self {
        let (replica, health) = (ReplicaName::from(&service), HealthSpec::default());
        let (version, labels) = (String::new(), BTreeMap::new());
        Self { service, replica, app, protocol, version, weight: WEIGHT_DEFAULT, labels, health, proxy_protocol: false }
    }

    /// What it is found by on its node.
    pub fn id(&self) -> ReplicaId {
        (self.service.clone(), self.replica.clone())
    }
}

/// The share of a replica as the mesh carries it.
fn weight(weight: u32) -> u16 {
    u16::try_from(weight).unwrap_or(u16::MAX)
}

impl From<ExposeRequest> for ServiceSpec {
    fn from(request: ExposeRequest) -> Self {
        let kind = match request.health {
            HealthRequest::None => ProbeKind::Off,
            HealthRequest::Tcp => ProbeKind::Tcp,
            HealthRequest::Http { path } => ProbeKind::Http(path),
        };
        ServiceSpec {
            replica: request.replica.unwrap_or_else(|| ReplicaName::from(&request.service)),
            service: request.service,
            app: request.app,
            protocol: request.protocol,
            version: request.version,
            weight: weight(request.weight),
            labels: request.labels,
            health: HealthSpec { kind, interval_ms: None },
            proxy_protocol: request.proxy_protocol,
        }
    }
}

impl From<&ServiceConfig> for ServiceSpec {
    fn from(config: &ServiceConfig) -> Self {
        let kind = match &config.health.kind {
            HealthKind::None => ProbeKind::Off,
            HealthKind::Tcp => ProbeKind::Tcp,
            HealthKind::Http { path } => ProbeKind::Http(path.clone()),
        };
        let interval_ms = config.health.interval.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        ServiceSpec {
            replica: config.replica.clone(),
            service: config.name.clone(),
            app: config.app,
            protocol: config.protocol,
            version: config.version.clone(),
            weight: weight(config.weight),
            labels: config.labels.clone(),
            health: HealthSpec { kind, interval_ms },
            proxy_protocol: config.proxy_protocol,
        }
    }
}
