//! Nodes killed at random points while policies are applied: what was acknowledged is never lost, and every store opens again.
//!
//! `WEFT_LONG=1` kills 500 times, as `bench/run kills` does; without it, 10 times.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use weft_env::Random;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::wait::{let_pass, until_true};
use weft_tests::weft::Outcome;
use weft_tests::{Mesh, Node};

/// A kill comes within this after the nodes run: an apply takes a third of it.
const KILL_WITHIN_MS: u64 = 400;
/// Acknowledged change sets that are looked for after a kill: those before were looked for after the kills before.
const LOOKED_FOR: usize = 100;

/// Applies one change after the other until it is stopped, whatever becomes of the node.
struct Applier {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Applier {
    fn start(operator: Operator, words: Vec<String>) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopping, taken) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || {
            let mut seconds = 0;
            while !stopping.load(Ordering::Relaxed) {
                seconds = seconds % 3_000 + 1;
                operator.write("own.toml", &traffic("orders", seconds));
                let hash = hash_of(&Outcome::of(&words));
                taken.lock().expect("nobody panics with it").extend(hash);
            }
        });
        Self { stop, acknowledged, thread }
    }

    fn acknowledged(&self) -> Vec<String> {
        let all = self.acknowledged.lock().expect("nobody panics with it");
        all[all.len().saturating_sub(LOOKED_FOR)..].to_vec()
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the applier does not panic");
        self.acknowledged.lock().expect("nobody panics with it").len()
    }
}

/// What was acknowledged; a receipt that names a node without it acknowledges the change all the same.
fn hash_of(outcome: &Outcome) -> Option<String> {
    let answer: Value = serde_json::from_str(&outcome.stdout).ok()?;
    Some(answer["hash"].as_str()?.to_owned())
}

fn revision(node: &Node) -> u64 {
    node.weft(&["status"]).json()["ledger"]["revision"].as_u64().expect("a number")
}

fn hashes(node: &Node) -> Vec<String> {
    let history = node.weft(&["history", "-n", "1000"]).json()["history"].clone();
    let rows = history.as_array().expect("a list");
    rows.iter().map(|row| row["hash"].as_str().expect("a hash").to_owned()).collect()
}

#[test]
fn killed_nodes_lose_nothing_that_was_acknowledged() {
    let kills = if std::env::var_os("WEFT_LONG").is_some() { 500 } else { 10 };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let random = Random::seeded(seed);
    let mut mesh = Mesh::new("kills");
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["orders"]);
    one.sees(2);
    one.tolerate("");
    two.tolerate("");
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("own.toml", &traffic("orders", 1));
    operator.applied(&one);
    let folder = operator.folder();
    let words = operator.words(&one, &["apply", &folder, "--wait", "1s", "--anyway"]);
    let applier = Applier::start(operator, words);
    for kill in 0..kills {
        let known = [revision(&one), revision(&two)];
        let_pass(Duration::from_millis(random.below(KILL_WITHIN_MS)));
        // One of them, or both as by a power cut: then the first comes back with nobody to ask.
        let hit = random.below(3);
        if hit != 1 {
            one.kill();
        }
        if hit != 0 {
            two.kill();
        }
        let acknowledged = applier.acknowledged();
        if hit != 1 {
            one.start();
        }
        let held = hashes(&one);
        let lost: Vec<&String> = acknowledged.iter().filter(|hash| !held.contains(hash)).collect();
        assert!(lost.is_empty(), "kill {kill} of {hit}: {lost:?}");
        assert!(revision(&one) >= known[0], "kill {kill} of {hit}");
        if hit != 0 {
            two.start();
        }
        assert!(revision(&two) >= known[1], "kill {kill} of {hit}");
    }
    let acknowledged = applier.stop();
    println!("{kills} kills, {acknowledged} changes acknowledged");
    assert!(acknowledged >= kills / 4, "{acknowledged}");
    until_true("one history on both", SPREAD_LIMIT, || hashes(&one) == hashes(&two));
    assert_eq!(documents(&one), documents(&two));
}
