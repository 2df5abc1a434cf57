//! X.509 certificates: the root, a signer's intermediate, and leaves that name one SPIFFE id in one URI SAN.
//!
//! A leaf is issued for a public key; the private key is made where the certificate is used and never moves.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use webpki::EndEntityCert;
use weft_env::{Random, Timestamp};

use super::der::attribute;
use super::keys::{PublicKey, SigningKey};
use super::labels::{GrantedLabels, LabelError};
use super::spiffe::{SpiffeId, Subject};
use super::validity::validity;
use crate::ids::{MeshName, NodeId};
use crate::wire::{self, Kind, STATE_LEN_MAX};

/// How long a root certificate is valid: ten years.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a signer's certificate is valid: one year.
pub const SIGNER_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// How long a leaf is valid unless the signer's settings say otherwise: one day.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(86_400);
/// A certificate is dated back this much at most, so that a peer whose clock is behind takes it.
pub const BACKDATE_MAX: Duration = Duration::from_secs(300);
/// A certificate is dated back by its lifetime over this at most, so that half of its life is not in the past.
const BACKDATE_DIVISOR: u32 = 10;
/// DER of an Ed25519 public key up to the key itself (RFC 8410, section 4).
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A certificate that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("the certificate does not parse")]
    Malformed,
    /// No chain at all.
    #[error("there is no certificate")]
    Missing,
    /// Its key is not Ed25519.
    #[error("the certificate's key is not an Ed25519 key")]
    Key,
    /// Not exactly one URI name, or other names besides.
    #[error("the certificate names {uris} URIs and {dns} DNS names; one URI and nothing else is allowed")]
    Names {
        /// URI names in it.
        uris: usize,
        /// DNS names in it.
        dns: usize,
    },
    /// The URI is no SPIFFE id of ours.
    #[error("the certificate's name {0:?} is no SPIFFE id")]
    Spiffe(String),
    /// It does not say which node holds it, or names another node than its own name does.
    #[error("the certificate does not say which node holds it")]
    Node,
    /// Its description is not the text of labels.
    #[error("the certificate's description is not that of granted labels")]
    Labels,
    /// It could not be made.
    #[error("the certificate cannot be made: {0}")]
    Make(String),
    /// The trust bundle is not the root's.
    #[error("the trust bundle is not signed by the mesh's root")]
    Bundle,
}

/// The attribute organizationalUnitName (X.520): in it a leaf names the node that holds it.
const UNIT_NAME: &[u8] = &[0x55, 0x04, 0x0b];
/// The attribute description (X.520, 2.5.4.13): in it a leaf says which labels a signer granted to that node; absent where there are none.
const DESCRIPTION: &[u8] = &[0x55, 0x04, 0x0d];
const DESCRIPTION_PARTS: &[u64] = &[2, 5, 4, 13];

/// SHA-256 of a root certificate's DER: how a token names a mesh's root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// A certificate with its private key: what a node proves an identity with.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// Who.
    pub id: SpiffeId,
    /// The labels that a signer granted to the node that holds it.
    pub labels: GrantedLabels,
    /// The leaf and the signer's certificate.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: SigningKey,
    /// When it starts to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What a leaf says.
#[derive(Debug, Clone, Copy)]
pub struct LeafSubject<'a> {
    /// Whose identity it proves.
    pub id: &'a SpiffeId,
    /// The key that it is for.
    pub key: &'a PublicKey,
    /// The node that holds it.
    pub node: &'a NodeId,
    /// The labels that a signer granted to that node.
    pub labels: &'a GrantedLabels,
}

/// What a signer issues with.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The mesh.
    pub mesh: MeshName,
    /// The node with the signer role.
    pub node: NodeId,
    /// The intermediate certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: SigningKey,
}

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut raw = [0; 32];
        raw.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(raw)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an issued certificate is on disk.
#[derive(Serialize, Deserialize)]
struct StoredCertificate {
    id: SpiffeId,
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl IssuedCertificate {
    /// Puts a chain and its key together; reads id, labels and validity from the leaf.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: SigningKey) -> Result<Self, CertificateError> {
        let id = peer_identity(&chain)?;
        let leaf = chain.first().ok_or(CertificateError::Missing)?;
        if public_key(leaf)? != key.public() {
            return Err(CertificateError::Key);
        }
        let (not_before, not_after) = validity(leaf).ok_or(CertificateError::Malformed)?;
        let labels = peer_labels(&chain)?;
        Ok(Self { id, labels, chain, key, not_before, not_after })
    }

