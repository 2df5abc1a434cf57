//! A change set, which operators call a revision: documents that it puts or removes, signed by one operator's key. It counts as a
//! whole or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::wire::{Signed, WireError};
use weft_identity::{MeshName, NodeId, PublicKey, ServiceName, SigningKey};

use super::document::DocumentId;
use super::document::SERVICES_MAX;
use super::hash::Hash;

/// The use of a change set's signature.
pub const CHANGE_SET_CONTEXT: &str = "change set";
/// Most changes in one: a directory of 500 documents fits twice.
pub const CHANGES_MAX: usize = 1_000;
/// Most parents: sides of a split that one change set unites.
pub const PARENTS_MAX: usize = 16;
/// Longest message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 1024;
/// Longest time that a change set waits for its confirmation: who needs more than a day has applied it.
pub const CONFIRM_SPAN_MAX: Duration = Duration::from_secs(86_400);

/// What one operator changed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// The mesh.
    pub mesh: MeshName,
    /// The tips that its author saw, in order.
    pub parents: Vec<Hash>,
    /// Its height: one more than its highest parent's, 1 without parents.
    pub revision: u64,
    /// The node on which it was made.
    pub author_node: NodeId,
    /// When, by that node's clock.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub at: Timestamp,
    /// What the operator says of it.
    pub message: String,
    /// What it changes, in the order of the ids.
    pub changes: Vec<Change>,
    /// Unless somebody confirms it by then, it is left out.
    #[serde(with = "weft_identity::wire::optional_timestamp")]
    pub confirm_by: Option<Timestamp>,
    /// The change set that this one confirms, one of its parents; it changes nothing itself then.
    pub confirms: Option<Hash>,
}

/// One document put, replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub id: DocumentId,
    /// The services that the document declares; of a removed one, those that it declared.
    pub services: Option<BTreeSet<ServiceName>>,
    /// What it replaces; none if the document is new.
    pub before: Option<Hash>,
    /// What it puts; none if it removes the document.
    pub after: Option<Hash>,
}

/// A change set with an operator's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedChangeSet {
    /// The key that signed.
    pub operator: PublicKey,
    /// What it signed.
    pub signed: Signed<ChangeSet>,
}

impl ChangeSet {
    /// The limit or the rule of form that it breaks, if any. Says nothing about what it refers to.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let ascending = |changes: &[Change]| changes.is_sorted_by(|one, two| one.id < two.id);
        if self.parents.len() > PARENTS_MAX {
            Some("it has more than 16 parents")
        } else if !self.parents.is_sorted_by(|one, two| one < two) {
            Some("its parents are not in order")
        } else if self.message.len() > MESSAGE_LEN_MAX {
            Some("its message is longer than 1 KiB")
        } else if self.changes.len() > CHANGES_MAX {
            Some("it has more than 1000 changes")
        } else if !ascending(&self.changes) {
            Some("its changes are not in order")
        } else {
            self.broken_confirmation().or_else(|| self.changes.iter().find_map(Change::broken_rule))
        }
    }

    fn broken_confirmation(&self) -> Option<&'static str> {
        match (self.confirms, self.confirm_by) {
            (None, None) if self.changes.is_empty() => Some("it changes nothing"),
            (None, Some(_)) if self.changes.is_empty() => Some("it changes nothing"),
            (None, Some(by)) if by <= self.at || by.since(self.at) > CONFIRM_SPAN_MAX => {
                Some("it is not to be confirmed within a day")
            }
            (Some(_), _) if !self.changes.is_empty() => Some("it confirms and changes something"),
            (Some(_), Some(_)) => Some("it confirms and wants to be confirmed"),
            (Some(confirmed), None) if !self.parents.contains(&confirmed) => {
                Some("it confirms what is no parent of it")
            }
            _ => None,
        }
    }
}

impl Change {
    fn broken_rule(&self) -> Option<&'static str> {
        if self.before == self.after {
            Some("a change leaves its document as it is")
        } else if self.services.as_ref().is_some_and(|services| services.len() > SERVICES_MAX) {
            Some("a change names more than 64 services")
        } else {
            None
        }
    }
}

