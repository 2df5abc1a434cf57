//! What goes over `weft-sign/1`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_env::Timestamp;
use weft_identity::wire::Signed;
use weft_identity::{Code, Failure, NodeId, PublicKey, SignedBundle, SignedEnrolment, SpiffeId, TokenId, TokenSecret};

/// No request or reply is longer: 100 chains of 2.5 KB, and the bundles of one message.
pub(super) const SIGN_LEN_MAX: usize = 384 * 1024;
/// Certificates in one request: a node's own and one for each of its services.
pub(super) const WISHES_MAX: usize = 100;
/// A whole exchange takes no longer, the handshake not counted.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Two clocks may differ this much; above it, certificates of minutes would be refused now and then.
pub(super) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// The use of a request's signature.
pub(super) const REQUEST_CONTEXT: &str = "weft-sign request";
/// Label of the TLS exporter (RFC 8446, section 7.5).
const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL weft-sign/1";

/// A wish to be admitted, with proof of the key: `serve` has checked it when a desk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Which token.
    pub token: TokenId,
    /// What admits.
    pub secret: TokenSecret,
    /// The name that the node wants.
    pub node: NodeId,
    /// The node's key.
    pub key: PublicKey,
    /// The key of the node's first certificate.
    pub certificate_key: PublicKey,
    /// The enrolment that the node has, if it joins again: its grants stay, also when another signer made it.
    pub enrolment: Option<SignedEnrolment>,
}

/// The answer to a [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// Whom the mesh believes: the newest bundle last, before it those that lead to it from an older root.
    pub bundles: Vec<SignedBundle>,
    /// The signer's word on the node.
    pub enrolment: SignedEnrolment,
    /// The certificate chain for the node, DER.
    pub chain: Vec<Vec<u8>>,
    /// Nodes to gossip with.
    pub peers: Vec<SocketAddr>,
}

/// One certificate that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateWish {
    /// Who it is to name.
    pub id: SpiffeId,
    /// The key that it is for.
    pub key: PublicKey,
}

/// A wish for certificates, with proof of the enrolled key: `serve` has checked it when a desk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifyRequest {
    /// The enrolment of the node that asks.
    pub enrolment: SignedEnrolment,
    /// The epoch of the bundle that it holds.
    pub epoch: u64,
    /// What it wants.
    pub wishes: Vec<CertificateWish>,
}

/// The answer to a [`CertifyRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifyReply {
    /// The bundles after the epoch of the request, oldest first.
    pub bundles: Vec<SignedBundle>,
    /// A newer enrolment of the node, if the signer has one.
    pub enrolment: Option<SignedEnrolment>,
    /// One chain for each wish, in the wishes' order, DER.
    pub chains: Vec<Vec<Vec<u8>>>,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Question {
    /// Where is that signer?
    Whereabouts(NodeId),
    /// Admit me.
    Join(Signed<Proven<JoinRequest>>),
    /// Certify me.
    Certify(Signed<Proven<CertifyRequest>>),
    /// Which trust bundles come after this epoch?
    Bundles(u64),
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// There, if this node knows.
    Whereabouts(Option<SocketAddr>),
    /// Admitted.
    Joined(Box<JoinReply>),
    /// Certified.
    Certified(Box<CertifyReply>),
    /// These, oldest first, as many as fit.
    Bundles(Vec<SignedBundle>),
    /// None of these: the code and the detail.
    Refused(String, String),
}

/// A request bound to one connection and one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Proven<T> {
    /// The TLS exporter of the connection.
    pub(super) channel: [u8; 32],
    /// The caller's clock.
    #[serde(with = "weft_identity::wire::timestamp")]
    pub(super) sent_at: Timestamp,
    /// What is asked.
    pub(super) request: T,
}

/// What both ends of a connection know and nobody else does.
pub(super) fn exporter<Side>(connection: &rustls::ConnectionCommon<Side>) -> Result<[u8; 32], rustls::Error> {
    connection.export_keying_material([0; 32], EXPORTER_LABEL, None)
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.code.to_string(), failure.detail)
    }
}

/// The failure that came over the wire; a code of a newer version reads as internal.
pub(super) fn refused(code: &str, detail: String) -> Failure {
    /// Longest detail that is taken over from another machine.
    const DETAIL_LEN_MAX: usize = 1000;
    let detail = detail.chars().filter(|letter| !letter.is_control()).take(DETAIL_LEN_MAX).collect::<String>();
    Failure::new(Code::find(code).unwrap_or(Code::Internal), detail)
}
