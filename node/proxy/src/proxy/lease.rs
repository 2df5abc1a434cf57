//! The service's side of an exchange, leased from the pool or opened for it; what it is good for afterwards is the codec's to say.

use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;
use weft_policy::endpoint::Endpoint;
use weft_policy::outcome::{Change, Try, Witness};

use crate::http1::{Fitness, Role};
use crate::metrics::{Meter, Slot};
use crate::pool::{Host, Upstream};
use crate::side::Side;
use crate::vigil::Chain;
use crate::worker::Worker;

/// Most of an unwanted answer that is read to keep its connection.
const FORGONE_MAX: usize = 16 * 1024;

/// A side that goes back to the pool if it can.
pub(crate) struct Lease {
    pub(crate) side: Side,
    host: Host,
    /// What the other node proved itself with.
    pub(crate) chain: Option<Chain>,
    slot: Option<Slot>,
    rings: u64,
    /// It came from the pool.
    pub(crate) reused: bool,
    /// Counts the exchange at its endpoint or replica for as long as it lasts.
    pub(crate) held: Option<Held>,
}

/// What counts an exchange where it is served.
pub(crate) enum Held {
    /// At an endpoint: what became of the try there.
    Endpoint(Try<Tally>),
    /// At a replica of this machine, on the way in: counted out when it is dropped.
    Replica(#[allow(dead_code, reason = "held for its drop")] ReplicaFlight),
}

impl Lease {
    pub(crate) fn new(side: Side, host: Host, chain: Option<Chain>, slot: Option<Slot>, reused: bool) -> Self {
        Self { side, host, chain, slot, rings: 0, reused, held: None }
    }

    /// How often the worker's bell had rung when its peer was last believed.
    pub(crate) fn believed_at(self, rings: u64) -> Self {
        Self { rings, ..self }
    }

    /// Whether an application of this machine answers, and not another node.
    pub(crate) fn is_application(&self) -> bool {
        matches!(self.host, Host::App(_))
    }

    /// The endpoint broke its answer off after the head.
    pub(crate) fn broke(&mut self) {
        if let Some(Held::Endpoint(attempt)) = &mut self.held {
            attempt.broke();
        }
    }

    /// Its answer is not wanted: what is here of it is thrown away, and where that is all of it, the connection goes back to the pool. Never
    /// waits.
    pub(crate) async fn forgo(mut self, worker: &Worker) {
        let is_whole = std::future::poll_fn(|cx| Poll::Ready(self.side.throw_away(cx, FORGONE_MAX)));
        if is_whole.await {
            self.release(worker, worker.noted());
        }
    }

    /// The exchange is over: a connection that can carry another goes back to the pool.
    pub(crate) fn release(self, worker: &Worker, now: Instant) {
        let Self { side: Side::Http1(connection), host, chain, slot, rings, .. } = self else { return };
        if connection.fitness(Role::Client) == Fitness::Reusable {
            worker.pool.give(&host, Upstream { connection, chain, slot, rings }, now);
        }
    }
}

/// Counts and logs what becomes of endpoints by the tries of one caller.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) worker: Arc<Worker>,
    pub(crate) meter: Arc<Meter>,
}

impl Witness for Tally {
    fn now_ns(&self) -> u64 {
        self.worker.noted_ns()
    }

    fn changed(&self, endpoint: &Endpoint, change: Change) {
        let (service, node, replica) = (&self.meter.service, &endpoint.node, &endpoint.replica);
        match change {
            Change::Ejected { span, why } => {
                self.meter.ejections.increment(1);
                tracing::info!(service, %node, %replica, ?span, %why, "endpoint ejected");
            }
            Change::Returned => tracing::info!(service, %node, %replica, "endpoint back"),
        }
    }
}

/// One exchange in flight to a replica.
pub(crate) struct ReplicaFlight(Arc<weft_world::LocalReplica>);

impl ReplicaFlight {
    /// Counts one in.
    pub(crate) fn enter(replica: &Arc<weft_world::LocalReplica>) -> Self {
        replica.in_flight.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(Arc::clone(replica))
    }
}

impl Drop for ReplicaFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
