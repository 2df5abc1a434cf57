//! The trust bundle: whom a mesh believes. Signed by a root key, and everything that a verifier needs besides a clock. Each bundle
//! names the hash of the one before, so that a node follows the chain and never goes back.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weft_env::Timestamp;

use super::certificate::{self, CertificateError, Fingerprint};
use super::enrolment::Grants;
use super::keys::{PublicKey, SigningKey};
use super::labels::GrantedLabels;
use crate::ids::{MeshName, NodeId};
use crate::wire::{self, Kind, MESSAGE_LEN_MAX, Signed, WireError};

/// The use of a bundle's signature.
const BUNDLE_CONTEXT: &str = "trust bundle";
/// Bundles of the past that a node keeps to hand on: a mesh changes its bundle some times a year.
pub const BUNDLES_MAX: usize = 32;
/// Bytes of all bundles that one message carries: half of the longest message.
pub const BUNDLES_LEN_MAX: usize = 128 * 1024;

/// Whom a mesh believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// The mesh.
    pub mesh: MeshName,
    /// One more than that of the bundle before.
    pub epoch: u64,
    /// SHA-256 of the bundle before, none for the first.
    pub previous: Option<[u8; 32]>,
    /// The roots, oldest first.
    pub roots: Vec<RootEntry>,
    /// Who issues certificates, oldest first; a signer has one entry for each root that signed it.
    pub signers: Vec<SignerEntry>,
    /// Whose documents count.
    pub operators: Vec<OperatorEntry>,
}

/// One root of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootEntry {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether it counts.
    pub state: RootStanding,
}

/// Whether a root counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootStanding {
    /// Verifiers know it; nothing is issued under it yet.
    Prepared,
    /// It signs bundles and signers.
    Active,
    /// What it signed still counts and is being replaced.
    Tainted,
    /// Nothing that it signed counts.
    Revoked,
}

/// One signer of the mesh, as one root signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerEntry {
    /// The node with the role.
    pub node: NodeId,
    /// Its intermediate certificate, DER.
    pub certificate: Vec<u8>,
    /// The key of that certificate; it signs enrolments, too.
    pub key: PublicKey,
    /// The root that signed it.
    pub root: Fingerprint,
    /// The services that it may speak for; nodes it may always, and labels only if these are all.
    pub scope: Grants,
    /// Whether it counts.
    pub state: SignerStanding,
}

/// Whether a signer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerStanding {
    /// It does.
    Active,
    /// It issues nothing more; what it signed still counts and is being replaced.
    Tainted,
    /// Nothing that it signed counts.
    Revoked,
}

/// One operator of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEntry {
    /// The key that signs.
    pub key: PublicKey,
    /// The services whose policies it may change.
    pub scope: Grants,
    /// The last moment at which it may sign, if it ends by itself.
    #[serde(with = "crate::wire::optional_timestamp")]
    pub not_after: Option<Timestamp>,
    /// Whether it counts.
    pub state: OperatorStanding,
}

/// Whether an operator's key counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorStanding {
    /// It does.
    Active,
    /// It signs no more. What it signed counts as far as these change sets and what lies below them.
    Retired {
        /// Hashes of change sets.
        tips: Vec<[u8; 32]>,
    },
}

/// A bundle with the root's signature.
pub type SignedBundle = Signed<TrustBundle>;

impl RootEntry {
    /// The name by which tokens and signers call it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// The certificate.
    pub fn der(&self) -> CertificateDer<'_> {
        CertificateDer::from(self.certificate.as_slice())
    }

    /// Whether a bundle or signer that it signed counts.
    fn has_word(&self) -> bool {
        matches!(self.state, RootStanding::Active | RootStanding::Tainted)
    }
}

impl OperatorEntry {
    /// A key that counts until the bundle says otherwise.
    pub fn active(key: PublicKey, scope: Grants) -> Self {
        Self { key, scope, not_after: None, state: OperatorStanding::Active }
    }
}

impl SignerEntry {
    /// Whether it issues.
    pub fn is_active(&self) -> bool {
        self.state == SignerStanding::Active
    }

    /// Whether what it signed counts.
    pub fn counts(&self) -> bool {
        self.state != SignerStanding::Revoked
    }

    /// Whether it may say this of a node. Labels are words of the whole mesh: only a signer without limits says them.
    pub fn may_grant(&self, grants: &Grants, labels: &GrantedLabels) -> bool {
        grants.within(&self.scope) && (labels.is_empty() || self.scope == Grants::All)
    }
}

impl TrustBundle {
    /// Signs the bundle with a root key.
    pub fn sign(&self, root: &SigningKey) -> Result<SignedBundle, WireError> {
        Signed::sign(self, BUNDLE_CONTEXT, root)
    }

