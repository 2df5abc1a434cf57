//! The Health actor: the services that this node offers and whether their replicas answer.
//!
//! - Owns: the exposed services and a probe task for each.
//! - Receives: expose and unexpose, from the operator; what a probe found.
//! - Publishes: [`LocalTable`] into the world; the exposed services, from which this node's record follows.
//! - A crash loses: the count of failed probes in a row; the services are on disk, the last health stays in the world.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use weft_env::Env;
use weft_gossip::{Code, Failure, ServiceName};

use crate::address::Reply;
use crate::control::{ProbeKind, ServiceSpec};
use crate::core::{Core, Exposed};
use crate::membership;
use crate::shell::Role;
use crate::store::key;
use crate::upstreams::replicas_of;
use crate::world::{LocalReplica, LocalService, LocalTable};
use weft_gateway::endpoint::AppAddr;

/// Enough of a response to read its status line.
const STATUS_LEN: usize = 12;

/// What Health is sent.
pub(crate) enum Message {
    /// Offer a service.
    Expose(ServiceSpec, Reply<Result<(), Failure>>),
    /// Offer it no more.
    Unexpose(ServiceName, Reply<Result<(), Failure>>),
    /// A probe ended: whether the replica answered.
    Probed(ServiceName, SocketAddr, bool),
}

/// Health's state.
pub(crate) struct Health {
    core: Arc<Core>,
    probes: BTreeMap<ServiceName, JoinHandle<()>>,
    failed: BTreeMap<ServiceName, u32>,
}

impl Role for Health {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let kept: Vec<ServiceSpec> = core.kept(key::EXPOSED).await?.unwrap_or_default();
        core.exposed.store(Arc::new(kept.into_iter().map(|spec| (spec.service.clone(), spec)).collect()));
        let mut health = Self { core, probes: BTreeMap::new(), failed: BTreeMap::new() };
        health.publish();
        Ok(health)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Expose(spec, reply) => drop(reply.send(self.expose(spec).await)),
            Message::Unexpose(service, reply) => drop(reply.send(self.unexpose(&service).await)),
            Message::Probed(service, app, answered) => self.probed(&service, app, answered),
        }
        Ok(())
    }
}

impl Health {
    async fn expose(&mut self, spec: ServiceSpec) -> Result<(), Failure> {
        check_fits(&self.core, &spec).await?;
        let mut exposed = Exposed::clone(&self.core.exposed.load());
        let service = spec.service.clone();
        exposed.insert(service.clone(), spec);
        self.keep(exposed).await?;
        // It may be probed in another way from now on.
        if let Some(probe) = self.probes.remove(&service) {
            probe.abort();
        }
        self.publish();
        Ok(())
    }

    async fn unexpose(&mut self, service: &ServiceName) -> Result<(), Failure> {
        let mut exposed = Exposed::clone(&self.core.exposed.load());
        if exposed.remove(service).is_none() {
            return Err(Failure::new(Code::ServiceUnknown, format!("this node does not offer {service}")));
        }
        self.keep(exposed).await?;
        self.publish();
        Ok(())
    }

    async fn keep(&self, exposed: Exposed) -> Result<(), Failure> {
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
        self.probes.retain(|service, probe| {
            let stays = exposed.contains_key(service);
            if !stays {
                probe.abort();
            }
            stays
        });
        self.failed.retain(|service, _| exposed.contains_key(service));
        for spec in exposed.values().filter(|spec| spec.health.kind != ProbeKind::Off) {
            let core = &self.core;
            self.probes
                .entry(spec.service.clone())
                .or_insert_with(|| tokio::spawn(probe(Arc::clone(core), spec.clone())));
        }
    }

    fn probed(&mut self, service: &ServiceName, app: SocketAddr, answered: bool) {
        let failed = self.failed.entry(service.clone()).or_default();
        *failed = if answered { 0 } else { failed.saturating_add(1) };
        let healthy = *failed < self.core.settings.unhealthy_after;
        let world = self.core.world.load();
        let Some(local) = world.local.get(service) else { return };
        for replica in local.replicas.iter().filter(|replica| replica.app.0 == app) {
            if replica.healthy.swap(healthy, Ordering::Relaxed) != healthy {
                tracing::info!(%service, %app, healthy, "the health of a replica changed");
                self.core.offered.send_modify(|changes| *changes += 1);
            }
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
    exposed.insert(spec.service.clone(), spec.clone());
    let replicas = replicas_of(&exposed, &core.world.load().local);
    core.membership.call(|reply| membership::Message::Fits(replicas, reply)).await?
}

fn local_table(exposed: &Exposed, old: &LocalTable) -> LocalTable {
    let local = |spec: &ServiceSpec| {
        if let Some(same) = old.get(&spec.service)
            && same.protocol == spec.protocol
            && same.replicas.iter().all(|replica| replica.app.0 == spec.app)
        {
            return Arc::clone(same);
        }
        let replica = LocalReplica { app: AppAddr(spec.app), healthy: true.into(), in_flight: 0.into() };
        Arc::new(LocalService {
            service: spec.service.clone(),
            protocol: spec.protocol,
            replicas: vec![Arc::new(replica)],
            turn: 0.into(),
        })
    };
    exposed.values().map(|spec| (spec.service.clone(), local(spec))).collect()
}

async fn probe(core: Arc<Core>, spec: ServiceSpec) {
    let interval = spec.health.interval_ms.map_or(core.settings.health_interval, Duration::from_millis);
    loop {
        let found = tokio::time::timeout(core.settings.health_timeout, answers(&core.env, &spec)).await;
        // A full mailbox: the next probe says it again.
        let _ = core.health.try_send(Message::Probed(spec.service.clone(), spec.app, found.unwrap_or(false)));
        tokio::time::sleep(core.env.random.jitter(interval, 0.1)).await;
    }
}

async fn answers(env: &Env, spec: &ServiceSpec) -> bool {
    let Ok(mut stream) = env.network.connect(spec.app).await else { return false };
    let ProbeKind::Http(path) = &spec.health.kind else { return true };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: weft-health\r\nconnection: close\r\n\r\n", spec.app);
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut status = [0; STATUS_LEN];
    stream.read_exact(&mut status).await.is_ok() && status.starts_with(b"HTTP/1.") && matches!(status[9], b'2' | b'3')
}
