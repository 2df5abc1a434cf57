//! What a worker does beside its connections: reads the clock, rings its bell, closes what is idle, looks at memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use weft_world::WorldCell;

use super::{Shared, Worker};
use crate::memory::{self, Step};

/// How often a worker closes idle upstream connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The clock as a worker reads it: once a turn of a task, and not once a question.
pub(super) struct Moment {
    zero: Instant,
    ns: AtomicU64,
}

impl Moment {
    /// Looks at the clock.
    pub(super) fn note(&self) {
        let since = Instant::now().saturating_duration_since(self.zero);
        self.ns.store(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The clock that has this zero.
    pub(super) fn starting(zero: Instant) -> Self {
        Self { zero, ns: AtomicU64::new(0) }
    }

    /// When the turn began, in nanoseconds since zero.
    pub(super) fn ns(&self) -> u64 {
        self.ns.load(Ordering::Relaxed)
    }

    /// When the turn began.
    pub(super) fn at(&self) -> Instant {
        self.zero + Duration::from_nanos(self.ns())
    }
}

/// Rings a worker's bell whenever the policy or the trust becomes another, for as long as the worker lives.
pub(super) async fn ring(worker: Weak<Worker>, world: Arc<WorldCell>) {
    let (mut policies, mut trusts) = (world.watch_policy(), world.watch_trust());
    loop {
        let changed = tokio::select! {
            changed = policies.changed() => changed,
            changed = trusts.changed() => changed,
        };
        let Some(worker) = worker.upgrade().filter(|_| changed.is_ok()) else { return };
        worker.pool.disbelieve(&world.load());
        worker.bell.ring();
    }
}

/// Looks at the memory of the process for as long as the data path lives, and gives back what idle connections hold when it runs short.
pub(super) async fn watch_memory(shared: Weak<Shared>, bytes_max: u64) {
    loop {
        tokio::time::sleep(memory::LOOK_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let is_new = memory::resident_bytes().is_some_and(|bytes| shared.memory.look(bytes, bytes_max));
        if is_new && shared.memory.step() > Step::Free {
            shared.pools.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|pool| pool.clear());
        }
    }
}

/// Closes idle upstream connections for as long as the worker lives.
pub(super) async fn sweep(worker: Weak<Worker>, idle_timeout: Duration) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        match worker.upgrade() {
            Some(worker) => worker.pool.sweep(Instant::now(), idle_timeout),
            None => return,
        }
    }
}
