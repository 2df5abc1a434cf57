//! Which endpoint of a service takes a request: power of two choices over peak-EWMA cost, with weights, ejection, a panic
//! threshold and zone preference. Called once per try by the data path; allocates nothing.
//!
//! The two-choices rule is Mitzenmacher's (2001); the cost function is Finagle's peak-EWMA.

use std::sync::Arc;

use crate::endpoint::{Endpoint, EndpointTable};
use weft_gossip::ZoneName;

/// When fewer than this share (in percent) of the healthy endpoints are not ejected, ejection is no longer believed: it is more
/// likely that this node is cut off, and sending everything to the few that are left would take them down, too.
pub const PANIC_PERCENT: usize = 50;
/// Endpoints of the own zone are preferred while at least this share (in percent) of them can be used; below it, the rest of the
/// mesh takes its part.
pub const ZONE_PERCENT: usize = 50;

/// What a choice depends on beside the table.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Nanoseconds of the data path's clock, the same that ejections are written in.
    pub now_ns: u64,
    /// The caller's zone.
    pub zone: Option<&'a ZoneName>,
    /// Endpoints that this request was already tried on, and failed.
    pub tried: &'a [Arc<Endpoint>],
}

/// Endpoints that may be chosen, from the strictest view of the table to the most lenient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    /// Healthy, not ejected, own zone.
    Near,
    /// Healthy, not ejected.
    Able,
    /// Healthy; ejection is not believed.
    Healthy,
}

/// How many endpoints each view holds.
#[derive(Debug, Default)]
struct Tally {
    healthy: usize,
    able: usize,
    healthy_near: usize,
    able_near: usize,
    /// Not tried before.
    fresh_able: usize,
    fresh_near: usize,
    fresh_healthy: usize,
}

/// Chooses an endpoint, or none when no replica that was not tried is healthy. `random(n)` draws from `0..n`.
pub fn choose<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    if let [only] = &*table.endpoints {
        return (only.healthy && !was_tried(only, choice)).then_some(only);
    }
    let tally = tally(table, choice);
    let pick = view(&tally, choice)?;
    let first = draw(table, choice, pick, None, random)?;
    match draw(table, choice, pick, Some(first), random) {
        Some(second) if second.load.cost(choice.now_ns) < first.load.cost(choice.now_ns) => Some(second),
        _ => Some(first),
    }
}

/// The view to draw from; none when it would be empty.
fn view(tally: &Tally, choice: &Choice<'_>) -> Option<Pick> {
    let panic = tally.able * 100 < tally.healthy * PANIC_PERCENT;
    // Only first tries spread out in a panic: a retry that can go where the service is known to answer goes there.
    if panic && choice.tried.is_empty() && tally.fresh_healthy > 0 {
        return Some(Pick::Healthy);
    }
    let near_enough = tally.able_near * 100 >= tally.healthy_near * ZONE_PERCENT;
    if tally.fresh_near > 0 && near_enough {
        return Some(Pick::Near);
    }
    if tally.fresh_able > 0 {
        return Some(Pick::Able);
    }
    (tally.fresh_healthy > 0).then_some(Pick::Healthy)
}

fn tally(table: &EndpointTable, choice: &Choice<'_>) -> Tally {
    let mut tally = Tally::default();
    for endpoint in table.endpoints.iter().filter(|endpoint| endpoint.healthy) {
        let able = usize::from(!endpoint.load.is_ejected(choice.now_ns));
        let near = usize::from(is_near(endpoint, choice));
        let fresh = usize::from(!was_tried(endpoint, choice));
        tally.healthy += 1;
        tally.able += able;
        tally.healthy_near += near;
        tally.able_near += near & able;
        tally.fresh_healthy += fresh;
        tally.fresh_able += fresh & able;
        tally.fresh_near += fresh & able & near;
    }
    tally
}

