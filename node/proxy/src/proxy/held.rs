//! What counts an exchange at its endpoint or replica for as long as it lasts. Held by [`super::Exchange`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weft_policy::endpoint::{Endpoint, InFlight};
use weft_world::LocalReplica;

/// Where an exchange counts.
pub(super) enum Held {
    /// Nowhere yet.
    Nothing,
    /// At an endpoint, where the last try went.
    Endpoint { _in_flight: InFlight, endpoint: Arc<Endpoint> },
    /// At a replica of this machine.
    Replica { _in_flight: ReplicaFlight },
}

impl Held {
    /// Counts one at an endpoint.
    pub(super) fn at_endpoint(endpoint: &Arc<Endpoint>) -> Self {
        Self::Endpoint { _in_flight: endpoint.load.enter(), endpoint: Arc::clone(endpoint) }
    }

    /// Counts one at a replica.
    pub(super) fn at_replica(replica: &Arc<LocalReplica>) -> Self {
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        Self::Replica { _in_flight: ReplicaFlight(Arc::clone(replica)) }
    }

    /// The endpoint, if it counts at one.
    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        match self {
            Self::Endpoint { endpoint, .. } => Some(Arc::clone(endpoint)),
            Self::Nothing | Self::Replica { .. } => None,
        }
    }
}

/// One exchange in flight to a replica.
pub(super) struct ReplicaFlight(Arc<LocalReplica>);

impl Drop for ReplicaFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
