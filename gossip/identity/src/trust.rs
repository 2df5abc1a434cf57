//! The verifier: decides whether a peer's certificate chain is one of this mesh and names who was dialled. Called by rustls in every
//! handshake, in both directions.
//!
//! What must hold: a chain leaf, signer, root that ends at this mesh's root; valid now by the seam's clock; exactly one name, a SPIFFE
//! id of this mesh, and labels that read; the signer not revoked and in scope for that name and for labels; neither the key nor the node that holds it revoked; and for
//! dialling, the name that was dialled.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weft_env::{Clock, Timestamp};

use super::bundle::{RootEntry, RootStanding, SignerEntry, TrustBundle};
use super::certificate::{self, CertificateError};
use super::enrolment::Grants;
use super::names::{any_node_name, dial_name};
use super::provider;
use super::refusal::IdentityRefusal;
use super::revocation::Revocations;
use super::spiffe::{SpiffeId, Subject};

/// No chain of ours is longer: a leaf, and on `weft-sign/1` its signer's certificates and the roots, three of each in a rotation.
const CHAIN_LEN_MAX: usize = 7;

/// Whom this node believes, and by which clock. Cheap to clone; immutable, replaced whole with a new bundle or new revocations.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The mesh's trust bundle.
    pub bundle: Arc<TrustBundle>,
    /// What was taken back.
    pub revocations: Arc<Revocations>,
    /// The seam's clock.
    pub clock: Clock,
}

/// Which side of a connection a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that was dialled.
    Server,
    /// The one that dials.
    Client,
}

impl Trust {
    /// Puts a bundle and a clock together; nothing is revoked.
    pub fn new(bundle: TrustBundle, clock: Clock) -> Self {
        Self { bundle: Arc::new(bundle), revocations: Arc::default(), clock }
    }

    /// The same with these revocations.
    #[must_use]
    pub fn with_revocations(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// Who a chain proves its holder to be, at `at`.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        side: Side,
        at: Timestamp,
    ) -> Result<SpiffeId, IdentityRefusal> {
        let roots: Vec<_> = self.bundle.anchors().map(RootEntry::der).collect();
        let (id, signer) = verify_chain(chain, &roots, side, at)?;
        if id.mesh != self.bundle.mesh {
            return Err(IdentityRefusal::OtherMesh(id));
        }
        let entry = self.counting_signer(&id, &signer)?;
        let in_scope = match &id.subject {
            Subject::Service(name) | Subject::Gateway(name) => entry.scope.allows(name),
            Subject::Node(_) => true,
        };
        if !in_scope {
            return Err(IdentityRefusal::OutOfScope(id, entry.node.clone()));
        }
        if !entry.may_grant(&Grants::none(), &certificate::peer_labels(chain)?) {
            return Err(IdentityRefusal::LabelsOutOfScope(id, entry.node.clone()));
        }
        self.check_revoked(chain, &id)?;
        Ok(id)
    }