/// Draws by weight from a view, leaving `besides` out.
fn draw<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    pick: Pick,
    besides: Option<&Arc<Endpoint>>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    let in_view = |endpoint: &&Arc<Endpoint>| {
        endpoint.healthy
            && !besides.is_some_and(|other| Arc::ptr_eq(other, endpoint))
            && (pick == Pick::Healthy || !endpoint.load.is_ejected(choice.now_ns))
            && (pick != Pick::Near || is_near(endpoint, choice))
            && !was_tried(endpoint, choice)
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

fn is_near(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    choice.zone.is_some() && endpoint.zone.as_ref() == choice.zone
}

fn was_tried(endpoint: &Endpoint, choice: &Choice<'_>) -> bool {
    choice.tried.iter().any(|tried| tried.node == endpoint.node && tried.generation == endpoint.generation)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::endpoint::{EndpointLoad, PeerAddr};
    use weft_gossip::catalog::Protocol;

    use super::*;

    fn endpoint(node: &str, zone: Option<&str>) -> Endpoint {
        Endpoint {
            node: node.parse().unwrap(),
            generation: 1,
            addr: PeerAddr("127.0.0.1:4510".parse().unwrap()),
            zone: zone.map(|zone| zone.parse().unwrap()),
            weight: 1,
            healthy: true,
            load: Arc::new(EndpointLoad::default()),
        }
    }

    fn table(endpoints: Vec<Endpoint>) -> EndpointTable {
        EndpointTable {
            service: "orders".parse().unwrap(),
            protocol: Protocol::Http,
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
        }
    }

    /// How often each endpoint is chosen in 3,000 draws.
    fn shares(table: &EndpointTable, choice: &Choice<'_>) -> Vec<usize> {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut counts = vec![0; table.endpoints.len()];
        for _ in 0..3_000 {
            let chosen = choose(table, choice, &mut random).unwrap();
            let at = table.endpoints.iter().position(|endpoint| Arc::ptr_eq(endpoint, chosen)).unwrap();
            counts[at] += 1;
        }
        counts
    }

    const NOW: Choice<'static> = Choice { now_ns: 1, zone: None, tried: &[] };

    #[test]
    fn an_ejected_endpoint_gets_nothing_and_a_panic_ends_that() {
        let three = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
        three.endpoints[0].load.eject(0);
        let counts = shares(&three, &NOW);
        assert!(counts[0] == 0 && counts[1] > 1_000 && counts[2] > 1_000, "{counts:?}");
        three.endpoints[1].load.eject(0);
        assert!(shares(&three, &NOW)[0] > 500, "one of three left: ejection is not believed");
        let tried = [Arc::clone(&three.endpoints[0])];
        let retry = Choice { tried: &tried, ..NOW };
        assert_eq!(shares(&three, &retry), [0, 0, 3_000], "a retry goes where the service answers");
    }

    #[test]
    fn the_slower_of_two_gets_less() {
        let two = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
        two.endpoints[0].load.observe(Duration::from_millis(50), 1);
        let counts = shares(&two, &NOW);
        assert_eq!(counts[0], 0, "it loses every pair");
    }

    #[test]
    fn an_unhealthy_or_tried_endpoint_is_not_chosen() {
        let mut sick = endpoint("a", None);
        sick.healthy = false;
        let two = table(vec![sick, endpoint("b", None)]);
        assert_eq!(shares(&two, &NOW), [0, 3_000]);
        let tried = [Arc::clone(&two.endpoints[1])];
        assert!(choose(&two, &Choice { tried: &tried, ..NOW }, &mut |_| 0).is_none());
        let one = table(vec![endpoint("b", None)]);
        assert!(choose(&one, &Choice { tried: &tried, ..NOW }, &mut |_| 0).is_none());
        assert!(choose(&table(Vec::new()), &NOW, &mut |_| 0).is_none());
    }

    #[test]
    fn the_own_zone_is_preferred_until_it_fails() {
        let near = "z1".parse().unwrap();
        let far = table(vec![
            endpoint("a", Some("z1")),
            endpoint("b", Some("z1")),
            endpoint("c", Some("z1")),
            endpoint("d", Some("z2")),
            endpoint("e", Some("z2")),
        ]);
        let choice = Choice { zone: Some(&near), ..NOW };
        let counts = shares(&far, &choice);
        assert_eq!((counts[3], counts[4]), (0, 0));
        far.endpoints[0].load.eject(0);
        far.endpoints[1].load.eject(0);
        let counts = shares(&far, &choice);
        assert!(counts[3] > 500 && counts[4] > 500, "two of three gone: the rest takes its part, {counts:?}");
    }

    #[test]
    fn a_weight_draws_its_share() {
        let mut heavy = endpoint("a", None);
        heavy.weight = 10;
        let mixed = table(vec![heavy, endpoint("b", None), endpoint("c", None), endpoint("d", None)]);
        let counts = shares(&mixed, &NOW);
        assert!(counts[0] > 2 * counts[1], "{counts:?}");
    }
}
