//! The Ledger actor: what operators signed, kept and carried.
//!
//! - Owns: the ledger and the journals; what it takes in is on disk first.
//! - Receives: signed change sets from an operator of this node; what a pull from a member brought, verified; hints that a member has more.
//! - Publishes: [`LedgerHeld`], from which questions of members are answered and policies are compiled.
//! - A crash loses: a pull on its way, which the next look starts again. What was answered is on disk.

mod desk;
mod pull;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weft_identity::{Failure, NodeId};
use weft_ledger::journal::{CheckedJournal, Journals, Posting, Writing};
use weft_ledger::{Batch, Checked, Hash, Ledger as Revisions, Quarantined, Row, SignedDraft};

use crate::core::Core;
use crate::message::ledger::{LedgerHeld, Message, Outcome, Peer, Reason};
use crate::message::store;
use crate::metrics::{LEDGER_REFUSED, LEDGER_REFUSED_HELP, LEDGER_REVISION, LEDGER_REVISION_HELP};
use crate::shell::Role;
pub(crate) use desk::Desk;
use pull::Rest;

/// A member is asked at least this often, whatever gossip says: with gossip dead the ledger still arrives.
const SLOW_PULL: Duration = Duration::from_secs(10);
/// A peer whose pull brought nothing rests this long, unless it says something new of its ledger.
const REST: Duration = Duration::from_secs(5);
/// One whose pull failed rests this long: it may have been a lost packet, and a peer that is gone leaves the view.
const FAILED_REST: Duration = Duration::from_millis(500);

/// Ledger's state.
pub(crate) struct Ledger {
    core: Arc<Core>,
    pulling: Option<JoinHandle<()>>,
    looked_meanwhile: bool,
    resting: BTreeMap<NodeId, Rest>,
    /// Looks again when a rest ends during which there was a hint.
    waking: Option<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

impl Role for Ledger {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let recorder = core.telemetry.recorder();
        metrics::Recorder::describe_counter(&*recorder, LEDGER_REFUSED.into(), None, LEDGER_REFUSED_HELP.into());
        metrics::Recorder::describe_gauge(&*recorder, LEDGER_REVISION.into(), None, LEDGER_REVISION_HELP.into());
        // After a crash what is held is still there, and newer than nothing.
        if core.ledger.borrow().is_none() {
            let held = load(&core).await?;
            core.ledger.send_replace(Some(Arc::new(held)));
        }
        let watchers = vec![
            core.ledger_actor.follow(core.members.subscribe(), || Message::Look(Reason::Hint)),
            tokio::spawn(tick(Arc::clone(&core))),
        ];
        Ok(Self { core, pulling: None, looked_meanwhile: false, resting: BTreeMap::new(), waking: None, watchers })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Apply(draft, reply) => drop(reply.send(self.apply(*draft).await)),
            Message::Take(checked, reply) => drop(reply.send(self.take(*checked).await)),
            Message::TakeJournal(checked, reply) => drop(reply.send(self.take_journal(*checked).await)),
            Message::Post(posting, reply) => drop(reply.send(self.post(posting).await)),
            Message::Look(reason) => self.look(reason),
            Message::Pulled(peer, outcome) => self.pulled(*peer, outcome),
        }
        Ok(())
    }
}

impl Ledger {
    async fn apply(&self, draft: SignedDraft) -> Result<Hash, Failure> {
        let held = self.core.held()?;
        let hash = draft.change_set.hash();
        let checked = held.ledger.check(Batch::new(vec![draft.change_set], draft.documents), &self.core.rules());
        if let Some(refused) = checked.refused.first() {
            return Err(refused.refusal.to_failure());
        }
        self.take(checked).await?;
        Ok(hash)
    }

    /// On disk first, then in effect.
    async fn take(&self, checked: Checked) -> Result<(), Failure> {
        count_refused(&self.core, &self.core.file.node, &checked.refused);
        if checked.accepted.is_empty() {
            return Ok(());
        }
        self.write(checked.rows()).await?;
        self.change(|held| held.ledger.insert(checked));
        Ok(())
    }

    async fn take_journal(&self, checked: CheckedJournal) -> Result<(), Failure> {
        self.write(checked.rows()).await?;
        self.change(|held| held.journals.insert(checked));
        Ok(())
    }

