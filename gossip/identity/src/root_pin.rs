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
use super::trust::{Side, refuse_tls12, signature_schemes, timestamp, verify_chain, verify_tls13, whole};

/// Believes a node whose chain ends at a root with this fingerprint; without one, anybody.
#[derive(Debug)]
struct RootPin(Option<Fingerprint>);

/// The configuration for dialling a node of the mesh whose root has this fingerprint, for [`ALPN_SIGN`].
pub fn pinned_client_config(root: Fingerprint, clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    client_config(RootPin(Some(root)), clock)
}

/// The configuration for asking anybody for what proves itself: trust bundles. Nothing that this side sends is secret, and nothing that it
/// hears is believed for who said it.
pub fn unpinned_client_config(clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    client_config(RootPin(None), clock)
}

fn client_config(pin: RootPin, clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(SeamTime(clock.clone())))
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin))
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
        let Some(pinned) = self.0 else { return Ok(ServerCertVerified::assertion()) };
        let root = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == pinned)
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
