//! The trust bundle: whom a mesh believes. Signed by the root key, and everything that a verifier needs besides a clock.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weft_env::Timestamp;

use super::certificate::{self, CertificateError};
use super::enrolment::Grants;
use super::keys::{PublicKey, SigningKey};
use crate::ids::{MeshName, NodeId};
use crate::wire::{Signed, WireError};

/// The use of a bundle's signature.
const BUNDLE_CONTEXT: &str = "trust bundle";

/// Whom a mesh believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// The mesh.
    pub mesh: MeshName,
    /// Grows with each bundle.
    pub epoch: u64,
    /// SHA-256 of the bundle before, none for the first.
    pub previous: Option<[u8; 32]>,
    /// The root certificates, DER.
    pub roots: Vec<Vec<u8>>,
    /// Who issues certificates.
    pub signers: Vec<SignerEntry>,
    /// Whose documents count.
    pub operators: Vec<OperatorEntry>,
}

/// One signer of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerEntry {
    /// The node with the role.
    pub node: NodeId,
    /// Its intermediate certificate, DER.
    pub certificate: Vec<u8>,
    /// The key of that certificate; it signs enrolments, too.
    pub key: PublicKey,
    /// The services that it may speak for; nodes it may always.
    pub scope: Grants,
    /// Whether it counts.
    pub state: SignerStanding,
}

/// Whether a signer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignerStanding {
    /// It does.
    Active,
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

impl OperatorEntry {
    /// A key that counts until the bundle says otherwise.
    pub fn active(key: PublicKey, scope: Grants) -> Self {
        Self { key, scope, not_after: None, state: OperatorStanding::Active }
    }
}

impl SignerEntry {
    /// Whether it counts.
    pub fn is_active(&self) -> bool {
        self.state == SignerStanding::Active
    }
}

impl TrustBundle {
    /// Signs the bundle with the root key.
    pub fn sign(&self, root: &SigningKey) -> Result<SignedBundle, WireError> {
        Signed::sign(self, BUNDLE_CONTEXT, root)
    }

    /// The bundle, if the key of this root certificate signed it and it names that root.
    pub fn verify(signed: &SignedBundle, root: &CertificateDer<'_>) -> Result<TrustBundle, CertificateError> {
        let key = certificate::public_key(root)?;
        let bundle = signed.verify(BUNDLE_CONTEXT, &key).map_err(|_| CertificateError::Bundle)?;
        if !bundle.roots.iter().any(|known| known.as_slice() == root.as_ref()) {
            return Err(CertificateError::Bundle);
        }
        Ok(bundle)
    }

    /// The newer of this bundle and one that came over the wire: it counts if one of this bundle's roots signed it, for this mesh, and
    /// its epoch is higher. None if this one stays.
    pub fn successor(&self, signed: &SignedBundle) -> Option<TrustBundle> {
        let roots = self.roots.iter().map(|root| CertificateDer::from(root.as_slice()));
        roots
            .filter_map(|root| Self::verify(signed, &root).ok())
            .find(|bundle| bundle.mesh == self.mesh && bundle.epoch > self.epoch)
    }

    /// The entry of a node that is an active signer.
    pub fn signer(&self, node: &NodeId) -> Option<&SignerEntry> {
        self.signers.iter().find(|signer| signer.node == *node && signer.is_active())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing;

    #[test]
    fn a_bundle_counts_only_with_the_signature_of_the_root_that_it_names() {
        let mesh = testing::mesh();
        let root = CertificateDer::from(mesh.seed.root_certificate.clone());
        let bundle = TrustBundle::verify(&mesh.seed.bundle, &root).unwrap();
        assert_eq!(bundle.epoch, 1);

        let newer = TrustBundle { epoch: 2, ..bundle.clone() };
        let signed = newer.sign(&mesh.seed.root_key).unwrap();
        assert_eq!(bundle.successor(&signed), Some(newer.clone()));
        assert_eq!(newer.successor(&mesh.seed.bundle), None, "a node never goes back");
        assert_eq!(bundle.successor(&newer.sign(&mesh.seed.operator_key).unwrap()), None);

        let other = testing::mesh_of("shop", 9);
        let other_root = CertificateDer::from(other.seed.root_certificate.clone());
        assert!(TrustBundle::verify(&mesh.seed.bundle, &other_root).is_err());
        let forged = bundle.sign(&other.seed.root_key).unwrap();
        assert!(TrustBundle::verify(&forged, &root).is_err());
        assert!(TrustBundle::verify(&forged, &other_root).is_err(), "signed by a root that it does not name");
    }
}
