//! Who is who: keys, SPIFFE ids, certificates, the trust bundle, enrolments, join tokens, and the verifier of them all; and the names
//! and codes that everything else speaks of. Opens no sockets.
//!
//! - [`ids`]: the names of meshes, nodes, services and cells
//! - [`codes`]: the registry of error codes
//! - [`TrustBundle`], [`Trust`]: whom a mesh believes; [`make_mesh`]: the first of it
//! - [`Enrolment`], [`JoinToken`]: how a node comes to be one
//! - [`Issuer`], [`IssuedCertificate`], [`tls`]: how it proves that
//! - [`wire`]: what messages look like in bytes
//! - [`testing`]: a mesh for the tests of all crates

mod bundle;
mod certificate;
pub mod codes;
mod der;
mod enrolment;
mod founding;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ids;
mod key_file;
mod keys;
mod labels;
mod names;
mod protocol;
mod provider;
mod refusal;
mod revocation;
mod root_pin;
mod spiffe;
pub mod testing;
pub mod tls;
mod token;
mod trust;
mod validity;
pub mod wire;

pub use bundle::{
    BUNDLES_LEN_MAX, BUNDLES_MAX, OperatorEntry, OperatorStanding, RootEntry, RootStanding, SignedBundle, SignerEntry,
    SignerStanding, TrustBundle, bundle_from_text, bundle_text, bundles_after, newest_bundles,
};
pub use certificate::{
    BACKDATE_MAX, CertificateError, Fingerprint, IssuedCertificate, Issuer, LEAF_LIFETIME, LeafSubject, ROOT_LIFETIME,
    SIGNER_LIFETIME, peer_identity, peer_key, peer_labels, peer_node, public_key, root_certificate, signer_certificate,
};
pub use codes::{Code, Failure};
pub use enrolment::{ENROLMENT_CONTEXT, Enrolment, EnrolmentError, Grants, Roles, SignedEnrolment};
pub use founding::{Founding, NewMesh, make_mesh};
pub use ids::{CellName, MeshName, NodeId, ReplicaName, ServiceName, ZoneName};
pub use key_file::{KeyFile, KeyRole};
pub use keys::{KeyError, PublicKey, Signature, SigningKey};
pub use labels::{GRANTED_LABELS_MAX, GrantedLabels, LabelChanges, LabelError, granted_label};
pub use names::{any_node_name, dial_name, dialled_identity};
pub use protocol::Protocol;
pub use refusal::IdentityRefusal;
pub use revocation::Revocations;
pub use root_pin::{pinned_client_config, unpinned_client_config};
pub use spiffe::{SpiffeError, SpiffeId, Subject};
pub use token::{JoinToken, TokenId, TokenSecret};
pub use trust::{Side, Trust};
pub use validity::validity;
