//! The supervisor: starts its children in order, restarts what crashes, stops them in reverse order. A spent restart budget
//! fails the supervisor itself, which its own supervisor sees, up to the end of the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;
use weft_env::Env;
use weft_identity::{Code, Failure};
use weft_world::settings::RestartBudget;

use crate::telemetry::Telemetry;

/// How long one child may take to stop before it is killed: its last act is a write to disk at most.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// No wait before a restart is longer, however often it doubled.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Starts a child, linked to the supervisor.
pub(crate) type StartChild = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// One child.
#[derive(Clone)]
pub(crate) struct ChildSpec {
    /// Its name in logs, metrics and [`Restarts`].
    pub(crate) name: &'static str,
    /// How it is started, each time.
    pub(crate) start: StartChild,
}

/// Which children a crash restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// The crashed one alone.
    OneForOne,
    /// The crashed one and all that were started after it.
    RestForOne,
}

/// How often each child was restarted; survives the supervisor.
#[derive(Clone)]
pub(crate) struct Restarts {
    telemetry: Telemetry,
    by_name: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Restarts {
    /// None yet; they are counted in these metrics, too.
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, by_name: Arc::default() }
    }

    /// Shows a child's restarts in the metrics from its first start on: a rate over a series that begins with 1 misses that one.
    fn show(&self, name: &'static str) {
        self.telemetry.restarts(name).increment(0);
    }

    fn count(&self, name: &'static str) {
        *self.by_name.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        self.telemetry.restarts(name).increment(1);
    }

    /// Restarts by name of the child, of those that had any.
    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, u64> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a supervisor is made from.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) strategy: Strategy,
    pub(crate) budget: RestartBudget,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) restarts: Restarts,
    pub(crate) env: Env,
}

/// What a supervisor is sent.
pub(crate) enum Order {
    /// Start this child again; sent to itself after the delay.
    Restart(usize),
    /// Stop all children in reverse order, answer, and end.
    Stop(oneshot::Sender<()>),
}

/// The actor.
pub(crate) struct Supervisor;

/// Its state.
pub(crate) struct Children {
    plan: Plan,
    running: Vec<Option<ActorCell>>,
    recent: VecDeque<Instant>,
}

impl Actor for Supervisor {
    type Msg = Order;
    type State = Children;
    type Arguments = Plan;

    async fn pre_start(&self, myself: ActorRef<Order>, plan: Plan) -> Result<Children, ActorProcessingErr> {
        plan.children.iter().for_each(|child| plan.restarts.show(child.name));
        let mut children = Children { running: vec![None; plan.children.len()], plan, recent: VecDeque::new() };
        children.start_missing(&myself, 0).await?;
        Ok(children)
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Restart(from) => {
                if let Err(error) = children.start_missing(&myself, from).await {
                    tracing::warn!(supervisor = children.plan.name, %error, "an actor did not start");
                    children.schedule(&myself, from)?;
                }
            }
            Order::Stop(done) => {
                children.stop_from(0).await;
                let _ = done.send(());
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Order>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match &event {
            SupervisionEvent::ActorFailed(who, error) => (who, error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, reason) => (who, reason.clone().unwrap_or_default()),
            _ => return Ok(()),
        };
        // Unknown: one that was stopped on purpose.
        let Some(index) = children.position(who) else { return Ok(()) };
        let name = children.plan.children[index].name;
        tracing::warn!(supervisor = children.plan.name, actor = name, why, "an actor crashed and is restarted");
        children.plan.restarts.count(name);
        children.running[index] = None;
        if children.plan.strategy == Strategy::RestForOne {
            children.stop_from(index + 1).await;
        }
        children.schedule(&myself, index)
    }
}

impl Children {
    fn position(&self, who: &ActorCell) -> Option<usize> {
        self.running.iter().position(|cell| cell.as_ref().is_some_and(|cell| cell.get_id() == who.get_id()))
    }

    /// Starts what does not run, in order, from `from` on.
    async fn start_missing(&mut self, myself: &ActorRef<Order>, from: usize) -> Result<(), ActorProcessingErr> {
        for index in from..self.running.len() {
            if self.running[index].is_none() {
                let child = (self.plan.children[index].start)(myself.get_cell()).await?;
                self.running[index] = Some(child);
            }
        }
        Ok(())
    }

    /// Stops what runs, in reverse order, down to `from`.
    async fn stop_from(&mut self, from: usize) {
        for slot in self.running[from..].iter_mut().rev() {
            let Some(cell) = slot.take() else { continue };
            if cell.is_message_type_of::<Order>() == Some(true) {
                stop_supervisor(&ActorRef::from(cell.clone())).await;
            } else if cell.stop_and_wait(None, Some(STOP_TIMEOUT)).await.is_err() {
                cell.kill();
            }
        }
    }

    /// Spends one restart of the budget and comes back after the delay; fails when the budget is spent.
    fn schedule(&mut self, myself: &ActorRef<Order>, from: usize) -> Result<(), ActorProcessingErr> {
        let now = self.plan.env.clock.now();
        let budget = self.plan.budget;
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > budget.span) {
            self.recent.pop_front();
        }
        if self.recent.len() >= budget.restarts_max as usize {
            let detail =
                format!("{} restarts in {:?} under the supervisor {}", self.recent.len(), budget.span, self.plan.name);
            return Err(Failure::new(Code::RestartBudgetSpent, detail).into());
        }
        let doubled = budget.delay.saturating_mul(1 << self.recent.len().min(10)).min(DELAY_MAX);
        self.recent.push_back(now);
        // A quarter either way, so that actors that crash together do not come back together.
        let delay = self.plan.env.random.jitter(doubled, 0.25);
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = myself.send_message(Order::Restart(from));
        });
        Ok(())
    }
}

/// Stops a supervisor and all below it, in reverse order.
pub(crate) async fn stop_supervisor(supervisor: &ActorRef<Order>) {
    let (done, stopped) = oneshot::channel();
    if supervisor.send_message(Order::Stop(done)).is_ok() {
        let _ = stopped.await;
    }
}

/// The specification of a supervisor as another's child.
pub(crate) fn child(plan: Plan) -> ChildSpec {
    ChildSpec {
        name: plan.name,
        start: Arc::new(move |parent| {
            let plan = plan.clone();
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, Supervisor, plan, parent).await?;
                Ok(actor.get_cell())
            })
        }),
    }
}
