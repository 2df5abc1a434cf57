//! What Health is sent.

use std::net::SocketAddr;

use weft_identity::{Failure, ReplicaName, ServiceName};
use weft_world::service_spec::{ReplicaId, ServiceSpec};

use crate::address::Reply;

/// What Health is sent.
pub(crate) enum Message {
    /// Offer a replica.
    Expose(ServiceSpec, Reply<Result<(), Failure>>),
    /// Offer a service no more, or only this replica of it.
    Unexpose(ServiceName, Option<ReplicaName>, Reply<Result<(), Failure>>),
    /// A probe ended: whether the replica, and at which address, answered.
    Probed(ReplicaId, SocketAddr, bool),
}
