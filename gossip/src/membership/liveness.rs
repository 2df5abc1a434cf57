//! Who is alive, suspect or gone: a pure decision over what chitchat's detector says, what probes found, and the time.
//!
//! ```text
//!            heard                probe failed, settled, few lost
//!   Alive <---------- Suspect ------------------------------------> Gone
//!     |  silent, probe failed, many lost      ^                       |
//!     '---------------------------------------'      heard: Alive <---'
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::NodeId;

use super::view::MemberState;

/// Between a failed probe and the verdict: others that are lost at the same moment show by then.
const SETTLE: Duration = Duration::from_secs(2);
/// A silent member is probed again this long after the last probe.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Who answered a probe counts as alive this long.
const PROBE_VALID: Duration = Duration::from_secs(10);
/// A member is silent only this long after its newest record came: its heartbeats need two rounds.
const NEWS_VALID: Duration = Duration::from_secs(4);
/// More of the members lost at once than this part, and more than one, means that it is this node that lost them.
const LOST_PART_MAX: f64 = 0.3;
/// Who is suspect this long is gone, if others are alive.
const SUSPECT_MAX: Duration = Duration::from_secs(3600);
/// Probes at once.
const PROBES_MAX: usize = 16;

/// What is known of one other member's life.
#[derive(Debug, Clone)]
struct Watch {
    has_lived: bool,
    news_at: Option<Instant>,
    silent_since: Option<Instant>,
    probed_at: Option<Instant>,
    is_probing: bool,
    answered_at: Option<Instant>,
    lost_since: Option<Instant>,
    is_gone: bool,
}

/// The lives of all other members.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    watched: BTreeMap<NodeId, Watch>,
}

/// What follows from a look at the members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The state of every member that is not gone.
    pub(super) states: BTreeMap<NodeId, MemberState>,
    /// Who is gone.
    pub(super) gone: BTreeSet<NodeId>,
    /// Whom to probe now.
    pub(super) probe: Vec<NodeId>,
}

/// What is known of one member at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sign {
    /// The detector hears it.
    pub(super) is_heard: bool,
    /// Its record says that it goes.
    pub(super) is_leaving: bool,
}

impl Liveness {
    /// A record came that only a running member can have made.
    pub(super) fn news_of(&mut self, node: &NodeId, now: Instant) {
        let watch = self.watched.entry(node.clone()).or_insert_with(Watch::new);
        watch.news_at = Some(now);
        watch.is_gone = false;
    }

    /// A probe ended.
    pub(super) fn probed(&mut self, node: &NodeId, has_answered: bool, now: Instant) {
        if let Some(watch) = self.watched.get_mut(node) {
            watch.is_probing = false;
            watch.probed_at = Some(now);
            if has_answered {
                watch.answered_at = Some(now);
            }
        }
    }

    /// Looks at all members.
    pub(super) fn look(&mut self, signs: &BTreeMap<NodeId, Sign>, now: Instant) -> Verdict {
        self.watched.retain(|node, _| signs.contains_key(node));
        let mut verdict = Verdict::default();
        for (node, sign) in signs {
            let watch = self.watched.entry(node.clone()).or_insert_with(Watch::new);
            watch.observe(*sign, now);
        }
        let probing = self.watched.values().filter(|watch| watch.is_probing).count();
        for (node, watch) in &mut self.watched {
            if probing + verdict.probe.len() < PROBES_MAX && watch.wants_probe(now) {
                watch.is_probing = true;
                verdict.probe.push(node.clone());
            }
        }
        self.bury(now);
        for (node, watch) in &self.watched {
            let is_leaving = signs.get(node).is_some_and(|sign| sign.is_leaving);
            if watch.is_gone || is_leaving {
                verdict.gone.insert(node.clone());
            } else {
                verdict.states.insert(node.clone(), watch.state());
            }
        }
        verdict
    }

    /// Decides which of the lost are gone.
    fn bury(&mut self, now: Instant) {
        let present = self.watched.values().filter(|watch| !watch.is_gone).count();
        let lost = self.watched.values().filter(|watch| !watch.is_gone && watch.lost_since.is_some()).count();
        let is_heard = |watch: &Watch| !watch.is_gone && watch.has_lived && watch.lost_since.is_none();
        let anyone_alive = self.watched.values().any(is_heard);
        #[allow(clippy::cast_precision_loss, reason = "a cell has at most 1,000 members")]
        let are_many = lost > 1 && lost as f64 > LOST_PART_MAX * present as f64;
        for watch in self.watched.values_mut().filter(|watch| !watch.is_gone) {
            let Some(since) = watch.lost_since else { continue };
            let lost_for = now.duration_since(since);
            let is_expected = !are_many && (watch.has_lived || anyone_alive);
            watch.is_gone = (is_expected && lost_for >= SETTLE) || (anyone_alive && lost_for >= SUSPECT_MAX);
        }
    }
}

impl Watch {
    fn new() -> Self {
        Self {
            has_lived: false,
            news_at: None,
            silent_since: None,
            probed_at: None,
            is_probing: false,
            answered_at: None,
            lost_since: None,
            is_gone: false,
        }
    }

    fn observe(&mut self, sign: Sign, now: Instant) {
        let within = |at: Option<Instant>, span| at.is_some_and(|at| now.duration_since(at) < span);
        if sign.is_heard || within(self.answered_at, PROBE_VALID) {
            self.has_lived = true;
            self.is_gone = false;
            self.silent_since = None;
            self.lost_since = None;
        } else if within(self.news_at, NEWS_VALID) {
            self.silent_since = None;
            self.lost_since = None;
        } else {
            let since = *self.silent_since.get_or_insert(now);
            let has_failed = self.probed_at.is_some_and(|at| at >= since) && !self.is_probing;
            if has_failed && self.lost_since.is_none() {
                self.lost_since = Some(now);
            }
        }
        // An answer wears off: ask again before it does.
        if !sign.is_heard && within(self.answered_at, PROBE_VALID) && !within(self.probed_at, PROBE_INTERVAL) {
            self.silent_since = Some(now);
        }
    }

    fn wants_probe(&self, now: Instant) -> bool {
        let is_due = self.probed_at.is_none_or(|at| now.duration_since(at) >= PROBE_INTERVAL);
        let first = self.silent_since.is_some_and(|since| self.probed_at.is_none_or(|at| at < since));
        self.silent_since.is_some() && !self.is_probing && (first || is_due)
    }

    /// Suspect is who was not heard from in this process, or was lost.
    fn state(&self) -> MemberState {
        if self.lost_since.is_some() || (!self.has_lived && self.news_at.is_none()) {
            MemberState::Suspect
        } else {
            MemberState::Alive
        }
    }
}

#[cfg(test)]
mod tests;
