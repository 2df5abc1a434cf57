//! The metrics of gossip: names, help texts and the handles made from the recorder of one node. Several nodes share a process, so the
//! global recorder is never used.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;
use std::time::Duration;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use tokio::time::Instant;
use weft_identity::NodeId;

/// Datagrams at the mesh port that cannot be QUIC, by reason.
pub const DATAGRAMS_DROPPED: &str = "weft_quic_datagrams_dropped_total";
/// Datagrams at the mesh port that may be QUIC, by kind.
pub const DATAGRAMS_RECEIVED: &str = "weft_quic_datagrams_total";
/// QUIC connections that were not made, by reason.
pub const CONNECTIONS_REFUSED: &str = "weft_quic_connections_refused_total";
/// QUIC connections open now.
pub const CONNECTIONS_OPEN: &str = "weft_quic_connections_open";
/// Gossip messages, by direction.
pub const MESSAGES: &str = "weft_gossip_messages_total";
/// Gossip that was not believed, by reason.
pub const REFUSED: &str = "weft_gossip_refused_total";
/// Members in the view, this node among them, by state.
pub const MEMBERS: &str = "weft_gossip_members";

/// Every metric of this crate with its help text.
pub const HELP: &[(&str, &str)] = &[
    (DATAGRAMS_DROPPED, "Datagrams at the mesh port that cannot be QUIC and were dropped unread, by reason."),
    (DATAGRAMS_RECEIVED, "Datagrams at the mesh port that may be QUIC, by kind of packet."),
    (CONNECTIONS_REFUSED, "QUIC connections that were refused or failed, by reason."),
    (CONNECTIONS_OPEN, "QUIC connections open now."),
    (MESSAGES, "Gossip messages, by direction."),
    (REFUSED, "Gossip that was refused and changed nothing, by reason."),
    (MEMBERS, "Members in this node's view, itself among them, by state."),
];

/// Why a datagram was dropped unread.
pub const DATAGRAM_REASONS: &[&str] = &["empty", "short", "fixed-bit", "version", "initial-short", "send-failed"];
/// What kind of packet a datagram starts with.
pub const DATAGRAM_KINDS: &[&str] = &["initial", "handshake", "other-long", "one-rtt"];
/// Why a connection was not made.
pub const CONNECTION_REASONS: &[&str] = &["busy", "retry", "handshake", "timeout", "identity", "crowded"];
/// Why gossip was refused.
pub const REFUSAL_REASONS: &[&str] = &[
    "rate",
    "size",
    "stream",
    "inbox-full",
    "malformed",
    "other-cell",
    "own-node",
    "key",
    "status",
    "max-version",
    "gc-version",
    "several-values",
    "identity",
    "address",
    "version",
    "stale",
    "digest-size",
    "heartbeat",
    "unknown-id",
    "generations",
    "cell-full",
    "record-malformed",
    "record-enrolment",
    "record-signer",
    "record-revoked",
    "record-signature",
    "record-differs",
    "record-not-granted",
];

/// A refusal of one reason is logged at most this often: a flood must not fill the log.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The handles of one node.
#[derive(Debug)]
pub struct GossipMetrics {
    datagrams_dropped: BTreeMap<&'static str, Counter>,
    datagrams: BTreeMap<&'static str, Counter>,
    connections_refused: BTreeMap<&'static str, Counter>,
    refused: BTreeMap<&'static str, Counter>,
    warned: Mutex<BTreeMap<&'static str, Instant>>,
    /// Connections open now.
    pub connections_open: Gauge,
    /// Messages that came and were believed.
    pub messages_in: Counter,
    /// Messages that were sent and acknowledged.
    pub messages_out: Counter,
    /// Members that are alive.
    pub members_alive: Gauge,
    /// Members that are suspect.
    pub members_suspect: Gauge,
}

impl GossipMetrics {
    /// Makes the handles.
    pub fn new(recorder: &dyn Recorder) -> Self {
        for (name, help) in HELP {
            match *name {
                CONNECTIONS_OPEN | MEMBERS => recorder.describe_gauge((*name).into(), None, (*help).into()),
                _ => recorder.describe_counter((*name).into(), None, (*help).into()),
            }
        }
        let by_reason = |name, label, reasons: &[&'static str]| {
            reasons.iter().map(|reason| (*reason, counter(recorder, name, Some((label, reason))))).collect()
        };
        Self {
            datagrams_dropped: by_reason(DATAGRAMS_DROPPED, "reason", DATAGRAM_REASONS),
            datagrams: by_reason(DATAGRAMS_RECEIVED, "kind", DATAGRAM_KINDS),
            connections_refused: by_reason(CONNECTIONS_REFUSED, "reason", CONNECTION_REASONS),
            refused: by_reason(REFUSED, "reason", REFUSAL_REASONS),
            warned: Mutex::default(),
            connections_open: gauge(recorder, CONNECTIONS_OPEN, None),
            messages_in: counter(recorder, MESSAGES, Some(("direction", "in"))),
            messages_out: counter(recorder, MESSAGES, Some(("direction", "out"))),
            members_alive: gauge(recorder, MEMBERS, Some(("state", "alive"))),
            members_suspect: gauge(recorder, MEMBERS, Some(("state", "suspect"))),
        }
    }

    /// Counts a datagram that was dropped unread.
    pub fn datagram_dropped(&self, reason: &'static str) {
        count(&self.datagrams_dropped, reason);
    }

    /// Counts a datagram that goes on to QUIC.
    pub fn datagram(&self, kind: &'static str) {
        count(&self.datagrams, kind);
    }

    /// Counts a connection that was not made.
    pub fn connection_refused(&self, reason: &'static str) {
        count(&self.connections_refused, reason);
    }

    /// Counts gossip that was refused or cut.
    pub fn refused(&self, reason: &'static str) {
        count(&self.refused, reason);
    }

    /// Counts gossip that no honest member sends, and logs it, at most once in ten seconds a reason.
    pub fn refused_from(&self, peer: &NodeId, reason: &'static str, detail: &str) {
        self.refused(reason);
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = match warned.entry(reason) {
            Entry::Occupied(last) if now.duration_since(*last.get()) < WARN_INTERVAL => false,
            Entry::Occupied(mut last) => {
                last.insert(now);
                true
            }
            Entry::Vacant(first) => {
                first.insert(now);
                true
            }
        };
        drop(warned);
        if due {
            tracing::warn!(%peer, reason, detail, "gossip refused; is the peer of the same release and not taken over?");
        }
    }
}

fn count(counters: &BTreeMap<&'static str, Counter>, reason: &'static str) {
    debug_assert!(counters.contains_key(reason), "{reason} is in no list of reasons");
    if let Some(counter) = counters.get(reason) {
        counter.increment(1);
    }
}

const METADATA: Metadata<'static> = Metadata::new("weft_gossip", Level::INFO, None);

fn counter(recorder: &dyn Recorder, name: &'static str, label: Option<(&'static str, &'static str)>) -> Counter {
    recorder.register_counter(&key(name, label), &METADATA)
}

fn gauge(recorder: &dyn Recorder, name: &'static str, label: Option<(&'static str, &'static str)>) -> Gauge {
    recorder.register_gauge(&key(name, label), &METADATA)
}

fn key(name: &'static str, label: Option<(&'static str, &'static str)>) -> Key {
    let labels: Vec<Label> = label.map(|(name, value)| Label::from_static_parts(name, value)).into_iter().collect();
    Key::from_parts(name, labels)
}
