//! The Health actor: the replicas that this node offers and whether they answer.
//!
//! - Owns: the exposed replicas and a probe task for each.
//! - Receives: expose and unexpose, from the operator; what a probe found.
//! - Publishes: [`LocalTable`] into the world; the exposed replicas, from which this node's record follows.
//! - A crash loses: the count of failed probes in a row; the replicas are on disk, the last health stays in the world.

mod probe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;
use weft_identity::{Code, Failure, Protocol, ReplicaName, ServiceName};
use weft_policy::endpoint::AppAddr;
use weft_world::service_spec::{ProbeKind, ReplicaId, ServiceSpec};
use weft_world::{LocalReplica, LocalService, LocalTable};

use crate::actor::upstreams::replicas_of;
use crate::core::{Core, Exposed};
use crate::message::health::Message;
use crate::message::membership;
use crate::message::store::key;
use crate::shell::Role;

/// Health's state.
pub(crate) struct Health {
    core: Arc<Core>,
    probes: BTreeMap<ReplicaId, JoinHandle<()>>,
    failed: BTreeMap<ReplicaId, u32>,
}

impl Role for Health {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let mut kept: Vec<ServiceSpec> = core.kept(key::EXPOSED).await?.unwrap_or_default();
        let proxied: Vec<ReplicaId> = core.kept(key::EXPOSED_PROXIED).await?.unwrap_or_default();
        kept.iter_mut().for_each(|spec| spec.proxy_protocol = proxied.contains(&spec.id()));
        core.exposed.store(Arc::new(kept.into_iter().map(|spec| (spec.id(), spec)).collect()));
        let mut health = Self { core, probes: BTreeMap::new(), failed: BTreeMap::new() };
        health.publish();
        Ok(health)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Expose(spec, reply) => drop(reply.send(self.expose(spec).await)),
            Message::Unexpose(service, replica, reply) => {
                drop(reply.send(self.unexpose(&service, replica.as_ref()).await));
            }
            Message::Probed(id, app, answered) => self.probed(&id, app, answered),
        }
        Ok(())
    }
}

impl Health {
    async fn expose(&mut self, spec: ServiceSpec) -> Result<(), Failure> {
        check_fits(&self.core, &spec).await?;
        let mut exposed = Exposed::clone(&self.core.exposed.load());
        speaks_like_others(&exposed, &spec)?;
        if spec.proxy_protocol && spec.protocol != Protocol::Tcp {
            let detail = "a PROXY header begins a stream of TCP; requests of HTTP tell who calls in their fields";
            return Err(Failure::new(Code::ProtocolMismatch, detail));
        }
        let id = spec.id();
        exposed.insert(id.clone(), spec);
        self.keep(exposed).await?;
        // It may be probed in another way from now on.
        if let Some(probe) = self.probes.remove(&id) {
            probe.abort();
        }
        self.publish();
        Ok(())
    }

    async fn unexpose(&mut self, service: &ServiceName, replica: Option<&ReplicaName>) -> Result<(), Failure> {
        let mut exposed = Exposed::clone(&self.core.exposed.load());
        let before = exposed.len();
        exposed.retain(|(of, name), _| of != service || replica.is_some_and(|replica| replica != name));
        if exposed.len() == before {
            let which = replica.map(|replica| format!(" as {replica}")).unwrap_or_default();
            return Err(Failure::new(Code::ServiceUnknown, format!("this node does not offer {service}{which}")));
        }
        self.keep(exposed).await?;
        self.publish();
        Ok(())
    }

    async fn keep(&self, exposed: Exposed) -> Result<(), Failure> {
        let proxied: Vec<ReplicaId> =
            exposed.values().filter(|spec| spec.proxy_protocol).map(ServiceSpec::id).collect();
        self.core.keep(key::EXPOSED_PROXIED, &proxied).await?;
        let rows: Vec<_> = exposed.values().cloned().collect();
        self.core.keep(key::EXPOSED, &rows).await?;
        self.core.exposed.store(Arc::new(exposed));
        Ok(())
    }

