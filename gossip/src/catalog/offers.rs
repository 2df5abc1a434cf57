//! The table of services: every replica that the members offer, by service. The catalog actor builds it from each new view.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weft_identity::{NodeId, ServiceName, ZoneName};

use super::record::ReplicaRecord;
use crate::membership::{MemberState, MembersView};

/// One replica and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The node that runs it.
    pub node: NodeId,
    /// The node's generation: a new one means that connections and figures of the old are void.
    pub generation: u64,
    /// Where to dial the node.
    pub addr: SocketAddr,
    /// The node's zone.
    pub zone: Option<ZoneName>,
    /// Whether the node is surely there; a suspect one is tried like any other, but a list may say so.
    pub state: MemberState,
    /// The replica.
    pub replica: ReplicaRecord,
}

/// What the members of a view offer. Who is leaving offers nothing; what is unhealthy stays in, marked as such.
pub fn offers(view: &MembersView) -> BTreeMap<ServiceName, Vec<Offer>> {
    let mut table: BTreeMap<ServiceName, Vec<Offer>> = BTreeMap::new();
    for member in view.members.values().filter(|member| !member.record.leaving) {
        for replica in &member.record.replicas {
            table.entry(replica.service.clone()).or_default().push(Offer {
                node: member.record.node.clone(),
                generation: member.record.generation,
                addr: member.record.addr,
                zone: member.record.zone.clone(),
                state: member.state,
                replica: replica.clone(),
            });
        }
    }
    table
}
