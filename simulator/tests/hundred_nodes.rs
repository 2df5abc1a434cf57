//! A cell of a hundred nodes agrees in time.

use std::time::Duration;

use weft_env::Link;
use weft_sim::{Simulation, membership};

#[test]
fn a_hundred_nodes_agree_within_ten_seconds_and_on_a_change_within_three() {
    let seed = 11;
    let report = Simulation::run(seed, Link::default(), async |simulation| membership::run(&simulation, 100).await);
    let report = report.expect("the simulation runs").expect("every node starts");
    let agreed = report.agreed_after.expect("all agree in the end");
    let spread = report.spread_within.expect("the change is known in the end");
    assert!(agreed <= Duration::from_secs(10), "seed {seed}: agreed after {agreed:?}");
    assert!(spread <= Duration::from_secs(3), "seed {seed}: known everywhere after {spread:?}");
}