    /// Puts the local table into the world; a replica that was there keeps its health and its count.
    fn publish(&mut self) {
        let exposed = self.core.exposed.load_full();
        let old = self.core.world.load();
        let table = Arc::new(local_table(&exposed, &old.local));
        self.core.world.change(|world| world.local = Arc::clone(&table));
        self.core.offered.send_modify(|changes| *changes += 1);
        self.probes.retain(|id, probe| {
            let stays = exposed.contains_key(id);
            if !stays {
                probe.abort();
            }
            stays
        });
        self.failed.retain(|id, _| exposed.contains_key(id));
        for spec in exposed.values().filter(|spec| spec.health.kind != ProbeKind::Off) {
            let core = &self.core;
            self.probes.entry(spec.id()).or_insert_with(|| tokio::spawn(probe::run(Arc::clone(core), spec.clone())));
        }
    }

    fn probed(&mut self, id: &ReplicaId, app: SocketAddr, answered: bool) {
        let (service, name) = id;
        let world = self.core.world.load();
        let local = world.local.get(service).and_then(|local| local.named(name.as_str().as_bytes()));
        // A probe of what is offered no more, or from another address, says nothing.
        let Some(replica) = local.filter(|replica| replica.app.0 == app) else { return };
        let failed = self.failed.entry(id.clone()).or_default();
        *failed = if answered { 0 } else { failed.saturating_add(1) };
        let healthy = *failed < self.core.settings.unhealthy_after;
        if replica.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            tracing::info!(%service, replica = %name, %app, healthy, "the health of a replica changed");
            self.core.offered.send_modify(|changes| *changes += 1);
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.probes.values().for_each(JoinHandle::abort);
    }
}

/// Whether this node's record can say that it offers this service, too; [`Code::RecordTooLarge`] if not.
pub(crate) async fn check_fits(core: &Core, spec: &ServiceSpec) -> Result<(), Failure> {
    let mut exposed = Exposed::clone(&core.exposed.load());
    exposed.insert(spec.id(), spec.clone());
    let replicas = replicas_of(&exposed, &core.world.load().local);
    core.membership.call(|reply| membership::Message::Fits(replicas, reply)).await?
}

/// Callers speak to a service, not to a replica.
fn speaks_like_others(exposed: &Exposed, spec: &ServiceSpec) -> Result<(), Failure> {
    let others = exposed.values().filter(|other| other.service == spec.service && other.replica != spec.replica);
    let Some(other) = others.into_iter().find(|other| other.protocol != spec.protocol) else { return Ok(()) };
    let detail = format!(
        "{} speaks another protocol as {} on this node; all replicas of a service on a node speak the same",
        spec.service, other.replica
    );
    Err(Failure::new(Code::ProtocolMismatch, detail))
}

fn local_table(exposed: &Exposed, old: &LocalTable) -> LocalTable {
    let mut services: BTreeMap<&ServiceName, Vec<&ServiceSpec>> = BTreeMap::new();
    for spec in exposed.values() {
        services.entry(&spec.service).or_default().push(spec);
    }
    services.into_iter().map(|(service, specs)| (service.clone(), local_service(&specs, old.get(service)))).collect()
}

/// A service and its replicas, at least one; what is as it was stays the same.
fn local_service(specs: &[&ServiceSpec], old: Option<&Arc<LocalService>>) -> Arc<LocalService> {
    let first = specs[0];
    let old = old.filter(|old| old.protocol == first.protocol);
    let replica = |spec: &&ServiceSpec| {
        let same = old.and_then(|old| old.named(spec.replica.as_str().as_bytes()));
        match same.filter(|same| same.app.0 == spec.app && same.proxy_protocol == spec.proxy_protocol) {
            Some(same) => Arc::clone(same),
            None => {
                let (name, app) = (spec.replica.clone(), AppAddr(spec.app));
                let proxy_protocol = spec.proxy_protocol;
                Arc::new(LocalReplica { name, app, proxy_protocol, healthy: true.into(), in_flight: 0.into() })
            }
        }
    };
    let replicas: Vec<_> = specs.iter().map(replica).collect();
    let is_same = |old: &&Arc<LocalService>| {
        old.replicas.len() == replicas.len() && old.replicas.iter().zip(&replicas).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    match old.filter(is_same) {
        Some(same) => Arc::clone(same),
        None => Arc::new(LocalService {
            service: first.service.clone(),
            protocol: first.protocol,
            replicas,
            turn: 0.into(),
        }),
    }
}
