//! Which endpoints of a table a choice is made among. Called by [`super::choose`].

use std::sync::Arc;

use super::{Choice, Nowhere, Way};
use crate::endpoint::{Endpoint, EndpointTable, Presence};
use crate::strict::Percent;

/// Endpoints that may be chosen, from the strictest view of the table to the most lenient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pick {
    /// Healthy, not ejected, own zone.
    Near,
    /// Healthy, not ejected.
    Able,
    /// The same, with those that are overloaded where a choice does not go by cost.
    Strained,
    /// Healthy; ejection is not believed.
    Healthy,
}

impl Pick {
    /// All, in the order of their numbers.
    const ALL: [Self; 4] = [Self::Near, Self::Able, Self::Strained, Self::Healthy];
}

/// From so many endpoints on a view is remembered for a short while; to look at fewer takes no longer than a microsecond.
const MANY: usize = 32;

/// The endpoints to choose among.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pick: Pick,
    /// Endpoints whose share by slow start is larger than this are in view; drawn once a choice, so that each is as often.
    gate: u64,
    /// Whether it was true of the table a short while ago, and is not certain.
    pub(super) is_remembered: bool,
}

/// How many endpoints each view holds.
#[derive(Debug, Default)]
struct Tally {
    healthy: usize,
    able: usize,
    /// Of the caller's zone, healthy or not.
    near: usize,
    able_near: usize,
    /// Not tried before, and with room.
    fresh_able: usize,
    fresh_near: usize,
    fresh_strained: usize,
    fresh_healthy: usize,
    /// Not tried before, and without room.
    full: usize,
    full_able: usize,
}

/// The one endpoint of a table: ejected or not, there is no other.
pub(super) fn only<'t>(only: &'t Arc<Endpoint>, choice: &Choice<'_>) -> Result<&'t Arc<Endpoint>, Nowhere> {
    if !only.healthy || !is_in_subset(only, choice) || was_tried(only, choice) {
        return Err(Nowhere::NoReplica);
    }
    if only.load.is_full(choice.replica_limit) { Err(Nowhere::Full) } else { Ok(only) }
}

impl View {
    /// The view for a choice, which is not empty.
    pub(super) fn of(
        table: &EndpointTable,
        choice: &Choice<'_>,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Result<Self, Nowhere> {
        let gate = choice.slow_start.map_or(0, |_| random(1_000));
        let (gate, pick) = match pick(&tally(table, choice, gate), choice) {
            Ok(pick) if pick < Pick::Healthy => (gate, pick),
            // Slow start holds nothing back from calls that would fail or go where an ejected endpoint is.
            _ => (0, pick(&tally(table, choice, 0), choice)?),
        };
        if is_common(table, choice) {
            table.in_view.remember(pick as u8, choice.now_ns);
        }
        Ok(Self { pick, gate, is_remembered: false })
    }

    /// The view of another call a short while ago, where they have it in common.
    pub(super) fn remembered(
        table: &EndpointTable,
        choice: &Choice<'_>,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Option<Self> {
        if !is_common(table, choice) {
            return None;
        }
        let pick = Pick::ALL.get(usize::from(table.in_view.recall(choice.now_ns)?))?;
        let gate = choice.slow_start.map_or(0, |_| random(1_000));
        Some(Self { pick: *pick, gate, is_remembered: true })
    }

    /// Whether an endpoint is in view.
    pub(super) fn holds(self, endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
        endpoint.healthy
            && (self.pick == Pick::Healthy || may_be_asked(endpoint, choice))
            && (self.pick >= Pick::Strained || !is_spared(endpoint, choice))
            && (self.pick != Pick::Near || is_near(endpoint, choice))
            && is_in_subset(endpoint, choice)
            && !was_tried(endpoint, choice)
            && !endpoint.load.is_full(choice.replica_limit)
            && is_through(endpoint, choice, self.gate)
    }
}

/// Whether a choice sees what others see, and looking at all endpoints takes so long that the view is remembered.
fn is_common(table: &EndpointTable, choice: &Choice<'_>) -> bool {
    let sees_all = choice.tried.is_empty() && choice.subset.version.is_none() && choice.subset.labels.is_empty();
    sees_all && table.endpoints.len() >= MANY
}

