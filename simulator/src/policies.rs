//! The scenario of signed policies: a fleet of whole nodes, a revision that must arrive everywhere, with loss and after a split in which
//! both sides changed something.

use std::net::IpAddr;
use std::time::Duration;

use weft_actors::control::TokenRequest;
use weft_actors::tree::NodeTree;
use weft_env::{Env, Link, Traffic};
use weft_identity::{Code, Failure, KeyFile, KeyRole, SigningKey};
use weft_ledger::{Document, DocumentId, DocumentParts, Hash, Prune, Signing};
use weft_policy::read_file;
use weft_world::admin::ledger::{DraftWish, Reach};

use crate::event_log::Event;
use crate::fleet::{found_on, join, state_dir, wait_until};
use crate::simulation::Simulation;

/// The part of packets that get lost in the second part.
const LOSS: f64 = 0.1;
/// How long stopping may wait for requests; there are none.
const DRAIN: Duration = Duration::from_secs(1);

/// What a run showed; a time is none where it never came true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoliciesReport {
    /// From the application of a revision until every node has it in force, without loss.
    pub applied_within: Option<Duration>,
    /// The same with a tenth of the packets lost.
    pub applied_with_loss_within: Option<Duration>,
    /// From the end of the split until every node has one history.
    pub healed_within: Option<Duration>,
    /// Change sets that were set aside in the end: the one of two that changed the same document.
    pub set_aside: usize,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What passed through the network.
    pub traffic: Traffic,
}

/// The operator, who can change something on any node.
struct Operator {
    key: SigningKey,
    env: Env,
}

/// Runs the scenario with that many nodes and a split of this length.
pub async fn run(simulation: &Simulation, nodes: u16, split: Duration) -> Result<PoliciesReport, Failure> {
    let (fleet, operator) = grown(simulation, nodes).await?;
    let (middle, last) = (fleet.len() / 2, fleet.len() - 1);

    operator.apply(&fleet[middle], &timeouts("orders", 5)).await?;
    let applied_within = wait_until(|| fleet.iter().all(|tree| revision(tree) == 1)).await;
    simulation.log().record(first_name(&fleet), format_args!("revision 1 in force everywhere: {applied_within:?}"));

    simulation.network().relink(Link { loss: LOSS, ..Link::default() });
    operator.apply(&fleet[0], &timeouts("orders", 6)).await?;
    let applied_with_loss_within = wait_until(|| fleet.iter().all(|tree| revision(tree) == 2)).await;
    simulation.network().relink(Link::default());

    let (one_side, other_side) = sides(fleet.len());
    simulation.network().partition(&one_side, &other_side);
    tokio::time::sleep(split / 2).await;
    // Both sides change one document, and each one of its own.
    operator.apply(&fleet[0], &[timeouts("orders", 7), timeouts("quotes", 7)].concat()).await?;
    operator.apply(&fleet[last], &[timeouts("orders", 8)].concat()).await?;
    operator.apply(&fleet[last], &timeouts("ledger", 8)).await?;
    tokio::time::sleep(split / 2).await;
    simulation.network().heal();
    let healed_within =
        wait_until(|| fleet.iter().all(|tree| history(tree).len() == 5 && history(tree) == history(&fleet[0]))).await;
    let aside = fleet[0].control.history(100)?.iter().filter(|row| row.standing == "set aside").count();
    let events = simulation.log().events();
    for tree in fleet.into_iter().rev() {
        tree.stop(DRAIN).await;
    }
    Ok(PoliciesReport {
        applied_within,
        applied_with_loss_within,
        healed_within,
        set_aside: aside,
        events,
        traffic: simulation.network().traffic(),
    })
}

