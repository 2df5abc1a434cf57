//! Two processes with one seed must see the same events, in the same order, at the same virtual times.

use std::process::Command;

fn events(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft-sim")).args(arguments).output().expect("cargo built it");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "{arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn five_nodes_that_join_twice_with_one_seed_give_one_event_log() {
    let first = events(&["enrolment", "--nodes", "5", "--seed", "7", "--loss", "20"]);
    assert_eq!(first.matches("joined with serial").count(), 5, "{first}");
    assert_eq!(first, events(&["enrolment", "--nodes", "5", "--seed", "7", "--loss", "20"]));
    assert_ne!(first, events(&["enrolment", "--nodes", "5", "--seed", "8", "--loss", "20"]));
}

#[test]
fn five_nodes_that_gossip_twice_with_one_seed_give_one_event_log() {
    let first = events(&["membership", "--nodes", "5", "--seed", "7"]);
    assert!(first.matches(" sees ").count() >= 25, "each node sees each:\n{first}");
    assert_eq!(first, events(&["membership", "--nodes", "5", "--seed", "7"]));
    assert_ne!(first, events(&["membership", "--nodes", "5", "--seed", "8"]));
}

#[test]
fn five_nodes_agree_although_packets_get_lost() {
    events(&["membership", "--nodes", "5", "--seed", "3", "--loss", "10"]);
}

#[test]
fn five_whole_nodes_twice_with_one_seed_give_one_event_log() {
    let first = events(&["fleet", "--nodes", "5", "--seed", "7"]);
    assert_eq!(first, events(&["fleet", "--nodes", "5", "--seed", "7"]));
    assert_ne!(first, events(&["fleet", "--nodes", "5", "--seed", "8"]));
}
