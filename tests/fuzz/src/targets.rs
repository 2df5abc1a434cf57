//! Every parser by its name.

use weft_identity::testing::FuzzTarget;

use crate::beside_hyper;

/// The parsers of all crates, and requests of HTTP/1 as hyper reads them.
pub fn targets() -> Vec<FuzzTarget> {
    let crates = [
        weft_identity::fuzzing::TARGETS,
        weft_ledger::fuzzing::TARGETS,
        weft_gossip::fuzzing::TARGETS,
        weft_policy::fuzzing::TARGETS,
        weft_world::fuzzing::TARGETS,
        weft_proxy::fuzzing::TARGETS,
        &[("http1_beside_hyper", beside_hyper::compare as fn(&[u8]))],
    ];
    crates.concat()
}
