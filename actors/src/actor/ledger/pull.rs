//! One pull: whom to ask, and what becomes of what comes. Runs beside the actor, verifies against the snapshot, and hands over what is good.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weft_gossip::enrol;
use weft_gossip::membership::{LedgerPeer, Member};
use weft_identity::{Failure, NodeId};
use weft_ledger::LedgerMark;
use weft_ledger::journal::Reader;
use weft_ledger::sync::{Local, Pull, Pulled};

use super::count_refused;
use crate::actor::policy::journals_hash;
use crate::core::Core;
use crate::message::ledger::{LedgerHeld, Message, Outcome, Peer, Reason};
use crate::message::{identity, membership};
use crate::standing::News;

/// Why a member is not asked for a while.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) until: Instant,
    /// It had nothing while it said this; as soon as it says something else it is asked again. None: it could not be asked.
    pub(super) nothing_at: Option<LedgerMark>,
}

impl Rest {
    fn holds(&self, member: &Member) -> bool {
        self.nothing_at.as_ref().is_none_or(|mark| *mark == member.record.ledger)
    }
}

/// A member whose record tells of something that this node lacks; without one, any member if it is time.
pub(super) fn choose(core: &Core, resting: &BTreeMap<NodeId, Rest>, reason: Reason) -> Option<Peer> {
    let view = core.members.borrow().clone();
    let held = core.held().ok()?;
    let rests = |member: &Member| resting.get(&member.record.node).is_some_and(|rest| rest.holds(member));
    let is_other = |member: &&Member| member.record.node != core.file.node && !rests(member);
    let others: Vec<&Member> = view.members.values().filter(is_other).collect();
    let ahead: Vec<&Member> = others.iter().copied().filter(|member| has_more(core, &held, member)).collect();
    let from = match (ahead.is_empty(), reason) {
        (false, _) => ahead,
        (true, Reason::Slow) => others,
        (true, Reason::Hint) => return None,
    };
    let at = usize::try_from(core.env.random.below(from.len() as u64)).ok()?;
    let record = &from.get(at)?.record;
    Some(Peer { node: record.node.clone(), at: record.addr, mark: record.ledger.clone() })
}

fn has_more(core: &Core, held: &LedgerHeld, member: &Member) -> bool {
    let mark = &member.record.ledger;
    mark.exceeds(&held.ledger, &core.rules())
        || (mark.journals.is_some() && mark.journals != journals_hash(&held.journals))
}

/// Pulls until the member has nothing more.
pub(super) async fn pull(core: &Core, peer: &Peer) -> Outcome {
    let connected = core.membership.call(|reply| membership::Message::LedgerPeer(peer.at, reply)).await;
    let asked: LedgerPeer = match connected.and_then(|dialled| dialled) {
        Ok(asked) => asked,
        Err(failure) => {
            tracing::debug!(node = %peer.node, %failure, "the ledger was not asked for");
            return Outcome::Failed;
        }
    };
    tracing::debug!(node = %asked.node, "a pull of the ledger begins");
    let mut pull = Pull::new();
    let mut outcome = Outcome::Nothing;
    loop {
        let Ok(held) = core.held() else { return Outcome::Failed };
        let rules = core.rules();
        let local = Local { ledger: &held.ledger, journals: &held.journals, rules: &rules, reader: Reader::Node };
        match pull.next(&local, &asked).await {
            Ok(Some(pulled)) => match take(core, &held, (&asked.node, peer.at), pulled).await {
                Ok(Outcome::News) => outcome = Outcome::News,
                Ok(_) => {}
                Err(failure) => {
                    tracing::warn!(node = %asked.node, %failure, "what a pull of the ledger brought was not kept");
                    return Outcome::Failed;
                }
            },
            Ok(None) => {
                tracing::debug!(node = %asked.node, ?outcome, "a pull of the ledger has ended");
                return outcome;
            }
            Err(error) => {
                tracing::debug!(node = %asked.node, %error, "a pull of the ledger ended early");
                return Outcome::Failed;
            }
        }
    }
}

/// Verifies what came and hands over what is good.
async fn take(
    core: &Core,
    held: &Arc<LedgerHeld>,
    peer: (&NodeId, SocketAddr),
    pulled: Pulled,
) -> Result<Outcome, Failure> {
    let (from, at) = peer;
    match pulled {
        Pulled::NewerBundle => {
            let before = core.standing.load().bundle.epoch;
            match enrol::fetch_bundles(&core.env, before, at).await {
                Ok(bundles) => {
                    let news = News { bundles, ..News::default() };
                    core.identity.call(|reply| identity::Message::Adopt(news, reply)).await??;
                }
                // What can be judged by the bundle in force need not wait for it.
                Err(failure) => tracing::debug!(%from, %failure, "a newer trust bundle was not fetched"),
            }
            Ok(if core.standing.load().bundle.epoch > before { Outcome::News } else { Outcome::Nothing })
        }
        Pulled::ChangeSets(batch) => {
            let mut checked = held.ledger.check(batch, &core.rules());
            count_refused(core, from, &checked.refused);
            checked.refused.clear();
            let outcome = if checked.accepted.is_empty() { Outcome::Nothing } else { Outcome::News };
            core.ledger_actor.call(|reply| Message::Take(Box::new(checked), reply)).await??;
            Ok(outcome)
        }
        Pulled::Journal(batch) => {
            let checked = match held.journals.check(*batch, &core.rules()) {
                Ok(checked) => checked,
                Err(refusal) => {
                    tracing::warn!(%from, reason = %refusal, "a journal was refused");
                    return Ok(Outcome::Nothing);
                }
            };
            count_refused(core, from, &checked.refused);
            let outcome = if checked.accepted.is_empty() { Outcome::Nothing } else { Outcome::News };
            core.ledger_actor.call(|reply| Message::TakeJournal(Box::new(checked), reply)).await??;
            Ok(outcome)
        }
    }
}