    async fn post(&self, posting: Posting) -> Result<(), Failure> {
        let core = &self.core;
        let standing = core.standing.load_full();
        let writing = Writing { key: &core.node_key, enrolment: &standing.signed_enrolment, random: &core.env.random };
        let checked = core.held()?.journals.append(posting, &writing, &core.rules())?;
        self.take_journal(checked).await
    }

    async fn write(&self, rows: Vec<Row>) -> Result<(), Failure> {
        self.core.store.call(|reply| store::Message::Append(rows, reply)).await?
    }

    fn change(&self, change: impl FnOnce(&mut LedgerHeld)) {
        self.core.ledger.send_modify(|held| {
            if let Some(held) = held {
                change(Arc::make_mut(held));
            }
        });
        record_revision(&self.core);
    }

    /// Starts a pull from a member that has something else, or from any when it is time.
    fn look(&mut self, reason: Reason) {
        if self.pulling.is_some() {
            self.looked_meanwhile = true;
            return;
        }
        let now = self.core.env.clock.now();
        self.resting.retain(|_, rest| rest.until > now);
        let Some(peer) = pull::choose(&self.core, &self.resting, reason) else { return self.look_after_rest() };
        let core = Arc::clone(&self.core);
        self.pulling = Some(tokio::spawn(async move {
            let outcome = pull::pull(&core, &peer).await;
            // Without it no other starts.
            core.ledger_actor.deliver(Message::Pulled(Box::new(peer), outcome)).await;
        }));
    }

    /// A hint of a member that rests would be lost otherwise, until the next one or the slow pull.
    fn look_after_rest(&mut self) {
        let is_waking = self.waking.as_ref().is_some_and(|waking| !waking.is_finished());
        let Some(until) = self.resting.values().map(|rest| rest.until).min().filter(|_| !is_waking) else { return };
        let core = Arc::clone(&self.core);
        self.waking = Some(tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            let _ = core.ledger_actor.try_send(Message::Look(Reason::Hint));
        }));
    }

    fn pulled(&mut self, peer: Peer, outcome: Outcome) {
        self.pulling = None;
        let rest = match outcome {
            Outcome::News => None,
            Outcome::Nothing => Some((REST, Some(peer.mark))),
            Outcome::Failed => Some((FAILED_REST, None)),
        };
        if let Some((span, nothing_at)) = rest {
            let until = self.core.env.clock.now() + self.core.env.random.jitter(span, 0.25);
            self.resting.insert(peer.node, Rest { until, nothing_at });
        }
        let again = std::mem::take(&mut self.looked_meanwhile);
        if again || outcome != Outcome::Nothing {
            self.look(Reason::Hint);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.watchers.iter().chain(&self.pulling).chain(&self.waking).for_each(JoinHandle::abort);
    }
}

async fn load(core: &Core) -> Result<LedgerHeld, Failure> {
    let rows = core.store.call(store::Message::Rows).await??;
    let rules = core.rules();
    let (ledger, mut lost) = Revisions::load(core.file.mesh.clone(), &rows, &rules);
    let (journals, more) = Journals::load(&rows, &rules);
    lost.extend(more);
    for one in &lost {
        tracing::error!(hash = ?one.hash, reason = %one.refusal, "a row of the ledger on disk does not verify and is left out");
    }
    Ok(LedgerHeld { ledger, journals })
}

/// Counts what was refused by its reason, and says once a batch who sent it.
pub(crate) fn count_refused(core: &Core, from: &NodeId, refused: &[Quarantined]) {
    for one in refused {
        let labels = vec![metrics::Label::new("reason", one.refusal.label())];
        core.telemetry.counter(LEDGER_REFUSED, labels).increment(1);
    }
    if let Some(first) = refused.first() {
        let operator = first.operator.map(|key| key.to_string()).unwrap_or_default();
        tracing::warn!(%from, count = refused.len(), hash = ?first.hash, operator, reason = %first.refusal, "part of the ledger was refused");
    }
}

fn record_revision(core: &Core) {
    if let Ok(held) = core.held() {
        let revision = held.ledger.head(&core.rules()).revision;
        core.telemetry.gauge(LEDGER_REVISION, Vec::new()).set(revision as f64);
    }
}

async fn tick(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.env.random.jitter(SLOW_PULL, 0.25)).await;
        let _ = core.ledger_actor.try_send(Message::Look(Reason::Slow));
    }
}
