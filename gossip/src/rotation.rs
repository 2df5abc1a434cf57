//! How the trust of a mesh changes: signers, roots and operators come and go, each step one new bundle, signed by a root key that is
//! offline otherwise. Pure functions; the operator's command line calls them where the key file is.
//!
//! ```text
//! root:   prepared -> active -> tainted -> revoked        signer: active -> tainted -> revoked
//! ```
//!
//! A prepared root is known to every verifier before anything is issued under it; what a tainted root or signer issued counts until its
//! holders have replaced it; what a revoked one issued never counts.

use weft_env::{Random, Timestamp};
use weft_identity::{
    Code, Failure, Fingerprint, Grants, NodeId, OperatorEntry, OperatorStanding, PublicKey, RootEntry, RootStanding,
    SignedBundle, SignerEntry, SignerStanding, SigningKey, TrustBundle, public_key, root_certificate,
    signer_certificate,
};
use weft_ledger::Hash;

/// Entries of signers in one bundle: twenty signers under three roots.
pub const SIGNERS_MAX: usize = 64;
/// Roots in one bundle: the one in use, the one before, the next, and one that was revoked.
pub const ROOTS_MAX: usize = 4;
/// Operators in one bundle.
pub const OPERATORS_MAX: usize = 100;

/// What a change starts from.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The bundle in force, as signed.
    pub held: &'a SignedBundle,
    /// The operator's clock.
    pub now: Timestamp,
    /// For serial numbers of certificates.
    pub random: &'a Random,
}

/// A node that becomes a signer.
#[derive(Debug, Clone)]
pub struct NewSigner {
    /// The node.
    pub node: NodeId,
    /// The key that it made, from its record.
    pub key: PublicKey,
    /// The services that it may speak for.
    pub scope: Grants,
}

/// The keys of the root that goes and the root that comes.
#[derive(Debug, Clone, Copy)]
pub struct RootKeys<'a> {
    /// Of the active root.
    pub active: &'a SigningKey,
    /// Of the prepared root.
    pub prepared: &'a SigningKey,
}

/// Names a node as signer, or gives a signer another key.
pub fn add_signer(base: &Base<'_>, signer: &NewSigner, root: &SigningKey) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    let active = active_root_of(&next, root)?.fingerprint();
    if next.signers.iter().any(|entry| entry.key == signer.key && entry.is_active()) {
        return Err(refuse(format!("node {} is a signer with this key already", signer.node)));
    }
    let is_revoked = |entry: &&SignerEntry| entry.root == active && entry.state == SignerStanding::Revoked;
    if next.signers.iter().filter(is_revoked).any(|entry| entry.key == signer.key) {
        return Err(refuse(format!("this key of node {} was revoked; let it join anew for another", signer.node)));
    }
    for older in next.signers.iter_mut().filter(|entry| entry.node == signer.node && entry.is_active()) {
        older.state = SignerStanding::Tainted;
    }
    let entry = intermediate(base, &next, signer, (active, root))?;
    next.signers.push(entry);
    sign(next, root)
}

/// Lets a signer issue nothing more; what it issued is replaced.
pub fn retire_signer(base: &Base<'_>, node: &NodeId, root: &SigningKey) -> Result<SignedBundle, Failure> {
    change_signer(base, node, SignerStanding::Tainted, root)
}

/// Lets nothing that a signer issued count any more.
pub fn revoke_signer(base: &Base<'_>, node: &NodeId, root: &SigningKey) -> Result<SignedBundle, Failure> {
    change_signer(base, node, SignerStanding::Revoked, root)
}