fn pick(tally: &Tally, choice: &Choice<'_>) -> Result<Pick, Nowhere> {
    let panic = !is_within(tally.healthy - tally.able, tally.healthy, choice.ejected_max);
    // Only first tries spread out in a panic: a retry that can go where the service is known to answer goes there.
    if panic && choice.tried.is_empty() && tally.fresh_healthy > 0 {
        return Ok(Pick::Healthy);
    }
    let near_enough = is_at_least(tally.able_near, tally.near, choice.overflow);
    if tally.fresh_near > 0 && near_enough {
        return Ok(Pick::Near);
    }
    if tally.fresh_able > 0 {
        return Ok(Pick::Able);
    }
    if tally.fresh_strained > 0 {
        return Ok(Pick::Strained);
    }
    match tally {
        // What is ejected is no place for what finds no room elsewhere.
        Tally { full_able: 1.., .. } => Err(Nowhere::Full),
        Tally { fresh_healthy: 1.., .. } => Ok(Pick::Healthy),
        Tally { full: 1.., .. } => Err(Nowhere::Full),
        _ => Err(Nowhere::NoReplica),
    }
}

fn tally(table: &EndpointTable, choice: &Choice<'_>, gate: u64) -> Tally {
    let mut tally = Tally::default();
    for endpoint in table.endpoints.iter().filter(|endpoint| is_in_subset(endpoint, choice)) {
        let near = usize::from(is_near(endpoint, choice));
        tally.near += near;
        if !endpoint.healthy {
            continue;
        }
        // An endpoint whose ejection is over counts as able until it is known not to be; whether it may be asked is another question.
        let able = usize::from(!endpoint.load.is_ejected(choice.now_ns));
        tally.healthy += 1;
        tally.able += able;
        tally.able_near += near & able;
        if was_tried(endpoint, choice) {
            continue;
        }
        let full = endpoint.load.is_full(choice.replica_limit);
        let may_be_asked = usize::from(may_be_asked(endpoint, choice));
        tally.full += usize::from(full);
        tally.full_able += usize::from(full) & may_be_asked;
        let fresh = usize::from(!full && is_through(endpoint, choice, gate));
        let asked = fresh & may_be_asked;
        tally.fresh_healthy += fresh;
        let spared = usize::from(is_spared(endpoint, choice));
        tally.fresh_strained += asked;
        tally.fresh_able += asked & !spared;
        tally.fresh_near += asked & !spared & near;
    }
    tally
}

/// Whether ejection lets an endpoint be asked. A retry does not find out whether one is back.
fn may_be_asked(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    match endpoint.load.presence(choice.now_ns) {
        Presence::In => true,
        Presence::HalfOpen => choice.tried.is_empty(),
        Presence::Out | Presence::Probed => false,
    }
}

/// Whether an endpoint is passed by because it said that it is at its limit. Where the choice goes by cost, it costs more.
fn is_spared(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    choice.way != Way::PowerOfTwo && endpoint.load.is_overloaded(choice.now_ns)
}

fn is_through(endpoint: &Endpoint, choice: &Choice<'_>, gate: u64) -> bool {
    gate == 0 || endpoint.load.share(choice.slow_start, choice.now_ns) > gate
}

fn is_in_subset(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    endpoint.is_of(choice.subset.version, choice.subset.labels)
}

fn is_near(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    choice.zone.is_some() && endpoint.zone.as_ref() == choice.zone
}

fn was_tried(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    choice.tried.iter().any(|tried| tried.is_same(endpoint))
}

/// Whether `part` is at most this share of `whole`.
fn is_within(part: usize, whole: usize, share: Percent) -> bool {
    part as u64 * u64::from(Percent::ALL.millionths()) <= whole as u64 * u64::from(share.millionths())
}

/// Whether `part` is at least this share of `whole`.
fn is_at_least(part: usize, whole: usize, share: Percent) -> bool {
    part as u64 * u64::from(Percent::ALL.millionths()) >= whole as u64 * u64::from(share.millionths())
}
