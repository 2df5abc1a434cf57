//! How a node is put together: configuration, metrics, data path, supervision tree, admin API; and how it ends. `weft run` runs
//! one, the demo several in one process.

mod desk;
mod signals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weft_actors::control::NodeControl;
use weft_actors::state::StateDir;
use weft_actors::telemetry::Telemetry;
use weft_actors::tree::{NodeArgs, NodeTree};
use weft_env::Env;
use weft_identity::{Code, Failure};
use weft_proxy::worker::{DataPath, PathArgs, Placement};
use weft_world::config::{self, NodeConfig};
use weft_world::service_spec::{BindSpec, ServiceSpec};
use weft_world::settings::{AccessLog, MESH_PORT};

use crate::admin::AdminListeners;
use desk::NodeDesk;
use signals::Signals;

/// The access log's file in the state directory.
pub const ACCESS_LOG_FILE: &str = "access.log";

/// What `weft run` is told.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The state directory.
    pub dir: PathBuf,
    /// Workers of the data path, in place of the configured number.
    pub workers: Option<usize>,
}

impl NodeOptions {
    /// The node of a state directory, as configured.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, workers: None }
    }
}

/// A node that runs. Dropping it without [`RunningNode::stop`] cuts off what is in flight, as a crash would.
pub struct RunningNode {
    tree: NodeTree,
    admin: AdminListeners,
    desk: Arc<NodeDesk>,
    drain: Duration,
    /// Last, because the tree's listeners live on it.
    _path: Arc<DataPath>,
}

impl RunningNode {
    /// Starts a node; returns when its listeners are open.
    pub async fn start(options: NodeOptions) -> Result<Self, Failure> {
        let env = Env::machine();
        let config = configured(&env, &options)?;
        // Before any file is opened for writing, so that a directory without a node is told as such.
        settle_addresses(&env, &options, &config)?;
        let settings = config.settings.clone();
        let telemetry = Telemetry::new();
        let access_log = match settings.access_log {
            AccessLog::Written => Some(options.dir.join(ACCESS_LOG_FILE)),
            AccessLog::Off => None,
        };
        let path = Arc::new(DataPath::start(PathArgs {
            env: env.clone(),
            settings: settings.clone(),
            recorder: telemetry.shared_recorder(),
            access_log,
            placement: Placement::Threads,
        })?);
        let tree = NodeTree::start(NodeArgs {
            env,
            dir: options.dir.clone(),
            settings: settings.clone(),
            opener: path.clone(),
            telemetry: telemetry.clone(),
        })
        .await?;
        let desk = Arc::new(NodeDesk::new(tree.control.clone(), telemetry, path.clone()));
        let admin_at = desk.local(settings.ports.admin);
        let admin = AdminListeners::open(&options.dir, admin_at, desk.clone()).await?;
        let node = Self { tree, admin, desk, drain: settings.drain_timeout, _path: path };
        node.offer(&config).await?;
        Ok(node)
    }

    /// Puts into force what the configuration file says this node offers and binds.
    async fn offer(&self, config: &NodeConfig) -> Result<(), Failure> {
        for service in &config.services {
            // A mistake of another node must not keep this one from starting; the log and `weft status` tell of it.
            self.control().expose_anyway(ServiceSpec::from(service)).await?;
        }
        for binding in &config.bindings {
            let at = self.desk.local(binding.port);
            let (leads_to, identity) = (binding.leads_to.clone(), binding.identity.clone());
            let spec = BindSpec { at, leads_to, identity, proxy_protocol: binding.proxy_protocol };
            self.control().bind(spec).await?;
        }
        Ok(())
    }

    /// What can be asked of the node.
    pub fn control(&self) -> &NodeControl {
        &self.tree.control
    }

    /// Stops in order: accepts nothing new, says goodbye in gossip, finishes what is in flight.
    pub async fn stop(self) {
        self.tree.stop(self.drain).await;
        drop(self.admin);
    }
}

/// Puts the configuration's addresses and zone in place of those of `weft init` or `weft join`; kept, so that every command of the
/// CLI looks at the same place.
fn settle_addresses(env: &Env, options: &NodeOptions, config: &NodeConfig) -> Result<(), Failure> {
    let dir = StateDir::new(env, &options.dir);
    let kept = dir.node_file()?;
    let mut file = kept.clone();
    if let Some(ip) = config.bind {
        file.bind.set_ip(ip);
    }
    if config.settings.ports.mesh != MESH_PORT {
        file.bind.set_port(config.settings.ports.mesh);
    }
    if let Some(advertise) = config.advertise {
        file.advertise = advertise;
    }
    if config.zone.is_some() {
        file.zone.clone_from(&config.zone);
    }
    if file == kept { Ok(()) } else { dir.save_node_file(&file) }
}

/// Reads the configuration and takes the options in.
fn configured(env: &Env, options: &NodeOptions) -> Result<NodeConfig, Failure> {
    let mut config = config::load(&env.disk, &options.dir)?;
    if let Some(workers) = options.workers {
        config.settings.workers = workers;
    }
    Ok(config)
}

/// `weft run`: runs the node until SIGTERM, SIGINT, `weft leave`, or until its restart budget is spent.
pub async fn run(options: NodeOptions) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::new(Code::Internal, format!("listen for signals: {error}")))?;
    let mut node = RunningNode::start(options).await?;
    let status = node.control().status();
    tracing::info!(mesh = %status.mesh, node = %status.node, advertise = %status.advertise, "the node runs");
    let reason = tokio::select! {
        reason = signals.end() => reason,
        () = node.desk.left() => "weft leave",
        failure = node.tree.ended() => return Err(failure),
    };
    tracing::info!(reason, "the node stops");
    node.stop().await;
    tracing::info!("the node has stopped");
    Ok(())
}
