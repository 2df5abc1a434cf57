//! What libFuzzer calls. The parser is named by WEFT_FUZZ; `run` sets it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("WEFT_FUZZ").unwrap_or_default();
    let Some((_, target)) = weft_fuzz::targets().into_iter().find(|(known, _)| *known == name) else {
        eprintln!("WEFT_FUZZ names no parser: {name:?}");
        std::process::exit(2);
    };
    target
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