    /// The hash by which the next bundle names this one.
    pub fn hash(signed: &SignedBundle) -> [u8; 32] {
        let mut raw = [0; 32];
        raw.copy_from_slice(digest(&SHA256, signed.bytes()).as_ref());
        raw
    }

    /// The bundle, if the key of this root certificate signed it and it names that root.
    pub fn verify(signed: &SignedBundle, root: &CertificateDer<'_>) -> Result<TrustBundle, CertificateError> {
        let key = certificate::public_key(root)?;
        let bundle = signed.verify(BUNDLE_CONTEXT, &key).map_err(|_| CertificateError::Bundle)?;
        if !bundle.roots.iter().any(|known| known.certificate.as_slice() == root.as_ref()) {
            return Err(CertificateError::Bundle);
        }
        Ok(bundle)
    }

    /// A bundle of this node's own disk: one of the roots that it names signed it.
    pub fn verify_kept(signed: &SignedBundle) -> Result<TrustBundle, CertificateError> {
        let claim = signed.claim().map_err(|_| CertificateError::Bundle)?;
        let signing = claim.roots.iter().find_map(|root| Self::verify(signed, &root.der()).ok());
        signing.ok_or(CertificateError::Bundle)
    }

    /// The bundle after this one, whose signed form is `held`: signed by a root that is active or tainted here, for this mesh, of the next
    /// epoch, and naming this one's hash. None if `signed` is not that.
    pub fn successor(&self, held: &SignedBundle, signed: &SignedBundle) -> Option<TrustBundle> {
        let roots = self.roots.iter().filter(|root| root.has_word());
        let mut verified = roots.filter_map(|root| {
            let key = certificate::public_key(&root.der()).ok()?;
            signed.verify(BUNDLE_CONTEXT, &key).ok()
        });
        let next = verified.next()?;
        let follows = next.epoch == self.epoch.checked_add(1)? && next.previous == Some(Self::hash(held));
        (follows && next.mesh == self.mesh && next.active_root().is_some()).then_some(next)
    }

    /// Follows a chain of bundles, oldest first, from this one, whose signed form is `held`; known ones are skipped. Returns those that
    /// count, in order, and the newest; none if nothing is newer.
    pub fn successors(&self, held: &SignedBundle, chain: &[SignedBundle]) -> Option<(Vec<SignedBundle>, TrustBundle)> {
        let mut newest = self.clone();
        let mut taken: Vec<SignedBundle> = Vec::new();
        for signed in chain.iter().take(BUNDLES_MAX) {
            let next = newest.successor(taken.last().unwrap_or(held), signed);
            if let Some(next) = next {
                newest = next;
                taken.push(signed.clone());
            }
        }
        (!taken.is_empty()).then_some((taken, newest))
    }

    /// The entry of a node that is an active signer, by the newest active root that signed it.
    pub fn signer(&self, node: &NodeId) -> Option<&SignerEntry> {
        let is_usable = |entry: &&SignerEntry| {
            let root = self.root(&entry.root).map(|root| root.state);
            entry.node == *node && entry.is_active() && root == Some(RootStanding::Active)
        };
        self.signers.iter().rev().find(is_usable)
    }

    /// The entry of a root.
    pub fn root(&self, fingerprint: &Fingerprint) -> Option<&RootEntry> {
        self.roots.iter().find(|root| root.fingerprint() == *fingerprint)
    }

    /// The newest active root: new tokens and signers name it.
    pub fn active_root(&self) -> Option<&RootEntry> {
        self.roots.iter().rev().find(|root| root.state == RootStanding::Active)
    }

    /// The roots at which a certificate chain may end.
    pub fn anchors(&self) -> impl Iterator<Item = &RootEntry> {
        self.roots.iter().filter(|root| root.state != RootStanding::Revoked)
    }

    /// The entry with this intermediate certificate.
    pub fn entry_of(&self, certificate: &CertificateDer<'_>) -> Option<&SignerEntry> {
        self.signers.iter().find(|entry| entry.certificate.as_slice() == certificate.as_ref())
    }

    /// Whether what this signer issued is to be replaced: it or its root is no longer active.
    pub fn is_outgoing(&self, entry: &SignerEntry) -> bool {
        !entry.is_active() || self.root(&entry.root).is_none_or(|root| root.state != RootStanding::Active)
    }
}

/// A signed bundle as one line of text, for the admin API.
pub fn bundle_text(signed: &SignedBundle) -> Result<String, WireError> {
    Ok(STANDARD.encode(wire::encode(Kind::State, signed)?))
}

/// Reads what [`bundle_text`] wrote; unverified.
pub fn bundle_from_text(text: &str) -> Option<SignedBundle> {
    wire::decode(Kind::State, &STANDARD.decode(text.trim()).ok()?, MESSAGE_LEN_MAX).ok()
}

