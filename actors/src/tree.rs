//! How a node's tree is put together: the core above, the actors below it in order, and the two ways that it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_env::{DiskLock, Env};
use weft_gossip::metrics::GossipMetrics;
use weft_identity::{Code, Failure, SpiffeId};
use weft_world::opener::OpenListener;
use weft_world::settings::Settings;
use weft_world::{NodeFacts, World, WorldCell};

use crate::actor::{health, identity, ledger, listeners, membership, policy, signer, store, telemetry, upstreams};
use crate::address::Address;
use crate::control::NodeControl;
use crate::core::Core;
use crate::shell;
use crate::state::{NodeState, StateDir};
use crate::supervisor;
use crate::supervisor::{Order, Plan, Restarts, Strategy, Supervisor, stop_supervisor};
use crate::telemetry::Telemetry;

/// Space between two looks whether requests are still in flight.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What a node is made from.
pub struct NodeArgs {
    /// The seam.
    pub env: Env,
    /// The state directory.
    pub dir: PathBuf,
    /// Intervals, timeouts, limits.
    pub settings: Settings,
    /// The data path.
    pub opener: Arc<dyn OpenListener>,
    /// The node's metrics.
    pub telemetry: Telemetry,
}

/// A running tree.
pub struct NodeTree {
    /// What the data path reads.
    pub world: Arc<WorldCell>,
    /// What an operator can ask.
    pub control: NodeControl,
    root: ActorRef<Order>,
    ended: JoinHandle<()>,
    _lock: DiskLock,
}

impl NodeTree {
    /// Starts the tree on the state in a directory; returns when every actor runs and the listeners are open.
    pub async fn start(args: NodeArgs) -> Result<Self, Failure> {
        let dir = StateDir::new(&args.env, &args.dir);
        let state = {
            dir.node_file()?;
            dir
        };
        let lock = state.lock()?;
        let core = Arc::new(core(args, state)?);
        let plan = Plan {
            name: "node",
            strategy: Strategy::RestForOne,
            budget: core.settings.restarts,
            children: children(&core),
            restarts: core.restarts.clone(),
            env: core.env.clone(),
        };
        let started = Actor::spawn(None, Supervisor, plan).await;
        let (root, ended) = started.map_err(|error| start_failure(&error))?;
        Ok(Self { world: Arc::clone(&core.world), control: NodeControl(core), root, ended, _lock: lock })
    }

    /// Waits until the tree ends by itself: its restart budget is spent. Cancel safe.
    pub async fn ended(&mut self) -> Failure {
        // Whether it ended or was aborted: it is gone.
        let _ = (&mut self.ended).await;
        Failure::new(Code::RestartBudgetSpent, "an actor crashed too often; the last WARN lines of the log say which")
    }

    /// Takes in nothing new, waits for what is in flight for at most `drain`, stops the actors in reverse order.
    pub async fn stop(self, drain: Duration) {
        let core = &self.control.0;
        // Goodbye first: who still calls is served, and the others go elsewhere.
        if let Err(failure) = self.control.leave().await {
            tracing::warn!(%failure, "the members were not told that this node goes");
        }
        self.world.change(|world| world.draining = true);
        core.handles.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|handle| handle.stop_accepting());
        let drained = tokio::time::timeout(drain, async {
            while in_flight(core) > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                in_flight = in_flight(core),
                ?drain,
                "requests were still in flight after the drain timeout"
            );
        }
        stop_supervisor(&self.root).await;
        core.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn in_flight(core: &Core) -> usize {
    core.handles.lock().unwrap_or_else(PoisonError::into_inner).values().map(|handle| handle.in_flight()).sum()
}

fn core(args: NodeArgs, dir: StateDir) -> Result<Core, Failure> {
    let state = dir.load()?;
    let world = Arc::new(WorldCell::new(first_world(&args.env, &state)?));
    Ok(Core {
        env: args.env,
        settings: args.settings,
        dir,
        world,
        restarts: Restarts::new(args.telemetry.clone()),
        opener: args.opener,
        certificates: ArcSwap::from_pointee(state.certificates),
        file: state.file,
        node_key: state.node_key,
        standing: ArcSwap::from_pointee(state.standing),
        exposed: ArcSwap::default(),
        bindings: ArcSwap::default(),
        handles: Mutex::new(BTreeMap::new()),
        generation: AtomicU64::new(0),
        gossip_metrics: Arc::new(GossipMetrics::new(&*args.telemetry.recorder())),
        telemetry: args.telemetry,
        members: watch::Sender::default(),
        ledger: watch::Sender::new(None),
        compiler: Mutex::default(),
        policy: ArcSwap::default(),
        mark: watch::Sender::default(),
        standings: watch::Sender::new(0),
        offered: watch::Sender::new(0),
        store: Address::new("store"),
        identity: Address::new("identity"),
        health: Address::new("health"),
        signer: Address::new("signer"),
        membership: Address::new("membership"),
        ledger_actor: Address::new("ledger"),
        policy_actor: Address::new("policy"),
        telemetry_actor: Address::new("telemetry"),
        upstreams: Address::new("upstreams"),
        listeners: Address::new("listeners"),
    })
}

/// What is known before any actor runs: the certificates on disk, even expired ones, because a renewal replaces them.
fn first_world(env: &Env, state: &NodeState) -> Result<World, Failure> {
    let file = &state.file;
    let trust = state.standing.trust(&env.clock);
    let node = SpiffeId::node(&file.mesh, &file.node);
    let credentials = identity::build_credentials(&trust, &node, &state.certificates, 0)?;
    Ok(World {
        facts: Arc::new(NodeFacts { mesh: file.mesh.clone(), node: file.node.clone(), zone: file.zone.clone() }),
        services: Arc::default(),
        local: Arc::default(),
        credentials: Arc::new(credentials),
        revocations: Arc::clone(&trust.revocations),
        trust,
        policy: Arc::default(),
        draining: false,
    })
}

fn children(core: &Arc<Core>) -> Vec<crate::supervisor::ChildSpec> {
    let store_seed = store::Seed { disk: core.env.disk.clone(), path: core.dir.store_path() };
    // A supervisor of its own: gossip may crash and come back while all else goes on.
    let gossip = Plan {
        name: "gossip",
        strategy: Strategy::OneForOne,
        budget: core.settings.restarts,
        children: vec![
            shell::child::<ledger::Ledger>(&core.ledger_actor, Arc::clone(core)),
            shell::child::<membership::Gossip>(&core.membership, Arc::clone(core)),
        ],
        restarts: core.restarts.clone(),
        env: core.env.clone(),
    };
    vec![
        shell::child::<store::Store>(&core.store, store_seed),
        shell::child::<identity::Identity>(&core.identity, Arc::clone(core)),
        shell::child::<health::Health>(&core.health, Arc::clone(core)),
        supervisor::child(gossip),
        shell::child::<policy::Policy>(&core.policy_actor, Arc::clone(core)),
        shell::child::<upstreams::Upstreams>(&core.upstreams, Arc::clone(core)),
        shell::child::<signer::Signer>(&core.signer, Arc::clone(core)),
        shell::child::<listeners::Listeners>(&core.listeners, Arc::clone(core)),
        shell::child::<telemetry::Figures>(&core.telemetry_actor, Arc::clone(core)),
    ]
}

/// The failure of the actor that did not start, with its own code where it has one.
fn start_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(failure) = inner.downcast_ref::<Failure>() {
            return failure.clone();
        }
        cause = inner.source();
    }
    Failure::new(Code::Internal, format!("start the node: {error}"))
}

#[cfg(test)]
mod tests;
