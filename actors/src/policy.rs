//! The Policy actor: from the documents in force to the compiled policy that the data path reads.
//!
//! - Owns: nothing; the last documents that could be compiled are named on disk, so that a restart has them in force again.
//! - Receives: that the ledger, the operators' standing or the time has changed.
//! - Publishes: the policy into the world, revocations to Identity, and this node's mark of the ledger to Membership.
//! - A crash loses: nothing; the next start compiles again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use weft_gateway::policy::{Policy as Compiled, Source, compile};
use weft_gateway::strict::Mistake;
use weft_gossip::Failure;
use weft_gossip::identity::Revocations;
use weft_gossip::ledger::journal::Journals;
use weft_gossip::ledger::{Document, Hash, LedgerMark, State, StateEntry};

use crate::core::Core;
use crate::ledger::{LedgerHeld, held};
use crate::metrics::{POLICY_REFUSED, POLICY_REFUSED_HELP};
use crate::shell::Role;
use crate::standing::News;
use crate::store::key;
use crate::{identity, telemetry};

/// The kind of documents that take trust back.
const REVOCATION: &str = "revocation";

/// What Policy is sent.
pub(crate) enum Message {
    /// Compile what is in force now.
    Changed,
}

/// What became of the documents in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyReport {
    /// What the members are told.
    pub(crate) mark: LedgerMark,
    /// The mistakes for which the documents of the mark's head are not in force; empty if they are.
    pub(crate) mistakes: Vec<String>,
}

/// One document of the last policy that could be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Good {
    document: Hash,
    revision: u64,
}

/// Policy's state.
pub(crate) struct Policy {
    core: Arc<Core>,
    compiled: Option<Arc<State>>,
    watchers: Vec<JoinHandle<()>>,
    deadline: Option<JoinHandle<()>>,
}

impl Role for Policy {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let recorder = core.telemetry.recorder();
        metrics::Recorder::describe_gauge(&*recorder, POLICY_REFUSED.into(), None, POLICY_REFUSED_HELP.into());
        // Before the first look: what changes after it is seen.
        let watched = (core.ledger.subscribe(), core.standings.subscribe());
        let watchers = vec![tokio::spawn(watch(Arc::clone(&core), watched))];
        let mut policy = Self { core, compiled: None, watchers, deadline: None };
        // Before the listeners open: a node that starts decides by what it knew.
        policy.changed(When::Start).await?;
        Ok(policy)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Changed => self.changed(When::Running).await,
        }
    }
}

/// Whether something is in force already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Start,
    Running,
}

impl Policy {
    async fn changed(&mut self, when: When) -> Result<(), Failure> {
        let core = Arc::clone(&self.core);
        let (held, rules) = (held(&core)?, core.rules());
        let state = held.ledger.state(&rules);
        self.wake_at(held.ledger.next_deadline(&rules));
        let head = held.ledger.head(&rules);
        let is_same =
            self.compiled.as_ref().is_some_and(|compiled| Arc::ptr_eq(compiled, &state) || *compiled == state);
        let mut mistakes = core.policy.load().mistakes.clone();
        if !is_same {
            mistakes = self.compile(&state, &held, when).await?;
            self.compiled = Some(state);
        }
        telemetry::gauge(&core, POLICY_REFUSED, Vec::new()).set(if mistakes.is_empty() { 0.0 } else { 1.0 });
        let mark = LedgerMark::of(head, journals_hash(&held.journals), mistakes.first().map(String::as_str));
        core.policy.store(Arc::new(PolicyReport { mark: mark.clone(), mistakes }));
        core.mark.send_if_modified(|held| {
            let is_new = *held != mark;
            *held = mark;
            is_new
        });
        Ok(())
    }

    /// Compiles and puts into force; returns why it could not be compiled, with which the last good one stays.
    async fn compile(&self, state: &State, held: &LedgerHeld, when: When) -> Result<Vec<String>, Failure> {
        let sources = sources_of(state.values());
        let found = match compile(&sources) {
            Ok(policy) => {
                self.put_in_force(policy).await?;
                self.keep_good(state).await?;
                return Ok(Vec::new());
            }
            Err(found) => found,
        };
        if when == When::Start {
            self.restore_good(held).await?;
        }
        // What was taken back counts all the same: whatever else this version does not read, it believes no thief.
        let revoked: Vec<_> = sources.into_iter().filter(|(source, _)| source.kind == REVOCATION).collect();
        if let Ok(policy) = compile(&revoked) {
            self.revoke(&policy).await?;
        }
        let found: Vec<String> = found.iter().map(Mistake::to_string).collect();
        let first = found.first().map(String::as_str).unwrap_or_default();
        tracing::error!(first, count = found.len(), "the newest documents were not compiled; the last good ones stay");
        Ok(found)
    }

