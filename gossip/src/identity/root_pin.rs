//! The verifier of a machine that joins: it knows no bundle yet, only the fingerprint of the mesh's root, from its token.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use weft_env::Clock;

use super::certificate::Fingerprint;
use super::provider::{SeamTime, VERSIONS, provider};
use super::refusal::IdentityRefusal;
use super::spiffe::Subject;
use super::tls::ALPN_SIGN;
use super::trust::{Side, algorithms, timestamp, tls12_refused, verify_chain, whole};

/// Believes a node whose chain ends at a root with this fingerprint.
#[derive(Debug)]
struct RootPin(Fingerprint);

/// The configuration for dialling a node of the mesh whose root has this fingerprint, for [`ALPN_SIGN`].
pub(crate) fn pinned_client_config(root: Fingerprint, clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(SeamTime(clock.clone())))
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(RootPin(root)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_SIGN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl ServerCertVerifier for RootPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.0)
            .ok_or(IdentityRefusal::OtherRoot)?;
        let roots = std::slice::from_ref(root);
        let (id, _) = verify_chain(&whole(end_entity, intermediates), roots, Side::Server, timestamp(now))?;
        // Whichever node it is: the joiner has an address, not a name.
        match id.subject {
            Subject::Node(_) => Ok(ServerCertVerified::assertion()),
            _ => Err(IdentityRefusal::NotDialled { presented: id, dialled: "a node".to_owned() }.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
