//! Why a peer's identity was refused. Travels inside a `rustls::Error`, and [`IdentityRefusal::find`] takes it out again, so that
//! the data path tells an impostor from a broken connection.

use std::error::Error;
use std::sync::Arc;

use rustls::OtherError;

use super::certificate::CertificateError;
use super::spiffe::SpiffeId;
use crate::ids::NodeId;

/// Why a peer's identity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// The certificate cannot be read, or names other than one SPIFFE id.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The chain does not end at the mesh's root.
    #[error("the certificate does not chain to this mesh's root: {0}")]
    Chain(String),
    /// The certificate's time is over.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate's time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// A name of another mesh.
    #[error("{0} is not of this mesh")]
    OtherMesh(SpiffeId),
    /// Not a signer that the bundle knows.
    #[error("{0} has a certificate of a signer that the trust bundle does not know")]
    SignerUnknown(SpiffeId),
    /// A signer that no longer counts.
    #[error("{0} has a certificate of the revoked signer {1}")]
    SignerRevoked(SpiffeId, NodeId),
    /// A node that was thrown out holds it.
    #[error("{0} is held by the revoked node {1}")]
    NodeRevoked(SpiffeId, NodeId),
    /// The certificate's key was taken back.
    #[error("{0} has a certificate whose key was revoked")]
    KeyRevoked(SpiffeId),
    /// A signer that may not speak for this service.
    #[error("{0} has a certificate of signer {1}, which may not issue it")]
    OutOfScope(SpiffeId, NodeId),
    /// A signer that may not grant labels.
    #[error("{0} has labels in a certificate of signer {1}, whose scope is limited: it may not grant them")]
    LabelsOutOfScope(SpiffeId, NodeId),
    /// Another than was dialled.
    #[error("dialled {dialled} and {presented} answered")]
    NotDialled {
        /// Who answered.
        presented: SpiffeId,
        /// The name that was dialled.
        dialled: String,
    },
    /// The root is not the one that the join token names.
    #[error("the peer's mesh has another root than the one expected")]
    OtherRoot,
}

impl IdentityRefusal {
    /// The refusal inside an error of the TLS library, an I/O error around it, or any chain of sources.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a IdentityRefusal> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = error.downcast_ref::<IdentityRefusal>() {
                return Some(refusal);
            }
            if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(inner)))) =
                error.downcast_ref::<rustls::Error>()
            {
                return inner.downcast_ref::<IdentityRefusal>();
            }
            // An I/O error's source is its inner error's source; the inner error itself is only in `get_ref`.
            next = match error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
                Some(inner) => Some(inner as &(dyn Error + 'static)),
                None => error.source(),
            };
        }
        None
    }

    /// Whether the two clocks may be the reason.
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid)
    }
}

impl From<webpki::Error> for IdentityRefusal {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. } => Self::Expired,
            webpki::Error::CertNotValidYet { .. } => Self::NotYetValid,
            other => Self::Chain(other.to_string()),
        }
    }
}

impl From<IdentityRefusal> for rustls::Error {
    fn from(refusal: IdentityRefusal) -> Self {
        rustls::CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_inside_an_io_error() {
        let tls = rustls::Error::from(IdentityRefusal::Expired);
        let io = std::io::Error::new(std::io::ErrorKind::InvalidData, tls);
        assert_eq!(IdentityRefusal::find(&io), Some(&IdentityRefusal::Expired));
        assert_eq!(IdentityRefusal::find(&std::io::Error::other("broken")), None);
    }
}
