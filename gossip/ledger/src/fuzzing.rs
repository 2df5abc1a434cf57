//! The parsers of this crate for tests and fuzzing. Compiled for those two alone.

use weft_identity::testing::{FuzzTarget, fuzz_message};
use weft_identity::wire::Kind;

use super::journal::SignedEntry;
use super::sync::{Answer, Question};
use super::{ChangeSet, Document, Hash, RevisionName, SignedChangeSet};

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] = &[
    ("ledger_questions", questions),
    ("ledger_answers", answers),
    ("change_sets", change_sets),
    ("revisions", revisions),
];

fn questions(bytes: &[u8]) {
    fuzz_message::<Question>(Kind::LedgerQuestion, bytes);
}

fn answers(bytes: &[u8]) {
    fuzz_message::<Answer>(Kind::LedgerAnswer, bytes);
}

fn change_sets(bytes: &[u8]) {
    fuzz_message::<SignedChangeSet>(Kind::ChangeSet, bytes);
    fuzz_message::<ChangeSet>(Kind::Signed, bytes);
    fuzz_message::<Document>(Kind::Document, bytes);
    fuzz_message::<SignedEntry>(Kind::JournalEntry, bytes);
}

fn revisions(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _name = text.parse::<RevisionName>();
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string().parse::<Hash>().ok(), Some(hash));
    }
}

#[test]
fn every_input_kept_passes() {
    weft_identity::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