    /// Whether a chain that was accepted once would still be, its time aside: the key, the node, the signer or its root may have been
    /// revoked since. For connections that are open when trust changes.
    pub fn recheck(&self, chain: &[CertificateDer<'_>]) -> Result<(), IdentityRefusal> {
        let id = certificate::peer_identity(chain)?;
        let mut checked = chain.iter().skip(1).map(|signer| self.counting_signer(&id, signer).map(drop));
        let first = checked.next().unwrap_or_else(|| Err(IdentityRefusal::SignerUnknown(id.clone())));
        checked.fold(first, Result::or)?;
        self.check_revoked(chain, &id)
    }

    /// Whether a chain of this node is to be renewed now: its signer or root is no longer active.
    pub fn is_outgoing(&self, chain: &[CertificateDer<'_>]) -> bool {
        let signer = chain.get(1).and_then(|signer| self.bundle.entry_of(signer));
        signer.is_none_or(|entry| self.bundle.is_outgoing(entry))
    }

    /// The entry of a chain's signer, if what it signed counts. A certificate that is not in the bundle, for the key of a signer that is, is
    /// by a root of a newer bundle: during a rotation one node hears of it before the other.
    fn counting_signer(&self, id: &SpiffeId, signer: &CertificateDer<'_>) -> Result<&SignerEntry, IdentityRefusal> {
        let by_key = || {
            let key = certificate::public_key(signer).ok()?;
            self.bundle.signers.iter().rev().find(|entry| entry.key == key && entry.counts())
        };
        let found = self.bundle.entry_of(signer).or_else(by_key);
        let entry = found.ok_or_else(|| IdentityRefusal::SignerUnknown(id.clone()))?;
        let root = self.bundle.root(&entry.root).map(|root| root.state);
        if !entry.counts() || root.is_none_or(|state| state == RootStanding::Revoked) {
            return Err(IdentityRefusal::SignerRevoked(id.clone(), entry.node.clone()));
        }
        Ok(entry)
    }

    fn check_revoked(&self, chain: &[CertificateDer<'_>], id: &SpiffeId) -> Result<(), IdentityRefusal> {
        let node = certificate::peer_node(chain)?;
        if self.revocations.nodes.contains(&node) {
            return Err(IdentityRefusal::NodeRevoked(id.clone(), node));
        }
        if self.revocations.keys.contains(&certificate::peer_key(chain)?) {
            return Err(IdentityRefusal::KeyRevoked(id.clone()));
        }
        Ok(())
    }
}

/// Verifies a chain up to one of the roots; returns the leaf's id and the signer's certificate.
pub(super) fn verify_chain(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    side: Side,
    at: Timestamp,
) -> Result<(SpiffeId, CertificateDer<'static>), IdentityRefusal> {
    let [leaf, intermediates @ ..] = chain else {
        return Err(IdentityRefusal::Certificate(CertificateError::Missing));
    };
    if chain.len() > CHAIN_LEN_MAX {
        return Err(IdentityRefusal::Chain("the chain is too long".to_owned()));
    }
    let anchors: Vec<TrustAnchor<'_>> =
        roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let usage = match side {
        Side::Server => KeyUsage::server_auth(),
        Side::Client => KeyUsage::client_auth(),
    };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.0));
    let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
    let algorithms = [webpki::aws_lc_rs::ED25519];
    let path = parsed.verify_for_usage(&algorithms, &anchors, intermediates, now, usage, None, None)?;
    let mut signers = path.intermediate_certificates();
    let (Some(signer), None) = (signers.next(), signers.next()) else {
        return Err(IdentityRefusal::Chain("the chain is not leaf, signer, root".to_owned()));
    };
    let id = certificate::peer_identity(chain)?;
    Ok((id, signer.der().into_owned()))
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let id = self.identify(&whole(end_entity, intermediates), Side::Server, timestamp(now))?;
        let any_node = matches!(id.subject, Subject::Node(_)) && *server_name == any_node_name();
        if !any_node && *server_name != dial_name(&id) {
            let dialled = server_name.to_str().into_owned();
            return Err(IdentityRefusal::NotDialled { presented: id, dialled }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_schemes()
    }
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.identify(&whole(end_entity, intermediates), Side::Client, timestamp(now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_schemes()
    }
}

/// The chain in one slice, as it came.
pub(super) fn whole<'a>(
    end_entity: &CertificateDer<'a>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(end_entity).chain(intermediates).cloned().collect()
}

pub(super) fn timestamp(now: UnixTime) -> Timestamp {
    Timestamp(now.as_secs().saturating_mul(1000))
}

/// TLS 1.2 is not spoken.
pub(super) fn refuse_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
}

/// The handshake's signature, by Ed25519 alone.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let algorithms = provider::provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
}

/// What a peer may sign its handshake with.
pub(super) fn signature_schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ED25519]
}

#[cfg(test)]
mod tests;
