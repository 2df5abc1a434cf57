//! The view: who is in the cell, as this node last verified it. Immutable; the membership publishes a new one on each change.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_identity::NodeId;

use crate::catalog::{NodeRecord, SignedRecord};

/// How sure this node is of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Heard from, or answered a probe.
    Alive,
    /// Not heard from, but too little is known to call it gone: its record is still offered.
    Suspect,
}

/// One member, this node among them.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its newest record, verified.
    pub record: Arc<NodeRecord>,
    /// The same with its signature, to keep and to pass on.
    pub signed: Arc<SignedRecord>,
    /// How sure this node is of it.
    pub state: MemberState,
}

/// Who is in the cell.
#[derive(Debug, Clone, Default)]
pub struct MembersView {
    /// Every member that is not gone, this node among them.
    pub members: BTreeMap<NodeId, Member>,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
            && self.record.generation == other.record.generation
            && self.record.version == other.record.version
    }
}

impl PartialEq for MembersView {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl MembersView {
    /// How many members are not this node.
    pub fn peers(&self) -> usize {
        self.members.len().saturating_sub(1)
    }
}
