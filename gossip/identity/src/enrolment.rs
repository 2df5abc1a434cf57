//! What a signer says of a node when it joins: its name, its key, and what it may offer. Carried in every record of the node.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;

use super::bundle::TrustBundle;
use super::keys::PublicKey;
use super::labels::GrantedLabels;
use crate::ids::{CellName, MeshName, NodeId, ServiceName};
use crate::wire::Signed;

/// The use of an enrolment's signature.
pub const ENROLMENT_CONTEXT: &str = "enrolment";

/// Which services: those that a node may offer, or that a signer may speak for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grants {
    /// Every service.
    All,
    /// These.
    Only(BTreeSet<ServiceName>),
}

/// What a node may be besides a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Issues certificates and admits nodes.
    pub signer: bool,
}

/// A signer's word on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The mesh.
    pub mesh: MeshName,
    /// The node's name.
    pub node: NodeId,
    /// The node's key: it signs the node's records, and gets it certificates.
    pub key: PublicKey,
    /// The cell it belongs to.
    pub cell: CellName,
    /// The services that it may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// Its labels: each of its certificates carries them.
    pub labels: GrantedLabels,
    /// Higher than that of every enrolment that the signer knew of; of two for one node the higher counts.
    pub serial: u64,
    /// When.
    #[serde(with = "crate::wire::timestamp")]
    pub issued_at: Timestamp,
    /// By whom.
    pub signer: NodeId,
}

/// An enrolment with its signer's signature.
pub type SignedEnrolment = Signed<Enrolment>;

/// Why an enrolment is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// Not an enrolment at all.
    #[error("the enrolment does not decode")]
    Malformed,
    /// For another mesh.
    #[error("the enrolment is for mesh {0}")]
    OtherMesh(MeshName),
    /// The bundle does not know the signer, or has revoked it.
    #[error("the enrolment was signed by {0}, which is no signer of the mesh, or a revoked one")]
    Signer(NodeId),
    /// The signature is not that signer's.
    #[error("the enrolment's signature does not verify")]
    Signature,
    /// It grants more than the signer may.
    #[error("the enrolment grants more than its signer {0} may")]
    Scope(NodeId),
}

impl Grants {
    /// Nothing.
    pub fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Whether the service is among them.
    pub fn allows(&self, service: &ServiceName) -> bool {
        match self {
            Self::All => true,
            Self::Only(services) => services.contains(service),
        }
    }

    /// Whether all of them are among `outer`.
    pub fn within(&self, outer: &Grants) -> bool {
        match (self, outer) {
            (_, Self::All) => true,
            (Self::All, Self::Only(_)) => false,
            (Self::Only(inner), Self::Only(outer)) => inner.is_subset(outer),
        }
    }

    /// Both together.
    pub fn union(&self, other: &Grants) -> Grants {
        match (self, other) {
            (Self::Only(one), Self::Only(two)) => Self::Only(one.union(two).cloned().collect()),
            _ => Self::All,
        }
    }
}

impl Enrolment {
    /// The enrolment, if a signer of the bundle that is not revoked made it and was allowed to.
    pub fn verify(signed: &SignedEnrolment, bundle: &TrustBundle) -> Result<Enrolment, EnrolmentError> {
        let claim = signed.claim().map_err(|_| EnrolmentError::Malformed)?;
        if claim.mesh != bundle.mesh {
            return Err(EnrolmentError::OtherMesh(claim.mesh));
        }
        let mut entries =
            bundle.signers.iter().filter(|signer| signer.node == claim.signer && signer.counts()).peekable();
        if entries.peek().is_none() {
            return Err(EnrolmentError::Signer(claim.signer));
        }
        let verified = entries.find_map(|signer| Some((signer, signed.verify(ENROLMENT_CONTEXT, &signer.key).ok()?)));
        let (signer, enrolment) = verified.ok_or(EnrolmentError::Signature)?;
        if !signer.may_grant(&enrolment.grants, &enrolment.labels) {
            return Err(EnrolmentError::Scope(enrolment.signer));
        }
        Ok(enrolment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn only(names: &[&str]) -> Grants {
        Grants::Only(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn grants_compare_and_unite() {
        assert!(Grants::All.allows(&"web".parse().unwrap()));
        assert!(only(&["web"]).allows(&"web".parse().unwrap()));
        assert!(!only(&["web"]).allows(&"api".parse().unwrap()));
        assert!(only(&["web"]).within(&only(&["web", "api"])));
        assert!(!Grants::All.within(&only(&["web"])));
        assert_eq!(only(&["web"]).union(&only(&["api"])), only(&["api", "web"]));
        assert_eq!(only(&["web"]).union(&Grants::All), Grants::All);
    }

    #[test]
    fn an_enrolment_needs_an_active_signer_in_scope() {
        let mesh = testing::mesh();
        let bundle = mesh.bundle();
        assert_eq!(Enrolment::verify(&mesh.seed.enrolment, &bundle).unwrap().node.as_str(), "vm-a");

        let mut revoked = bundle.clone();
        revoked.signers[0].state = super::super::SignerStanding::Revoked;
        let refused = Enrolment::verify(&mesh.seed.enrolment, &revoked).unwrap_err();
        assert!(matches!(refused, EnrolmentError::Signer(_)));

        let mut narrow = bundle.clone();
        narrow.signers[0].scope = only(&["web"]);
        assert!(matches!(Enrolment::verify(&mesh.seed.enrolment, &narrow), Err(EnrolmentError::Scope(_))));

        let forged =
            Signed::sign(&mesh.seed.enrolment.claim().unwrap(), ENROLMENT_CONTEXT, &mesh.seed.operator_key).unwrap();
        assert_eq!(Enrolment::verify(&forged, &bundle).unwrap_err(), EnrolmentError::Signature);

        let mut other = bundle;
        other.mesh = "shop".parse().unwrap();
        assert!(matches!(Enrolment::verify(&mesh.seed.enrolment, &other), Err(EnrolmentError::OtherMesh(_))));
    }
}