/// Makes a further root known.
pub fn prepare_root(base: &Base<'_>, prepared: &SigningKey, root: &SigningKey) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    active_root_of(&next, root)?;
    if next.roots.iter().any(|entry| entry.state == RootStanding::Prepared) {
        return Err(refuse("a root is prepared already".to_owned()));
    }
    if root_of(&next, prepared).is_ok() {
        return Err(refuse("the mesh knows this root already".to_owned()));
    }
    let certificate = root_certificate(&next.mesh, prepared, base.now, base.random).map_err(internal)?;
    next.roots.push(RootEntry { certificate: certificate.to_vec(), state: RootStanding::Prepared });
    // The oldest revoked ones are forgotten: what ends at an unknown root counts as little.
    while next.roots.len() > ROOTS_MAX {
        let oldest = next.roots.iter().position(|entry| entry.state == RootStanding::Revoked);
        let at = oldest.ok_or_else(|| refuse(format!("a mesh has at most {ROOTS_MAX} roots; revoke one first")))?;
        let gone = next.roots.remove(at).fingerprint();
        next.signers.retain(|signer| signer.root != gone);
    }
    sign(next, root)
}

/// Puts the prepared root into use: it signs every active signer anew, and from now on the bundles.
pub fn activate_root(base: &Base<'_>, keys: RootKeys<'_>) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    let active = active_root_of(&next, keys.active)?.fingerprint();
    let prepared = root_of(&next, keys.prepared)?;
    if next.roots[prepared].state != RootStanding::Prepared {
        return Err(refuse("the new root was not prepared, or is in use already".to_owned()));
    }
    next.roots[prepared].state = RootStanding::Active;
    let fingerprint = next.roots[prepared].fingerprint();
    let signers: Vec<_> =
        next.signers.iter().filter(|entry| entry.is_active() && entry.root == active).cloned().collect();
    for SignerEntry { node, key, scope, .. } in signers {
        let entry = intermediate(base, &next, &NewSigner { node, key, scope }, (fingerprint, keys.prepared))?;
        next.signers.push(entry);
    }
    // Who holds the bundle before knows the old root as active, and the new one not yet.
    sign(next, keys.active)
}

/// Lets everything under a root be replaced.
pub fn taint_root(base: &Base<'_>, old: &Fingerprint, root: &SigningKey) -> Result<SignedBundle, Failure> {
    change_root(base, old, (RootStanding::Active, RootStanding::Tainted), root)
}

/// Lets nothing under a root count any more.
pub fn revoke_root(base: &Base<'_>, old: &Fingerprint, root: &SigningKey) -> Result<SignedBundle, Failure> {
    change_root(base, old, (RootStanding::Tainted, RootStanding::Revoked), root)
}

/// Lets a key change policies in a scope.
pub fn add_operator(base: &Base<'_>, operator: OperatorEntry, root: &SigningKey) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    active_root_of(&next, root)?;
    next.operators.retain(|known| known.key != operator.key);
    if next.operators.len() >= OPERATORS_MAX {
        return Err(refuse(format!("a mesh has at most {OPERATORS_MAX} operators")));
    }
    next.operators.push(operator);
    sign(next, root)
}

/// Lets a key change nothing more. What it signed at or below `tips` stands; anything else of it does not count.
pub fn retire_operator(
    base: &Base<'_>,
    key: &PublicKey,
    tips: &[Hash],
    root: &SigningKey,
) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    active_root_of(&next, root)?;
    let known = next.operators.iter_mut().find(|known| known.key == *key && known.state == OperatorStanding::Active);
    let Some(known) = known else {
        return Err(refuse("the mesh has no active operator with this key".to_owned()));
    };
    known.state = OperatorStanding::Retired { tips: tips.iter().map(|tip| tip.0).collect() };
    let is_whole = |one: &OperatorEntry| one.state == OperatorStanding::Active && one.scope == Grants::All;
    if !next.operators.iter().any(is_whole) {
        return Err(refuse("no other operator may change everything; add one first".to_owned()));
    }
    sign(next, root)
}

