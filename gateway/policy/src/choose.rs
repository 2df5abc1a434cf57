//! Which endpoint of a service takes a request: power of two choices over peak-EWMA cost, in turn, or by a hash; with weights,
//! ejection, a panic threshold, slow start, limits by replica, zone preference and subsets by version and label. Called once per try by
//! the data path; writes nothing, allocates nothing.
//!
//! The two-choices rule is Mitzenmacher's (2001); the cost function is Finagle's peak-EWMA.

mod draw;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_identity::ZoneName;

use crate::endpoint::{Endpoint, EndpointTable, Presence};
use crate::strict::Percent;
use crate::traffic::{Preference, ReplicaLimit, Traffic};

use view::View;

pub use draw::hash_of;

/// What a choice depends on beside the table.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Nanoseconds of the data path's clock, the same that ejections are written in.
    pub now_ns: u64,
    /// The caller's zone.
    pub zone: Option<&'a ZoneName>,
    /// Endpoints that this request was already tried on, and failed.
    pub tried: &'a [Arc<Endpoint>],
    /// Whether one of them may be chosen again.
    pub again: Again,
    /// Which endpoints may be chosen at all.
    pub subset: Subset<'a>,
    /// How one of them is chosen.
    pub way: Way,
    /// When a larger share of the healthy endpoints than this is ejected, ejection is no longer believed: it is more likely that this
    /// node is cut off, and sending everything to the few that are left would take them down, too.
    pub ejected_max: Percent,
    /// Endpoints of the own zone are preferred while at least this share of them can be used; below it, the rest of the mesh takes its
    /// part.
    pub overflow: Percent,
    /// For how long an endpoint that is new or came back gets less than its share.
    pub slow_start: Option<Duration>,
    /// How many tries may wait at one endpoint.
    pub replica_limit: ReplicaLimit,
}

impl<'a> Choice<'a> {
    /// A choice as a service's documents want it; from every endpoint, by `way`.
    pub fn new(now_ns: u64, zone: Option<&'a ZoneName>, traffic: &Traffic, way: Way) -> Self {
        Self {
            now_ns,
            zone: zone.filter(|_| traffic.zone.preference == Preference::Near),
            tried: &[],
            again: Again::Never,
            subset: Subset::ALL,
            way,
            ejected_max: traffic.outlier.ejected_max,
            overflow: traffic.zone.overflow,
            slow_start: traffic.slow_start,
            replica_limit: traffic.replica_limit,
        }
    }
}

/// Some endpoints of a service.
#[derive(Debug, Clone, Copy)]
pub struct Subset<'a> {
    /// Only of this version.
    pub version: Option<&'a str>,
    /// Only with all of these labels.
    pub labels: &'a BTreeMap<String, String>,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Subset<'_> {
    /// Every endpoint.
    pub const ALL: Subset<'static> = Subset { version: None, labels: &NO_LABELS };
}

/// How one of several endpoints is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The less loaded of two drawn by chance.
    PowerOfTwo,
    /// In turn; the number grows by one a request.
    Turn(u64),
    /// By the hash of something of the request: equal hashes meet at one endpoint.
    Hash(u64),
}

/// Whether an endpoint may be chosen that this request was tried on already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may not.
    Never,
    /// Where there is no other.
    WhereNoneIsLeft,
}

/// Why no endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nowhere {
    /// No replica that was not tried is healthy.
    NoReplica,
    /// There are such replicas, and as many tries wait at each as its latency bears.
    Full,
}

/// Chooses an endpoint. `random(n)` draws from `0..n`.
pub fn choose<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Result<&'t Arc<Endpoint>, Nowhere> {
    match chosen(table, choice, random) {
        Err(_) if choice.again == Again::WhereNoneIsLeft && !choice.tried.is_empty() => {
            chosen(table, &Choice { tried: &[], ..*choice }, random)
        }
        chosen => chosen,
    }
}

fn chosen<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Result<&'t Arc<Endpoint>, Nowhere> {
    if let [only] = &*table.endpoints {
        return view::only(only, choice);
    }
    if let Some(view) = View::remembered(table, choice, random)
        && let Some(endpoint) = chosen_in(view, table, choice, random)
    {
        return Ok(endpoint);
    }
    let view = View::of(table, choice, random)?;
    chosen_in(view, table, choice, random).ok_or(Nowhere::NoReplica)
}

fn chosen_in<'t>(
    view: View,
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    match choice.way {
        Way::PowerOfTwo => better_of_two(table, choice, view, random),
        Way::Turn(number) => draw::in_turn(table, choice, view, number),
        Way::Hash(hash) => draw::highest(table, choice, view, hash),
    }
}

/// The cheaper of two that are drawn. One that was ejected and waits to be tried comes first: the sooner it is known to be back, the better,
/// and nobody else is sent there meanwhile.
fn better_of_two<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    view: View,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    let first = draw::by_chance(table, choice, view, None, random)?;
    let Some(second) = draw::by_chance(table, choice, view, Some(first), random) else { return Some(first) };
    let is_waiting = |endpoint: &Endpoint| endpoint.load.presence(choice.now_ns) == Presence::HalfOpen;
    if is_waiting(first) {
        return Some(first);
    }
    let is_better = is_waiting(second) || second.load.cost(choice.now_ns) < first.load.cost(choice.now_ns);
    Some(if is_better { second } else { first })
}

#[cfg(test)]
mod tests;
