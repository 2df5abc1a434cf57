//! The record that a node publishes of itself, its signature, and the checks that a receiver makes before it believes one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use weft_identity::wire::{self, Kind, Signed};
use weft_identity::{
    CellName, Code, Enrolment, EnrolmentError, Failure, MeshName, NodeId, Protocol, PublicKey, ReplicaName, Roles,
    ServiceName, SignedEnrolment, SigningKey, Trust, ZoneName,
};
use weft_ledger::LedgerMark;

/// The use of a record's signature.
pub const RECORD_CONTEXT: &str = "node record";

/// Longest gossip value: with it, a gossip message still fits chitchat's 65 KB.
pub const VALUE_LEN_MAX: usize = 48 * 1024;

/// Most replicas in one record: as many as fit [`VALUE_LEN_MAX`] with usual labels; a machine seldom runs a tenth of it.
pub const REPLICAS_MAX: usize = 256;

/// Most labels of one replica, and longest text of a label's name, its value or a version: labels choose, they do not store.
pub const LABELS_MAX: usize = 32;

/// One replica of a service, on the node that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The service.
    pub service: ServiceName,
    /// What its node calls it.
    pub name: ReplicaName,
    /// The version that its operator gave it; may be empty.
    pub version: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The application's port on its machine, for lists; callers dial the node.
    pub port: u16,
    /// Its share of the calls, 100 by default; 0 means none.
    pub weight: u16,
    /// For routing by label.
    pub labels: BTreeMap<String, String>,
    /// Whether its node's probes of it succeed.
    pub healthy: bool,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The mesh.
    pub mesh: MeshName,
    /// The cell.
    pub cell: CellName,
    /// The zone, if the operator named one.
    pub zone: Option<ZoneName>,
    /// The node.
    pub node: NodeId,
    /// Grows with each start of the node; the start's wall time in milliseconds, as long as the clock goes forward.
    pub generation: u64,
    /// Grows with each change within a generation.
    pub version: u64,
    /// Where other nodes reach it, TCP and UDP.
    pub addr: SocketAddr,
    /// What else it is, as its enrolment says.
    pub roles: Roles,
    /// What it offers.
    pub replicas: Vec<ReplicaRecord>,
    /// What it holds of the ledger.
    pub ledger: LedgerMark,
    /// It is shutting down: offer it no more.
    pub leaving: bool,
    /// The epoch of the trust bundle that it holds; who holds an older one fetches it.
    pub bundle_epoch: u64,
    /// How many of its certificates, its enrolment counted with them, are of a signer or root that is on its way out: while there are any,
    /// that signer or root must not be revoked.
    pub outgoing: u32,
    /// The key that it would issue with, on a node with the signer role: the operator has the root sign it.
    pub signer_key: Option<PublicKey>,
    /// The signer's word on it.
    pub enrolment: SignedEnrolment,
}

/// A record with the signature of the node's enrolled key.
pub type SignedRecord = Signed<NodeRecord>;

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    /// Not a record at all, or over a limit.
    #[error("the record does not decode")]
    Malformed,
    /// The enrolment in it does not hold.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// Of a node that was thrown out, or whose enrolled key was.
    #[error("node {0} was revoked")]
    Revoked(NodeId),
    /// Not signed by the enrolled key.
    #[error("the record's signature is not that of the enrolled key")]
    Signature,
    /// Of another node, cell, mesh or role than the enrolment in it.
    #[error("the record's {0} is not that of its enrolment")]
    Differs(&'static str),
    /// It offers what it may not.
    #[error("the record offers {0}, which its enrolment does not grant")]
    NotGranted(ServiceName),
}

impl RecordRefusal {
    /// The refusal as a label of a metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed => "record-malformed",
            Self::Enrolment(EnrolmentError::Signer(_)) => "record-signer",
            Self::Enrolment(_) => "record-enrolment",
            Self::Revoked(_) => "record-revoked",
            Self::Signature => "record-signature",
            Self::Differs(_) => "record-differs",
            Self::NotGranted(_) => "record-not-granted",
        }
    }

    /// Whether an honest member may pass such a record on: it holds another trust bundle, or has not heard of the revocation.
    pub const fn is_usual(&self) -> bool {
        matches!(self, Self::Enrolment(EnrolmentError::Signer(_)) | Self::Revoked(_))
    }
}

