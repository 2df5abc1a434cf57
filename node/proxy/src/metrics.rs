//! The data path's metrics: names, help texts, and the handles that workers keep so that a request makes none.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use weft_identity::{Code, NodeId, ServiceName, SpiffeId};
use weft_policy::RetryBudget;

use crate::proxy::Introduced;

/// Requests and streams by direction, calling and called service and class of status.
pub const REQUESTS_TOTAL: &str = "weft_requests_total";
/// Requests and streams that Weft itself refused or failed, by code.
pub const REQUEST_ERRORS_TOTAL: &str = "weft_request_errors_total";
/// From the head of a request to the end of its answer.
pub const REQUEST_DURATION_SECONDS: &str = "weft_request_duration_seconds";
/// Bytes of bodies and streams, by way: `sent` to the caller, `received` from it.
pub const BYTES_TOTAL: &str = "weft_bytes_total";
/// Requests that wait for a place at the node's limit.
pub const ADMISSION_WAITING: &str = "weft_admission_waiting";
/// Requests that found the node at its limit, by what became of them.
pub const ADMISSION_WAITS_TOTAL: &str = "weft_admission_waits_total";
/// The step of the memory ladder that the node stands on, 0 to 3.
pub const MEMORY_STEP: &str = "weft_memory_step";
/// Resident memory, as of the last look.
pub const MEMORY_RESIDENT_BYTES: &str = "weft_memory_resident_bytes";
/// Connections that are open, by listener.
pub const CONNECTIONS_OPEN: &str = "weft_connections_open";
/// Connections taken in, by listener.
pub const CONNECTIONS_TOTAL: &str = "weft_connections_total";
/// Connections turned away, by listener: over the limit, or a handshake that failed.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "weft_connections_refused_total";
/// Tries after the first, by direction, calling and called service.
pub const RETRIES_TOTAL: &str = "weft_retries_total";
/// Endpoints taken out of the balance after a failed connection, by direction, calling and called service.
pub const EJECTIONS_TOTAL: &str = "weft_ejections_total";
/// Connections opened to other nodes and to applications, by direction, calling and called service.
pub const UPSTREAM_CONNECTS_TOTAL: &str = "weft_upstream_connects_total";
/// Calls that documents in shadow mode would have refused, by called service and document.
pub const SHADOW_REFUSALS_TOTAL: &str = "weft_shadow_refusals_total";
/// Copies of requests that were given up, by the service that they were for and the reason.
pub const COPIES_LOST_TOTAL: &str = "weft_copies_lost_total";
/// Lines that the access log did not take in because its writer was behind.
pub const ACCESS_LOG_DROPPED_TOTAL: &str = "weft_access_log_dropped_total";

/// Counters with their help texts.
const COUNTERS: &[(&str, &str)] = &[
    (REQUESTS_TOTAL, "Requests and streams by direction, calling and called service and class of status."),
    (REQUEST_ERRORS_TOTAL, "Requests and streams that Weft itself refused or failed, by code."),
    (BYTES_TOTAL, "Bytes of bodies and streams; way is sent (to the caller) or received (from it)."),
    (ADMISSION_WAITS_TOTAL, "Requests that found the node at its limit, by what became of them."),
    (CONNECTIONS_TOTAL, "Connections taken in, by listener."),
    (CONNECTIONS_REFUSED_TOTAL, "Connections turned away, by listener."),
    (RETRIES_TOTAL, "Tries after the first, by direction, calling and called service."),
    (EJECTIONS_TOTAL, "Endpoints taken out of the balance after a failed connection, by whose call it was noticed."),
    (UPSTREAM_CONNECTS_TOTAL, "Connections opened to other nodes and to applications, by whose call needed one."),
    (SHADOW_REFUSALS_TOTAL, "Calls that documents in shadow mode would have refused, by called service and document."),
    (COPIES_LOST_TOTAL, "Copies of requests that were given up, by the service that they were for and the reason."),
    (ACCESS_LOG_DROPPED_TOTAL, "Lines that the access log did not take in because its writer was behind."),
];

/// Gauges with their help texts.
const GAUGES: &[(&str, Unit, &str)] = &[
    (CONNECTIONS_OPEN, Unit::Count, "Connections that are open, by listener."),
    (ADMISSION_WAITING, Unit::Count, "Requests that wait for a place at the node's limit."),
    (MEMORY_STEP, Unit::Count, "The step of the memory ladder: 0 free, 1 short, 2 scarce, 3 exhausted."),
    (MEMORY_RESIDENT_BYTES, Unit::Bytes, "Resident memory, as of the last look."),
];

static METADATA: Metadata<'static> = Metadata::new("weft", Level::INFO, None);

/// A recorder that several threads share; never the process's global one, because several nodes may share a process.
pub type SharedRecorder = Arc<dyn Recorder + Send + Sync>;

/// Which way a request goes through this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From an application of this machine into the mesh.
    Outbound,
    /// From the mesh to an application of this machine.
    Inbound,
}

