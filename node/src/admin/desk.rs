//! What the admin API asks of the node.

use futures_util::future::BoxFuture;
use serde_json::Value;
use weft_identity::{Failure, ReplicaName, ServiceName};
use weft_ledger::Hash;
use weft_world::admin::ledger::DraftWish;
use weft_world::admin::{
    ApplyRequest, BindRequest, BundleRequest, ExposeRequest, Hypothesis, JoinRequest, TokenRequest,
};

/// Answers the admin API. The node implements it over its actors.
pub trait AdminDesk: Send + Sync + 'static {
    /// Whether the node can serve: its certificates are current and its listeners are open.
    fn ready(&self) -> bool;

    /// The metrics in the text form of Prometheus.
    fn metrics(&self) -> String;

    /// Answers one question; a failure carries its code to the CLI.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, Failure>>;
}

/// One request of the admin API.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Who this node is and how it fares.
    Status,
    /// The members.
    Nodes,
    /// The services and their replicas.
    Services,
    /// The certificates of this node.
    Certs,
    /// Offer a service.
    Expose(ExposeRequest),
    /// Offer it no more.
    Unexpose(ServiceName, Option<ReplicaName>),
    /// Lead a local port to a service.
    Bind(BindRequest),
    /// Close it.
    Unbind(u16),
    /// A token for a new node.
    CreateToken(TokenRequest),
    /// Roots, signers, operators, and who has seen what of them.
    Ca,
    /// The trust bundle in force.
    Bundle,
    /// Take the next trust bundle.
    TakeBundle(BundleRequest),
    /// Join the mesh again for more grants.
    Join(JoinRequest),
    /// The ledger in one look.
    Ledger,
    /// The documents in force.
    Documents,
    /// The newest change sets, so many.
    History(usize),
    /// What would change.
    Draft(Box<DraftWish>),
    /// Take in a signed change set.
    Apply(Box<ApplyRequest>),
    /// How a change set stands, and which nodes have it.
    Receipt(Hash),
    /// Why this node refused something, by the id that the caller was told.
    Why(String),
    /// How a call would be decided.
    Decide(Box<Hypothesis>),
    /// Say goodbye to the mesh and stop.
    Leave,
    /// Make this actor panic.
    #[cfg(feature = "crash-test")]
    Crash(String),
}
