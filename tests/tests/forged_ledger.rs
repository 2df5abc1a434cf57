//! Nobody but an operator whose key counts changes the mesh: not a member that lies about its ledger, and not a key that has ended.

use std::time::Duration;

use weft_tests::Mesh;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::rogue::{Lie, Rogue};
use weft_tests::wait::{let_pass, until_true};

/// Lies of each of six kinds.
const LIES: usize = 400;
/// How long the victim may take to ask, verify and count.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_members_forged_change_sets_are_refused_counted_and_named() {
    let mut mesh = Mesh::new("forged");
    let mut one = mesh.init_running("one");
    one.tolerate("part of the ledger was refused");
    let two = mesh.join_running("two", &one, &["web"]);
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5));
    operator.applied(&one);
    let known = (documents(&one), one.weft(&["history"]).json());
    let (token, own) = (one.token(&["web"]), mesh.next_address());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut rogue = runtime.block_on(Rogue::join(&token, "rogue", own, one.address));
    let reasons = runtime.block_on(async { rogue.keep_a_ledger_of_lies(LIES) });
    assert_eq!(reasons.values().sum::<usize>(), 6 * LIES);
    let counted = |reason: &str| one.metric("weft_ledger_refused_total", &[&format!("reason=\"{reason}\"")]);
    let truth = Lie { node: "rogue", service: "web", version: 5, key: "r" };
    until_true("every lie to be counted", LIMIT, || {
        runtime.block_on(rogue.tell(truth));
        reasons.iter().all(|(reason, count)| counted(reason) >= *count as f64)
    });
    assert_eq!((documents(&one), one.weft(&["history"]).json()), known);
    assert_eq!(documents(&two), known.0);
    let log = one.process().stderr.all();
    assert!(log.iter().any(|line| line.contains("part of the ledger was refused") && line.contains("rogue")));
    assert!(!log.iter().any(|line| line.contains("panicked")));
    // What honest operators do goes on.
    operator.write("orders.toml", &traffic("orders", 6));
    assert_eq!(operator.apply(&two).json()["revision"], 2);
}

#[test]
fn an_operators_key_that_has_ended_changes_nothing() {
    let mut mesh = Mesh::new("ended");
    let mut one = mesh.init_running("one");
    one.tolerate("part of the ledger was refused");
    let key = mesh.scratch.path().join("kim.key");
    let (file, root) = (key.display().to_string(), one.file("keys/root.key").display().to_string());
    let passphrase = mesh.scratch.path().join("passphrase").display().to_string();
    let add = ["ca", "operator", "add", "--new-operator-key", &file, "--ttl", "5s"];
    one.weft(&[&add[..], &["--root-key", &root, "--passphrase-file", &passphrase]].concat()).json();
    let kim = Operator::with_key(&mesh, key, "kim");
    kim.write("orders.toml", &traffic("orders", 5));
    kim.applied(&one);
    let before = documents(&one);
    kim.write("orders.toml", &traffic("orders", 6));
    let_pass(Duration::from_secs(5));
    let refused = kim.apply(&one);
    assert_eq!(refused.exit, 1, "{}", refused.stderr);
    assert_eq!(documents(&one), before, "what it changed before its end stands, and nothing else");
    assert_eq!(one.weft(&["history"]).json()["history"].as_array().unwrap().len(), 1);
}
