//! Who is chosen, of which endpoints.

use std::rc::Rc;

use crate::endpoint::review;
use crate::outcome::{Outcome, Refused, Taken, Terms, Try};
use crate::testing::{Chance, MS, SECOND, Watch, endpoint, table};

use super::*;

/// How often each endpoint is chosen in 3,000 draws.
fn shares(table: &EndpointTable, choice: &Choice<'_>) -> Vec<usize> {
    let mut chance = Chance(1);
    let mut random = |below: u64| chance.below(below);
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
    again: Again::Never,
    subset: Subset::ALL,
    way: Way::PowerOfTwo,
    ejected_max: Percent::whole(50),
    overflow: Percent::whole(50),
    slow_start: None,
    replica_limit: ReplicaLimit::None,
};

fn learn(endpoint: &Endpoint, outcome: Outcome, waited_ns: u64, now_ns: u64) {
    let began_ns = now_ns.saturating_sub(waited_ns);
    let taken = Taken { began_ns, asked_ns: began_ns, ended_ns: now_ns };
    endpoint.learn(outcome, &taken, &Terms::default());
}

fn eject(endpoint: &Endpoint) {
    learn(endpoint, Outcome::Undelivered(Refused::Connect), 0, 0);
    assert!(endpoint.load.is_ejected(0));
}

fn nowhere(table: &EndpointTable, choice: &Choice<'_>) -> Option<Nowhere> {
    choose(table, choice, &mut |_| 0).err()
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
    assert_eq!(nowhere(&two, &Choice { subset: nobody, ..NOW }), Some(Nowhere::NoReplica));
    let alone = table(vec![endpoint("b", None)]);
    assert_eq!(nowhere(&alone, &Choice { subset: version, ..NOW }), Some(Nowhere::NoReplica));
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
    assert!(shares(&three, &NOW)[0] > 300, "one of three left: ejection is not believed");
    let tried = [Arc::clone(&three.endpoints[0])];
    let retry = Choice { tried: &tried, ..NOW };
    assert_eq!(shares(&three, &retry), [0, 0, 3_000], "a retry goes where the service answers");
}

