//! Who is who: keys, certificates, the trust bundle, enrolment, join tokens and the verifier.

mod spiffe;

pub use spiffe::{SpiffeError, SpiffeId, Subject};
