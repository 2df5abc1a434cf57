//! Compiling, beside everything else: on a thread of its own, in short pieces, so that neither an actor nor a worker of the data path
//! waits behind it, even where the machine has no core to spare. Called by the Policy actor, and by a plan.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use weft_env::Clock;
use weft_identity::{Code, Failure};
use weft_ledger::StateEntry;
use weft_policy::strict::Mistake;
use weft_policy::{InForce, Policy};

use crate::core::Core;

/// After so long the core is offered to whoever waits for it: a request is delayed by less than it takes itself.
const PIECE_MIN: Duration = Duration::from_micros(100);
/// As long as the others took, but no longer than this, is the next piece: behind threads that never give way each offer costs a turn of
/// theirs, some milliseconds, and the documents must come into force nevertheless.
const PIECE_MAX: Duration = Duration::from_micros(300);
/// The first and the longest space between two looks whether the last request that began under an old policy has ended.
const FREE_POLL: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(10)];

/// Compiles; what did not change since the last times is shared with them.
pub(crate) fn compile(core: &Core, documents: &[InForce]) -> Result<Policy, Vec<Mistake>> {
    let mut compiler = core.compiler.lock().unwrap_or_else(PoisonError::into_inner);
    compiler.compile(documents, &mut pause(&core.env.clock))
}

/// Offers the core to others if the piece was long enough.
fn pause(clock: &Clock) -> impl FnMut() + '_ {
    let (mut began, mut piece) = (clock.now(), PIECE_MIN);
    move || {
        let now = clock.now();
        if now >= began + piece {
            std::thread::yield_now();
            began = clock.now();
            piece = began.duration_since(now).clamp(PIECE_MIN, PIECE_MAX);
        }
    }
}

/// A document in force as the compiler takes it.
pub(crate) fn in_force(entry: &StateEntry) -> InForce {
    InForce { document: Arc::clone(&entry.document), hash: entry.hash, revision: entry.revision }
}

/// Runs long work on a thread of its own. Where all actors share one thread it runs right there: the simulator's order of things must
/// not depend on how fast another thread is.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new(Code::Internal, format!("compile the documents: {error}")))
}

/// Frees a policy once no request reads it any more. Without this the last of them would free it, thousands of rules, in a worker.
pub(crate) async fn free(old: Arc<Policy>, clock: Clock) {
    let [mut poll, longest] = FREE_POLL;
    while Arc::strong_count(&old) > 1 {
        tokio::time::sleep(poll).await;
        poll = (poll * 2).min(longest);
    }
    let Some(old) = Arc::into_inner(old) else { return };
    if let Err(failure) = aside(move || old.free(&mut pause(&clock))).await {
        tracing::debug!(%failure, "an old policy was not freed aside");
    }
}
