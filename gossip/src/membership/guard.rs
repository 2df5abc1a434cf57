//! The guard: judges each message of a peer before chitchat sees it. Forged news refuse the whole message, what this node cannot
//! check yet is cut out, and nothing else changes.

use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatId;
use weft_env::Timestamp;
use weft_identity::Trust;

use super::message::{DigestEntry, KeyValue, Message, MessageError, NodeDelta};
use super::roster::{Crowded, Known, Roster};
use crate::catalog::{NodeRecord, RecordRefusal, decode_value, verify_record};

/// The one key that a member publishes.
pub(super) const RECORD_KEY: &str = "r";
/// Heartbeats that a node may have besides those that its age explains: clocks differ, and a start is busy.
const HEARTBEAT_SLACK: u64 = 1_000;
/// Heartbeats a second: one a gossip round and one a message; a node of a full cell has about 30.
const HEARTBEATS_A_SECOND: u64 = 200;
/// Ages are uncertain by this: clocks may differ by a minute, and a generation may run ahead of a clock that was set back.
const AGE_SLACK: Duration = Duration::from_secs(600);

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// What the guard judges by.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) own: &'a ChitchatId,
    pub(super) cluster: &'a str,
    pub(super) trust: &'a Trust,
    pub(super) own_record: &'a NodeRecord,
    pub(super) nodes_max: usize,
    pub(super) now: Timestamp,
}

/// What passed.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The message, without what was cut.
    pub(super) message: Message,
    /// Records that were verified and are newer than what was known.
    pub(super) news: Vec<Known>,
    /// Why something was cut.
    pub(super) cut: Vec<&'static str>,
    /// A later generation of this very node, signed by its key: two processes run with one state, or the clock was set back.
    pub(super) own_successor: Option<u64>,
}

/// Judges one message. Pure: the caller puts the news into the roster.
pub(super) fn judge(bytes: &[u8], roster: &Roster, rules: &Rules<'_>) -> Result<Admitted, Refusal> {
    let message = Message::parse(bytes).map_err(|error| match error {
        MessageError::Malformed => refuse("malformed", error),
        MessageError::DigestSize => refuse("digest-size", error),
    })?;
    let mut judging = Judging { roster, rules, news: Vec::new(), cut: Vec::new(), own_successor: None };
    let message = match message {
        Message::Syn { cluster, .. } if cluster != rules.cluster => {
            return Err(refuse("other-cell", format!("the message is for {cluster:?}")));
        }
        Message::Syn { cluster, digest } => Message::Syn { cluster, digest: judging.digest(digest)? },
        // The news first: they make ids of the digest known.
        Message::SynAck { digest, delta } => {
            let delta = judging.delta(delta)?;
            Message::SynAck { digest: judging.digest(digest)?, delta }
        }
        Message::Ack { delta } => Message::Ack { delta: judging.delta(delta)? },
        Message::BadCluster => return Err(refuse("other-cell", "the peer says that this node is of another cell")),
    };
    Ok(Admitted { message, news: judging.news, cut: judging.cut, own_successor: judging.own_successor })
}

fn refuse(reason: &'static str, detail: impl ToString) -> Refusal {
    Refusal { reason, detail: detail.to_string() }
}

struct Judging<'a> {
    roster: &'a Roster,
    rules: &'a Rules<'a>,
    news: Vec<Known>,
    cut: Vec<&'static str>,
    own_successor: Option<u64>,
}