impl Direction {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// Writes the help texts into a recorder.
pub(crate) fn describe(recorder: &dyn Recorder) {
    for (name, help) in COUNTERS {
        recorder.describe_counter(KeyName::from_const_str(name), None, (*help).into());
    }
    for (name, unit, help) in GAUGES {
        recorder.describe_gauge(KeyName::from_const_str(name), Some(*unit), (*help).into());
    }
    recorder.describe_histogram(
        KeyName::from_const_str(REQUEST_DURATION_SECONDS),
        Some(Unit::Seconds),
        "From the head of a request to the end of its answer.".into(),
    );
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

/// A counter with its labels.
pub(crate) fn counter(recorder: &SharedRecorder, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
    recorder.register_counter(&key(name, labels), &METADATA)
}

/// A gauge with its labels.
pub(crate) fn gauge(recorder: &SharedRecorder, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
    recorder.register_gauge(&key(name, labels), &METADATA)
}

/// What is counted for one caller of one service, in one direction.
pub(crate) struct Meter {
    recorder: SharedRecorder,
    direction: Direction,
    /// Who calls, as an application on this machine is told.
    pub(crate) introduced: Introduced,
    /// The caller's short name.
    pub(crate) caller: String,
    /// The called service.
    pub(crate) service: String,
    /// By class of status, 1xx to 5xx.
    classes: [Counter; 5],
    /// From head to end.
    pub(crate) seconds: Histogram,
    /// Bytes to the caller.
    pub(crate) sent: Counter,
    /// Bytes from the caller.
    pub(crate) received: Counter,
    /// Tries after the first.
    pub(crate) retries: Counter,
    /// Endpoints ejected.
    pub(crate) ejections: Counter,
    /// Connections opened.
    pub(crate) connects: Counter,
}

impl Meter {
    pub(crate) fn new(recorder: &SharedRecorder, direction: Direction, who: (&SpiffeId, &str), service: &str) -> Self {
        let (identity, caller) = who;
        let base = [("direction", direction.as_str()), ("caller", caller), ("service", service)];
        let with = |name: &'static str, label: &'static str, value: &str| {
            counter(recorder, name, &[base[0], base[1], base[2], (label, value)])
        };
        Self {
            recorder: Arc::clone(recorder),
            direction,
            introduced: Introduced::here(identity),
            caller: caller.to_owned(),
            service: service.to_owned(),
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| with(REQUESTS_TOTAL, "code_class", class)),
            seconds: recorder.register_histogram(&key(REQUEST_DURATION_SECONDS, &base), &METADATA),
            sent: with(BYTES_TOTAL, "way", "sent"),
            received: with(BYTES_TOTAL, "way", "received"),
            retries: counter(recorder, RETRIES_TOTAL, &base),
            ejections: counter(recorder, EJECTIONS_TOTAL, &base),
            connects: counter(recorder, UPSTREAM_CONNECTS_TOTAL, &base),
        }
    }

    /// Counts one answer.
    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].increment(1);
    }

    /// Counts one failure of our own. Not on the hot path: the handle is looked up.
    pub(crate) fn count_error(&self, code: Code) {
        let labels = [
            ("direction", self.direction.as_str()),
            ("caller", &self.caller),
            ("service", &self.service),
            ("code", code.as_str()),
        ];
        counter(&self.recorder, REQUEST_ERRORS_TOTAL, &labels).increment(1);
    }
}

/// What a worker keeps of one called service: its meters by caller, and what all workers count together.
pub(crate) struct ServiceState {
    /// Retries that are left.
    pub(crate) budget: Arc<RetryBudget>,
    /// The next turn, where endpoints take turns.
    pub(crate) turn: Arc<AtomicU64>,
    /// Requests and streams under way from this node, as far as they are limited.
    pub(crate) in_flight: Arc<AtomicU32>,
    /// Connections open from this node, as far as they are limited.
    pub(crate) connections: Arc<AtomicU32>,
    /// How this node names itself in `via`, on the way to the service.
    pub(crate) via: Box<str>,
    /// This node.
    pub(crate) node: NodeId,
    meters: Mutex<Vec<(Direction, SpiffeId, Arc<Meter>)>>,
}

/// What the workers of a node count together of each called service.
#[derive(Default)]
pub(crate) struct ServiceCounts(Mutex<BTreeMap<ServiceName, Counts>>);

/// What is counted of one service.
#[derive(Clone)]
struct Counts {
    in_flight: Arc<AtomicU32>,
    connections: Arc<AtomicU32>,
    budget: Arc<RetryBudget>,
    turn: Arc<AtomicU64>,
}

impl ServiceCounts {
    fn of(&self, service: &ServiceName, now_ns: u64) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Counts {
            in_flight: Arc::default(),
            connections: Arc::default(),
            budget: Arc::new(RetryBudget::new(now_ns)),
            turn: Arc::default(),
        };
        counts.entry(service.clone()).or_insert_with(new).clone()
    }
}

