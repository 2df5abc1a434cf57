//! The parsers of this crate for tests and fuzzing. Compiled for those two alone.

use weft_identity::testing::FuzzTarget;

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] = &[("node_configuration", configuration)];

fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(mistakes) = crate::config::parse(text, "node.toml") {
        assert!(!mistakes.is_empty());
    }
}

#[test]
fn every_input_kept_passes() {
    weft_identity::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