/// Applies revision after revision to a fleet that is otherwise at rest, this far apart; returns how long each took to be in force
/// everywhere, none where it never was.
pub async fn run_steadily(
    simulation: &Simulation,
    nodes: u16,
    (count, apart): (u32, Duration),
) -> Result<Vec<Option<Duration>>, Failure> {
    let (fleet, operator) = grown(simulation, nodes).await?;
    let mut took = Vec::new();
    for number in 1..=count {
        operator.apply(&fleet[0], &timeouts("orders", number)).await?;
        took.push(wait_until(|| fleet.iter().all(|tree| revision(tree) == u64::from(number))).await);
        tokio::time::sleep(apart).await;
    }
    for tree in fleet.into_iter().rev() {
        tree.stop(DRAIN).await;
    }
    Ok(took)
}

/// A fleet whose nodes know each other, and its operator.
async fn grown(simulation: &Simulation, nodes: u16) -> Result<(Vec<NodeTree>, Operator), Failure> {
    let first = simulation.env(Simulation::ip(0));
    let mut fleet = vec![Box::pin(found_on(first.clone())).await?];
    for number in 1..nodes {
        let token = fleet[0].control.create_token(TokenRequest { grant_all: true, ..Default::default() }).await?;
        fleet.push(Box::pin(join(simulation, number, token.token)).await?);
    }
    wait_until(|| fleet.iter().all(|tree| tree.control.nodes().len() == fleet.len())).await;
    Ok((fleet, Operator::of(first)?))
}

fn first_name(fleet: &[NodeTree]) -> weft_identity::NodeId {
    fleet[0].control.status().node
}

fn sides(nodes: usize) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let ips: Vec<IpAddr> = (0..nodes).filter_map(|number| u16::try_from(number).ok()).map(Simulation::ip).collect();
    let (one, other) = ips.split_at(nodes / 2);
    (one.to_vec(), other.to_vec())
}

/// The revision that a node decides by.
fn revision(tree: &NodeTree) -> u64 {
    tree.control.ledger().map_or(0, |ledger| ledger.in_force)
}

/// Every change set that a node holds, and how it stands there.
fn history(tree: &NodeTree) -> Vec<(Hash, String)> {
    let rows = tree.control.history(100).unwrap_or_default();
    rows.into_iter().map(|row| (row.hash, row.standing)).collect()
}

/// A document that gives the calls of a service so many seconds.
fn timeouts(service: &str, seconds: u32) -> String {
    format!("[[traffic]]\nname = \"{service}\"\nservice = \"{service}\"\nrequest_timeout = \"{seconds}s\"\n\n")
}

impl Operator {
    /// The operator of the mesh that was founded there.
    fn of(env: Env) -> Result<Self, Failure> {
        let broken = |detail: String| Failure::new(Code::StateBroken, detail);
        let path = state_dir().join("keys/operator.key");
        let bytes = env.disk.read(&path).map_err(|error| broken(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| broken(error.to_string()))?;
        let mesh = crate::mesh::name("sim")?;
        Ok(Self { key: KeyFile::open(&text, (KeyRole::Operator, &mesh), "demo")?, env })
    }

    /// Applies a policy file on a node, as `weft apply` does.
    async fn apply(&self, at: &NodeTree, text: &str) -> Result<(), Failure> {
        let wish = DraftWish::Documents { documents: documents(text)?, prune: Prune::Nothing };
        let view = at.control.draft(wish)?;
        let signed = view.draft.sign(Signing {
            key: &self.key,
            author_node: view.node,
            now: self.env.clock.wall(),
            message: String::new(),
            confirm_by: None,
        })?;
        at.control.apply(signed, Reach::Anyway).await.map(drop)
    }
}

fn documents(text: &str) -> Result<Vec<Document>, Failure> {
    let invalid = |detail: String| Failure::new(Code::ConfigInvalid, detail);
    let sources = read_file("policies.toml", text).map_err(|mistakes| invalid(format!("{mistakes:?}")))?;
    let document = |source: weft_policy::Source| {
        let id = DocumentId::new(&source.kind, &source.name).map_err(|error| invalid(error.to_string()))?;
        let parts =
            DocumentParts { id, services: source.services, file: source.file, line: source.line, text: source.text };
        Document::new(parts).map_err(|error| invalid(error.to_string()))
    };
    sources.into_iter().map(document).collect()
}
