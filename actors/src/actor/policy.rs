//! The Policy actor: from the documents in force to the compiled policy that the data path reads.
//!
//! - Owns: nothing; the last documents that could be compiled are named on disk, so that a restart has them in force again.
//! - Receives: that the ledger, the operators' standing or the time has changed; that what it gave to the compiler's thread is done.
//! - Publishes: the policy into the world, revocations to Identity, and this node's mark of the ledger to Membership.
//! - A crash loses: nothing; the next start compiles again.

pub(crate) mod job;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use weft_identity::{Code, Failure, Revocations};
use weft_ledger::journal::Journals;
use weft_ledger::{Hash, Head, LedgerMark, State};
use weft_policy::strict::Mistake;
use weft_policy::{InForce, Kind, Policy as Compiled, Source};

use crate::core::Core;
use crate::message::identity;
use crate::message::ledger::LedgerHeld;
use crate::message::policy::{Message, PolicyReport};
use crate::message::store::key;
use crate::metrics::{POLICY_REFUSED, POLICY_REFUSED_HELP};
use crate::shell::Role;
use crate::standing::News;

/// One document of the last policy that could be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Good {
    document: Hash,
    revision: u64,
}

/// The ledger at one moment.
struct Look {
    held: Arc<LedgerHeld>,
    head: Head,
    state: Arc<State>,
}

/// What the compiler made of its documents.
struct Outcome {
    look: Look,
    compiled: Result<Compiled, Vec<Mistake>>,
}

/// Policy's state.
pub(crate) struct Policy {
    core: Arc<Core>,
    compiled: Option<Arc<State>>,
    compiling: Option<JoinHandle<Result<Outcome, Failure>>>,
    changed_meanwhile: bool,
    watchers: [JoinHandle<()>; 2],
    deadline: Option<JoinHandle<()>>,
}

impl Role for Policy {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let recorder = core.telemetry.recorder();
        metrics::Recorder::describe_gauge(&*recorder, POLICY_REFUSED.into(), None, POLICY_REFUSED_HELP.into());
        // Before the first look: what changes after it is seen.
        let watchers = [
            core.policy_actor.follow(core.ledger.subscribe(), || Message::Changed),
            core.policy_actor.follow(core.standings.subscribe(), || Message::Changed),
        ];
        let mut policy = Self {
            core: Arc::clone(&core),
            compiled: None,
            compiling: None,
            changed_meanwhile: false,
            watchers,
            deadline: None,
        };
        // Before the listeners open: a node that starts decides by what it knew.
        let outcome = compile(&core, policy.look()?).await?;
        if outcome.compiled.is_err() {
            policy.restore_good(&outcome.look.held).await?;
        }
        policy.take(outcome).await?;
        Ok(policy)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Changed => self.changed(),
            Message::Compiled => self.compiled().await,
        }
    }
}

