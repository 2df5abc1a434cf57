//! The rounds: twice a second, and at once on news, looks at who is alive, probes who is silent, asks seeds, and publishes the view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use chitchat::ChitchatHandle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weft_env::Random;
use weft_identity::NodeId;

use super::desk::Desk;
use super::links::Links;
use super::liveness::{Sign, Verdict};
use super::view::{Member, MemberState, MembersView};
use super::{GOSSIP_INTERVAL, NODES_WARN};

/// Seeds and unheard members are asked every so many rounds; each round while nobody is heard.
const ASK_EVERY: u64 = 2;
/// Old generations are forgotten every so many rounds.
const PRUNE_EVERY: u64 = 60;

/// The watch over the cell.
pub(super) struct Rounds {
    desk: Arc<Desk>,
    links: Weak<Links>,
    random: Random,
    seeds: BTreeSet<SocketAddr>,
    count: u64,
    has_warned: bool,
}

/// What chitchat says at one moment.
struct Heard {
    live: BTreeSet<(Arc<str>, u64)>,
    used: BTreeSet<(Arc<str>, u64)>,
}

impl Rounds {
    pub(super) fn new(desk: Arc<Desk>, links: Weak<Links>, random: Random, seeds: BTreeSet<SocketAddr>) -> Self {
        Self { desk, links, random, seeds, count: 0, has_warned: false }
    }

    /// Runs until the membership is dropped.
    pub(super) async fn run(mut self, chitchat: Weak<ChitchatHandle>, views: watch::Sender<Arc<MembersView>>) {
        let mut ticks = interval(GOSSIP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.desk.news.notified() => false,
            };
            let Some(chitchat) = chitchat.upgrade() else { return };
            let heard = listen(&chitchat).await;
            let verdict = self.look(&heard);
            self.publish(&verdict, &views);
            if is_tick {
                self.count += 1;
                self.ask(&chitchat, &heard);
            }
            if is_tick && self.count.is_multiple_of(PRUNE_EVERY) {
                self.desk.roster().prune(&heard.used, &verdict.gone);
            }
            for node in verdict.probe {
                self.probe(node);
            }
        }
    }

    fn look(&self, heard: &Heard) -> Verdict {
        let roster = self.desk.roster();
        let signs: BTreeMap<NodeId, Sign> = roster
            .newest()
            .map(|(node, known)| {
                let id = (Arc::from(node.as_str()), known.record.generation);
                (node.clone(), Sign { is_heard: heard.live.contains(&id), is_leaving: known.record.leaving })
            })
            .collect();
        drop(roster);
        self.desk.liveness().look(&signs, Instant::now())
    }

    fn publish(&mut self, verdict: &Verdict, views: &watch::Sender<Arc<MembersView>>) {
        let own = self.desk.own();
        let mut members = BTreeMap::new();
        let own_member = Member { record: own.record, signed: own.signed, state: MemberState::Alive };
        members.insert(own_member.record.node.clone(), own_member);
        for (node, known) in self.desk.roster().newest() {
            if let Some(state) = verdict.states.get(node) {
                let member =
                    Member { record: Arc::clone(&known.record), signed: Arc::clone(&known.signed), state: *state };
                members.insert(node.clone(), member);
            }
        }
        if members.len() > NODES_WARN && !self.has_warned {
            self.has_warned = true;
            tracing::warn!(nodes = members.len(), "the cell grows large; think of another cell");
        }
        let suspect = members.values().filter(|member| member.state == MemberState::Suspect).count();
        #[allow(clippy::cast_precision_loss, reason = "a cell has at most 1,000 members")]
        {
            self.desk.metrics.members_suspect.set(suspect as f64);
            self.desk.metrics.members_alive.set((members.len() - suspect) as f64);
        }
        let view = Arc::new(MembersView { members });
        views.send_if_modified(|published| {
            let is_new = **published != *view;
            if is_new {
                *published = view;
            }
            is_new
        });
    }

    /// Gossips with one seed or unheard member, for ever: that is how a cell that fell apart finds itself.
    fn ask(&self, chitchat: &ChitchatHandle, heard: &Heard) {
        let own = self.desk.own_id.gossip_advertise_addr;
        let mut heard_at = BTreeSet::new();
        let mut unheard = self.seeds.clone();
        for (node, known) in self.desk.roster().newest() {
            if heard.live.contains(&(Arc::from(node.as_str()), known.record.generation)) {
                heard_at.insert(known.record.addr);
            } else {
                unheard.insert(known.record.addr);
            }
        }
        let asked: Vec<SocketAddr> = unheard.into_iter().filter(|at| *at != own && !heard_at.contains(at)).collect();
        let is_turn = heard_at.is_empty() || self.count.is_multiple_of(ASK_EVERY);
        if asked.is_empty() || !is_turn {
            return;
        }
        let choice = self.random.below(asked.len() as u64);
        let chosen = usize::try_from(choice).ok().and_then(|at| asked.get(at));
        if let Some(at) = chosen {
            // Ends with the gossip task, of which `failed` tells.
            let _ = chitchat.gossip(*at);
        }
    }

    fn probe(&self, node: NodeId) {
        let at = self.desk.roster().newest().find(|(known, _)| **known == node).map(|(_, known)| known.record.addr);
        let (Some(links), Some(at)) = (self.links.upgrade(), at) else { return };
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let has_answered = links.probe(&node, at).await;
            desk.liveness().probed(&node, has_answered, Instant::now());
            desk.news.notify_one();
        });
    }
}

async fn listen(chitchat: &ChitchatHandle) -> Heard {
    chitchat
        .with_chitchat(|chitchat| Heard {
            live: chitchat.live_nodes().map(|id| (Arc::clone(&id.node_id), id.generation_id)).collect(),
            used: chitchat.node_states().keys().map(|id| (Arc::clone(&id.node_id), id.generation_id)).collect(),
        })
        .await
}
