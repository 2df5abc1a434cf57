//! Where a service can be reached: the endpoint tables that pool actors publish and the data path reads.
//!
//! A table is immutable; what changes per request (latency, requests in flight, ejection) sits in atomics of [`EndpointLoad`],
//! which survive a new table for as long as the endpoint itself does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use weft_identity::{NodeId, Protocol, ReplicaName, ServiceName, ZoneName};

use crate::traffic::Outlier;

/// The address of another node's mesh port, where its replicas answer over mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddr(pub SocketAddr);

/// The address at which an application on this machine listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppAddr(pub SocketAddr);

/// The endpoints of one service; immutable, replaced whole.
#[derive(Debug)]
pub struct EndpointTable {
    /// The service.
    pub service: ServiceName,
    /// What its replicas speak.
    pub protocol: Protocol,
    /// One entry a replica, healthy or not, ordered by node and name.
    pub endpoints: Box<[Arc<Endpoint>]>,
}

/// One replica of a service, on its node.
#[derive(Debug)]
pub struct Endpoint {
    /// The node.
    pub node: NodeId,
    /// What the node calls the replica.
    pub replica: ReplicaName,
    /// What a call names the replica by; none where its node offers no other of the service.
    pub selector: Option<HeaderValue>,
    /// The generation of the node's process: a restart is a new generation and clears an ejection.
    pub generation: u64,
    /// Its mesh port.
    pub addr: PeerAddr,
    /// Its zone, for preference.
    pub zone: Option<ZoneName>,
    /// The version that its operator gave it; may be empty.
    pub version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Relative share of the requests, at least 1.
    pub weight: u32,
    /// Whether the node itself says that a replica is healthy and the membership does not say that the node is gone.
    pub healthy: bool,
    /// What the data path learns.
    pub load: Arc<EndpointLoad>,
}

/// What the data path knows of an endpoint; every field is an atomic, so that workers share it without a lock.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    /// Peak-EWMA latency in nanoseconds; 0 until the first answer.
    ewma_ns: AtomicU64,
    /// When `ewma_ns` was written, in nanoseconds of the data path's clock.
    ewma_at_ns: AtomicU64,
    /// Requests and streams in flight from this node.
    in_flight: AtomicU32,
    /// Ejected until then, in nanoseconds of the data path's clock; 0 when not ejected.
    ejected_until_ns: AtomicU64,
    /// Ejections in a row, for the backoff.
    strikes: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
}

/// How fast an old latency is forgotten: after this time without a sample its weight is 1/e.
pub const EWMA_DECAY: Duration = Duration::from_secs(10);
/// What a request in flight costs at an endpoint that has not answered yet, in nanoseconds: 100 ms, more than most services take, so that
/// a new endpoint is found out with one request or a few.
const LATENCY_UNKNOWN: u64 = 100_000_000;
/// The first ejection lasts this long; each further one in a row doubles it.
pub const EJECTION_BASE: Duration = Duration::from_secs(1);
/// No ejection is longer.
pub const EJECTION_MAX: Duration = Duration::from_secs(30);
/// An ejection doubles at most so often: from a second to half a minute by default, from minutes to hours where operators say so.
const STRIKES_MAX: u32 = 5;

/// How a call names a replica.
pub fn selector(name: &ReplicaName) -> Option<HeaderValue> {
    HeaderValue::from_str(name.as_str()).ok()
}

impl EndpointTable {
    /// The endpoints of one node.
    pub fn of_node<'t>(&'t self, node: &'t NodeId) -> impl Iterator<Item = &'t Arc<Endpoint>> {
        self.endpoints.iter().filter(move |endpoint| endpoint.node == *node)
    }
}

impl Endpoint {
    /// Whether both are the same replica of the same life of its node.
    pub fn is_same(&self, other: &Endpoint) -> bool {
        self.node == other.node && self.generation == other.generation && self.replica == other.replica
    }

