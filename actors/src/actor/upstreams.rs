//! The Upstreams actor: from what the members offer to the endpoint tables that the data path reads.
//!
//! - Owns: the load figures of every endpoint, kept by node and generation across tables; of which dissent over protocols it has spoken.
//! - Receives: that the view of the members, or what this node offers itself, has changed.
//! - Publishes: [`ServiceTable`] into the world.
//! - A crash loses: nothing; the figures are taken over from the tables in the world.

mod agreement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;
use weft_gossip::catalog::{NodeRecord, Offer, ReplicaRecord, offers};
use weft_gossip::membership::{MemberState, MembersView};
use weft_identity::{Failure, NodeId, ReplicaName, ServiceName};
use weft_policy::endpoint::{Endpoint, EndpointLoad, EndpointTable, PeerAddr, selector};
use weft_world::{LocalTable, ServiceTable};

use crate::core::{Core, Exposed};
use crate::message::upstreams::Message;
use crate::shell::Role;

pub use agreement::Dissent;
pub(crate) use agreement::{check_agrees, dissents};

use agreement::agreed;

/// Upstreams' state.
pub(crate) struct Upstreams {
    core: Arc<Core>,
    watchers: [JoinHandle<()>; 2],
    /// What the log has said of nodes that state another protocol than most.
    told: BTreeSet<Dissent>,
}

impl Role for Upstreams {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        // Before the first table: what changes after it is seen.
        let watchers = [
            core.upstreams.follow(core.members.subscribe(), || Message::Changed),
            core.upstreams.follow(core.offered.subscribe(), || Message::Changed),
        ];
        let mut upstreams = Self { core, watchers, told: BTreeSet::new() };
        upstreams.publish();
        Ok(upstreams)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Changed => self.publish(),
        }
        Ok(())
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        self.watchers.iter().for_each(JoinHandle::abort);
    }
}

impl Upstreams {
    fn publish(&mut self) {
        let offered = stated(&self.core);
        self.tell(dissents(&offered));
        let table = Arc::new(service_table(offered, &self.core.world.load().services));
        self.core.world.change(|world| world.services = Arc::clone(&table));
    }

    /// Each dissent once, and its end.
    fn tell(&mut self, found: Vec<Dissent>) {
        let found: BTreeSet<Dissent> = found.into_iter().collect();
        for Dissent { service, node, stated, agreed } in found.difference(&self.told) {
            let (stated, agreed) = (stated.as_str(), agreed.as_str());
            tracing::warn!(%service, %node, stated, agreed, "a node offers a service in another protocol; its replicas are left out");
        }
        for Dissent { service, node, .. } in self.told.difference(&found) {
            tracing::info!(%service, %node, "a node dissents no more over the protocol of a service");
        }
        self.told = found;
    }
}

/// What every member and this node state that they offer, in whatever protocol.
pub(crate) fn stated(core: &Core) -> BTreeMap<ServiceName, Vec<Offer>> {
    let view = core.members.borrow().clone();
    let mut offered = offers(&view);
    let own = own_offers(core, &core.world.load().local);
    // Of itself a node knows better than gossip does.
    for list in offered.values_mut() {
        list.retain(|offer| offer.node != core.file.node);
    }
    for offer in own {
        offered.entry(offer.replica.service.clone()).or_default().push(offer);
    }
    offered
}

fn own_offers(core: &Core, local: &LocalTable) -> Vec<Offer> {
    let file = &core.file;
    let offer = |replica| Offer {
        node: file.node.clone(),
        generation: core.generation.load(Ordering::Relaxed),
        addr: file.advertise,
        zone: file.zone.clone(),
        state: MemberState::Alive,
        replica,
    };
    own_replicas(core, local).into_iter().map(offer).collect()
}

/// What this node offers, as its record says it.
pub(crate) fn own_replicas(core: &Core, local: &LocalTable) -> Vec<ReplicaRecord> {
    replicas_of(&core.exposed.load(), local)
}

/// What a node that exposes these services offers.
pub(crate) fn replicas_of(exposed: &Exposed, local: &LocalTable) -> Vec<ReplicaRecord> {
    let record = |spec: &weft_world::service_spec::ServiceSpec| ReplicaRecord {
        service: spec.service.clone(),
        name: spec.replica.clone(),
        version: spec.version.clone(),
        protocol: spec.protocol,
        port: spec.app.port(),
        weight: spec.weight,
        labels: spec.labels.clone(),
        healthy: local
            .get(&spec.service)
            .and_then(|local| local.named(spec.replica.as_str().as_bytes()))
            .is_some_and(|replica| replica.healthy.load(Ordering::Relaxed)),
    };
    exposed.values().map(record).collect()
}

/// The endpoint tables, each of one protocol; the same replica in the same life of its node keeps its load figures.
fn service_table(offered: BTreeMap<ServiceName, Vec<Offer>>, old: &ServiceTable) -> ServiceTable {
    let mut table = ServiceTable::new();
    for (service, list) in offered {
        let Some(protocol) = agreed(&list) else { continue };
        let before = old.get(&service).map(Arc::as_ref);
        let mut by_node: BTreeMap<NodeId, BTreeMap<ReplicaName, Offer>> = BTreeMap::new();
        for offer in list.into_iter().filter(|offer| offer.replica.protocol == protocol) {
            by_node.entry(offer.node.clone()).or_default().insert(offer.replica.name.clone(), offer);
        }
        let endpoints = by_node.into_values().flat_map(|offers| endpoints_of(offers, before)).collect();
        table.insert(service.clone(), Arc::new(EndpointTable::new(service, protocol, endpoints)));
    }
    table
}

/// The endpoints of one node, which calls must tell apart where there are several.
fn endpoints_of(offers: BTreeMap<ReplicaName, Offer>, before: Option<&EndpointTable>) -> Vec<Arc<Endpoint>> {
    let several = offers.len() > 1;
    let endpoint = |offer: Offer| {
        let selector = if several { selector(&offer.replica.name) } else { None };
        Arc::new(Endpoint { selector, ..endpoint(offer, before) })
    };
    offers.into_values().map(endpoint).collect()
}

fn endpoint(offer: Offer, before: Option<&EndpointTable>) -> Endpoint {
    let same = before
        .and_then(|table| {
            let mut of_node = table.of_node(&offer.node);
            of_node.find(|known| known.generation == offer.generation && known.replica == offer.replica.name)
        })
        .map(|known| Arc::clone(&known.load));
    Endpoint {
        node: offer.node,
        replica: offer.replica.name,
        selector: None,
        generation: offer.generation,
        addr: PeerAddr(offer.addr),
        zone: offer.zone,
        version: offer.replica.version,
        labels: offer.replica.labels,
        weight: u32::from(offer.replica.weight).max(1),
        // A share of 0 takes a replica out, without a change of its health.
        healthy: offer.replica.healthy && offer.replica.weight > 0,
        load: same.unwrap_or_else(|| Arc::new(EndpointLoad::default())),
    }
}

/// The members with the signer role, but this node.
pub(crate) fn signers(view: &MembersView, own: &NodeId) -> Vec<Arc<NodeRecord>> {
    let records = view.members.values().map(|member| &member.record);
    records.filter(|record| record.roles.signer && record.node != *own).cloned().collect()
}