    /// When to renew: at half of the life.
    pub fn half_life(&self) -> Timestamp {
        self.not_before.after(self.not_after.since(self.not_before) / 2)
    }

    /// The certificate and its key as bytes for the state directory: secret.
    pub fn to_state(&self) -> Result<Vec<u8>, wire::WireError> {
        let chain = self.chain.iter().map(|certificate| certificate.to_vec()).collect();
        let stored = StoredCertificate { id: self.id.clone(), chain, key: self.key.to_pkcs8().to_vec() };
        wire::encode(Kind::State, &stored)
    }

    /// Reads what [`IssuedCertificate::to_state`] wrote.
    pub fn from_state(bytes: &[u8]) -> Result<Self, CertificateError> {
        let stored: StoredCertificate =
            wire::decode(Kind::State, bytes, STATE_LEN_MAX).map_err(|_| CertificateError::Malformed)?;
        let key = SigningKey::from_pkcs8(&stored.key).map_err(|_| CertificateError::Key)?;
        Self::new(stored.chain.into_iter().map(CertificateDer::from).collect(), key)
    }
}

/// The self-signed certificate of a mesh's root key.
pub fn root_certificate(
    mesh: &MeshName,
    key: &SigningKey,
    now: Timestamp,
    random: &Random,
) -> Result<CertificateDer<'static>, CertificateError> {
    let mut params = base_params(root_name(mesh), now, ROOT_LIFETIME, random)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&Signing(key)).map_err(make_error)?;
    Ok(made.der().clone())
}

/// A signer's intermediate certificate, signed by the root key.
pub fn signer_certificate(
    mesh: &MeshName,
    signer: (&NodeId, &PublicKey),
    root: &SigningKey,
    now: Timestamp,
    random: &Random,
) -> Result<CertificateDer<'static>, CertificateError> {
    let (node, key) = signer;
    let mut params = base_params(signer_name(mesh, node), now, SIGNER_LIFETIME, random)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let issuer = rcgen::Issuer::new(ca_params(root_name(mesh)), Signing(root));
    let made = params.signed_by(&Public(*key), &issuer).map_err(make_error)?;
    Ok(made.der().clone())
}

impl Issuer {
    /// Issues a leaf for a public key; returns the chain to present: the leaf and this signer's certificate.
    pub fn issue(
        &self,
        subject: LeafSubject<'_>,
        lifetime: Duration,
        now: Timestamp,
        random: &Random,
    ) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let LeafSubject { id, key, node, labels } = subject;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, id.mesh.as_str());
        name.push(DnType::OrganizationalUnitName, node.as_str());
        name.push(DnType::CommonName, id.short());
        if !labels.is_empty() {
            name.push(DnType::CustomDnType(DESCRIPTION_PARTS.to_vec()), labels.to_string());
        }
        let mut params = base_params(name, now, lifetime, random)?;
        if let Some((_, signer_end)) = validity(&self.certificate) {
            params.not_after = params.not_after.min(moment(signer_end)?);
        }
        let uri = id.to_string().try_into().map_err(make_error)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = rcgen::Issuer::new(ca_params(signer_name(&self.mesh, &self.node)), Signing(&self.key));
        let made = params.signed_by(&Public(*key), &issuer).map_err(make_error)?;
        Ok(vec![made.der().clone(), self.certificate.clone()])
    }
}

/// The one SPIFFE id that a chain's leaf names. Says nothing about whether the chain is trusted.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::Missing)?;
    let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
    let dns = parsed.valid_dns_names().count();
    let mut uris = parsed.valid_uri_names();
    match (uris.next(), uris.next(), dns) {
        (Some(uri), None, 0) => uri.parse().map_err(|_| CertificateError::Spiffe(uri.to_owned())),
        (first, second, dns) => {
            let uris = usize::from(first.is_some()) + usize::from(second.is_some()) + uris.count();
            Err(CertificateError::Names { uris, dns })
        }
    }
}

