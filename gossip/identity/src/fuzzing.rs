//! The parsers of this crate for tests and fuzzing: each takes any bytes, and holds what it makes of them against what must be true.
//! Compiled for those two alone.

#![allow(clippy::unwrap_used, reason = "what does not hold must end the run")]

use super::{
    GrantedLabels, JoinToken, SignedBundle, SignedEnrolment, SpiffeId, bundle_from_text, bundle_text, granted_label,
};
use crate::testing::{FuzzTarget, fuzz_message};
use crate::wire::Kind;

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] = &[
    ("spiffe_ids", spiffe_ids),
    ("names", names),
    ("tokens", tokens),
    ("bundles", bundles),
    ("enrolments", enrolments),
];

fn spiffe_ids(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text, "one id has one text");
    }
}

fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((name, value)) = granted_label(text) {
        assert!(!name.is_empty() && !value.is_empty() && text.contains('='));
    }
    if let Ok(labels) = text.parse::<GrantedLabels>() {
        assert_eq!(labels.to_string().parse::<GrantedLabels>().unwrap(), labels);
    }
    if let Ok(name) = text.parse::<super::ServiceName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    }
}

fn tokens(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap().to_string(), token.to_string());
    }
}

fn bundles(bytes: &[u8]) {
    fuzz_message::<SignedBundle>(Kind::State, bytes);
    fuzz_message::<super::TrustBundle>(Kind::Signed, bytes);
    if let Some(bundle) = std::str::from_utf8(bytes).ok().and_then(bundle_from_text) {
        assert!(bundle_from_text(&bundle_text(&bundle).unwrap()).is_some());
    }
}

fn enrolments(bytes: &[u8]) {
    fuzz_message::<SignedEnrolment>(Kind::State, bytes);
    fuzz_message::<super::Enrolment>(Kind::Signed, bytes);
}

#[test]
fn every_input_kept_passes() {
    crate::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
