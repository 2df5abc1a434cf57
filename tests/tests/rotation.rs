//! Signers and roots change under traffic: a second signer, a root rotated from prepared to revoked, and no request fails.

use std::time::Duration;

use serde_json::Value;
use weft_tests::load::{Load, Plan};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::Server;
use weft_tests::rogue::Rogue;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Within this, every member replaces what an old root or signer issued.
const REPLACE_LIMIT: Duration = Duration::from_secs(20);
/// A node that was away finds out within this that the roots have changed.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// `weft ca ...` with the keys of an operator.
struct Operator<'a> {
    node: &'a Node,
    passphrase: String,
    root_key: String,
}

impl Operator<'_> {
    fn ca(&self, words: &[&str]) -> Value {
        let mut all = vec!["ca"];
        all.extend(words);
        all.extend(["--root-key", &self.root_key, "--passphrase-file", &self.passphrase]);
        let answer = self.node.weft(&all).json();
        assert_eq!(answer["lacking"], Value::Array(Vec::new()), "every member has seen it: {answer:#}");
        answer
    }

    fn refused(&self, words: &[&str]) -> String {
        let mut all = vec!["ca"];
        all.extend(words);
        all.extend(["--root-key", &self.root_key, "--passphrase-file", &self.passphrase]);
        self.node.weft(&all).code()
    }

    fn show(&self) -> Value {
        self.node.weft(&["ca", "show"]).json()
    }

    /// Waits until nobody depends on what is on its way out.
    fn until_replaced(&self) -> Duration {
        until_true("every member to replace its certificates", REPLACE_LIMIT, || {
            let shown = self.show();
            let members = shown["members"].as_array().expect("a list of members").clone();
            members.iter().all(|member| member["epoch"] == shown["epoch"] && member["outgoing"] == 0)
        })
    }
}

fn signer_token(node: &Node) -> String {
    let answer = node.weft(&["token", "create", "--signer", "--grant", "orders,web"]).json();
    answer["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_second_signer_and_another_root_cost_no_request() {
    let mut mesh = Mesh::new("rotation");
    let (first, second) = (Server::app("replica-a"), Server::app("replica-b"));
    let one = mesh.init_running("one");
    let mut two = mesh.blank("two");
    two.join_by(&one, &signer_token(&one)).json();
    two.start();
    let three = mesh.join_running("three", &one, &["web"]);
    let four = mesh.join_running("four", &one, &["web"]);
    let mut away = mesh.join_running("away", &one, &["web"]);
    one.weft(&["expose", "orders", &first.port.to_string(), "--protocol", "http"]).json();
    two.weft(&["expose", "orders", &second.port.to_string(), "--protocol", "http"]).json();
    for node in [&one, &two, &three, &four, &away] {
        node.sees(5);
        node.reaches("orders", "/");
    }
    away.stop();
    one.sees(4);
    let load = Load::start(&Plan {
        to: three.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate: 50,
        connections: 5,
    });
    let scratch = mesh.scratch.path().to_owned();
    let file = |name: &str| scratch.join(name).display().to_string();
    let old_root = one.file("keys/root.key").display().to_string();
    let mut operator = Operator { node: &one, passphrase: file("passphrase"), root_key: old_root.clone() };

    assert_eq!(two.weft(&["token", "create", "--grant", "web"]).code(), "not-signer");
    assert_eq!(operator.refused(&["signer", "add", "three"]), "not-signer");
    operator.ca(&["signer", "add", "two"]);
    until_true("the second signer to issue", SPREAD_LIMIT, || {
        two.weft(&["token", "create", "--grant", "web"]).exit == 0
    });

    let fingerprint = operator.show()["roots"][0]["root"].as_str().expect("a fingerprint").to_owned();
    operator.ca(&["root", "prepare", "--new-root-key", &file("new-root.key")]);
    let own = mesh.next_address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rogue = runtime.block_on(Rogue::join(&one.token(&["web"]), "rogue", own, one.address));
    assert!(runtime.block_on(rogue.is_answered()), "its certificate is of the old root, which counts");
    operator.ca(&["root", "activate", "--new-root-key", &file("new-root.key")]);
    assert_eq!(operator.refused(&["root", "revoke", &fingerprint]), "root-key-wrong");
    operator.root_key = file("new-root.key");
    assert_eq!(operator.refused(&["root", "revoke", &fingerprint]), "rotation-refused");
    operator.ca(&["root", "taint", &fingerprint]);
    println!("replaced after {:?}", operator.until_replaced());
    assert!(runtime.block_on(rogue.is_answered()), "a tainted root counts");
    operator.ca(&["root", "revoke", &fingerprint]);
    assert!(!runtime.block_on(rogue.is_answered()), "a certificate of the revoked root is refused");

    three.reaches("orders", "/");
    let tally = load.stop();
    println!("{} good, {:?} bad, slowest {:?}", tally.good, tally.bad, tally.slowest);
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
    let shown = operator.show();
    let states: Vec<_> = shown["roots"].as_array().unwrap().iter().map(|root| root["state"].clone()).collect();
    assert_eq!(states, ["revoked", "active"]);
    assert!(one.weft(&["cert", "ls"]).json()["certs"].as_array().unwrap().iter().any(|row| row["kind"] == "root"));

    // Tokens name the new root, of either signer; and who was away the whole time comes back.
    let newcomer = mesh.blank("newcomer");
    let token = two.weft(&["token", "create", "--grant", "web"]).json();
    newcomer.join_by(&one, token["token"].as_str().unwrap()).json();
    away.tolerate("");
    away.start_unready();
    let host = "orders.weft.internal";
    let back = until_true("the node that was away to call", RETURN_LIMIT, || {
        weft_tests::http::get(away.outbound(), "/", host).is_ok_and(|reply| reply.status == 200)
    });
    println!("back after {back:?}");
    retire_the_first(&operator, &[&one, &two, &three, &four]);
}

/// The first signer goes; the second takes over what it said of the others.
fn retire_the_first(operator: &Operator<'_>, nodes: &[&Node]) {
    let early = operator.refused(&["signer", "revoke", "one"]);
    assert_eq!(early, "rotation-refused", "everybody's certificates are of an active signer");
    operator.ca(&["signer", "retire", "one"]);
    operator.until_replaced();
    operator.ca(&["signer", "revoke", "one"]);
    for node in nodes {
        node.reaches("orders", "/");
        node.sees(nodes.len() + 1);
    }
    assert_eq!(operator.refused(&["signer", "retire", "two"]), "rotation-refused");
}
