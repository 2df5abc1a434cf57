//! The parsers of this crate for tests and fuzzing. Compiled for those two alone.

use weft_identity::testing::{FuzzTarget, fuzz_message};
use weft_identity::wire::Kind;

use crate::catalog::{NodeRecord, decode_value};
use crate::enrol::{CertifyReply, CertifyRequest, JoinReply, JoinRequest};
use crate::membership;

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] =
    &[("gossip_messages", membership::fuzz_message), ("records", records), ("enrolment_messages", enrolment_messages)];

fn records(bytes: &[u8]) {
    fuzz_message::<NodeRecord>(Kind::Signed, bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _record = decode_value(text);
    }
}

fn enrolment_messages(bytes: &[u8]) {
    fuzz_message::<JoinRequest>(Kind::SignRequest, bytes);
    fuzz_message::<CertifyRequest>(Kind::SignRequest, bytes);
    fuzz_message::<JoinReply>(Kind::SignReply, bytes);
    fuzz_message::<CertifyReply>(Kind::SignReply, bytes);
}

#[test]
fn every_input_kept_passes() {
    weft_identity::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
