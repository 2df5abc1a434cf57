//! One pull: whom to ask, and what becomes of what comes. Runs beside the actor, verifies against the snapshot, and hands over what is good.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weft_gossip::ledger::LedgerMark;
use weft_gossip::ledger::journal::Reader;
use weft_gossip::ledger::sync::{Local, Pull, Pulled};
use weft_gossip::membership::{LedgerPeer, Member};
use weft_gossip::{Failure, NodeId};

use super::{LedgerHeld, Message, Outcome, Reason, count_refused, held};
use crate::core::Core;
use crate::policy::journals_hash;
use crate::standing::News;
use crate::{identity, membership};

/// A member that is to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(super) node: NodeId,
    at: SocketAddr,
    /// What it said of its ledger.
    mark: LedgerMark,
}

/// A member whose record tells of something that this node lacks; without one, any member if it is time.
pub(super) fn choose(core: &Core, resting: &BTreeMap<NodeId, Instant>, reason: Reason) -> Option<Peer> {
    let view = core.members.borrow().clone();
    let held = held(core).ok()?;
    let others: Vec<&Member> = view
        .members
        .values()
        .filter(|member| member.record.node != core.file.node && !resting.contains_key(&member.record.node))
        .collect();
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

/// Whether a member still says, in the same words as before it was asked, that it has more.
pub(super) fn insists(core: &Core, peer: &Peer) -> bool {
    let view = core.members.borrow().clone();
    let Ok(held) = held(core) else { return false };
    view.members.values().any(|member| {
        let record = &member.record;
        record.node == peer.node && record.ledger == peer.mark && has_more(core, &held, member)
    })
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
        let Ok(held) = held(core) else { return Outcome::Failed };
        let rules = core.rules();
        let local = Local { ledger: &held.ledger, journals: &held.journals, rules: &rules, reader: Reader::Node };
        match pull.next(&local, &asked).await {
            Ok(Some(pulled)) => match take(core, &held, &asked.node, pulled).await {
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
async fn take(core: &Core, held: &Arc<LedgerHeld>, from: &NodeId, pulled: Pulled) -> Result<Outcome, Failure> {
    match pulled {
        Pulled::Bundles(bundles) => {
            let before = core.standing.load().bundle.epoch;
            let news = News { bundles, ..News::default() };
            core.identity.call(|reply| identity::Message::Adopt(news, reply)).await??;
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
