//! `weft init`: the first keys and certificates of a mesh.

use weft_env::{Random, Timestamp};

use crate::codes::{Code, Failure};
use crate::ids::{CellName, MeshName, NodeId};
use crate::wire::Signed;
use crate::{
    ENROLMENT_CONTEXT, Enrolment, Fingerprint, GrantedLabels, Grants, Issuer, OperatorEntry, Roles, RootEntry,
    RootStanding, SignedBundle, SignedEnrolment, SignerEntry, SignerStanding, SigningKey, TrustBundle,
    root_certificate, signer_certificate,
};

/// What a new mesh is called.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The mesh.
    pub mesh: MeshName,
    /// Its first node, which gets the signer role and may offer every service.
    pub node: NodeId,
    /// That node's cell.
    pub cell: CellName,
    /// That node's labels.
    pub labels: GrantedLabels,
}

/// A new mesh: all its secrets, and what they signed.
#[derive(Debug, Clone)]
pub struct NewMesh {
    /// Signs bundles and signers; goes into an encrypted file.
    pub root_key: SigningKey,
    /// The root certificate, DER.
    pub root_certificate: Vec<u8>,
    /// Signs policies; goes into an encrypted file.
    pub operator_key: SigningKey,
    /// What the first signer issues with.
    pub issuer: Issuer,
    /// The first trust bundle.
    pub bundle: SignedBundle,
    /// The first node's key.
    pub node_key: SigningKey,
    /// The first node's enrolment.
    pub enrolment: SignedEnrolment,
}

/// Makes the keys of a new mesh and everything that they sign first.
pub fn make_mesh(founding: &Founding, now: Timestamp, random: &Random) -> Result<NewMesh, Failure> {
    let Founding { mesh, node, cell, labels } = founding;
    let internal = |error: String| Failure::new(Code::Internal, error);
    let [root_key, operator_key, signer_key, node_key] = std::array::from_fn(|_| SigningKey::generate(random));
    let root = root_certificate(mesh, &root_key, now, random).map_err(|error| internal(error.to_string()))?;
    let signer_public = signer_key.public();
    let certificate = signer_certificate(mesh, (node, &signer_public), &root_key, now, random)
        .map_err(|error| internal(error.to_string()))?;
    let bundle = TrustBundle {
        mesh: mesh.clone(),
        epoch: 1,
        previous: None,
        roots: vec![RootEntry { certificate: root.to_vec(), state: RootStanding::Active }],
        signers: vec![SignerEntry {
            node: node.clone(),
            certificate: certificate.to_vec(),
            key: signer_public,
            root: Fingerprint::of(&root),
            scope: Grants::All,
            state: SignerStanding::Active,
        }],
        operators: vec![OperatorEntry::active(operator_key.public(), Grants::All)],
    };
    let roles = Roles { signer: true };
    let enrolment = Enrolment {
        mesh: mesh.clone(),
        node: node.clone(),
        key: node_key.public(),
        cell: cell.clone(),
        grants: Grants::All,
        roles,
        labels: labels.clone(),
        serial: 1,
        issued_at: now,
        signer: node.clone(),
    };
    Ok(NewMesh {
        bundle: bundle.sign(&root_key).map_err(|error| internal(error.to_string()))?,
        enrolment: Signed::sign(&enrolment, ENROLMENT_CONTEXT, &signer_key)
            .map_err(|error| internal(error.to_string()))?,
        issuer: Issuer { mesh: mesh.clone(), node: node.clone(), certificate, key: signer_key },
        root_certificate: root.to_vec(),
        root_key,
        operator_key,
        node_key,
    })
}
