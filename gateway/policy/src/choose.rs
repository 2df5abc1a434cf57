//! Which endpoint of a service takes a request: power of two choices over peak-EWMA cost, in turn, or by a hash; with weights,
//! ejection, a panic threshold, zone preference and subsets by version and label. Called once per try by the data path; allocates
//! nothing.
//!
//! The two-choices rule is Mitzenmacher's (2001); the cost function is Finagle's peak-EWMA. The choice by hash is weighted rendezvous
//! hashing (Thaler and Ravishankar, 1998; Resch, 2015): an endpoint that comes, goes or is ejected moves only its own share of the
//! keys, without a ring that would have to be built.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_identity::ZoneName;

use crate::endpoint::{Endpoint, EndpointTable};
use crate::strict::Percent;
use crate::traffic::{Preference, Traffic};

/// What a choice depends on beside the table.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Nanoseconds of the data path's clock, the same that ejections are written in.
    pub now_ns: u64,
    /// The caller's zone.
    pub zone: Option<&'a ZoneName>,
    /// Endpoints that this request was already tried on, and failed.
    pub tried: &'a [Arc<Endpoint>],
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
}

impl<'a> Choice<'a> {
    /// A choice as a service's documents want it; from every endpoint, by `way`.
    pub fn new(now_ns: u64, zone: Option<&'a ZoneName>, traffic: &Traffic, way: Way) -> Self {
        Self {
            now_ns,
            zone: zone.filter(|_| traffic.zone.preference == Preference::Near),
            tried: &[],
            subset: Subset::ALL,
            way,
            ejected_max: traffic.outlier.ejected_max,
            overflow: traffic.zone.overflow,
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
    /// Of the caller's zone, healthy or not.
    near: usize,
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
        return (only.healthy && is_in_subset(only, choice) && !was_tried(only, choice)).then_some(only);
    }
    let tally = tally(table, choice);
    let pick = view(&tally, choice)?;
    match choice.way {
        Way::PowerOfTwo => {}
        Way::Turn(number) => return in_turn(table, choice, pick, number),
        Way::Hash(hash) => return highest(table, choice, pick, hash),
    }
    let first = draw(table, choice, pick, None, random)?;
    match draw(table, choice, pick, Some(first), random) {
        Some(second) if second.load.cost(choice.now_ns) < first.load.cost(choice.now_ns) => Some(second),
        _ => Some(first),
    }
}

/// The view to draw from; none when it would be empty.
fn view(tally: &Tally, choice: &Choice<'_>) -> Option<Pick> {
    let panic = !is_within(tally.healthy - tally.able, tally.healthy, choice.ejected_max);
    // Only first tries spread out in a panic: a retry that can go where the service is known to answer goes there.
    if panic && choice.tried.is_empty() && tally.fresh_healthy > 0 {
        return Some(Pick::Healthy);
    }
    let near_enough = is_at_least(tally.able_near, tally.near, choice.overflow);
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
    for endpoint in table.endpoints.iter().filter(|endpoint| is_in_subset(endpoint, choice)) {
        let near = usize::from(is_near(endpoint, choice));
        tally.near += near;
        if !endpoint.healthy {
            continue;
        }
        let able = usize::from(!endpoint.load.is_ejected(choice.now_ns));
        let fresh = usize::from(!was_tried(endpoint, choice));
        tally.healthy += 1;
        tally.able += able;
        tally.able_near += near & able;
        tally.fresh_healthy += fresh;
        tally.fresh_able += fresh & able;
        tally.fresh_near += fresh & able & near;
    }
    tally
}

/// The endpoint whose turn it is. Weights are divided by what they have in common, so that equal ones take turns one by one. Unequal
/// ones are stepped through by a number that is prime to their sum and near its golden section, which spreads the turns of each.
fn in_turn<'t>(table: &'t EndpointTable, choice: &Choice<'_>, pick: Pick, number: u64) -> Option<&'t Arc<Endpoint>> {
    let in_view = table.endpoints.iter().filter(|endpoint| is_in_view(endpoint, choice, pick));
    let common = in_view.map(|endpoint| u64::from(endpoint.weight.max(1))).fold(0, common_divisor).max(1);
    draw(table, choice, pick, None, &mut |total| {
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

/// Draws by weight from a view, leaving `besides` out.
fn draw<'t>(
    table: &'t EndpointTable,
    choice: &Choice<'_>,
    pick: Pick,
    besides: Option<&Arc<Endpoint>>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'t Arc<Endpoint>> {
    let in_view = |endpoint: &&Arc<Endpoint>| {
        is_in_view(endpoint, choice, pick) && !besides.is_some_and(|other| Arc::ptr_eq(other, endpoint))
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

fn is_in_view(endpoint: &Endpoint, choice: &Choice<'_>, pick: Pick) -> bool {
    endpoint.healthy
        && (pick == Pick::Healthy || !endpoint.load.is_ejected(choice.now_ns))
        && (pick != Pick::Near || is_near(endpoint, choice))
        && is_in_subset(endpoint, choice)
        && !was_tried(endpoint, choice)
}

/// The endpoint of a view with the highest score for a hash.
fn highest<'t>(table: &'t EndpointTable, choice: &Choice<'_>, pick: Pick, hash: u64) -> Option<&'t Arc<Endpoint>> {
    let score = |endpoint: &Endpoint| {
        let own = hash_of(endpoint.node.as_str().as_bytes()) ^ mixed(hash_of(endpoint.replica.as_str().as_bytes()));
        let mixed = mixed(hash ^ own);
        // From (0, 1]: the logarithm is finite and at most 0.
        let share = ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        share.ln() / f64::from(endpoint.weight.max(1))
    };
    let in_view = table.endpoints.iter().filter(|endpoint| is_in_view(endpoint, choice, pick));
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

/// Whether `part` is at most this share of `whole`.
fn is_within(part: usize, whole: usize, share: Percent) -> bool {
    part as u64 * u64::from(Percent::ALL.millionths()) <= whole as u64 * u64::from(share.millionths())
}

/// Whether `part` is at least this share of `whole`.
fn is_at_least(part: usize, whole: usize, share: Percent) -> bool {
    part as u64 * u64::from(Percent::ALL.millionths()) >= whole as u64 * u64::from(share.millionths())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::endpoint::{EndpointLoad, PeerAddr};
    use crate::traffic::Outlier;
    use weft_identity::Protocol;

    use super::*;

    fn endpoint(node: &str, zone: Option<&str>) -> Endpoint {
        Endpoint {
            node: node.parse().unwrap(),
            replica: "orders".parse().unwrap(),
            selector: None,
            generation: 1,
            addr: PeerAddr("127.0.0.1:4510".parse().unwrap()),
            zone: zone.map(|zone| zone.parse().unwrap()),
            version: String::new(),
            labels: BTreeMap::new(),
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

    const NOW: Choice<'static> = Choice {
        now_ns: 1,
        zone: None,
        tried: &[],
        subset: Subset::ALL,
        way: Way::PowerOfTwo,
        ejected_max: Percent::whole(50),
        overflow: Percent::whole(50),
    };

    fn eject(endpoint: &Endpoint) {
        assert!(endpoint.load.fail(0, &Outlier::default()));
    }

    #[test]
    fn only_endpoints_of_the_version_and_labels_are_chosen() {
        let mut canary = endpoint("a", None);
        canary.version = "v2".to_owned();
        canary.labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let two = table(vec![canary, endpoint("b", None)]);
        let version = Subset { version: Some("v2"), ..Subset::ALL };
        assert_eq!(shares(&two, &Choice { subset: version, ..NOW }), [3_000, 0]);
        let labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let labelled = Subset { version: None, labels: &labels };
        assert_eq!(shares(&two, &Choice { subset: labelled, ..NOW }), [3_000, 0]);
        let nobody = Subset { version: Some("v3"), ..Subset::ALL };
        assert!(choose(&two, &Choice { subset: nobody, ..NOW }, &mut |_| 0).is_none());
        let alone = table(vec![endpoint("b", None)]);
        assert!(choose(&alone, &Choice { subset: version, ..NOW }, &mut |_| 0).is_none());
    }

    #[test]
    fn turns_go_round_by_weight() {
        let mut heavy = endpoint("a", None);
        heavy.weight = 2;
        let mixed = table(vec![heavy, endpoint("b", None)]);
        let chosen: Vec<_> = (0..6)
            .map(|turn| choose(&mixed, &Choice { way: Way::Turn(turn), ..NOW }, &mut |_| 0).unwrap().node.to_string())
            .collect();
        assert_eq!(chosen, ["a", "a", "b", "a", "a", "b"]);
    }

    fn of_weights(weights: &[u32]) -> EndpointTable {
        let weighted = |(at, weight): (usize, &u32)| {
            let name = char::from(b'a' + u8::try_from(at).unwrap());
            Endpoint { weight: *weight, ..endpoint(&name.to_string(), None) }
        };
        table(weights.iter().enumerate().map(weighted).collect())
    }

    fn turns(table: &EndpointTable, count: u64) -> String {
        let turn = |turn| choose(table, &Choice { way: Way::Turn(turn), ..NOW }, &mut |_| 0).unwrap().node.to_string();
        (0..count).map(turn).collect()
    }

    #[test]
    fn equal_weights_take_turns_one_by_one_however_large_they_are() {
        assert_eq!(turns(&of_weights(&[100, 100]), 6), "ababab");
        for weight in [1, 100, 1_000] {
            let five = turns(&of_weights(&[weight; 5]), 10);
            let round: std::collections::BTreeSet<_> = five[..5].chars().collect();
            assert!(round.len() == 5 && five[..5] == five[5..], "{five}");
        }
    }

    #[test]
    fn unequal_weights_are_spread() {
        let order = turns(&of_weights(&[100, 99, 50]), 249);
        let count = |node| order.chars().filter(|other| *other == node).count();
        assert_eq!((count('a'), count('b'), count('c')), (100, 99, 50));
        assert!(!order.contains("aaa") && !order.contains("bbb") && !order.contains("cc"), "{order}");
    }

    /// Where each of 3,000 keys goes.
    fn homes(table: &EndpointTable) -> Vec<String> {
        let home = |key: u64| {
            let choice = Choice { way: Way::Hash(hash_of(&key.to_be_bytes())), ..NOW };
            choose(table, &choice, &mut |_| 0).unwrap().node.to_string()
        };
        (0..3_000).map(home).collect()
    }

    #[test]
    fn a_hash_keeps_its_endpoint_and_an_ejection_moves_only_its_own_keys() {
        let mut heavy = endpoint("c", None);
        heavy.weight = 2;
        let four = table(vec![endpoint("a", None), endpoint("b", None), heavy, endpoint("d", None)]);
        let before = homes(&four);
        let count = |homes: &[String], node: &str| homes.iter().filter(|home| *home == node).count();
        assert!((500..700).contains(&count(&before, "a")), "{}", count(&before, "a"));
        assert!((1_050..1_350).contains(&count(&before, "c")), "{}", count(&before, "c"));
        eject(&four.endpoints[0]);
        let after = homes(&four);
        assert_eq!(count(&after, "a"), 0);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(moved, count(&before, "a"));
    }

    #[test]
    fn the_documents_say_when_ejection_is_not_believed() {
        let three = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
        eject(&three.endpoints[0]);
        eject(&three.endpoints[1]);
        assert!(shares(&three, &NOW)[0] > 0);
        assert_eq!(shares(&three, &Choice { ejected_max: Percent::whole(80), ..NOW }), [0, 0, 3_000]);
    }

    #[test]
    fn an_ejected_endpoint_gets_nothing_and_a_panic_ends_that() {
        let three = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
        eject(&three.endpoints[0]);
        let counts = shares(&three, &NOW);
        assert!(counts[0] == 0 && counts[1] > 1_000 && counts[2] > 1_000, "{counts:?}");
        eject(&three.endpoints[1]);
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
        eject(&far.endpoints[0]);
        eject(&far.endpoints[1]);
        let counts = shares(&far, &choice);
        assert!(counts[3] > 500 && counts[4] > 500, "two of three gone: the rest takes its part, {counts:?}");
    }

    #[test]
    fn an_unhealthy_replica_of_the_own_zone_counts_as_one_that_cannot_serve() {
        let near = "z1".parse().unwrap();
        let sick = || Endpoint { healthy: false, ..endpoint("a", Some("z1")) };
        let zones = |first, second| table(vec![first, second, endpoint("c", Some("z1")), endpoint("d", Some("z2"))]);
        let choice = Choice { zone: Some(&near), ..NOW };
        assert_eq!(shares(&zones(endpoint("a", Some("z1")), sick()), &choice)[3], 0, "two of three can");
        assert!(shares(&zones(sick(), sick()), &choice)[3] > 1_000, "one of three can");
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
