//! What the actors of one node share and what must survive a crash of any: addresses and snapshot cells. Owned above the tree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use weft_env::Env;
use weft_gossip::membership::MembersView;
use weft_gossip::metrics::GossipMetrics;
use weft_identity::wire::{self, Kind};
use weft_identity::{Code, Failure, IssuedCertificate, SigningKey, Trust};
use weft_ledger::{LedgerMark, Rules};
use weft_policy::Compiler;
use weft_world::WorldCell;
use weft_world::opener::{OpenHandle, OpenListener};
use weft_world::service_spec::{BindSpec, ReplicaId, ServiceSpec};
use weft_world::settings::Settings;

use crate::address::Address;
use crate::message::ledger::LedgerHeld;
use crate::message::policy::PolicyReport;
use crate::message::{health, identity, ledger, listeners, membership, policy, signer, store, telemetry, upstreams};
use crate::standing::Standing;
use crate::state::{NodeFile, StateDir};
use crate::supervisor::Restarts;
use crate::telemetry::Telemetry;

/// The replicas that a node offers, as its operator said.
pub(crate) type Exposed = BTreeMap<ReplicaId, ServiceSpec>;
/// The local ports that lead to services.
pub(crate) type Bindings = BTreeMap<SocketAddr, BindSpec>;
/// The open listeners by address.
pub(crate) type Handles = BTreeMap<SocketAddr, Box<dyn OpenHandle>>;

/// The shared part of one node.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) settings: Settings,
    pub(crate) dir: StateDir,
    /// Names and addresses.
    pub(crate) file: NodeFile,
    /// The enrolled key.
    pub(crate) node_key: SigningKey,
    /// Whom this node believes and what it may; written by Identity.
    pub(crate) standing: ArcSwap<Standing>,
    pub(crate) world: Arc<WorldCell>,
    pub(crate) restarts: Restarts,
    pub(crate) opener: Arc<dyn OpenListener>,
    /// Written by Identity.
    pub(crate) certificates: ArcSwap<Vec<IssuedCertificate>>,
    /// Written by Health.
    pub(crate) exposed: ArcSwap<Exposed>,
    /// Written by Listeners.
    pub(crate) bindings: ArcSwap<Bindings>,
    /// Written by Listeners; here so that a crash of it closes nothing.
    pub(crate) handles: Mutex<Handles>,
    /// This process of the node; grows with each start.
    pub(crate) generation: AtomicU64,
    pub(crate) telemetry: Telemetry,
    pub(crate) gossip_metrics: Arc<GossipMetrics>,
    /// Who is in the cell; written by Membership.
    pub(crate) members: watch::Sender<Arc<MembersView>>,
    /// What it holds of the ledger; none until it is read from disk. Written by Ledger.
    pub(crate) ledger: watch::Sender<Option<Arc<LedgerHeld>>>,
    /// What it knows of the last policies is shared by the next.
    pub(crate) compiler: Mutex<Compiler>,
    /// What became of the documents in force; written by Policy.
    pub(crate) policy: ArcSwap<PolicyReport>,
    /// What the members are told of both; written by Policy.
    pub(crate) mark: watch::Sender<LedgerMark>,
    /// Counts changes of the standing; written by Identity.
    pub(crate) standings: watch::Sender<u64>,
    /// Counts changes of what this node offers; written by Health.
    pub(crate) offered: watch::Sender<u64>,
    pub(crate) store: Address<store::Message>,
    pub(crate) identity: Address<identity::Message>,
    pub(crate) health: Address<health::Message>,
    pub(crate) signer: Address<signer::Message>,
    pub(crate) membership: Address<membership::Message>,
    pub(crate) ledger_actor: Address<ledger::Message>,
    pub(crate) policy_actor: Address<policy::Message>,
    pub(crate) telemetry_actor: Address<telemetry::Message>,
    pub(crate) upstreams: Address<upstreams::Message>,
    pub(crate) listeners: Address<listeners::Message>,
}

impl Core {
    /// What this node holds of the ledger; there once the actor has started for the first time.
    pub(crate) fn held(&self) -> Result<Arc<LedgerHeld>, Failure> {
        self.ledger.borrow().clone().ok_or_else(|| Failure::new(Code::Overloaded, "the ledger is being read from disk"))
    }

    /// By what the ledger is judged now.
    pub(crate) fn rules(&self) -> Rules {
        Rules { bundle: Arc::clone(&self.standing.load().bundle), now: self.env.clock.wall() }
    }

    /// Whom this node believes now.
    pub(crate) fn trust(&self) -> Trust {
        self.standing.load().trust(&self.env.clock)
    }

    /// Writes a row of the store.
    pub(crate) async fn keep<T: Serialize>(&self, key: &'static str, value: &T) -> Result<(), Failure> {
        let bytes =
            wire::encode(Kind::State, value).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        self.store.call(|reply| store::Message::Write(key, bytes, reply)).await?
    }

    /// Reads a row of the store.
    pub(crate) async fn kept<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, Failure> {
        let Some(bytes) = self.store.call(|reply| store::Message::Read(key, reply)).await?? else { return Ok(None) };
        let broken = |error| Failure::new(Code::StateBroken, format!("the row {key} of the store: {error}"));
        wire::decode(Kind::State, &bytes, wire::STATE_LEN_MAX).map(Some).map_err(broken)
    }
}