/// Signs a record, unless it is too large to gossip.
pub fn sign_record(record: &NodeRecord, key: &SigningKey) -> Result<SignedRecord, Failure> {
    if let Some(rule) = broken_limit(record) {
        return Err(Failure::new(Code::RecordTooLarge, format!("publish what {} offers: {rule}", record.node)));
    }
    let signed = Signed::sign(record, RECORD_CONTEXT, key)
        .map_err(|error| Failure::new(Code::Internal, format!("encode the record of {}: {error}", record.node)))?;
    encode_value(&signed)?;
    Ok(signed)
}

/// The record, if the bundle's signers and the node's key stand behind every part of it and neither was revoked.
pub fn verify_record(signed: &SignedRecord, trust: &Trust) -> Result<NodeRecord, RecordRefusal> {
    let claim = signed.claim().map_err(|_| RecordRefusal::Malformed)?;
    let enrolment = standing_enrolment(&claim, trust)?;
    let record = signed.verify(RECORD_CONTEXT, &enrolment.key).map_err(|_| RecordRefusal::Signature)?;
    agrees(&record, &enrolment)?;
    if broken_limit(&record).is_some() {
        return Err(RecordRefusal::Malformed);
    }
    match record.replicas.iter().find(|replica| !enrolment.grants.allows(&replica.service)) {
        Some(replica) => Err(RecordRefusal::NotGranted(replica.service.clone())),
        None => Ok(record),
    }
}

/// Whether a record that was verified once still stands, after the bundle or the revocations changed.
pub fn recheck_record(record: &NodeRecord, trust: &Trust) -> Result<(), RecordRefusal> {
    standing_enrolment(record, trust).map(drop)
}

fn standing_enrolment(record: &NodeRecord, trust: &Trust) -> Result<Enrolment, RecordRefusal> {
    let enrolment = Enrolment::verify(&record.enrolment, &trust.bundle)?;
    if trust.revocations.covers(&enrolment.node, &enrolment.key) {
        return Err(RecordRefusal::Revoked(enrolment.node));
    }
    Ok(enrolment)
}

/// Whether record and enrolment are of the same node.
fn agrees(record: &NodeRecord, enrolment: &Enrolment) -> Result<(), RecordRefusal> {
    let pairs = [
        (record.mesh == enrolment.mesh, "mesh"),
        (record.node == enrolment.node, "node"),
        (record.cell == enrolment.cell, "cell"),
        (record.roles == enrolment.roles, "roles"),
    ];
    match pairs.into_iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(RecordRefusal::Differs(what)),
        None => Ok(()),
    }
}

fn broken_limit(record: &NodeRecord) -> Option<String> {
    if record.replicas.len() > REPLICAS_MAX {
        return Some(format!("{} replicas are more than {REPLICAS_MAX}", record.replicas.len()));
    }
    if !record.ledger.is_bounded() {
        return Some("its mark of the ledger is over its limits".to_owned());
    }
    let long = |text: &String| text.len() > LABELS_MAX * 4;
    let wide = record.replicas.iter().find(|replica| {
        replica.labels.len() > LABELS_MAX
            || long(&replica.version)
            || replica.labels.iter().any(|(name, value)| long(name) || long(value))
    })?;
    Some(format!("labels or version of {} are over the limit of {LABELS_MAX} labels of 128 bytes", wide.service))
}

/// A signed record as a gossip value: text, because chitchat carries text.
pub fn encode_value(signed: &SignedRecord) -> Result<String, Failure> {
    let bytes = wire::encode(Kind::Record, signed)
        .map_err(|error| Failure::new(Code::Internal, format!("encode the node's record: {error}")))?;
    let value = STANDARD_NO_PAD.encode(bytes);
    if value.len() > VALUE_LEN_MAX {
        let detail = format!("the node's record has {} bytes, the limit is {VALUE_LEN_MAX}", value.len());
        return Err(Failure::new(Code::RecordTooLarge, detail));
    }
    Ok(value)
}

/// A gossip value as a signed record, still unverified.
pub fn decode_value(value: &str) -> Result<SignedRecord, RecordRefusal> {
    if value.len() > VALUE_LEN_MAX {
        return Err(RecordRefusal::Malformed);
    }
    let bytes = STANDARD_NO_PAD.decode(value).map_err(|_| RecordRefusal::Malformed)?;
    wire::decode(Kind::Record, &bytes, VALUE_LEN_MAX).map_err(|_| RecordRefusal::Malformed)
}
