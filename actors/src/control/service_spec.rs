//! How an operator wants a replica offered. Read from the configuration or the admin API, kept on disk by Health.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weft_gossip::catalog::Protocol;
use weft_gossip::{ReplicaName, ServiceName};

use crate::core::ReplicaId;

/// The share of a replica that states none.
pub const WEIGHT_DEFAULT: u16 = 100;

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
        Self { service, replica, app, protocol, version, weight: WEIGHT_DEFAULT, labels, health }
    }

    /// What it is found by on its node.
    pub(crate) fn id(&self) -> ReplicaId {
        (self.service.clone(), self.replica.clone())
    }
}