#[test]
fn the_slower_of_two_gets_less() {
    let two = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
    learn(&two.endpoints[0], Outcome::Opened, 50 * MS, 50 * MS);
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
    assert_eq!(nowhere(&two, &Choice { tried: &tried, ..NOW }), Some(Nowhere::NoReplica));
    let one = table(vec![endpoint("b", None)]);
    assert_eq!(nowhere(&one, &Choice { tried: &tried, ..NOW }), Some(Nowhere::NoReplica));
    assert_eq!(nowhere(&table(Vec::new()), &NOW), Some(Nowhere::NoReplica));
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
fn a_call_that_was_tried_everywhere_goes_round_again_where_that_is_wanted() {
    let two = table(vec![endpoint("a", None), endpoint("b", None)]);
    let tried: Vec<_> = two.endpoints.iter().map(Arc::clone).collect();
    let again = Choice { again: Again::WhereNoneIsLeft, ..NOW };
    assert_eq!(nowhere(&two, &Choice { tried: &tried, ..NOW }), Some(Nowhere::NoReplica));
    assert!(shares(&two, &Choice { tried: &tried, ..again })[0] > 1_000);
    assert_eq!(shares(&two, &Choice { tried: &tried[..1], ..again }), [0, 3_000], "another is left");
    let one = table(vec![endpoint("a", None)]);
    assert_eq!(shares(&one, &Choice { tried: &tried, ..again }), [3_000]);
}

#[test]
fn an_endpoint_whose_ejection_is_over_is_asked_next_and_once() {
    let three = table(vec![endpoint("a", None), endpoint("b", None), endpoint("c", None)]);
    eject(&three.endpoints[0]);
    let over = Choice { now_ns: SECOND, ..NOW };
    let counts = shares(&three, &over);
    assert!((1_800..2_200).contains(&counts[0]), "whoever draws it takes it: {counts:?}");
    let tried = [Arc::clone(&three.endpoints[1])];
    assert_eq!(shares(&three, &Choice { tried: &tried, ..over }), [0, 0, 3_000], "no retry does");
    let watch = Watch::at(SECOND);
    let probe = Try::begin(&three.endpoints[0], Terms::default(), Rc::clone(&watch));
    assert!(probe.is_probe());
    assert_eq!(shares(&three, &over)[0], 0, "somebody is finding out");
    drop(probe);
    assert!(shares(&three, &over)[0] > 0, "and did not");
}

#[test]
fn an_overloaded_endpoint_is_passed_by_while_there_is_another() {
    let two = table(vec![endpoint("a", None), endpoint("b", None)]);
    learn(&two.endpoints[0], Outcome::Overloaded, MS, SECOND);
    for way in [Way::Turn(0), Way::Turn(1), Way::Hash(7), Way::Hash(8), Way::PowerOfTwo] {
        assert_eq!(shares(&two, &Choice { now_ns: SECOND, way, ..NOW }), [0, 3_000], "{way:?}");
    }
    learn(&two.endpoints[1], Outcome::Overloaded, MS, SECOND);
    assert_eq!(shares(&two, &Choice { now_ns: SECOND, way: Way::Turn(0), ..NOW }), [3_000, 0]);
}

#[test]
fn an_endpoint_without_room_is_passed_by_and_none_with_room_is_said() {
    let (two, watch) = (table(vec![endpoint("a", None), endpoint("b", None)]), Watch::at(SECOND));
    let terms = Terms { replica_limit: ReplicaLimit::Adaptive, ..Terms::default() };
    let adaptive = Choice { replica_limit: ReplicaLimit::Adaptive, ..NOW };
    let fill =
        |at: usize| -> Vec<_> { (0..20).map(|_| Try::begin(&two.endpoints[at], terms, Rc::clone(&watch))).collect() };
    let first = fill(0);
    for way in [Way::Turn(0), Way::Hash(7), Way::PowerOfTwo] {
        assert_eq!(shares(&two, &Choice { way, ..adaptive }), [0, 3_000], "{way:?}");
    }
    let second = fill(1);
    assert_eq!(nowhere(&two, &adaptive), Some(Nowhere::Full));
    assert_eq!(nowhere(&two, &NOW), None, "where documents limit nothing");
    drop(second);
    eject(&two.endpoints[1]);
    assert_eq!(nowhere(&two, &adaptive), Some(Nowhere::Full), "what is ejected is no way out");
    drop(first);
    assert_eq!(shares(&two, &adaptive), [3_000, 0]);
}

#[test]
fn a_large_table_is_chosen_from_as_a_small_one_is() {
    let many = table(
        (0..100)
            .map(|number| {
                let zone = if number < 50 { "z1" } else { "z2" };
                let weight = if number % 10 == 0 { 4 } else { 1 };
                Endpoint { weight, healthy: number % 7 != 0, ..endpoint(&format!("n{number}"), Some(zone)) }
            })
            .collect(),
    );
    let near = "z1".parse().unwrap();
    eject(&many.endpoints[1]);
    let counts = shares(&many, &Choice { zone: Some(&near), ..NOW });
    assert!(counts[50..].iter().all(|count| *count == 0) && counts[0] + counts[1] + counts[7] == 0, "{counts:?}");
    let all: usize = counts.iter().sum();
    let heavy = counts.iter().step_by(10).sum::<usize>() as f64 / all as f64;
    assert!((0.25..0.42).contains(&heavy), "four of 42, each four times as heavy: {heavy}");
    // Most of the zone goes: the view changes a little later.
    many.endpoints[..40]
        .iter()
        .filter(|endpoint| endpoint.healthy)
        .for_each(|endpoint| learn(endpoint, Outcome::Reset, 0, 1));
    let later = Choice { zone: Some(&near), now_ns: 20 * MS, ..NOW };
    let counts = shares(&many, &later);
    assert!(counts[50..].iter().sum::<usize>() > 1_500 && counts[..40].iter().sum::<usize>() == 0, "{counts:?}");
}

#[test]
fn a_large_table_of_which_nothing_can_be_chosen_says_so_at_once() {
    let many = table((0..40).map(|number| endpoint(&format!("n{number}"), None)).collect());
    assert_eq!(shares(&many, &NOW).iter().sum::<usize>(), 3_000);
    let (watch, terms) = (Watch::at(SECOND), Terms { replica_limit: ReplicaLimit::Adaptive, ..Terms::default() });
    let held: Vec<_> = many
        .endpoints
        .iter()
        .flat_map(|endpoint| (0..20).map(|_| Try::begin(endpoint, terms, Rc::clone(&watch))).collect::<Vec<_>>())
        .collect();
    assert_eq!(nowhere(&many, &Choice { replica_limit: ReplicaLimit::Adaptive, ..NOW }), Some(Nowhere::Full));
    drop(held);
}

#[test]
fn slow_start_sends_nothing_to_what_is_ejected() {
    let two = table(vec![endpoint("a", None), endpoint("b", None)]);
    review(&two, &Terms::default(), SECOND, &mut |_, _| {});
    learn(&two.endpoints[0], Outcome::Reset, 0, SECOND);
    let slow = Choice { slow_start: Some(Duration::from_secs(100)), now_ns: SECOND + 1, ..NOW };
    assert_eq!(shares(&two, &slow), [0, 3_000]);
}

#[test]
fn a_weight_draws_its_share() {
    let mut heavy = endpoint("a", None);
    heavy.weight = 10;
    let mixed = table(vec![heavy, endpoint("b", None), endpoint("c", None), endpoint("d", None)]);
    let counts = shares(&mixed, &NOW);
    assert!(counts[0] > 2 * counts[1], "{counts:?}");
}