/// The node that holds a chain's leaf, whatever identity the leaf proves. Says nothing about whether the chain is trusted.
pub fn peer_node(chain: &[CertificateDer<'_>]) -> Result<NodeId, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::Missing)?;
    let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
    let named = attribute(parsed.subject(), UNIT_NAME).flatten().ok_or(CertificateError::Node)?;
    let node: NodeId = named.parse().map_err(|_| CertificateError::Node)?;
    match peer_identity(chain)?.subject {
        Subject::Node(own) if own != node => Err(CertificateError::Node),
        _ => Ok(node),
    }
}

/// The labels that a signer granted to the node that holds a chain's leaf. Says nothing about whether the chain is trusted.
pub fn peer_labels(chain: &[CertificateDer<'_>]) -> Result<GrantedLabels, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::Missing)?;
    let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
    match attribute(parsed.subject(), DESCRIPTION).ok_or(CertificateError::Labels)? {
        None => Ok(GrantedLabels::default()),
        Some(text) => text.parse().map_err(|_: LabelError| CertificateError::Labels),
    }
}

/// The key of a chain's leaf.
pub fn peer_key(chain: &[CertificateDer<'_>]) -> Result<PublicKey, CertificateError> {
    public_key(chain.first().ok_or(CertificateError::Missing)?)
}

/// The Ed25519 key that a certificate is for.
pub fn public_key(certificate: &CertificateDer<'_>) -> Result<PublicKey, CertificateError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::Malformed)?;
    let spki = parsed.subject_public_key_info();
    let raw = spki.as_ref().strip_prefix(&ED25519_SPKI_PREFIX).ok_or(CertificateError::Key)?;
    raw.try_into().map(PublicKey).map_err(|_| CertificateError::Key)
}

fn root_name(mesh: &MeshName) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, mesh.as_str());
    name.push(DnType::CommonName, "weft root");
    name
}

fn signer_name(mesh: &MeshName, node: &NodeId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, mesh.as_str());
    // Mesh and node apart, because a common name has at most 64 characters (X.520).
    name.push(DnType::CommonName, format!("weft signer {node}"));
    name
}

/// What rcgen needs to know of an issuing certificate: its name and usages.
fn ca_params(name: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn base_params(
    name: DistinguishedName,
    now: Timestamp,
    lifetime: Duration,
    random: &Random,
) -> Result<CertificateParams, CertificateError> {
    let backdate = BACKDATE_MAX.min(lifetime / BACKDATE_DIVISOR);
    let backdate_ms = u64::try_from(backdate.as_millis()).unwrap_or(u64::MAX);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = moment(Timestamp(now.0.saturating_sub(backdate_ms)))?;
    params.not_after = moment(now.after(lifetime))?;
    let mut serial = vec![0; 16];
    random.fill(&mut serial);
    // Positive and without a leading zero, so that the DER has one form.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    Ok(params)
}

fn moment(time: Timestamp) -> Result<OffsetDateTime, CertificateError> {
    let seconds = i64::try_from(time.0 / 1000).map_err(make_error)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(make_error)
}

fn make_error(error: impl fmt::Display) -> CertificateError {
    CertificateError::Make(error.to_string())
}

/// A key of ours as rcgen signs with it.
struct Signing<'a>(&'a SigningKey);

impl PublicKeyData for Signing<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signing<'_> {
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_raw(bytes))
    }
}

