//! The scenario of a cell that forms: nodes start together, find each other through one seed, and then one endpoint changes.

use std::sync::Arc;
use std::time::Duration;

use metrics::NoopRecorder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use weft_env::Traffic;
use weft_gossip::catalog::ReplicaRecord;
use weft_gossip::membership::{
    MembersView, Membership, MembershipConfig, MembershipCredentials, NODES_DEFAULT, next_generation,
};
use weft_gossip::metrics::GossipMetrics;
use weft_identity::{Code, Failure, NodeId, Protocol};
use weft_ledger::LedgerMark;

use crate::event_log::{Event, EventLog};
use crate::mesh::{SimMesh, SimNode, internal};
use crate::simulation::Simulation;

/// Nodes of a fleet never start in the same instant; so far apart they do here.
const START_SPREAD: Duration = Duration::from_millis(500);
/// How often the scenario looks whether all agree: finer than a gossip round.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What has not happened by then counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port of the endpoint before and after its change.
const PORTS: [u16; 2] = [8080, 9090];

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipReport {
    /// When every node knew every other, counted from the start of the last; none if they did not.
    pub agreed_after: Option<Duration>,
    /// How long one changed endpoint took to be known everywhere; none if it was not.
    pub spread_within: Option<Duration>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What passed through the network.
    pub traffic: Traffic,
}

struct Running {
    node: NodeId,
    membership: Membership,
    view: watch::Receiver<Arc<MembersView>>,
}

/// Runs the scenario with that many nodes.
pub async fn run(simulation: &Simulation, nodes: u16) -> Result<MembershipReport, Failure> {
    let mesh = SimMesh::found(simulation)?;
    let mut watching = JoinSet::new();
    let mut running = Vec::new();
    for number in 0..nodes {
        let started = start(mesh.admit(number)?).await?;
        watching.spawn(watch_view(simulation.log().clone(), started.node.clone(), started.view.clone()));
        running.push(started);
        tokio::time::sleep(START_SPREAD / u32::from(nodes)).await;
    }
    let agreed_after = wait_until(|| running.iter().all(|node| knows_all(node, &running))).await;
    let spread_within = change_one(simulation.log(), &running).await?;
    watching.shutdown().await;
    Ok(MembershipReport {
        agreed_after,
        spread_within,
        events: simulation.log().events(),
        traffic: simulation.network().traffic(),
    })
}

async fn start(node: SimNode) -> Result<Running, Failure> {
    let config = MembershipConfig {
        bind: node.addr,
        advertise: node.addr,
        zone: None,
        seeds: vec![SimMesh::addr(0)],
        generation: next_generation(None, node.env.clock.wall()),
        restored: Vec::new(),
        replicas: vec![replica(PORTS[0])?],
        nodes_max: NODES_DEFAULT,
        mark: LedgerMark::default(),
        ledger: None,
    };
    let SimNode { trust, certificate, key, enrolment, .. } = node.clone();
    let credentials = MembershipCredentials { trust, certificate, key, enrolment, outgoing: 0, signer_key: None };
    let metrics = Arc::new(GossipMetrics::new(&NoopRecorder));
    let membership = Membership::start(&node.env, config, credentials, metrics).await?;
    Ok(Running { node: node.node, view: membership.view(), membership })
}

/// Changes the endpoint of the last node and waits until everybody knows.
async fn change_one(log: &EventLog, running: &[Running]) -> Result<Option<Duration>, Failure> {
    let changed = running.last().ok_or_else(|| Failure::new(Code::Internal, "the scenario has no node"))?;
    changed.membership.publish(vec![replica(PORTS[1])?]).await?;
    log.record(&changed.node, format_args!("offers orders on port {}", PORTS[1]));
    Ok(wait_until(|| running.iter().all(|node| port_seen(node, &changed.node) == Some(PORTS[1]))).await)
}

async fn wait_until(holds: impl Fn() -> bool) -> Option<Duration> {
    let start = tokio::time::Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Some(start.elapsed())
}

fn knows_all(node: &Running, running: &[Running]) -> bool {
    let view = node.view.borrow();
    view.members.len() == running.len() && running.iter().all(|other| view.members.contains_key(&other.node))
}

fn port_seen(node: &Running, of: &NodeId) -> Option<u16> {
    let view = node.view.borrow();
    view.members.get(of)?.record.replicas.first().map(|replica| replica.port)
}

fn replica(port: u16) -> Result<ReplicaRecord, Failure> {
    Ok(ReplicaRecord {
        service: "orders".parse().map_err(internal)?,
        name: "orders".parse().map_err(internal)?,
        version: String::new(),
        protocol: Protocol::Http,
        port,
        weight: 100,
        labels: Default::default(),
        healthy: true,
    })
}

/// Records every difference between one view of a node and its next.
async fn watch_view(log: EventLog, node: NodeId, mut view: watch::Receiver<Arc<MembersView>>) {
    let mut before = Arc::new(MembersView::default());
    loop {
        let now = view.borrow_and_update().clone();
        record_changes(&log, &node, &before, &now);
        before = now;
        if view.changed().await.is_err() {
            return;
        }
    }
}

fn record_changes(log: &EventLog, node: &NodeId, before: &MembersView, now: &MembersView) {
    for (id, member) in &now.members {
        let (generation, version) = (member.record.generation, member.record.version);
        match before.members.get(id) {
            None => log.record(node, format_args!("sees {id} generation {generation} version {version}")),
            Some(known) if known != member => {
                log.record(
                    node,
                    format_args!("sees {id} generation {generation} version {version} {:?}", member.state),
                );
            }
            Some(_) => {}
        }
    }
    for id in before.members.keys().filter(|id| !now.members.contains_key(*id)) {
        log.record(node, format_args!("lost {id}"));
    }
}
