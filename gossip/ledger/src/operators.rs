//! Who may sign. Two questions are told apart:
//!
//! - *May it come in?* A change set that is not here yet is taken if its key is an active operator that has not ended, or if somebody
//!   vouches for it: a later author in the same exchange whose key is good now and who built upon it, or the bundle, which names the
//!   tips of a retired key. So a stolen key is worth nothing after its end, whatever times it writes.
//! - *Does it count?* That depends on the bundle alone, never on when a node heard of it: its key is an operator in scope, it was made
//!   before the key's end, and if the key is retired it lies at or below the tips that the bundle names.
//!
//! A change set that is here and does not count stays where it is, because later ones build upon it; it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_env::Timestamp;
use weft_identity::{Grants, OperatorEntry, OperatorStanding, PublicKey, TrustBundle};

use super::change_set::{ChangeSet, SignedChangeSet};
use super::entry::Entry;
use super::hash::Hash;
use super::refusal::Refusal;

/// How far a change set's time may lie ahead of this node's clock.
pub const CLOCK_LEAD_MAX: Duration = Duration::from_secs(300);

/// By what a node judges.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whom the mesh believes.
    pub bundle: Arc<TrustBundle>,
    /// Now.
    pub now: Timestamp,
}

/// What one change set claims, as far as authority is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) hash: Hash,
    pub(super) operator: &'a PublicKey,
    pub(super) at: Timestamp,
    /// Everything that it touches.
    pub(super) scope: &'a Grants,
}

/// The bundle's operators, and what lies at or below the tips of each retired key.
#[derive(Debug)]
pub(super) struct Authority<'a> {
    operators: &'a [OperatorEntry],
    retired: BTreeMap<PublicKey, BTreeSet<Hash>>,
}

impl<'a> Authority<'a> {
    /// The authority over a set of change sets, of which `parents` tells the parents. What lies below a retired key's tips is looked up
    /// for these keys only, and nothing of any other retired key counts.
    pub(super) fn new<'g>(
        operators: &'a [OperatorEntry],
        keys: &BTreeSet<PublicKey>,
        parents: impl Fn(&Hash) -> Option<&'g [Hash]>,
    ) -> Self {
        let mut retired = BTreeMap::new();
        for entry in operators.iter().filter(|entry| keys.contains(&entry.key)) {
            if let OperatorStanding::Retired { tips } = &entry.state {
                retired.insert(entry.key, below(tips.iter().copied().map(Hash), &parents));
            }
        }
        Self { operators, retired }
    }

    /// Whether a change set counts.
    pub(super) fn counts(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
        let entry = self
            .operators
            .iter()
            .find(|entry| entry.key == *claim.operator)
            .ok_or(Refusal::OperatorUnknown(*claim.operator))?;
        if !claim.scope.within(&entry.scope) {
            return Err(Refusal::OperatorScope(outside(claim.scope, &entry.scope)));
        }
        if entry.not_after.is_some_and(|end| claim.at > end) {
            return Err(Refusal::OperatorExpired);
        }
        let named = || self.retired.get(claim.operator).is_some_and(|below| below.contains(&claim.hash));
        if entry.state != OperatorStanding::Active && !named() {
            return Err(Refusal::OperatorRetired);
        }
        Ok(())
    }

    /// Whether a change set that is not here yet may come in by its own key.
    pub(super) fn admits(&self, claim: &Claim<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.counts(claim)?;
        let entry = self.operators.iter().find(|entry| entry.key == *claim.operator);
        let lapsed = entry.is_some_and(|entry| {
            entry.state == OperatorStanding::Active && entry.not_after.is_some_and(|end| now > end)
        });
        if lapsed { Err(Refusal::OperatorLapsed) } else { Ok(()) }
    }

    /// The entry of a key that may vouch now for what it built upon.
    fn voucher(&self, operator: &PublicKey, now: Timestamp) -> Option<&'a OperatorEntry> {
        self.operators
            .iter()
            .find(|entry| entry.key == *operator)
            .filter(|entry| entry.state == OperatorStanding::Active && entry.not_after.is_none_or(|end| now <= end))
    }
}