fn change_signer(
    base: &Base<'_>,
    node: &NodeId,
    state: SignerStanding,
    root: &SigningKey,
) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    active_root_of(&next, root)?;
    let mut changed = false;
    for entry in next.signers.iter_mut().filter(|entry| entry.node == *node && entry.state < state) {
        entry.state = state;
        changed = true;
    }
    if !changed {
        return Err(refuse(format!("node {node} is no signer, or is past that standing")));
    }
    if !next.signers.iter().any(|entry| next.signer(&entry.node).is_some()) {
        return Err(refuse(format!("node {node} is the last active signer; add another first")));
    }
    sign(next, root)
}

fn change_root(
    base: &Base<'_>,
    old: &Fingerprint,
    (from, to): (RootStanding, RootStanding),
    root: &SigningKey,
) -> Result<SignedBundle, Failure> {
    let mut next = next(base)?;
    let by = active_root_of(&next, root)?.fingerprint();
    if by == *old {
        return Err(refuse("a root does not end itself; activate another and sign with that".to_owned()));
    }
    let entry = next.roots.iter_mut().find(|entry| entry.fingerprint() == *old);
    let entry = entry.ok_or_else(|| refuse(format!("the mesh has no root {old}")))?;
    if entry.state != from {
        return Err(refuse(format!("the root is {:?}; it must be {from:?} first", entry.state).to_lowercase()));
    }
    entry.state = to;
    if to == RootStanding::Revoked {
        for signer in next.signers.iter_mut().filter(|signer| signer.root == *old) {
            signer.state = SignerStanding::Revoked;
        }
    }
    sign(next, root)
}

/// The bundle after the one in force, as yet the same but for epoch and hash.
fn next(base: &Base<'_>) -> Result<TrustBundle, Failure> {
    let held = TrustBundle::verify_kept(base.held)
        .map_err(|error| Failure::new(Code::BundleRefused, format!("the bundle to change: {error}")))?;
    Ok(TrustBundle { epoch: held.epoch + 1, previous: Some(TrustBundle::hash(base.held)), ..held })
}

fn sign(next: TrustBundle, root: &SigningKey) -> Result<SignedBundle, Failure> {
    if next.signers.len() > SIGNERS_MAX {
        return Err(refuse(format!("a bundle names at most {SIGNERS_MAX} signers; revoke a root to forget its own")));
    }
    next.sign(root).map_err(internal)
}

fn root_of(bundle: &TrustBundle, key: &SigningKey) -> Result<usize, Failure> {
    let is_its = |entry: &RootEntry| public_key(&entry.der()).is_ok_and(|public| public == key.public());
    let found = bundle.roots.iter().position(is_its);
    found.ok_or_else(|| Failure::new(Code::RootKeyWrong, "the key is of no root of this mesh".to_owned()))
}

/// The newest active root, if the key is its own: what an older one signs would soon be replaced again.
fn active_root_of<'a>(bundle: &'a TrustBundle, key: &SigningKey) -> Result<&'a RootEntry, Failure> {
    let root = &bundle.roots[root_of(bundle, key)?];
    match bundle.active_root() {
        Some(active) if active == root => Ok(root),
        Some(active) => {
            let detail =
                format!("the key is of root {}; sign with that of {}", root.fingerprint(), active.fingerprint());
            Err(Failure::new(Code::RootKeyWrong, detail))
        }
        None => Err(refuse("the mesh has no active root".to_owned())),
    }
}

fn intermediate(
    base: &Base<'_>,
    bundle: &TrustBundle,
    signer: &NewSigner,
    (root, key): (Fingerprint, &SigningKey),
) -> Result<SignerEntry, Failure> {
    let NewSigner { node, key: public, scope } = signer.clone();
    let certificate =
        signer_certificate(&bundle.mesh, (&node, &public), key, base.now, base.random).map_err(internal)?;
    let state = SignerStanding::Active;
    Ok(SignerEntry { node, certificate: certificate.to_vec(), key: public, root, scope, state })
}

fn refuse(detail: String) -> Failure {
    Failure::new(Code::RotationRefused, detail)
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}

#[cfg(test)]
mod tests;
