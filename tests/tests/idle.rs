//! What an idle node costs: resident memory, and CPU in a mesh of twenty.
//!
//! `WEFT_LONG=1` measures twenty nodes for 60 s, as `bench/run idle` does; without it, six for 10 s.

use std::time::Duration;

use weft_tests::wait::let_pass;
use weft_tests::{Mesh, Node};

/// Resident memory that an idle node may take.
const RESIDENT_KIB_MAX: u64 = 25 * 1024;
/// Share of a core that an idle node may take.
const CPU_SHARE_MAX: f64 = 0.02;
/// Clock ticks in a second on Linux, as /proc counts them.
const TICKS_PER_SECOND: f64 = 100.0;

#[test]
fn an_idle_node_is_small_and_quiet() {
    let long = std::env::var_os("WEFT_LONG").is_some();
    let (count, span) = if long { (20, Duration::from_secs(60)) } else { (6, Duration::from_secs(10)) };
    let mut mesh = Mesh::new("idle");
    let first = mesh.init_running("n0");
    let mut nodes = vec![first];
    for number in 1..count {
        let node = mesh.join_running(&format!("n{number}"), &nodes[0], &["web"]);
        nodes.push(node);
    }
    for node in &nodes {
        node.sees(count);
    }
    let_pass(Duration::from_secs(5));
    let ticks = |nodes: &[Node]| nodes.iter().map(|node| node.process().cpu_ticks()).collect::<Vec<_>>();
    let before = ticks(&nodes);
    let_pass(span);
    let used = ticks(&nodes).iter().zip(&before).map(|(after, before)| after - before).collect::<Vec<_>>();
    #[allow(clippy::cast_precision_loss, reason = "ticks of a minute are far below 2^52")]
    let share_of = |ticks: u64| ticks as f64 / TICKS_PER_SECOND / span.as_secs_f64();
    let mean = share_of(used.iter().sum()) / f64::from(u32::try_from(count).unwrap());
    // The bound is for every node, the signer and seed of all others among them.
    let largest = share_of(used.iter().copied().max().unwrap());
    let resident = nodes.iter().map(|node| node.process().resident_kib()).max().unwrap();
    println!(
        "{count} nodes: largest {resident} KiB resident, {:.2} % of a core on average, {:.2} % the most",
        mean * 100.0,
        largest * 100.0
    );
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
    assert!(largest < CPU_SHARE_MAX, "{largest}");
}