impl Policy {
    fn changed(&mut self) -> Result<(), Failure> {
        if self.compiling.is_some() {
            self.changed_meanwhile = true;
            return Ok(());
        }
        let look = self.look()?;
        if self.compiled.as_ref().is_some_and(|compiled| *compiled == look.state) {
            let mistakes = self.core.policy.load().mistakes.clone();
            self.publish(look, mistakes);
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        self.compiling = Some(tokio::spawn(async move {
            let outcome = compile(&core, look).await;
            core.policy_actor.deliver(Message::Compiled).await;
            outcome
        }));
        Ok(())
    }

    async fn compiled(&mut self) -> Result<(), Failure> {
        let Some(compiling) = self.compiling.take() else { return Ok(()) };
        let failed = |error| Failure::new(Code::Internal, format!("compile the documents: {error}"));
        // Its last act was to send this message.
        self.take(compiling.await.map_err(failed)??).await?;
        if std::mem::take(&mut self.changed_meanwhile) { self.changed() } else { Ok(()) }
    }

    fn look(&mut self) -> Result<Look, Failure> {
        let (held, rules) = (self.core.held()?, self.core.rules());
        let (head, state) = (held.ledger.head(&rules), held.ledger.state(&rules));
        self.wake_at(held.ledger.next_deadline(&rules));
        Ok(Look { held, head, state })
    }

    /// Puts into force what could be compiled; otherwise the last good policy stays.
    async fn take(&mut self, outcome: Outcome) -> Result<(), Failure> {
        let Outcome { look, compiled } = outcome;
        let mut mistakes = Vec::new();
        match compiled {
            Ok(policy) => {
                self.put_in_force(policy).await?;
                self.keep_good(&look.state).await?;
            }
            Err(found) => {
                mistakes.extend(found.iter().map(Mistake::to_string));
                let first = mistakes.first().map(String::as_str).unwrap_or_default();
                let count = mistakes.len();
                tracing::error!(first, count, "the newest documents were not compiled; the last good ones stay");
                self.revoke_alone(&look.state).await?;
            }
        }
        self.compiled = Some(Arc::clone(&look.state));
        self.publish(look, mistakes);
        Ok(())
    }

    /// Tells the members and the operators how far this node is.
    fn publish(&self, look: Look, mistakes: Vec<String>) {
        let core = &self.core;
        core.telemetry.gauge(POLICY_REFUSED, Vec::new()).set(if mistakes.is_empty() { 0.0 } else { 1.0 });
        let journals = journals_hash(&look.held.journals);
        let mark = LedgerMark::of(look.head, journals, mistakes.first().map(String::as_str));
        core.policy.store(Arc::new(PolicyReport { mark: mark.clone(), mistakes }));
        core.mark.send_if_modified(|held| {
            let is_new = *held != mark;
            *held = mark;
            is_new
        });
    }

    async fn put_in_force(&self, policy: Compiled) -> Result<(), Failure> {
        let policy = Arc::new(policy);
        let revision = policy.revision();
        let old = Arc::clone(&self.core.world.load().policy);
        self.core.world.change(|world| world.policy = Arc::clone(&policy));
        tokio::spawn(job::free(old, self.core.env.clock.clone()));
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

    /// What was taken back counts all the same: whatever else this version does not read, it believes no thief.
    async fn revoke_alone(&self, state: &State) -> Result<(), Failure> {
        let of_kind = state.values().filter(|held| held.document.id().kind() == Kind::Revocation.word());
        let documents: Vec<_> = of_kind.map(|held| (Source::from(&*held.document), held.revision)).collect();
        match weft_policy::compile(&documents) {
            Ok(policy) => self.revoke(&policy).await,
            Err(_) => Ok(()),
        }
    }

    async fn keep_good(&self, state: &State) -> Result<(), Failure> {
        let good: Vec<Good> =
            state.values().map(|held| Good { document: held.hash, revision: held.revision }).collect();
        self.core.keep(key::POLICY, &good).await
    }

    /// Puts into force what could be compiled last, in an earlier life of this node.
    async fn restore_good(&self, held: &LedgerHeld) -> Result<(), Failure> {
        let good: Vec<Good> = self.core.kept(key::POLICY).await?.unwrap_or_default();
        let found = good.into_iter().filter_map(|Good { document: hash, revision }| {
            Some(InForce { document: Arc::clone(held.ledger.document(&hash)?), hash, revision })
        });
        let documents: Vec<InForce> = found.collect();
        let core = Arc::clone(&self.core);
        match job::aside(move || job::compile(&core, &documents)).await? {
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
            core.policy_actor.deliver(Message::Changed).await;
        }));
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.watchers.iter().chain(&self.deadline).for_each(JoinHandle::abort);
        self.compiling.iter().for_each(JoinHandle::abort);
    }
}

async fn compile(core: &Arc<Core>, look: Look) -> Result<Outcome, Failure> {
    let core = Arc::clone(core);
    job::aside(move || {
        let documents: Vec<InForce> = look.state.values().map(job::in_force).collect();
        Outcome { compiled: job::compile(&core, &documents), look }
    })
    .await
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
