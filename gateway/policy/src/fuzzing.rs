//! The parsers of this crate for tests and fuzzing. Compiled for those two alone.

#![allow(clippy::unwrap_used, reason = "what does not hold must end the run")]

use weft_identity::testing::FuzzTarget;

use crate::authority::{canonical_host, service_of};
use crate::fields::members;
use crate::path::{NormalPath, Pattern};
use crate::strict::{parse_span, span_text};
use crate::{compile, grpc, read_file};

/// Each with its name, which is its corpus' folder.
pub const TARGETS: &[FuzzTarget] =
    &[("documents", documents), ("paths", paths), ("hosts", hosts), ("field_values", field_values)];

fn documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(sources) = read_file("fuzz.toml", text) {
        let sources: Vec<_> = sources.into_iter().map(|source| (source, 1)).collect();
        let first = compile(&sources).map(|_| ());
        assert_eq!(first.is_ok(), compile(&sources).is_ok(), "the same documents compile or do not");
    }
}

fn paths(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(normal) = NormalPath::of(text) {
        let once = normal.as_str().to_owned();
        let twice = NormalPath::of(&once).unwrap();
        assert_eq!(twice.as_str(), once, "a normal form is its own");
        assert!(once.starts_with('/') && !once.split('/').any(|part| part == "." || part == ".."), "{once:?}");
        let forward = normal.forward().to_owned();
        assert_eq!(NormalPath::of(&forward).unwrap().as_str(), once, "what travels on means the same");
    }
    if let Some((pattern, path)) = text.split_once('\n')
        && let (Ok(pattern), Ok(path)) = (Pattern::template(pattern), NormalPath::of(path))
    {
        let _taken = path.readings().filter(|reading| pattern.takes(reading)).count();
    }
}

fn hosts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let once = canonical_host(text).into_owned();
    // What names no service is compared with nothing.
    if let Ok(service) = service_of(text) {
        let full = format!("{}.weft.internal", service.to_ascii_lowercase());
        assert_eq!(once, full, "rules see the service that is called");
        assert_eq!(canonical_host(&once), once, "a canonical host is its own");
    }
}

fn field_values(bytes: &[u8]) {
    members(bytes).for_each(|member| assert!(member.len() <= bytes.len()));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _timeout = grpc::parse_timeout(text);
    if let Some(span) = parse_span(text) {
        assert_eq!(parse_span(&span_text(span)), Some(span), "{text:?}");
    }
}

#[test]
fn every_input_kept_passes() {
    weft_identity::testing::replay(env!("CARGO_MANIFEST_DIR"), TARGETS);
}