impl Judging<'_> {
    fn digest(&mut self, digest: Vec<DigestEntry>) -> Result<Vec<DigestEntry>, Refusal> {
        let mut kept = Vec::with_capacity(digest.len());
        for entry in digest {
            if entry.gc_version != 0 {
                return Err(refuse("gc-version", format!("of {:?} in the digest", entry.id)));
            }
            match self.why_cut(&entry) {
                None => kept.push(entry),
                Some(reason) => self.cut.push(reason),
            }
        }
        Ok(kept)
    }

    fn why_cut(&self, entry: &DigestEntry) -> Option<&'static str> {
        if entry.id == *self.rules.own {
            return None;
        }
        let is_known =
            self.roster.find(&entry.id).is_some() || self.news.iter().any(|known| is_of(&known.record, &entry.id));
        if !is_known {
            return Some("unknown-id");
        }
        (entry.heartbeat > heartbeat_max(entry.id.generation_id, self.rules.now)).then_some("heartbeat")
    }

    fn delta(&mut self, delta: Vec<NodeDelta>) -> Result<Vec<NodeDelta>, Refusal> {
        let mut kept = Vec::with_capacity(delta.len());
        for node in delta {
            match self.node(&node)? {
                Ok(()) => kept.push(node),
                Err(reason) => self.cut.push(reason),
            }
        }
        Ok(kept)
    }

    /// Judges the news of one member: keep, cut for a reason, or refuse the message.
    fn node(&mut self, node: &NodeDelta) -> Result<Result<(), &'static str>, Refusal> {
        let of = |what: &str| format!("{what} of {:?}", node.id);
        if node.id == *self.rules.own {
            return if self.is_echo(node) { Ok(Err("stale")) } else { Err(refuse("own-node", of("news"))) };
        }
        if node.gc_version != 0 {
            return Err(refuse("gc-version", of("collected version")));
        }
        if node.max_version.is_some() {
            return Err(refuse("max-version", of("highest version without a value")));
        }
        let value = match node.values.as_slice() {
            [] => return Ok(Err("stale")),
            [value] => value,
            _ => return Err(refuse("several-values", of("values"))),
        };
        check_value(value, node)?;
        let known = self.roster.find(&node.id);
        if known.is_some_and(|known| known.record.version > value.version) {
            return Ok(Err("stale"));
        }
        let signed = decode_value(&value.value).map_err(|refusal| self.record_refused(&refusal, node))?;
        if known.is_some_and(|known| *known.signed == signed && known.record.version == value.version) {
            return Ok(Ok(()));
        }
        let record = match verify_record(&signed, self.rules.trust) {
            Ok(record) => record,
            Err(refusal) if refusal.is_usual() => return Ok(Err(refusal.label())),
            Err(refusal) => return Err(self.record_refused(&refusal, node)),
        };
        self.check_record(&record, node, value.version)?;
        if record.node == self.rules.own_record.node {
            if record.generation > self.rules.own.generation_id {
                self.own_successor = Some(record.generation);
            }
            // An earlier life of this node, which others still remember.
            return Ok(Err("stale"));
        }
        match self.roster.room_for(&record, self.rules.nodes_max) {
            Ok(()) => {}
            Err(Crowded::Cell) => return Ok(Err("cell-full")),
            Err(Crowded::Generations) => return Ok(Err("generations")),
        }
        self.news.push(Known { record: Arc::new(record), signed: Arc::new(signed) });
        Ok(Ok(()))
    }

    /// Whether news of this very node are its own words: a member may answer a digest that was made before this node's last change.
    fn is_echo(&self, node: &NodeDelta) -> bool {
        let [value] = node.values.as_slice() else { return false };
        let record = decode_value(&value.value).ok().and_then(|signed| verify_record(&signed, self.rules.trust).ok());
        let own = self.rules.own_record;
        // Its key signed it, at a version that it has been at.
        record.is_some_and(|record| {
            is_of(&record, &node.id) && record.version == value.version && record.version <= own.version
        })
    }

    fn check_record(&self, record: &NodeRecord, node: &NodeDelta, version: u64) -> Result<(), Refusal> {
        let own = self.rules.own_record;
        if record.mesh != own.mesh || record.cell != own.cell {
            return Err(refuse("other-cell", format!("{} is of cell {} of {}", record.node, record.cell, record.mesh)));
        }
        if !is_of(record, &node.id) {
            return Err(refuse("identity", format!("{:?} has the record of {}", node.id, record.node)));
        }
        if record.version != version {
            return Err(refuse("version", format!("{} of {} came as {version}", record.version, record.node)));
        }
        let ip = record.addr.ip();
        if ip.is_unspecified() || ip.is_multicast() || record.addr.port() == 0 {
            return Err(refuse("address", format!("{} is no address of {}", record.addr, record.node)));
        }
        Ok(())
    }

    fn record_refused(&self, refusal: &RecordRefusal, node: &NodeDelta) -> Refusal {
        refuse(refusal.label(), format!("{:?}: {refusal}", node.id))
    }
}

fn check_value(value: &KeyValue, node: &NodeDelta) -> Result<(), Refusal> {
    if value.key != RECORD_KEY {
        return Err(refuse("key", format!("{:?} of {:?}", value.key, node.id)));
    }
    if value.status != 0 {
        return Err(refuse("status", format!("{} of {:?}", value.status, node.id)));
    }
    if value.version == 0 {
        return Err(refuse("version", format!("0 of {:?}", node.id)));
    }
    Ok(())
}

/// Whether the record is of this member in chitchat's terms.
fn is_of(record: &NodeRecord, id: &ChitchatId) -> bool {
    record.node.as_str() == &*id.node_id
        && record.generation == id.generation_id
        && record.addr == id.gossip_advertise_addr
}

/// The highest heartbeat that a node of this generation can have. A higher one would hide the node's true heartbeats.
fn heartbeat_max(generation: u64, now: Timestamp) -> u64 {
    let age = Duration::from_millis(now.0.abs_diff(generation)).saturating_add(AGE_SLACK);
    HEARTBEAT_SLACK.saturating_add(age.as_secs().saturating_mul(HEARTBEATS_A_SECOND))
}

#[cfg(test)]
mod tests;
