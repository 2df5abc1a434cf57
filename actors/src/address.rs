//! The address of an actor: counted by permits, so that its mailbox is bounded, and the same across restarts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, MessagingErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use weft_identity::{Code, Failure};

/// How long a question to an actor may take: it does nothing slow, so this long means that it is stuck or restarting for long.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most messages that wait for one actor: some hundred changes at once are more than a node ever has.
pub const MAILBOX_LEN_MAX: usize = 256;

/// Space between two looks for an actor that is being restarted: short against a restart's delay.
const RESTART_POLL: Duration = Duration::from_millis(100);

/// The mailbox is full, or the actor is just being restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor {0} takes no more messages at the moment")]
pub struct Busy(pub &'static str);

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        Failure::new(Code::Overloaded, busy.to_string())
    }
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// What lies in a mailbox.
pub(crate) enum Post<M> {
    /// A message with the place that it takes.
    Message(M, OwnedSemaphorePermit),
    /// Panic, for tests.
    Crash,
}

/// Sends to one actor, whichever incarnation of it runs.
pub struct Address<M: Send + 'static>(Arc<Inner<M>>);

struct Inner<M: Send + 'static> {
    name: &'static str,
    target: ArcSwapOption<ActorRef<Post<M>>>,
    permits: Arc<Semaphore>,
}

impl<M: Send + 'static> Address<M> {
    /// An address to which nobody answers yet.
    pub(crate) fn new(name: &'static str) -> Self {
        let permits = Arc::new(Semaphore::new(MAILBOX_LEN_MAX));
        Self(Arc::new(Inner { name, target: ArcSwapOption::empty(), permits }))
    }

    /// The actor's name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Leads to this incarnation from now on.
    pub(crate) fn lead_to(&self, target: ActorRef<Post<M>>) {
        self.0.target.store(Some(Arc::new(target)));
    }

    /// Sends a message, unless too many wait already. What is sent to an actor that then crashes is lost.
    pub fn try_send(&self, message: M) -> Result<(), Busy> {
        let busy = Busy(self.0.name);
        let permit = Arc::clone(&self.0.permits).try_acquire_owned().map_err(|_| busy)?;
        let target = self.0.target.load_full().ok_or(busy)?;
        target.send_message(Post::Message(message, permit)).map_err(|_| busy)
    }

    /// Sends a message that must arrive, such as the end of a task: waits for a place, and for a restarted actor.
    pub(crate) async fn deliver(&self, message: M) {
        let Ok(permit) = Arc::clone(&self.0.permits).acquire_owned().await else { return };
        let mut post = Post::Message(message, permit);
        loop {
            if let Some(target) = self.0.target.load_full() {
                post = match target.send_message(post) {
                    Err(MessagingErr::SendErr(back)) => back,
                    _ => return,
                };
            }
            tokio::time::sleep(RESTART_POLL).await;
        }
    }

    /// Sends a message now and at each `interval`; a mailbox that is full has work enough until the next.
    pub(crate) fn tick(&self, interval: Duration, message: fn() -> M) -> JoinHandle<()> {
        let address = self.clone();
        tokio::spawn(async move {
            loop {
                let _ = address.try_send(message());
                tokio::time::sleep(interval).await;
            }
        })
    }

    /// Sends a message after each change of a cell; changes that come while it waits are one.
    pub(crate) fn follow<T: Send + Sync + 'static>(
        &self,
        mut cell: watch::Receiver<T>,
        message: fn() -> M,
    ) -> JoinHandle<()> {
        let address = self.clone();
        tokio::spawn(async move {
            while cell.changed().await.is_ok() {
                address.deliver(message()).await;
            }
        })
    }

    /// Asks a question and waits for the answer, at most [`CALL_TIMEOUT`]. Cancel safe.
    pub async fn call<T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, Failure> {
        self.call_within(CALL_TIMEOUT, question).await
    }

    /// Asks a question and waits for the answer, at most `timeout`. Cancel safe.
    pub async fn call_within<T>(&self, timeout: Duration, question: impl FnOnce(Reply<T>) -> M) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.try_send(question(reply))?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                Err(Failure::new(Code::Internal, format!("the actor {} failed while it answered", self.0.name)))
            }
            Err(_) => {
                Err(Failure::new(Code::Overloaded, format!("the actor {} did not answer in {timeout:?}", self.0.name)))
            }
        }
    }

    /// Makes the actor panic; for tests of the supervision tree. No request of the shipped binary leads here.
    pub fn crash(&self) -> Result<(), Busy> {
        let target = self.0.target.load_full().ok_or(Busy(self.0.name))?;
        target.send_message(Post::Crash).map_err(|_| Busy(self.0.name))
    }
}

impl<M: Send + 'static> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Send + 'static> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0.name)
    }
}
