//! The roster: every record that this node verified, by node and generation. The guard fills it, the view and the dialling rules read it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use chitchat::ChitchatId;
use weft_identity::NodeId;

use crate::catalog::{NodeRecord, SignedRecord};

/// Generations kept of one node: a node that restarts more often within the grace of three minutes waits for it to pass.
const GENERATIONS_MAX: usize = 16;
/// Bytes of all ids in a digest. chitchat panics when a digest nears 65 KB; the rest is room for news.
const DIGEST_LEN_MAX: usize = 60_000;
/// Bytes of a digest entry besides the node's name: length, generation, address (IPv6), three numbers.
const DIGEST_ENTRY_LEN: usize = 2 + 8 + 19 + 24;

/// One verified record.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) record: Arc<NodeRecord>,
    pub(super) signed: Arc<SignedRecord>,
}

/// Why a verified record is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// The cell has as many nodes as it admits.
    Cell,
    /// The node has too many generations at once.
    Generations,
}

/// Every verified record.
#[derive(Debug, Default)]
pub(super) struct Roster {
    by_node: BTreeMap<NodeId, BTreeMap<u64, Known>>,
    digest_len: usize,
}

impl Roster {
    /// What is known of a member in chitchat's terms.
    pub(super) fn find(&self, id: &ChitchatId) -> Option<&Known> {
        let known = self.by_node.get(&*id.node_id)?.get(&id.generation_id)?;
        (known.record.addr == id.gossip_advertise_addr).then_some(known)
    }

    /// The newest record of each node.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&NodeId, &Known)> {
        self.by_node.iter().filter_map(|(node, generations)| Some((node, generations.last_key_value()?.1)))
    }

    /// Whether a verified member lives at this address.
    pub(super) fn has_address(&self, addr: SocketAddr) -> bool {
        self.newest().any(|(_, known)| known.record.addr == addr)
    }

    /// Whether there is room for a record of this member.
    pub(super) fn room_for(&self, record: &NodeRecord, nodes_max: usize) -> Result<(), Crowded> {
        match self.by_node.get(&record.node) {
            Some(generations) if generations.contains_key(&record.generation) => Ok(()),
            Some(generations) if generations.len() >= GENERATIONS_MAX => Err(Crowded::Generations),
            None if self.by_node.len() >= nodes_max => Err(Crowded::Cell),
            _ if self.digest_len + entry_len(&record.node) > DIGEST_LEN_MAX => Err(Crowded::Cell),
            _ => Ok(()),
        }
    }

    /// Takes in a verified record, unless a newer one of the same generation is known. Tells whether it is the node's newest now.
    pub(super) fn insert(&mut self, known: Known) -> bool {
        let (node, generation) = (known.record.node.clone(), known.record.generation);
        let generations = self.by_node.entry(node.clone()).or_default();
        match generations.get(&generation) {
            Some(older) if older.record.version >= known.record.version => return false,
            Some(_) => {}
            None => self.digest_len += entry_len(&node),
        }
        generations.insert(generation, known);
        generations.last_key_value().is_some_and(|(newest, _)| *newest == generation)
    }

    /// Forgets the records that fall.
    pub(super) fn forget(&mut self, falls: impl Fn(&NodeRecord) -> bool) {
        for generations in self.by_node.values_mut() {
            generations.retain(|_, known| !falls(&known.record));
        }
        self.settle();
    }

    /// Forgets generations that are neither in use by chitchat nor the newest, and nodes that are gone and no longer in use.
    pub(super) fn prune(&mut self, used: &BTreeSet<(Arc<str>, u64)>, gone: &BTreeSet<NodeId>) {
        for (node, generations) in &mut self.by_node {
            let newest = generations.last_key_value().map(|(generation, _)| *generation);
            let name: Arc<str> = Arc::from(node.as_str());
            generations.retain(|generation, _| {
                let is_kept = Some(*generation) == newest && !gone.contains(node);
                is_kept || used.contains(&(Arc::clone(&name), *generation))
            });
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.by_node.retain(|_, generations| !generations.is_empty());
        self.digest_len = self.by_node.iter().map(|(node, all)| entry_len(node) * all.len()).sum();
    }
}

fn entry_len(node: &NodeId) -> usize {
    DIGEST_ENTRY_LEN + node.as_str().len()
}
