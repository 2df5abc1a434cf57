//! What an operator can list of a running node: members, services, certificates. Read from snapshots.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use weft_gossip::membership::{Member, MemberState};
use weft_identity::{GrantedLabels, NodeId, Protocol, ReplicaName, ServiceName, ZoneName};
use weft_policy::endpoint::Endpoint;
use weft_world::Credential;

use super::{Dissent, NodeControl};
use crate::actor::upstreams;

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
    pub services: BTreeSet<ServiceName>,
    /// The labels that a signer granted to it, as the enrolment in its record says.
    pub labels: GrantedLabels,
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
    /// Who offers it in another protocol, and is left out.
    pub dissents: Vec<Dissent>,
}

/// One endpoint of a service in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The node.
    pub node: NodeId,
    /// What the node calls the replica.
    pub replica: ReplicaName,
    /// Its version; may be empty.
    pub version: String,
    /// The node's mesh port.
    pub addr: SocketAddr,
    /// The node's zone.
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
    /// The public key that it is for, in hex: what `weft revoke key` takes.
    pub key: String,
    /// The labels that it carries.
    pub labels: GrantedLabels,
    /// Since when, in milliseconds since the epoch.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
}

impl NodeControl {
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
            services: core.exposed.load().keys().map(|(service, _)| service.clone()).collect(),
            labels: core.standing.load().enrolment.labels.clone(),
        });
        rows.sort_by(|one, two| one.node.cmp(&two.node));
        rows
    }

    /// Every service known in the mesh.
    pub fn services(&self) -> Vec<ServiceRow> {
        let world = self.0.world.load();
        let row = |endpoint: &Arc<Endpoint>| EndpointRow {
            node: endpoint.node.clone(),
            replica: endpoint.replica.clone(),
            version: endpoint.version.clone(),
            addr: endpoint.addr.0,
            zone: endpoint.zone.clone(),
            weight: endpoint.weight,
            healthy: endpoint.healthy,
            in_flight: endpoint.load.in_flight(),
        };
        let mut dissents = self.dissents();
        let tables = world.services.values();
        tables
            .map(|table| ServiceRow {
                service: table.service.clone(),
                protocol: table.protocol,
                endpoints: table.endpoints.iter().map(row).collect(),
                dissents: dissents.extract_if(.., |one| one.service == table.service).collect(),
            })
            .collect()
    }

    /// Who states another protocol for a service than the mesh goes by.
    pub(super) fn dissents(&self) -> Vec<Dissent> {
        upstreams::dissents(&upstreams::stated(&self.0))
    }

    /// The certificates of this node.
    pub fn certs(&self) -> Vec<CertRow> {
        let world = self.0.world.load();
        let row = |credential: &Arc<Credential>| CertRow {
            identity: credential.identity.to_string(),
            key: credential.key.to_string(),
            labels: GrantedLabels::clone(&credential.labels),
            not_before_ms: credential.not_before.0,
            not_after_ms: credential.not_after.0,
        };
        world.credentials.identities.values().map(row).collect()
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
        labels: record.enrolment.claim().map(|enrolment| enrolment.labels).unwrap_or_default(),
    }
}
