//! The scenario of a whole fleet: the actor tree of every node, one mesh, one service that appears. Only the data path is missing: the
//! mesh port answers machines that join and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use weft_actors::control::{NodeControl, TokenRequest};
use weft_actors::enlist::{self, InitArgs, JoinArgs};
use weft_actors::telemetry::Telemetry;
use weft_actors::tree::{NodeArgs, NodeTree};
use weft_env::{Env, Listener, Reuse, Traffic};
use weft_gossip::enrol::{self, SignDesk};
use weft_identity::{Code, Failure, Protocol};
use weft_world::WorldCell;
use weft_world::opener::{ListenerSpec, OpenHandle, OpenListener};
use weft_world::service_spec::{HealthSpec, ProbeKind, ServiceSpec};
use weft_world::settings::Settings;

use crate::event_log::{Event, EventLog};
use crate::mesh::name;
use crate::simulation::Simulation;

/// How often the scenario looks: finer than a gossip round.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What has not happened by then counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long stopping may wait for requests; there are none.
const DRAIN: Duration = Duration::from_secs(1);
/// The service that appears.
const SERVICE: &str = "orders";

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetReport {
    /// When every node listed every other, counted from the start of the last; none if they did not.
    pub agreed_after: Option<Duration>,
    /// How long a service that appeared at one node took to be known at all; none if it was not.
    pub spread_within: Option<Duration>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What passed through the network.
    pub traffic: Traffic,
}

/// Runs the scenario with that many nodes.
pub async fn run(simulation: &Simulation, nodes: u16) -> Result<FleetReport, Failure> {
    let mut fleet = vec![Box::pin(found(simulation)).await?];
    let mut watching = JoinSet::new();
    watching.spawn(watch(simulation.log().clone(), fleet[0].control.clone()));
    for number in 1..nodes {
        let token = fleet[0].control.create_token(TokenRequest { grant_all: true, ..Default::default() }).await?;
        let started = Box::pin(join(simulation, number, token.token)).await?;
        watching.spawn(watch(simulation.log().clone(), started.control.clone()));
        fleet.push(started);
    }
    let agreed_after = wait_until(|| fleet.iter().all(|tree| tree.control.nodes().len() == fleet.len())).await;
    let spread_within = match fleet.last() {
        Some(last) => expose(&last.control, &fleet).await?,
        None => None,
    };
    watching.shutdown().await;
    let events = simulation.log().events();
    for tree in fleet.into_iter().rev() {
        tree.stop(DRAIN).await;
    }
    Ok(FleetReport { agreed_after, spread_within, events, traffic: simulation.network().traffic() })
}

async fn expose(at: &NodeControl, fleet: &[NodeTree]) -> Result<Option<Duration>, Failure> {
    let app = "127.0.0.1:8080".parse().map_err(|error| Failure::new(Code::AddressInvalid, format!("{error}")))?;
    let health = HealthSpec { kind: ProbeKind::Off, interval_ms: None };
    at.expose(ServiceSpec { health, ..ServiceSpec::new(name(SERVICE)?, app, Protocol::Http) }).await?;
    Ok(wait_until(|| fleet.iter().all(|tree| services(&tree.control).iter().any(|known| known == SERVICE))).await)
}

fn services(control: &NodeControl) -> Vec<String> {
    control.services().into_iter().map(|row| row.service.to_string()).collect()
}

/// Founds a mesh on an environment and starts its first node.
pub(crate) async fn found_on(env: Env) -> Result<NodeTree, Failure> {
    enlist::init(&env, InitArgs::demo("sim", "node-0", Simulation::ip(0), state_dir())?).await?;
    start(env).await
}

async fn found(simulation: &Simulation) -> Result<NodeTree, Failure> {
    found_on(simulation.env(Simulation::ip(0))).await
}

/// Lets a machine join and starts its node.
pub(crate) async fn join(simulation: &Simulation, number: u16, token: String) -> Result<NodeTree, Failure> {
    let ip = Simulation::ip(number);
    let env = simulation.env(ip);
    enlist::join(&env, JoinArgs::demo(token, &format!("node-{number}"), ip, state_dir())?).await?;
    start(env).await
}

/// Each node has a disk of its own, so all may use one path.
pub(crate) fn state_dir() -> PathBuf {
    PathBuf::from("/weft")
}

async fn start(env: Env) -> Result<NodeTree, Failure> {
    let opener = Arc::new(MeshPorts { env: env.clone() });
    let settings = Settings::default();
    let args = NodeArgs { env, dir: state_dir(), settings, opener, telemetry: Telemetry::new() };
    NodeTree::start(args).await
}

/// How long it takes until something holds; none if it never does.
pub(crate) async fn wait_until(holds: impl Fn() -> bool) -> Option<Duration> {
    let start = tokio::time::Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Some(start.elapsed())
}

/// Records every change of what a node lists.
async fn watch(log: EventLog, control: NodeControl) {
    let node = control.status().node;
    let mut before = (Vec::new(), Vec::new());
    loop {
        let nodes = control.nodes().into_iter().map(|row| format!("{} {} {}", row.node, row.state, row.generation));
        let now = (nodes.collect::<Vec<_>>(), services(&control));
        if now != before {
            log.record(&node, format_args!("lists nodes [{}] services [{}]", now.0.join(", "), now.1.join(", ")));
            before = now;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Opens mesh ports that answer machines that join.
struct MeshPorts {
    env: Env,
}

impl OpenListener for MeshPorts {
    fn open(
        &self,
        spec: ListenerSpec,
        world: Arc<WorldCell>,
    ) -> BoxFuture<'static, Result<Box<dyn OpenHandle>, Failure>> {
        let env = self.env.clone();
        async move {
            let at = spec.at();
            let in_use = |error: std::io::Error| Failure::new(Code::PortInUse, format!("listen at {at}: {error}"));
            let listener = env.network.listen(at, Reuse::Exclusive).await.map_err(in_use)?;
            let ListenerSpec::Inbound { desk: Some(desk), .. } = spec else {
                return Ok(Box::new(Closed { _listener: listener }) as Box<dyn OpenHandle>);
            };
            Ok(Box::new(Answering(tokio::spawn(answer_all(env, listener, world, desk)))) as Box<dyn OpenHandle>)
        }
        .boxed()
    }
}

async fn answer_all(env: Env, listener: Listener, world: Arc<WorldCell>, desk: Arc<dyn SignDesk>) {
    let mut answering = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = TlsAcceptor::from(Arc::clone(&world.load().credentials.inbound_sign));
        let (desk, clock) = (Arc::clone(&desk), env.clock.clone());
        answering.spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                // A caller that goes away is told by the network; it records its own failure.
                let _ = Box::pin(enrol::serve(stream, &*desk, &clock)).await;
            }
        });
    }
}

/// An address that is taken and serves nothing.
struct Closed {
    _listener: Listener,
}

struct Answering(JoinHandle<()>);

impl OpenHandle for Closed {
    fn stop_accepting(&self) {}

    fn in_flight(&self) -> usize {
        0
    }
}

impl OpenHandle for Answering {
    fn stop_accepting(&self) {
        self.0.abort();
    }

    fn in_flight(&self) -> usize {
        0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}