    /// Whether it is of a version, and has all of some labels.
    pub fn is_of(&self, version: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
        version.is_none_or(|version| self.version == version)
            && labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

impl EndpointLoad {
    /// Counts one request or stream in; the guard counts it out when dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Requests and streams in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes in a latency sample: a higher one counts at once (peak), a lower one by exponential decay.
    pub fn observe(&self, latency: Duration, now_ns: u64) {
        let sample = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let at = self.ewma_at_ns.swap(now_ns, Ordering::Relaxed);
        let old = self.ewma_ns.load(Ordering::Relaxed);
        let new = if sample >= old { sample } else { decayed(old, sample, now_ns.saturating_sub(at)) };
        self.ewma_ns.store(new, Ordering::Relaxed);
    }

    /// The cost of sending one more request here: latency times (in flight + 1). A known latency fades while nothing is sent here, so
    /// that one slow answer does not keep an endpoint out for ever. An endpoint that was never asked costs nothing, so that it is found
    /// out whatever the others' latency; once asked, each request in flight costs [`LATENCY_UNKNOWN`] until the first answer, so that it
    /// is not flooded.
    pub fn cost(&self, now_ns: u64) -> u64 {
        let in_flight = u64::from(self.in_flight());
        let known = self.ewma_ns.load(Ordering::Relaxed);
        if known == 0 {
            return LATENCY_UNKNOWN.saturating_mul(in_flight);
        }
        let idle_ns = now_ns.saturating_sub(self.ewma_at_ns.load(Ordering::Relaxed));
        decayed(known, 0, idle_ns).saturating_mul(in_flight + 1)
    }

    /// Takes in a failure; ejects the endpoint after so many in a row as `outlier` says. Returns true if it was not ejected before.
    pub fn fail(&self, now_ns: u64, outlier: &Outlier) -> bool {
        if self.is_ejected(now_ns) {
            return false;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) < outlier.consecutive_failures {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed).min(STRIKES_MAX);
        let span = outlier.ejection.saturating_mul(1 << strikes).min(outlier.ejection_max);
        let until = now_ns.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.ejected_until_ns.store(until, Ordering::Relaxed);
        true
    }

    /// Takes failures and an ejection back: a request succeeded, or the node started anew.
    pub fn restore(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.strikes.load(Ordering::Relaxed) != 0 {
            self.strikes.store(0, Ordering::Relaxed);
            self.ejected_until_ns.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the endpoint is ejected at `now_ns`.
    pub fn is_ejected(&self, now_ns: u64) -> bool {
        self.ejected_until_ns.load(Ordering::Relaxed) > now_ns
    }
}

/// `old` drawn towards `sample` by the share that `elapsed_ns` of [`EWMA_DECAY`] gives it.
fn decayed(old: u64, sample: u64, elapsed_ns: u64) -> u64 {
    let keep = (-(elapsed_ns as f64) / EWMA_DECAY.as_nanos() as f64).exp();
    (old as f64 * keep + sample as f64 * (1.0 - keep)) as u64
}

/// One request or stream in flight; dropping it counts it out.
#[derive(Debug)]
pub struct InFlight(Arc<EndpointLoad>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_slow_answer_counts_at_once_and_fades() {
        let load = Arc::new(EndpointLoad::default());
        load.observe(Duration::from_millis(1), SECOND);
        let fast = load.cost(SECOND);
        load.observe(Duration::from_millis(100), 2 * SECOND);
        assert!(load.cost(2 * SECOND) >= 100 * fast);
        for second in 3..60 {
            load.observe(Duration::from_millis(1), second * SECOND);
        }
        assert!(load.cost(59 * SECOND) < 2 * fast);
    }

    #[test]
    fn an_endpoint_that_was_never_asked_is_asked_once_and_not_flooded() {
        let (known, new) = (EndpointLoad::default(), Arc::new(EndpointLoad::default()));
        known.observe(Duration::from_micros(100), SECOND);
        assert!(new.cost(SECOND) < known.cost(SECOND), "however fast the other is");
        let asked = new.enter();
        assert!(new.cost(SECOND) > 100 * known.cost(SECOND));
        new.observe(Duration::from_micros(100), SECOND);
        drop(asked);
        assert_eq!(new.cost(SECOND), known.cost(SECOND));
    }

    #[test]
    fn an_endpoint_that_is_sent_nothing_gets_another_chance() {
        let load = EndpointLoad::default();
        load.observe(Duration::from_millis(100), SECOND);
        let slow = load.cost(SECOND);
        assert!(load.cost(11 * SECOND) < slow / 2);
        assert!(load.cost(61 * SECOND) < slow / 100);
    }

    #[test]
    fn an_ejection_ends_by_itself_and_doubles_in_a_row() {
        let load = EndpointLoad::default();
        let outlier = Outlier::default();
        assert!(load.fail(0, &outlier));
        assert!(!load.fail(1, &outlier), "already ejected");
        assert!(load.is_ejected(SECOND - 1));
        assert!(!load.is_ejected(SECOND));
        assert!(load.fail(SECOND, &outlier));
        assert!(load.is_ejected(3 * SECOND - 1));
        load.restore();
        assert!(!load.is_ejected(2 * SECOND));
    }

    #[test]
    fn an_endpoint_is_ejected_after_so_many_failures_in_a_row() {
        let load = EndpointLoad::default();
        let outlier = Outlier { consecutive_failures: 3, ejection: Duration::from_secs(5), ..Outlier::default() };
        for _ in 0..4 {
            assert!(!load.fail(0, &outlier));
            assert!(!load.fail(0, &outlier));
            load.restore();
        }
        assert!(!load.fail(0, &outlier) && !load.fail(0, &outlier) && load.fail(0, &outlier));
        assert!(load.is_ejected(5 * SECOND - 1) && !load.is_ejected(5 * SECOND));
    }

    #[test]
    fn a_dropped_guard_counts_out() {
        let load = Arc::new(EndpointLoad::default());
        let guard = load.enter();
        assert_eq!(load.in_flight(), 1);
        drop(guard);
        assert_eq!(load.in_flight(), 0);
    }
}
