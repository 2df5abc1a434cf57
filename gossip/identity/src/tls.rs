//! TLS configurations: for dialling, for the mesh port, for signers and for QUIC. Made anew at each renewal; no session is resumed, so
//! that every connection proves its identity by the current certificate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::certificate::IssuedCertificate;
use super::names::dialled_identity;
use super::provider::{SeamTime, VERSIONS, provider};
use super::spiffe::{SpiffeId, Subject};
use super::trust::Trust;
use crate::codes::{Code, Failure};
use crate::ids::MeshName;

/// HTTP/1.1 between nodes.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 between nodes.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// Any stream between nodes.
pub const ALPN_TCP: &[u8] = b"weft-tcp/1";
/// Joining and certificates.
pub const ALPN_SIGN: &[u8] = b"weft-sign/1";
/// Gossip over QUIC.
pub const ALPN_GOSSIP: &[u8] = b"weft-gossip/1";

/// Ledger and journals over QUIC.
pub const ALPN_LEDGER: &[u8] = b"weft-ledger/1";

/// The configuration for dialling with an identity and one protocol.
pub fn dial_config(trust: &Trust, own: &IssuedCertificate, alpn: &[u8]) -> Result<Arc<ClientConfig>, Failure> {
    Ok(Arc::new(client_config(trust, own, alpn)?))
}

/// The configuration of the mesh port: SNI picks the certificate, the caller must have one of this mesh. Offers HTTP/1.1,
/// HTTP/2 and [`ALPN_TCP`]. A name that is not held here ends the handshake.
pub fn inbound_config(
    trust: &Trust,
    held: &BTreeMap<SpiffeId, IssuedCertificate>,
) -> Result<Arc<ServerConfig>, Failure> {
    let resolver = HeldCertificates::new(&trust.bundle.mesh, held)?;
    let mut config = server_builder(trust)?
        .with_client_cert_verifier(Arc::new(trust.clone()))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec(), ALPN_HTTP2.to_vec(), ALPN_TCP.to_vec()];
    Ok(Arc::new(without_resumption(config)))
}

/// The configuration of the mesh port for [`ALPN_SIGN`]: the caller may have no certificate yet, or an expired one, and proves itself
/// in the request. The chain includes the root certificates, so that a joiner can check the fingerprint of the one that its token
/// names, and the signer's certificate by each of them: the same key has one by the old and one by the new root in a rotation.
pub fn inbound_sign_config(trust: &Trust, own: &IssuedCertificate) -> Result<Arc<ServerConfig>, Failure> {
    let mut chain = own.chain.clone();
    let signer = own.chain.get(1).and_then(|signer| trust.bundle.entry_of(signer));
    let anchors: Vec<_> = trust.bundle.anchors().collect();
    for entry in trust.bundle.signers.iter().filter(|entry| signer.is_some_and(|signer| entry.key == signer.key)) {
        let certificate = CertificateDer::from(entry.certificate.clone());
        let is_anchored = anchors.iter().any(|root| root.fingerprint() == entry.root);
        if entry.counts() && is_anchored && !chain.contains(&certificate) {
            chain.push(certificate);
        }
    }
    chain.extend(anchors.iter().map(|root| CertificateDer::from(root.certificate.clone())));
    let mut config =
        server_builder(trust)?.with_no_client_auth().with_single_cert(chain, own.key.to_tls()).map_err(tls_failure)?;
    config.alpn_protocols = vec![ALPN_SIGN.to_vec()];
    Ok(Arc::new(without_resumption(config)))
}

/// The configuration for dialling a signer: no certificate is shown.
pub fn sign_client_config(trust: &Trust) -> Result<Arc<ClientConfig>, Failure> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(SeamTime(trust.clock.clone())))
        .with_protocol_versions(VERSIONS)
        .map_err(tls_failure)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust.clone()))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_SIGN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The client side of QUIC, for `quinn::crypto::rustls::QuicClientConfig`.
pub fn quic_client_config(trust: &Trust, own: &IssuedCertificate, alpn: &[u8]) -> Result<ClientConfig, Failure> {
    client_config(trust, own, alpn)
}

/// The server side of QUIC, for `quinn::crypto::rustls::QuicServerConfig`; the caller must have a certificate of this mesh.
pub fn quic_server_config(trust: &Trust, own: &IssuedCertificate, alpn: &[&[u8]]) -> Result<ServerConfig, Failure> {
    let mut config = server_builder(trust)?
        .with_client_cert_verifier(Arc::new(trust.clone()))
        .with_single_cert(own.chain.clone(), own.key.to_tls())
        .map_err(tls_failure)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(without_resumption(config))
}

fn client_config(trust: &Trust, own: &IssuedCertificate, alpn: &[u8]) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(SeamTime(trust.clock.clone())))
        .with_protocol_versions(VERSIONS)
        .map_err(tls_failure)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust.clone()))
        .with_client_auth_cert(own.chain.clone(), own.key.to_tls())
        .map_err(tls_failure)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_builder(trust: &Trust) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Failure> {
    ServerConfig::builder_with_details(provider(), Arc::new(SeamTime(trust.clock.clone())))
        .with_protocol_versions(VERSIONS)
        .map_err(tls_failure)
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

fn tls_failure(error: rustls::Error) -> Failure {
    Failure::new(Code::Internal, format!("TLS cannot be set up: {error}"))
}

/// Picks the certificate that the dialled name asks for; a node's own for any other name of a node.
struct HeldCertificates {
    mesh: MeshName,
    by_id: BTreeMap<SpiffeId, Arc<CertifiedKey>>,
    own: Option<Arc<CertifiedKey>>,
}

impl HeldCertificates {
    fn new(mesh: &MeshName, held: &BTreeMap<SpiffeId, IssuedCertificate>) -> Result<Self, Failure> {
        let mut by_id = BTreeMap::new();
        for (id, issued) in held {
            let key = CertifiedKey::from_der(issued.chain.clone(), issued.key.to_tls(), &provider());
            by_id.insert(id.clone(), Arc::new(key.map_err(tls_failure)?));
        }
        let own = by_id.iter().find(|(id, _)| matches!(id.subject, Subject::Node(_))).map(|(_, key)| Arc::clone(key));
        Ok(Self { mesh: mesh.clone(), by_id, own })
    }
}

impl ResolvesServerCert for HeldCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name().map(|name| dialled_identity(&self.mesh, name)) {
            Some(Some(id)) => self.by_id.get(&id).cloned(),
            // No name, or the name of any node.
            Some(None) | None => self.own.clone(),
        }
    }
}

impl fmt::Debug for HeldCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
