//! The desk: what this node knows of the cell and judges by, shared by the links that feed it and the watch that reads it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use chitchat::ChitchatId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use weft_env::Clock;
use weft_identity::{NodeId, Trust};

use super::guard::{self, Rules};
use super::liveness::Liveness;
use super::roster::{Known, Roster};
use crate::catalog::recheck_record;
use crate::metrics::GossipMetrics;

/// Reasons to cut that honest members give, too; they are counted but not logged.
const USUAL_CUTS: &[&str] = &["stale", "unknown-id", "record-signer", "record-revoked"];

/// Shared knowledge.
pub(super) struct Desk {
    pub(super) own_id: ChitchatId,
    pub(super) cluster: String,
    pub(super) nodes_max: usize,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<GossipMetrics>,
    /// Something changed that the view shows.
    pub(super) news: Notify,
    pub(super) successor: watch::Sender<Option<u64>>,
    trust: RwLock<Trust>,
    own: RwLock<Known>,
    roster: Mutex<Roster>,
    liveness: Mutex<Liveness>,
}

/// What a desk starts with.
pub(super) struct DeskStart {
    pub(super) own_id: ChitchatId,
    pub(super) cluster: String,
    pub(super) nodes_max: usize,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<GossipMetrics>,
    pub(super) trust: Trust,
    pub(super) own: Known,
    pub(super) roster: Roster,
}

impl Desk {
    pub(super) fn new(start: DeskStart) -> Self {
        Self {
            own_id: start.own_id,
            cluster: start.cluster,
            nodes_max: start.nodes_max,
            clock: start.clock,
            metrics: start.metrics,
            news: Notify::new(),
            successor: watch::Sender::new(None),
            trust: RwLock::new(start.trust),
            own: RwLock::new(start.own),
            roster: Mutex::new(start.roster),
            liveness: Mutex::default(),
        }
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn own(&self) -> Known {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_own(&self, own: Known) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
        self.news.notify_one();
    }

    pub(super) fn trust(&self) -> Trust {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges by this trust from now on, and forgets the records that no longer stand.
    pub(super) fn set_trust(&self, trust: Trust) {
        let before = std::mem::replace(&mut *self.trust.write().unwrap_or_else(PoisonError::into_inner), trust.clone());
        if before.bundle.epoch == trust.bundle.epoch && before.revocations == trust.revocations {
            return;
        }
        self.roster().forget(|record| recheck_record(record, &trust).is_err());
        self.news.notify_one();
    }

    /// Whether a verified member lives there.
    pub(super) fn has_address(&self, addr: SocketAddr) -> bool {
        self.roster().has_address(addr)
    }

    /// Judges a message of a peer and takes in its news: the bytes for chitchat, or nothing.
    pub(super) fn admit(&self, peer: &NodeId, bytes: &[u8]) -> Option<Vec<u8>> {
        let own = self.own();
        let trust = self.trust();
        let rules = Rules {
            own: &self.own_id,
            cluster: &self.cluster,
            trust: &trust,
            own_record: &own.record,
            nodes_max: self.nodes_max,
            now: self.clock.wall(),
        };
        let mut roster = self.roster();
        let admitted = match guard::judge(bytes, &roster, &rules) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                drop(roster);
                self.metrics.refused_from(peer, refusal.reason, &refusal.detail);
                return None;
            }
        };
        let now = Instant::now();
        for known in admitted.news {
            let node = known.record.node.clone();
            if roster.insert(known) {
                self.liveness().news_of(&node, now);
                self.news.notify_one();
            }
        }
        drop(roster);
        for reason in admitted.cut {
            if USUAL_CUTS.contains(&reason) {
                self.metrics.refused(reason);
            } else {
                self.metrics.refused_from(peer, reason, "a part of the message was cut out");
            }
        }
        if let Some(generation) = admitted.own_successor {
            self.successor.send_replace(Some(generation));
        }
        self.metrics.messages_in.increment(1);
        Some(admitted.message.encode())
    }
}