/// One of a limited number of places; dropping it gives it back.
pub(crate) struct Slot(Arc<AtomicU32>);

impl Slot {
    /// Takes a place, if there is one.
    pub(crate) fn take(taken: &Arc<AtomicU32>, max: u32) -> Option<Self> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        // At the limit dropping it at once counts it out.
        let slot = Self(Arc::clone(taken));
        (before < max).then_some(slot)
    }

    /// What counts the places that are taken.
    pub(crate) fn counter(&self) -> &Arc<AtomicU32> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hashes names of services (FNV-1a): operators choose them, and not callers.
#[derive(Default, Clone, Copy)]
struct Names;

impl std::hash::BuildHasher for Names {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher(0xcbf2_9ce4_8422_2325)
    }
}

struct NameHasher(u64);

impl std::hash::Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
}

/// The service states of one worker. Holds only services of the world, so it is as bounded as the mesh.
pub(crate) struct ServiceStates {
    recorder: SharedRecorder,
    counts: Arc<ServiceCounts>,
    by_service: Mutex<HashMap<ServiceName, Arc<ServiceState>, Names>>,
    /// For requests that named no service of the mesh.
    nowhere: Mutex<Vec<(Direction, SpiffeId, Arc<Meter>)>>,
    /// By service and document.
    shadows: Mutex<BTreeMap<(ServiceName, String), Counter>>,
}

/// Callers beyond this share one meter: labels stay bounded however many identities call.
const CALLERS_MAX: usize = 256;
/// The label of a service that is not of the mesh, so that callers cannot make series.
const NOWHERE: &str = "unknown";
/// Pairs of a service and a document in shadow mode beyond this share one counter a service: documents come and go.
const SHADOWS_MAX: usize = 1_024;

impl ServiceStates {
    pub(crate) fn new(recorder: SharedRecorder, counts: Arc<ServiceCounts>) -> Self {
        Self { recorder, counts, by_service: Mutex::default(), nowhere: Mutex::default(), shadows: Mutex::default() }
    }

    /// The state of a service.
    pub(crate) fn of(&self, service: &ServiceName, node: &NodeId, now_ns: u64) -> Arc<ServiceState> {
        let mut states = self.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(service) {
            return Arc::clone(state);
        }
        let Counts { in_flight, connections, budget, turn } = self.counts.of(service, now_ns);
        let via = format!("1.1 {node} ({service})").into();
        let node = node.clone();
        let state =
            Arc::new(ServiceState { budget, turn, in_flight, connections, via, node, meters: Mutex::default() });
        states.insert(service.clone(), Arc::clone(&state));
        state
    }

    /// The meter of a caller of a service.
    pub(crate) fn meter(
        &self,
        state: &ServiceState,
        direction: Direction,
        caller: &SpiffeId,
        service: &ServiceName,
    ) -> Arc<Meter> {
        self.find(&state.meters, direction, caller, service.as_str())
    }

    /// The meter of a caller that named no service of the mesh.
    pub(crate) fn meter_nowhere(&self, direction: Direction, caller: &SpiffeId) -> Arc<Meter> {
        self.find(&self.nowhere, direction, caller, NOWHERE)
    }

    /// Counts a call of a service that a document in shadow mode would have refused.
    pub(crate) fn count_shadow(&self, service: &ServiceName, document: &str) {
        let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        let full = shadows.len() >= SHADOWS_MAX;
        let key = (service.clone(), document.to_owned());
        let key = if full && !shadows.contains_key(&key) { (service.clone(), "other".to_owned()) } else { key };
        let labels = [("service", service.as_str()), ("document", &key.1)];
        let new = || counter(&self.recorder, SHADOW_REFUSALS_TOTAL, &labels);
        match shadows.get(&key) {
            Some(counter) => counter.increment(1),
            None => {
                let counter = new();
                counter.increment(1);
                shadows.insert(key, counter);
            }
        }
    }

    /// Counts a copy of a request that was given up. Not on the hot path: the handle is looked up.
    pub(crate) fn count_lost_copy(&self, service: &ServiceName, reason: &str) {
        counter(&self.recorder, COPIES_LOST_TOTAL, &[("service", service.as_str()), ("reason", reason)]).increment(1);
    }

    fn find(
        &self,
        meters: &Mutex<Vec<(Direction, SpiffeId, Arc<Meter>)>>,
        direction: Direction,
        caller: &SpiffeId,
        service: &str,
    ) -> Arc<Meter> {
        let mut meters = meters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = meters.iter().find(|(way, who, _)| *way == direction && who == caller);
        if let Some((_, _, meter)) = known {
            return Arc::clone(meter);
        }
        let full = meters.len() >= CALLERS_MAX;
        let label = if full { "other" } else { caller.short() };
        let meter = Arc::new(Meter::new(&self.recorder, direction, (caller, label), service));
        if !full {
            meters.push((direction, caller.clone(), Arc::clone(&meter)));
        }
        meter
    }
}
