//! Nodes that cannot read what was signed: they are named, go on with the last policy that they could read, and still believe no thief.

use std::time::Duration;

use serde_json::Value;
use weft_ledger::Hash;
use weft_tests::by_hand::{Hand, document, give};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::programs::Server;
use weft_tests::rogue::Rogue;
use weft_tests::wait::{until, until_true};
use weft_tests::weft::Outcome;
use weft_tests::{Mesh, Node};

/// What a node says when it cannot read the newest documents.
const NOT_COMPILED: &str = "were not compiled";

fn ledger(node: &Node) -> Value {
    node.weft(&["status"]).json()["ledger"].clone()
}

/// A document of a newer version is signed by hand; a newer `weft` would do the same.
#[test]
fn a_node_that_cannot_read_the_newest_keeps_the_last_good_policy() {
    let mut mesh = Mesh::new("unread");
    let app = Server::app("orders");
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["orders"]);
    let bad = mesh.join_running("bad", &one, &["web"]);
    two.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    bad.reaches("orders", "/");
    let operator = Operator::of(&mesh, &one, "policies");
    let deny = "[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\ndefault = \"allow\"\n\n\
                [[authorisation.rule]]\naction = \"deny\"\nfrom = { any = true }\npaths = [\"/secret\"]\n";
    operator.write("orders.toml", deny);
    operator.applied(&one);
    let asks = |node: &Node| (node.get("orders", "/").status, node.get("orders", "/secret").status);
    assert_eq!(asks(&one), (200, 403));

    let mut bad = bad;
    for node in [&mut one, &mut two, &mut bad] {
        node.tolerate(NOT_COMPILED);
    }
    let hand = Hand::of(&mesh, &one.file("keys/operator.key"));
    let newer = hand.signs(&one, &[document("quota/orders", Some("orders"), "a_day = 7")]);
    assert_eq!(give(&one, &newer).0, 200);
    for node in [&one, &two, &bad] {
        until_true("a node to say so", SPREAD_LIMIT, || ledger(node)["mistakes"].to_string().contains("quota"));
        let told = ledger(node);
        assert_eq!((&told["revision"], &told["in_force"]), (&Value::from(2), &Value::from(1)), "{told:#}");
        assert_eq!(node.metric("weft_policy_refused", &[]), 1.0);
    }
    assert_eq!(asks(&one), (200, 403), "the last good policy decides");
    two.stop();
    two.start();
    until_true("the same after a start", SPREAD_LIMIT, || asks(&one) == (200, 403));
    assert_eq!(ledger(&two)["in_force"], 1);
    operator.write("web.toml", &traffic("web", 5));
    let more = operator.apply(&one);
    assert!(more.code() == "policy-invalid" && more.stderr.contains("by-hand.toml:1"), "{}", more.stderr);

    // What is revoked on top of it counts all the same.
    bad.tolerate("");
    let revoked = document("revocation/node-bad", None, "node = \"bad\"\nreason = \"stolen\"");
    assert_eq!(give(&one, &hand.signs(&one, &[revoked])).0, 200);
    for node in [&one, &two] {
        until_true("the node to be out", SPREAD_LIMIT, || !node.lists("bad"));
    }
    assert_ne!(bad.get("orders", "/").status, 200);

    let back = operator.signs(&two, &["rollback", "1"]).json();
    assert_eq!(documents(&one).len(), 2, "what was before, and the revocation, which stays");
    for row in back["nodes"].as_array().expect("a list").iter().filter(|row| row["node"] != "bad") {
        assert_eq!(row["state"], "in-force", "{back:#}");
    }
    assert!(ledger(&one)["mistakes"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(asks(&one), (200, 403));
}

/// The member that refuses is one of another version: it speaks the protocol by hand.
#[test]
fn a_receipt_names_the_node_that_refuses_and_the_mesh_goes_on() {
    let mut mesh = Mesh::new("refuses");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["web"]);
    one.sees(2);
    let own = mesh.next_address();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut older = runtime.block_on(Rogue::join(&one.token(&["web"]), "older", own, one.address));
    let mut version = 0;
    let mut speak = |older: &mut Rogue| {
        version += 1;
        runtime.block_on(older.live(version));
    };
    until_true("the member in the list", SPREAD_LIMIT, || {
        speak(&mut older);
        one.lists("older") && two.lists("older")
    });
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5));
    let words = operator.words(&one, &["apply", &operator.folder(), "--wait", "10s"]);
    let applying = std::thread::spawn(move || Outcome::of(&words));
    let applied = until("the revision", SPREAD_LIMIT, || {
        speak(&mut older);
        one.weft(&["history"]).json()["history"][0]["hash"].as_str().map(str::to_owned)
    });
    let hash: Hash = applied.parse().expect("a hash");
    older.refuse(hash, "orders.toml:1:1: unknown key `request_timeout`");
    until_true("the command to end", SPREAD_LIMIT, || {
        speak(&mut older);
        applying.is_finished()
    });
    let outcome = applying.join().expect("the command ended");
    assert_eq!((outcome.exit, outcome.code().as_str()), (1, "revision-incomplete"));
    assert!(outcome.stderr.contains("older refuses it: orders.toml:1:1: unknown key"), "{}", outcome.stderr);
    let receipt: Value = serde_json::from_str(&outcome.stdout).expect("the receipt is printed all the same");
    let states: Vec<_> = receipt["nodes"].as_array().unwrap().iter().map(|row| (&row["node"], &row["state"])).collect();
    let expected = [("older", "refused"), ("one", "in-force"), ("two", "in-force")];
    assert!(states.iter().map(|(node, state)| (node.as_str().unwrap(), state.as_str().unwrap())).eq(expected));
    assert_eq!(documents(&two).len(), 1, "it stands");

    // A node that answers and lacks it is named, too; the next change goes through as this one did.
    operator.write("orders.toml", &traffic("orders", 6));
    let words = operator.words(&two, &["apply", &operator.folder(), "--wait", "2s"]);
    let applying = std::thread::spawn(move || Outcome::of(&words));
    until_true("the command to end", Duration::from_secs(10), || {
        speak(&mut older);
        applying.is_finished()
    });
    let outcome = applying.join().expect("the command ended");
    assert!(outcome.code() == "revision-incomplete" && outcome.stderr.contains("older lacks it"), "{outcome:#?}");
    assert_eq!(documents(&one), documents(&two));
}