/// Whose word stands behind change sets that have come. Only made from signatures and the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// At or below the tips that the bundle names for a retired key.
    named: BTreeSet<Hash>,
    /// Below what an operator signed whose key is good now.
    built_upon: BTreeMap<PublicKey, BTreeSet<Hash>>,
}

/// A change set that has come and is not yet judged: its hash, and what its bytes say.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) hash: Hash,
    pub(super) signed: SignedChangeSet,
    pub(super) claim: ChangeSet,
}

impl Vouched {
    /// What the bundle's tips and the good authors among the arrivals vouch for.
    pub(super) fn of(arrivals: &BTreeMap<Hash, Arrival>, rules: &Rules) -> Self {
        let parents = |hash: &Hash| arrivals.get(hash).map(|arrival| arrival.claim.parents.as_slice());
        let keys = rules.bundle.operators.iter().map(|entry| entry.key).collect();
        let authority = Authority::new(&rules.bundle.operators, &keys, parents);
        let named = authority.retired.values().flatten().copied().collect();
        let mut newest: Vec<&Arrival> = arrivals.values().collect();
        newest.sort_by_key(|arrival| std::cmp::Reverse(arrival.claim.revision));
        let mut built_upon: BTreeMap<PublicKey, BTreeSet<Hash>> = BTreeMap::new();
        for arrival in newest {
            let operator = arrival.signed.operator;
            let reached = built_upon.entry(operator).or_default();
            // What the key vouches for already adds nothing, so that few signatures are verified here.
            let good = !reached.contains(&arrival.hash)
                && authority.voucher(&operator, rules.now).is_some()
                && arrival.signed.verify().is_ok();
            if good {
                reach(reached, arrival.claim.parents.iter().copied(), &parents);
            }
        }
        Self { named, built_upon }
    }

    /// Both together.
    pub(super) fn join(&mut self, other: Vouched) {
        self.named.extend(other.named);
        for (operator, below) in other.built_upon {
            self.built_upon.entry(operator).or_default().extend(below);
        }
    }

    /// Whether a change set may come in on somebody's word. An operator vouches for what it may change itself; what does not count
    /// anyway may lie below anybody's.
    pub(super) fn covers(&self, claim: &Claim<'_>, authority: &Authority<'_>, now: Timestamp) -> bool {
        let counts = authority.counts(claim).is_ok();
        let covered = |(operator, below): (&PublicKey, &BTreeSet<Hash>)| {
            let voucher = authority.voucher(operator, now).filter(|_| below.contains(&claim.hash));
            voucher.is_some_and(|entry| !counts || claim.scope.within(&entry.scope))
        };
        self.named.contains(&claim.hash) || self.built_upon.iter().any(covered)
    }
}

/// These and everything below them, as far as the parents are known.
fn below<'g>(tips: impl IntoIterator<Item = Hash>, parents: &impl Fn(&Hash) -> Option<&'g [Hash]>) -> BTreeSet<Hash> {
    let mut reached = BTreeSet::new();
    reach(&mut reached, tips, parents);
    reached
}

/// Adds these and everything below them, stopping at what is there already.
pub(super) fn reach<'g>(
    reached: &mut BTreeSet<Hash>,
    from: impl IntoIterator<Item = Hash>,
    parents: &impl Fn(&Hash) -> Option<&'g [Hash]>,
) {
    let mut open: Vec<Hash> = from.into_iter().collect();
    while let Some(hash) = open.pop() {
        if let Some(above) = parents(&hash).filter(|_| !reached.contains(&hash)) {
            reached.insert(hash);
            open.extend_from_slice(above);
        }
    }
}

impl Entry {
    /// What it claims.
    pub(super) fn as_claim(&self) -> Claim<'_> {
        Claim { hash: self.hash, operator: &self.signed.operator, at: self.change_set.at, scope: &self.scope }
    }
}

/// The first service of `inner` that is not in `outer`, as text.
fn outside(inner: &Grants, outer: &Grants) -> String {
    match inner {
        Grants::All => "what concerns the whole mesh".to_owned(),
        Grants::Only(services) => services
            .iter()
            .find(|service| !outer.allows(service))
            .map_or_else(|| "nothing".to_owned(), |service| format!("service {service}")),
    }
}