/// The bundles of a kept chain that come after an epoch, oldest first, as many as one message carries.
pub fn bundles_after(chain: &[SignedBundle], epoch: u64) -> Vec<SignedBundle> {
    let mut len = 0;
    let newer = chain.iter().filter(|signed| signed.claim().is_ok_and(|bundle| bundle.epoch > epoch));
    newer.take_while(|signed| fits(&mut len, signed)).cloned().collect()
}

/// The newest bundles of a kept chain, oldest first, as many as one message carries: for a joiner, who may have pinned an older root.
pub fn newest_bundles(chain: &[SignedBundle]) -> Vec<SignedBundle> {
    let mut len = 0;
    let mut newest: Vec<_> = chain.iter().rev().take_while(|signed| fits(&mut len, signed)).cloned().collect();
    newest.reverse();
    newest
}

fn fits(len: &mut usize, signed: &SignedBundle) -> bool {
    let is_first = *len == 0;
    *len += signed.len();
    is_first || *len <= BUNDLES_LEN_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn next(bundle: &TrustBundle, held: &SignedBundle) -> TrustBundle {
        TrustBundle { epoch: bundle.epoch + 1, previous: Some(TrustBundle::hash(held)), ..bundle.clone() }
    }

    #[test]
    fn a_bundle_counts_only_with_the_signature_of_the_root_that_it_names() {
        let mesh = testing::mesh();
        let root = CertificateDer::from(mesh.seed.root_certificate.clone());
        let bundle = TrustBundle::verify(&mesh.seed.bundle, &root).unwrap();
        assert_eq!(bundle.epoch, 1);
        assert_eq!(TrustBundle::verify_kept(&mesh.seed.bundle).unwrap(), bundle);

        let other = testing::mesh_of("shop", 9);
        let other_root = CertificateDer::from(other.seed.root_certificate.clone());
        assert!(TrustBundle::verify(&mesh.seed.bundle, &other_root).is_err());
        let forged = bundle.sign(&other.seed.root_key).unwrap();
        assert!(TrustBundle::verify(&forged, &root).is_err());
        assert!(TrustBundle::verify_kept(&forged).is_err());
        assert!(TrustBundle::verify(&forged, &other_root).is_err(), "signed by a root that it does not name");
    }

    #[test]
    fn a_successor_is_the_next_of_the_chain_and_nothing_else() {
        let mesh = testing::mesh();
        let (bundle, held, key) = (mesh.bundle(), &mesh.seed.bundle, &mesh.seed.root_key);
        let newer = next(&bundle, held);
        let signed = newer.sign(key).unwrap();
        assert_eq!(bundle.successor(held, &signed), Some(newer.clone()));
        assert_eq!(newer.successor(&signed, held), None, "a node never goes back");
        assert_eq!(newer.successor(&signed, &signed), None);
        assert_eq!(bundle.successor(held, &newer.sign(&mesh.seed.operator_key).unwrap()), None);
        let wrong = |change: &dyn Fn(&mut TrustBundle)| {
            let mut wrong = newer.clone();
            change(&mut wrong);
            bundle.successor(held, &wrong.sign(key).unwrap())
        };
        assert_eq!(wrong(&|next| next.previous = None), None);
        assert_eq!(wrong(&|next| next.previous = Some([7; 32])), None);
        assert_eq!(wrong(&|next| next.epoch = 3), None);
        assert_eq!(wrong(&|next| next.mesh = "shop".parse().unwrap()), None);
        assert_eq!(wrong(&|next| next.roots[0].state = RootStanding::Revoked), None, "nobody could sign the next");
        for (state, counts) in [
            (RootStanding::Prepared, false),
            (RootStanding::Active, true),
            (RootStanding::Tainted, true),
            (RootStanding::Revoked, false),
        ] {
            let mut holding = bundle.clone();
            holding.roots[0].state = state;
            assert_eq!(holding.successor(held, &signed).is_some(), counts, "{state:?}");
        }
    }

    #[test]
    fn a_node_that_was_away_follows_the_chain_up_to_a_gap() {
        let mesh = testing::mesh();
        let (mut bundle, mut chain) = (mesh.bundle(), vec![mesh.seed.bundle.clone()]);
        for _ in 0..4 {
            bundle = next(&bundle, chain.last().unwrap());
            chain.push(bundle.sign(&mesh.seed.root_key).unwrap());
        }
        let first = mesh.bundle();
        let (taken, newest) = first.successors(&chain[0], &chain).unwrap();
        assert_eq!((taken.len(), newest), (4, bundle));
        let gap = [chain[1].clone(), chain[3].clone()];
        assert_eq!(first.successors(&chain[0], &gap).unwrap().1.epoch, 2);
        assert!(first.successors(&chain[0], &chain[2..]).is_none());
        assert_eq!(bundles_after(&chain, 3).len(), 2);
        assert_eq!(newest_bundles(&chain).len(), 5);
    }
}
