//! Revisions reach a fleet in time, also with loss, and a split ends with one history. The long form is `weft-sim policies --nodes 200`.

use std::time::Duration;

use weft_env::Link;
use weft_sim::{Simulation, policies};

const NODES: u16 = 20;
/// Prime to the ten seconds between two slow pulls, so that applies meet every moment between them.
const APART: Duration = Duration::from_millis(7_300);
const SPLIT: Duration = Duration::from_secs(60);

#[test]
fn a_revision_arrives_in_two_seconds_in_five_with_loss_and_a_split_ends_alike_in_ten() {
    let seed = 5;
    let scenario = async |simulation| Box::pin(policies::run(&simulation, NODES, SPLIT)).await;
    let report =
        Simulation::run(seed, Link::default(), scenario).expect("the simulation runs").expect("every node starts");
    let within = |what: Option<Duration>, bound| what.is_some_and(|span| span <= Duration::from_secs(bound));
    assert!(within(report.applied_within, 2), "seed {seed}: {:?}", report.applied_within);
    assert!(within(report.applied_with_loss_within, 5), "seed {seed}: {:?}", report.applied_with_loss_within);
    assert!(within(report.healed_within, 10), "seed {seed}: {:?}", report.healed_within);
    assert_eq!(report.set_aside, 1, "seed {seed}: of two changes of one document one is set aside");
}

/// A member that had nothing a moment ago is asked at once when it has: the slow pull of every ten seconds must not hold up the hints.
#[test]
fn a_fleet_at_rest_takes_every_revision_at_once() {
    let seed = 6;
    let scenario = async |simulation| Box::pin(policies::run_steadily(&simulation, 2, (12, APART))).await;
    let took =
        Simulation::run(seed, Link::default(), scenario).expect("the simulation runs").expect("every node starts");
    assert!(took.iter().all(|span| span.is_some_and(|span| span <= Duration::from_secs(2))), "seed {seed}: {took:?}");
}
