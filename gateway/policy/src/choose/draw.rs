//! How one of the endpoints in view is drawn: by weight, in turn, or by a hash. Called by [`super::choose`].
//!
//! The choice by hash is weighted rendezvous hashing (Thaler and Ravishankar, 1998; Resch, 2015): an endpoint that comes, goes or is
//! ejected moves only its own share of the keys, without a ring that would have to be built.

use std::sync::Arc;

use super::Choice;
use super::view::View;
use crate::endpoint::{Endpoint, EndpointTable};

/// Draws from a whole table before its view is looked at.
const DRAWS_MAX: usize = 16;

/// The endpoint whose turn it is. Weights are divided by what they have in common, so that equal ones take turns one by one. Unequal
/// ones are stepped through by a number that is prime to their sum and near its golden section, which spreads the turns of each.
pub(super) fn in_turn<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    view: View,
    number: u64,
) -> Option<&'t Arc<Endpoint>> {
    let in_view = table.endpoints.iter().filter(|endpoint| view.holds(endpoint, choice));
    let common = in_view.map(|endpoint| u64::from(endpoint.weight.max(1))).fold(0, common_divisor).max(1);
    one(table, choice, view, None, &mut |total| {
        let round = (total / common).max(1);
        number % round * step_through(round) % round * common
    })
}

/// A number prime to `round`, near 0.618 of it.
fn step_through(round: u64) -> u64 {
    let near = (round * 618 / 1_000).max(1);
    (near..=round).find(|step| common_divisor(*step, round) == 1).unwrap_or(1)
}

/// The greatest common divisor (Euclid); of 0 and a number it is the number.
fn common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Draws by weight from a view, leaving `besides` out. Where the table is large, some draws from all of it come first, of which one is in
/// view nearly always.
pub(super) fn by_chance<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    view: View,
    besides: Option<&Arc<Endpoint>>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    let count = if view.is_remembered { DRAWS_MAX } else { 0 };
    for _ in 0..count {
        let at = usize::try_from(random(table.endpoints.len() as u64)).unwrap_or(usize::MAX);
        let endpoint = table.endpoints.get(at)?;
        let weight = u64::from(endpoint.weight.max(1));
        let is_taken = weight == u64::from(table.weight_max) || random(u64::from(table.weight_max)) < weight;
        let is_other = !besides.is_some_and(|other| Arc::ptr_eq(other, endpoint));
        if is_taken && is_other && view.holds(endpoint, choice) {
            return Some(endpoint);
        }
    }
    one(table, choice, view, besides, random)
}

/// Draws by weight from a view, leaving `besides` out.
fn one<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    view: View,
    besides: Option<&Arc<Endpoint>>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    let in_view = |endpoint: &&Arc<Endpoint>| {
        view.holds(endpoint, choice) && !besides.is_some_and(|other| Arc::ptr_eq(other, endpoint))
    };
    let total: u64 = table.endpoints.iter().filter(in_view).map(|endpoint| u64::from(endpoint.weight.max(1))).sum();
    if total == 0 {
        return None;
    }
    let mut left = random(total);
    for endpoint in table.endpoints.iter().filter(in_view) {
        let weight = u64::from(endpoint.weight.max(1));
        if left < weight {
            return Some(endpoint);
        }
        left -= weight;
    }
    // Another worker ejected an endpoint between the two passes.
    table.endpoints.iter().find(in_view)
}

/// The endpoint of a view with the highest score for a hash.
pub(super) fn highest<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    view: View,
    hash: u64,
) -> Option<&'t Arc<Endpoint>> {
    let score = |endpoint: &Endpoint| {
        let own = hash_of(endpoint.node.as_str().as_bytes()) ^ mixed(hash_of(endpoint.replica.as_str().as_bytes()));
        let mixed = mixed(hash ^ own);
        // From (0, 1]: the logarithm is finite and at most 0.
        let share = ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        share.ln() / f64::from(endpoint.weight.max(1))
    };
    let in_view = table.endpoints.iter().filter(|endpoint| view.holds(endpoint, choice));
    in_view.map(|endpoint| (score(endpoint), endpoint)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, endpoint)| endpoint)
}

/// The hash of a key for [`Way::Hash`]: the same on every node and in every version (FNV-1a, 64 bits).
pub fn hash_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads a hash over all bits (the finaliser of SplitMix64, Steele et al. 2014).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