impl SignedChangeSet {
    /// Signs a change set.
    pub fn sign(change_set: &ChangeSet, key: &SigningKey) -> Result<Self, WireError> {
        Ok(Self { operator: key.public(), signed: Signed::sign(change_set, CHANGE_SET_CONTEXT, key)? })
    }

    /// The change set, if the key that it names signed it. Whether that key counts is another question.
    pub fn verify(&self) -> Result<ChangeSet, WireError> {
        self.signed.verify(CHANGE_SET_CONTEXT, &self.operator)
    }

    /// Its address: SHA-256 over key, signature and the signed bytes.
    pub fn hash(&self) -> Hash {
        let parts = [&b"weft/1 change set\0"[..], &self.operator.0, &self.signed.signature().0, self.signed.bytes()];
        Hash::of_parts(&parts)
    }

    /// About how many bytes it takes on the wire.
    pub fn size(&self) -> usize {
        self.signed.len() + SIGNED_OVERHEAD
    }
}

/// Bytes of a signed value besides the signed bytes: key, signature, lengths.
pub(super) const SIGNED_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use weft_env::Random;

    use super::*;

    fn change_set() -> ChangeSet {
        let change = |id: &str| Change {
            id: id.parse().unwrap(),
            services: None,
            before: None,
            after: Some(Hash::of(id.as_bytes())),
        };
        ChangeSet {
            mesh: "bank".parse().unwrap(),
            parents: vec![Hash([1; 32]), Hash([2; 32])],
            revision: 3,
            author_node: "vm-a".parse().unwrap(),
            at: Timestamp(1_000),
            message: "canary".to_owned(),
            changes: vec![change("route/a"), change("route/b")],
            confirm_by: Some(Timestamp(2_000)),
            confirms: None,
        }
    }

    #[test]
    fn each_rule_of_form_is_checked() {
        assert_eq!(change_set().broken_rule(), None);
        let breaks: [fn(&mut ChangeSet); 14] = [
            |set| set.parents.reverse(),
            |set| set.parents[1] = set.parents[0],
            |set| set.parents = (0..17).map(|n| Hash([n; 32])).collect(),
            |set| set.message = "x".repeat(1025),
            |set| set.changes.reverse(),
            |set| set.changes[1] = set.changes[0].clone(),
            |set| set.changes = (0..1001).map(|_| set.changes[0].clone()).collect(),
            |set| set.changes[0].before = set.changes[0].after,
            |set| set.changes.clear(),
            |set| set.confirm_by = Some(set.at),
            |set| set.confirm_by = Some(set.at.after(CONFIRM_SPAN_MAX + Duration::from_millis(1))),
            |set| (set.confirms, set.confirm_by) = (Some(set.parents[0]), None),
            |set| (set.confirms, set.changes) = (Some(set.parents[0]), Vec::new()),
            |set| (set.confirms, set.confirm_by, set.changes) = (Some(Hash([9; 32])), None, Vec::new()),
        ];
        for (number, break_it) in breaks.into_iter().enumerate() {
            let mut set = change_set();
            break_it(&mut set);
            assert!(set.broken_rule().is_some(), "{number}: {set:?}");
        }
        let mut confirmation = change_set();
        confirmation.confirms = Some(confirmation.parents[0]);
        confirmation.confirm_by = None;
        confirmation.changes.clear();
        assert_eq!(confirmation.broken_rule(), None);
    }

    #[test]
    fn key_signature_and_content_are_in_the_hash() {
        let random = Random::seeded(3);
        let (one, two) = (SigningKey::generate(&random), SigningKey::generate(&random));
        let signed = SignedChangeSet::sign(&change_set(), &one).unwrap();
        assert_eq!(signed.verify().unwrap(), change_set());
        let other_key = SignedChangeSet { operator: two.public(), ..signed.clone() };
        assert_ne!(other_key.hash(), signed.hash());
        assert!(other_key.verify().is_err());
        let mut later = change_set();
        later.revision += 1;
        assert_ne!(SignedChangeSet::sign(&later, &one).unwrap().hash(), signed.hash());
        assert_eq!(SignedChangeSet::sign(&change_set(), &one).unwrap().hash(), signed.hash());
    }
}