    async fn put_in_force(&self, policy: Compiled) -> Result<(), Failure> {
        let policy = Arc::new(policy);
        let revision = policy.revision();
        self.core.world.change(|world| world.policy = Arc::clone(&policy));
        tracing::info!(revision, "the documents in force were compiled");
        self.revoke(&policy).await
    }

    /// Puts what a policy revokes into force.
    async fn revoke(&self, policy: &Compiled) -> Result<(), Failure> {
        let revocations = Arc::new(revocations_of(policy));
        if *self.core.standing.load().revocations != *revocations {
            let news = News { revocations: Some(revocations), ..News::default() };
            self.core.identity.call(|reply| identity::Message::Adopt(news, reply)).await??;
        }
        Ok(())
    }

    async fn keep_good(&self, state: &State) -> Result<(), Failure> {
        let good: Vec<Good> =
            state.values().map(|held| Good { document: held.hash, revision: held.revision }).collect();
        self.core.keep(key::POLICY, &good).await
    }

    /// Puts into force what could be compiled last, in an earlier life of this node.
    async fn restore_good(&self, held: &LedgerHeld) -> Result<(), Failure> {
        let good: Vec<Good> = self.core.kept(key::POLICY).await?.unwrap_or_default();
        let found = good.iter().filter_map(|one| Some((source(held.ledger.document(&one.document)?), one.revision)));
        let sources: Vec<(Source, u64)> = found.collect();
        match compile(&sources) {
            Ok(policy) => self.put_in_force(policy).await,
            Err(_) => {
                tracing::error!("the last good documents are not compiled by this version either");
                Ok(())
            }
        }
    }

    /// Compiles again once a change set's time for confirmation is over.
    fn wake_at(&mut self, deadline: Option<weft_env::Timestamp>) {
        if let Some(old) = self.deadline.take() {
            old.abort();
        }
        let Some(deadline) = deadline else { return };
        let core = Arc::clone(&self.core);
        self.deadline = Some(tokio::spawn(async move {
            let left = deadline.since(core.env.clock.wall()) + std::time::Duration::from_millis(1);
            tokio::time::sleep(left).await;
            send_changed(&core).await;
        }));
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.watchers.iter().chain(&self.deadline).for_each(JoinHandle::abort);
    }
}

type LedgerReceiver = Receiver<Option<Arc<LedgerHeld>>>;

/// Wakes the actor at each change of the ledger or of the operators.
async fn watch(core: Arc<Core>, watched: (LedgerReceiver, Receiver<u64>)) {
    let (mut ledger, mut standings) = watched;
    loop {
        tokio::select! {
            changed = ledger.changed() => if changed.is_err() { return },
            changed = standings.changed() => if changed.is_err() { return },
        }
        send_changed(&core).await;
    }
}

async fn send_changed(core: &Core) {
    while core.policy_actor.try_send(Message::Changed).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Documents in force as the compiler takes them.
pub(crate) fn sources_of<'s>(entries: impl Iterator<Item = &'s StateEntry>) -> Vec<(Source, u64)> {
    entries.map(|held| (source(&held.document), held.revision)).collect()
}

/// A document as the compiler takes it.
pub(crate) fn source(document: &Document) -> Source {
    Source {
        kind: document.id().kind().to_owned(),
        name: document.id().name().to_owned(),
        services: document.services().cloned(),
        file: document.file().to_owned(),
        line: document.line(),
        text: document.text().to_owned(),
    }
}

fn revocations_of(policy: &Compiled) -> Revocations {
    let revoked = policy.revocations();
    Revocations {
        nodes: revoked.nodes().map(|(node, _)| node.clone()).collect(),
        keys: revoked.keys().map(|(key, _)| *key).collect(),
        tokens: revoked.tokens().map(|(token, _)| *token).collect(),
    }
}

/// One hash over the ends of all journals; none without any.
pub(crate) fn journals_hash(journals: &Journals) -> Option<Hash> {
    let hashes: Vec<[u8; 32]> = journals.heads().iter().filter_map(|head| head.hash.map(|hash| hash.0)).collect();
    let parts: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    (!parts.is_empty()).then(|| Hash::of_parts(&parts))
}