/// A public key as rcgen certifies it.
struct Public(PublicKey);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_short_certificate_has_most_of_its_life_before_it() {
        let mesh = testing::mesh();
        let issued = mesh.issue_for("spiffe://bank/svc/orders", Duration::from_secs(20));
        assert_eq!(issued.not_after, testing::NOW.after(Duration::from_secs(20)));
        assert_eq!(testing::NOW.since(issued.not_before), Duration::from_secs(2));
        assert!(issued.half_life() > testing::NOW.after(Duration::from_secs(8)));
    }

    #[test]
    fn a_leaf_ends_with_its_signer_at_the_latest() {
        let mesh = testing::mesh();
        let issued = mesh.issue_for("spiffe://bank/svc/orders", Duration::from_secs(500 * 86_400));
        assert_eq!(issued.not_after, testing::NOW.after(SIGNER_LIFETIME));
    }

    #[test]
    fn a_node_certificate_of_another_holder_is_none() {
        let mesh = testing::mesh();
        let (id, key) = ("spiffe://bank/node/vm-b".parse().unwrap(), SigningKey::generate(&mesh.random));
        let subject = LeafSubject {
            id: &id,
            key: &key.public(),
            node: &"vm-a".parse().unwrap(),
            labels: &GrantedLabels::default(),
        };
        let chain = mesh.seed.issuer.issue(subject, LEAF_LIFETIME, testing::NOW, &mesh.random).unwrap();
        assert_eq!(peer_node(&chain).unwrap_err(), CertificateError::Node);
    }

    #[test]
    fn a_certificate_survives_the_disk() {
        let mesh = testing::mesh();
        let issued = mesh.issue_for("spiffe://bank/node/vm-a", LEAF_LIFETIME);
        let back = IssuedCertificate::from_state(&issued.to_state().unwrap()).unwrap();
        assert_eq!((back.id, back.chain, back.not_after), (issued.id, issued.chain, issued.not_after));
        assert!(IssuedCertificate::from_state(b"broken").is_err());
    }

    #[test]
    fn names_and_keys_are_read_back() {
        let mesh = testing::mesh();
        let issued = mesh.issue_for("spiffe://bank/svc/orders", LEAF_LIFETIME);
        assert_eq!(public_key(&issued.chain[0]).unwrap(), issued.key.public());
        assert_eq!(peer_identity(&issued.chain).unwrap(), issued.id);
        assert_eq!(peer_node(&issued.chain).unwrap().as_str(), "vm-a", "whose replica it is");
        assert_eq!(peer_key(&issued.chain).unwrap(), issued.key.public());
        assert_eq!(peer_node(&issued.chain[1..]).unwrap_err(), CertificateError::Node);
        let signer = peer_identity(&issued.chain[1..]).unwrap_err();
        assert_eq!(signer, CertificateError::Names { uris: 0, dns: 0 });
        assert_eq!(peer_identity(&[]).unwrap_err(), CertificateError::Missing);
    }
    /// A chain whose description is this text, whatever it says.
    fn described(mesh: &testing::TestMesh, texts: &[&str]) -> Vec<CertificateDer<'static>> {
        let key = SigningKey::generate(&mesh.random);
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationalUnitName, "vm-a");
        for (number, text) in texts.iter().enumerate() {
            // The library keeps one value a kind, so that further ones come in under another and are renamed.
            let last = 13 - u64::try_from(number).unwrap();
            name.push(DnType::CustomDnType(vec![2, 5, 4, last]), *text);
        }
        let mut params = base_params(name, testing::NOW, LEAF_LIFETIME, &mesh.random).unwrap();
        params.subject_alt_names = vec![SanType::URI("spiffe://bank/svc/orders".try_into().unwrap())];
        let issuer = rcgen::Issuer::new(ca_params(DistinguishedName::new()), Signing(&key));
        let made = params.signed_by(&Public(key.public()), &issuer).unwrap();
        let mut renamed = made.der().to_vec();
        while let Some(at) = renamed.windows(3).position(|part| part == [0x55, 0x04, 0x0c]) {
            renamed[at + 2] = 0x0d;
        }
        vec![CertificateDer::from(renamed)]
    }

    #[test]
    fn granted_labels_are_read_back_from_every_leaf() {
        let mesh = testing::mesh();
        let labels: GrantedLabels = "env=live,team=payments".parse().unwrap();
        for id in ["spiffe://bank/svc/orders", "spiffe://bank/node/vm-a"] {
            let issued = mesh.issue_labelled(id, &labels);
            assert_eq!((&issued.labels, &peer_labels(&issued.chain).unwrap()), (&labels, &labels));
            assert_eq!(peer_identity(&issued.chain).unwrap().to_string(), id, "one URI, and nothing else");
            let back = IssuedCertificate::from_state(&issued.to_state().unwrap()).unwrap();
            assert_eq!(back.labels, labels);
        }
        let longest = (0..8).map(|n| format!("{n}{}={}", "n".repeat(62), "v".repeat(63))).collect::<Vec<_>>().join(",");
        let longest: GrantedLabels = longest.parse().unwrap();
        assert_eq!(mesh.issue_labelled("spiffe://bank/svc/orders", &longest).labels, longest);
        let without = mesh.issue_for("spiffe://bank/svc/orders", LEAF_LIFETIME);
        assert!(without.labels.is_empty());
        assert!(!without.chain[0].windows(3).any(|part| part == DESCRIPTION), "no labels leave no trace");
    }

    #[test]
    fn a_description_that_is_no_text_of_labels_is_refused() {
        let mesh = testing::mesh();
        assert_eq!(peer_labels(&described(&mesh, &["team=payments"])).unwrap().to_string(), "team=payments");
        for wrong in ["payments", "", "team=", "b=1,a=1", "a=1,a=1", "a=1, b=2", "team=pay ments", "team=päyments"] {
            assert_eq!(peer_labels(&described(&mesh, &[wrong])).unwrap_err(), CertificateError::Labels, "{wrong:?}");
        }
        let twice = described(&mesh, &["team=payments", "team=payments"]);
        assert_eq!(peer_labels(&twice).unwrap_err(), CertificateError::Labels);
    }
}
