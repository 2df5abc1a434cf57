//! Where a service can be reached: the endpoint tables that pool actors publish and the data path reads.
//!
//! A table is immutable; what changes per request (latency, requests in flight, ejection) sits in atomics of [`EndpointLoad`],
//! which survive a new table for as long as the endpoint itself does.

mod concurrency;
mod ejection;
mod flight;
mod latency;
mod load;
mod penalty;
mod remembered;
mod review;
mod window;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use weft_identity::Protocol;
use weft_identity::{NodeId, ReplicaName, ServiceName, ZoneName};

use crate::outcome::{Change, Outcome, Taken, Terms};

pub use ejection::{EJECTION_BASE, EJECTION_MAX, Presence};
pub use latency::EWMA_DECAY;
pub use load::EndpointLoad;
pub use remembered::Remembered;
pub use review::{Reviewed, review};

/// The address of another node's mesh port, where its replicas answer over mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddr(pub SocketAddr);

/// The address at which an application on this machine listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppAddr(pub SocketAddr);

/// The endpoints of one service; immutable, replaced whole.
#[derive(Debug)]
pub struct EndpointTable {
    /// The service.
    pub service: ServiceName,
    /// What its replicas speak.
    pub protocol: Protocol,
    /// One entry a replica, healthy or not, ordered by node and name.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// When they are compared with each other again.
    pub reviewed: Reviewed,
    /// Which of them the last call could choose among.
    pub in_view: Remembered,
    /// The largest weight.
    pub weight_max: u32,
}

/// One replica of a service, on its node.
#[derive(Debug)]
pub struct Endpoint {
    /// The node.
    pub node: NodeId,
    /// What the node calls the replica.
    pub replica: ReplicaName,
    /// What a call names the replica by; none where its node offers no other of the service.
    pub selector: Option<HeaderValue>,
    /// The generation of the node's process: a restart is a new generation and clears an ejection.
    pub generation: u64,
    /// Its mesh port.
    pub addr: PeerAddr,
    /// Its zone, for preference.
    pub zone: Option<ZoneName>,
    /// The version that its operator gave it; may be empty.
    pub version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Relative share of the requests, at least 1.
    pub weight: u32,
    /// Whether the node itself says that a replica is healthy and the membership does not say that the node is gone.
    pub healthy: bool,
    /// What the data path learns.
    pub load: Arc<EndpointLoad>,
}

/// How a call names a replica.
pub fn selector(name: &ReplicaName) -> Option<HeaderValue> {
    HeaderValue::from_str(name.as_str()).ok()
}

impl EndpointTable {
    /// A table that nobody has looked at yet.
    pub fn new(service: ServiceName, protocol: Protocol, endpoints: Box<[Arc<Endpoint>]>) -> Self {
        let weight_max = endpoints.iter().map(|endpoint| endpoint.weight.max(1)).max().unwrap_or(1);
        let (reviewed, in_view) = (Reviewed::default(), Remembered::default());
        Self { service, protocol, endpoints, reviewed, in_view, weight_max }
    }

    /// The endpoints of one node.
    pub fn of_node<'t>(&'t self, node: &'t NodeId) -> impl Iterator<Item = &'t Arc<Endpoint>> {
        self.endpoints.iter().filter(move |endpoint| endpoint.node == *node)
    }
}

impl Endpoint {
    /// Whether both are the same replica of the same life of its node.
    pub fn is_same(&self, other: &Endpoint) -> bool {
        self.node == other.node && self.generation == other.generation && self.replica == other.replica
    }

    /// Whether it is of a version, and has all of some labels.
    pub fn is_of(&self, version: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
        version.is_none_or(|version| self.version == version)
            && labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }

    /// Takes in an outcome that says something of this endpoint, too, although the try was made at another: no connection to their node
    /// came to be.
    pub fn learn(&self, outcome: Outcome, taken: &Taken, terms: &Terms) -> Option<Change> {
        self.load.learn(outcome, taken, terms)
    }
}
