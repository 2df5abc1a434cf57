//! Why something is not taken into the ledger. Each reason has a label for metrics, listed in docs/reference/ledger.md.

use weft_identity::{Code, EnrolmentError, Failure, MeshName, NodeId, PublicKey};

use super::document::DocumentId;
use super::hash::Hash;

/// Why a change set or a journal's entry is not accepted, or does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Bytes that are no value of the type.
    #[error("it does not decode")]
    Malformed,
    /// Not signed by the key that it names.
    #[error("its signature does not verify")]
    Signature,
    /// Of another mesh.
    #[error("it is of mesh {0}")]
    OtherMesh(MeshName),
    /// Over a limit or of a wrong form.
    #[error("{0}")]
    Form(&'static str),
    /// It builds upon what is not here.
    #[error("its parent {0:?} is not here")]
    ParentMissing(Hash),
    /// Its number is not its height.
    #[error("it says revision {claimed} and is revision {height}")]
    Revision {
        /// What it says.
        claimed: u64,
        /// One more than its highest parent.
        height: u64,
    },
    /// It comes from the future; it may be taken later.
    #[error("it was made {0} s ahead of this node's clock; set the clocks of both machines")]
    Ahead(u64),
    /// Its key is no operator of the bundle.
    #[error("its key {0} is no operator of the mesh")]
    OperatorUnknown(PublicKey),
    /// It changes what its key may not.
    #[error("it changes {0}, which its key may not")]
    OperatorScope(String),
    /// Made after the end of its key.
    #[error("its key had ended")]
    OperatorExpired,
    /// Its key has ended since, and nobody whose key counts has built upon it.
    #[error("its key has ended since and no later author vouches for it")]
    OperatorLapsed,
    /// Its key is retired, and the bundle does not list it.
    #[error("its key is retired and the bundle does not name it")]
    OperatorRetired,
    /// A document of it did not come along.
    #[error("its document {0:?} did not come")]
    DocumentMissing(Hash),
    /// It says of a document what the document does not.
    #[error("it says of {0} what the document does not")]
    DocumentDiffers(DocumentId),
    /// It confirms what awaits no confirmation.
    #[error("it confirms {0:?}, which awaits no confirmation")]
    ConfirmsNothing(Hash),
    /// No room.
    #[error("the ledger is full: {0}")]
    Full(&'static str),
    /// The enrolment of a journal's writer does not hold.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// Of another writer than its enrolment or its place says.
    #[error("it is not of the writer {0}")]
    OtherWriter(NodeId),
    /// An entry does not follow the one before.
    #[error("entry {0} does not follow the one before")]
    Sequence(u64),
    /// A body that is not the one that was signed.
    #[error("the body of entry {0} is not the one that was signed")]
    Body(u64),
    /// The writer signed two entries of one number.
    #[error("the writer signed two entries {0}; what follows is not taken")]
    Equivocation(u64),
}

/// Every label, for the metric that counts refusals.
pub const REFUSAL_LABELS: &[&str] = &[
    "malformed",
    "signature",
    "other-mesh",
    "form",
    "parent-missing",
    "revision",
    "ahead",
    "operator-unknown",
    "operator-scope",
    "operator-expired",
    "operator-lapsed",
    "operator-retired",
    "document-missing",
    "document-differs",
    "confirms-nothing",
    "full",
    "enrolment",
    "other-writer",
    "sequence",
    "body",
    "equivocation",
];

impl Refusal {
    /// The reason as a label of a metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::OtherMesh(_) => "other-mesh",
            Self::Form(_) => "form",
            Self::ParentMissing(_) => "parent-missing",
            Self::Revision { .. } => "revision",
            Self::Ahead(_) => "ahead",
            Self::OperatorUnknown(_) => "operator-unknown",
            Self::OperatorScope(_) => "operator-scope",
            Self::OperatorExpired => "operator-expired",
            Self::OperatorLapsed => "operator-lapsed",
            Self::OperatorRetired => "operator-retired",
            Self::DocumentMissing(_) => "document-missing",
            Self::DocumentDiffers(_) => "document-differs",
            Self::ConfirmsNothing(_) => "confirms-nothing",
            Self::Full(_) => "full",
            Self::Enrolment(_) => "enrolment",
            Self::OtherWriter(_) => "other-writer",
            Self::Sequence(_) => "sequence",
            Self::Body(_) => "body",
            Self::Equivocation(_) => "equivocation",
        }
    }

    /// The refusal as the operator reads it whose change set it was.
    pub fn to_failure(&self) -> Failure {
        let code = if matches!(self, Self::Full(_)) { Code::LedgerFull } else { Code::ChangeSetInvalid };
        Failure::new(code, format!("the change set was refused: {self}"))
    }

    /// Whether it may be taken later as it is: something is missing, or it is too early.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::ParentMissing(_)
                | Self::DocumentMissing(_)
                | Self::Ahead(_)
                | Self::OperatorLapsed
                | Self::Full(_)
                | Self::Sequence(_)
        )
    }
}

/// A change set, a document or a journal's entry that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{hash:?}: {refusal}")]
pub struct Quarantined {
    /// What it is addressed by.
    pub hash: Hash,
    /// The operator's key that it names, if it is a change set.
    pub operator: Option<PublicKey>,
    /// Why.
    pub refusal: Refusal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_in_the_reference() {
        let page = include_str!("../../../docs/reference/ledger.md");
        for label in REFUSAL_LABELS {
            assert!(page.contains(&format!("| `{label}` |")), "{label}");
        }
        for label in crate::sync::PULL_LABELS {
            assert!(page.contains(&format!("`{label}`")), "{label}");
        }
        assert_eq!(Refusal::Full("x").to_failure().code, Code::LedgerFull);
        assert_eq!(Refusal::Signature.to_failure().code, Code::ChangeSetInvalid);
    }
}
