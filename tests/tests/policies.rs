//! Signed policies on real nodes: every mistake at once, one history everywhere, nothing changed by who may not.

use std::time::Duration;

use serde_json::Value;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::programs::Server;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Within this every node has what was applied: the promise of the receipt.
const RECEIPT_LIMIT_MS: u64 = 2_000;

fn history(node: &Node) -> Vec<Value> {
    node.weft(&["history"]).json()["history"].as_array().expect("a list").clone()
}

fn revision(node: &Node) -> u64 {
    node.weft(&["status"]).json()["ledger"]["revision"].as_u64().expect("a number")
}

fn until_same(nodes: &[&Node], what: impl Fn(&Node) -> Value) {
    until_true("every node to tell the same", SPREAD_LIMIT, || {
        let first = what(nodes[0]);
        nodes.iter().all(|node| what(node) == first)
    });
}

#[test]
fn policies_reach_every_node_and_can_be_taken_back() {
    let mut mesh = Mesh::new("policies");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    let mut three = mesh.join_running("three", &one, &["web"]);
    for node in [&one, &two, &three] {
        node.sees(3);
    }
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5).replace("request_timeout", "request_timeuot"));
    operator.write("teams/web.toml", "[[trafic]]\nname = \"web\"\n");
    let refused = two.weft(&["plan", &operator.folder()]);
    assert_eq!((refused.code().as_str(), refused.exit), ("policy-invalid", 1));
    for part in ["orders.toml:4:1: ", "`request_timeout`", "teams/web.toml:1:", "[[traffic]]"] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }

    operator.write("orders.toml", &traffic("orders", 5));
    operator.write("teams/web.toml", &traffic("web", 5));
    let plan = two.weft(&["plan", &operator.folder()]).json();
    assert_eq!(plan["changes"].as_array().expect("a list").len(), 2, "{plan:#}");
    assert_eq!(plan["reached"].as_array().expect("a list").len(), 3, "{plan:#}");
    assert!(documents(&two).is_empty() && revision(&two) == 0, "a plan changes nothing");

    let applied = operator.applied(&two);
    assert_eq!((&applied["revision"], &applied["standing"]), (&Value::from(1), &Value::from("applied")));
    assert!(applied["took_ms"].as_u64().expect("a number") < RECEIPT_LIMIT_MS, "{applied:#}");
    let first = documents(&one);
    assert_eq!(first.len(), 2);
    assert!(documents(&two) == first && documents(&three) == first);
    assert_eq!(operator.apply(&one).json()["revision"], Value::Null, "nothing to change");

    // A node that is off is named, holds nobody up, and catches up.
    three.stop();
    one.sees(2);
    operator.write("orders.toml", &traffic("orders", 7));
    operator.remove("teams/web.toml");
    let applied = operator.signs(&one, &["apply", &operator.folder(), "--message", "slower"]).json();
    assert_eq!(documents(&one).len(), 2, "what is not in the files stays");
    assert_eq!((&applied["revision"], &applied["changes"][0]["change"]), (&Value::from(2), &Value::from("changed")));
    assert_eq!(history(&one)[0]["message"], "slower");
    three.start();
    until_true("the node that was off", SPREAD_LIMIT, || documents(&three) == documents(&one));

    operator.signs(&one, &["apply", &operator.folder(), "--prune", "service/web"]).json();
    assert_eq!(documents(&one).len(), 1);
    until_true("three nodes", SPREAD_LIMIT, || {
        one.weft(&["ls", "nodes"]).json()["nodes"].as_array().unwrap().len() == 3
    });
    operator.signs(&three, &["rollback", "1"]).json();
    assert!(documents(&one) == first && documents(&two) == first && documents(&three) == first);
    assert_eq!(revision(&one), 4);
    until_same(&[&one, &two, &three], |node| Value::from(history(node)));
    assert_eq!(two.weft(&["rollback", "99"]).code(), "revision-unknown");
}

#[test]
fn what_nobody_confirms_comes_back_by_itself() {
    let mut mesh = Mesh::new("confirm");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    one.sees(2);
    two.sees(2);
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5));
    operator.applied(&one);
    let before = documents(&one);
    operator.write("orders.toml", &traffic("orders", 6));
    let answer = operator.signs(&one, &["apply", &operator.folder(), "--confirm", "2s"]).json();
    assert_eq!(answer["standing"], "unconfirmed");
    until_true("both to be back", SPREAD_LIMIT, || documents(&one) == before && documents(&two) == before);
    assert_eq!(history(&two)[0]["standing"], "expired");

    operator.signs(&two, &["apply", &operator.folder(), "--confirm", "5m"]).json();
    let name = history(&one)[0]["hash"].as_str().expect("a hash").to_owned();
    operator.signs(&one, &["confirm", &name[..8]]).json();
    until_same(&[&one, &two], |node| Value::from(history(node)));
    assert_eq!(history(&two)[1]["standing"], "applied");
    assert!(documents(&two) != before);
    assert_eq!(operator.signs(&one, &["confirm", &name[..8]]).code(), "change-set-invalid");
}

#[test]
fn two_sides_of_a_split_end_with_one_history() {
    let mut mesh = Mesh::new("split");
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["orders"]);
    one.sees(2);
    two.sees(2);
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5));
    operator.applied(&one);

    // Of different documents: both count.
    two.stop();
    let own = |folder: &str, service: &str, seconds| {
        let operator = Operator::of(&mesh, &one, folder);
        operator.write("own.toml", &traffic(service, seconds));
        operator
    };
    let (left, right) = (own("left", "quotes", 1), own("right", "web", 1));
    left.signs(&one, &["apply", &left.folder(), "--anyway"]).json();
    one.stop();
    two.start();
    right.signs(&two, &["apply", &right.folder(), "--anyway"]).json();
    one.start();
    until_true("both documents on both", SPREAD_LIMIT, || documents(&one).len() == 3 && documents(&two).len() == 3);
    until_same(&[&one, &two], |node| Value::from(history(node)));

    // Of the same document: one counts, the same on both, and the other's node says so.
    two.stop();
    let (left, right) = (Operator::of(&mesh, &one, "left"), Operator::of(&mesh, &one, "right"));
    left.write("own.toml", &traffic("orders", 11));
    right.write("own.toml", &traffic("orders", 22));
    left.signs(&one, &["apply", &left.folder(), "--anyway"]).json();
    one.stop();
    two.start();
    right.signs(&two, &["apply", &right.folder(), "--anyway"]).json();
    one.start();
    let aside =
        |node: &Node| history(node).into_iter().filter(|row| row["standing"] == "set aside").collect::<Vec<_>>();
    until_true("one to be set aside", SPREAD_LIMIT, || aside(&one).len() == 1 && aside(&two).len() == 1);
    until_same(&[&one, &two], |node| Value::from(history(node)));
    assert_eq!(documents(&one), documents(&two));
    let loser = aside(&one).remove(0);
    let author = if loser["node"] == "one" { &one } else { &two };
    let told = author.weft(&["status"]).json()["ledger"]["set_aside"].clone();
    assert_eq!(told[0]["hash"], loser["hash"], "{told:#}");

    let before = documents(&one);
    let hash = loser["hash"].as_str().expect("a hash");
    until_true("both to answer", SPREAD_LIMIT, || {
        let plan = author.weft(&["plan", &operator.folder()]).json();
        plan["reached"].as_array().expect("a list").len() == 2
    });
    operator.signs(author, &["apply", "--again", &hash[..8]]).json();
    assert_ne!(documents(&one), before);
    assert_eq!(documents(&one), documents(&two));
}

#[test]
fn who_may_not_changes_nothing() {
    let mut mesh = Mesh::new("scope");
    let one = mesh.init_running("one");
    let file = |name: &str| mesh.scratch.path().join(name);
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", &traffic("orders", 5));
    operator.applied(&one);
    operator.write("orders.toml", &traffic("orders", 6));
    std::fs::write(file("wrong"), "something else\n").expect("writable");
    let wrong = file("wrong").display().to_string();
    let words = ["apply", &operator.folder(), "--passphrase-file", &wrong];
    assert_eq!(one.weft(&words).code(), "passphrase-wrong");
    let missing = file("nowhere").display().to_string();
    let words = ["apply", &operator.folder(), "--operator-key", &missing];
    assert_eq!(one.weft(&words).code(), "operator-key-missing");

    let (root, passphrase) =
        (one.file("keys/root.key").display().to_string(), file("passphrase").display().to_string());
    let ca = |words: &[&str]| {
        let mut all = vec!["ca", "operator"];
        all.extend(words);
        all.extend(["--root-key", &root, "--passphrase-file", &passphrase]);
        one.weft(&all).json()
    };
    let key = file("limited.key");
    ca(&["add", "--new-operator-key", &key.display().to_string(), "--scope", "orders"]);
    let limited = Operator::with_key(&mesh, key, "limited");
    limited.write("own.toml", &traffic("orders", 7));
    limited.applied(&one);
    let before = (documents(&one), revision(&one));
    for text in [traffic("web", 7), "[[mesh]]\nname = \"defaults\"\nauthorisation = \"deny\"\n".to_owned()] {
        limited.write("own.toml", &text);
        assert_eq!(limited.apply(&one).code(), "change-set-invalid", "{text}");
    }
    assert_eq!(limited.signs(&one, &["revoke", "node", "vm-x", "--reason", "x"]).code(), "change-set-invalid");
    assert_eq!((documents(&one), revision(&one)), before);

    // What a retired key signed before stays; it signs nothing more.
    let operators = one.weft(&["ca", "show"]).json()["operators"].clone();
    let scoped = operators.as_array().expect("a list").iter().find(|row| row["scope"].is_array()).expect("a row");
    let public = scoped["key"].as_str().expect("a key");
    ca(&["retire", public]);
    limited.write("own.toml", &traffic("orders", 8));
    assert_eq!(limited.apply(&one).code(), "change-set-invalid");
    assert_eq!((documents(&one), revision(&one)), before);
    assert_eq!(one.weft(&["plan", &operator.folder()]).json()["changes"][0]["change"], "changed");
}

#[test]
fn a_revocation_is_a_document_and_can_be_taken_back() {
    let mut mesh = Mesh::new("revoke");
    let one = mesh.init_running("one");
    let operator = Operator::of(&mesh, &one, "policies");
    let key = "0a".repeat(32);
    for (what, name, id) in [
        ("node", "vm-x", "revocation/node-vm-x".to_owned()),
        ("key", &key, format!("revocation/key-{}", "0a".repeat(16))),
        ("token", "0123456789abcdef", "revocation/token-0123456789abcdef".to_owned()),
    ] {
        operator.signs(&one, &["revoke", what, name, "--reason", "it was \"stolen\""]).json();
        assert_eq!(documents(&one).iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [id]);
        operator.signs(&one, &["revoke", what, name, "--undo"]).json();
        assert!(documents(&one).is_empty());
    }
    assert_eq!(operator.signs(&one, &["revoke", "node", "vm-x", "--undo"]).code(), "usage-invalid");
    assert_eq!(operator.signs(&one, &["revoke", "key", "0a", "--reason", "x"]).code(), "policy-invalid");
    let token = one.token(&["web"]);
    operator.signs(&one, &["revoke", "token", &token, "--reason", "sent to the wrong address"]).json();
    let late = mesh.blank("late");
    assert_eq!(late.join_by(&one, &token).code(), "token-unknown", "a revoked token admits nobody");
    assert_eq!(operator.signs(&one, &["rollback", "1"]).json()["changes"], Value::from(Vec::<Value>::new()));
    assert_eq!(documents(&one).len(), 1, "a rollback trusts nobody again");
    operator.signs(&one, &["rollback", "1", "--with-revocations"]).json();
    assert!(documents(&one).iter().all(|(id, _)| !id.starts_with("revocation/token")), "{:?}", documents(&one));
    until_true("the revocation in the list", Duration::from_secs(1), || documents(&one).len() == 1);
}

/// An answer that lasts, read as it comes.
struct Lasting(std::net::TcpStream);

impl Lasting {
    fn ask(node: &Node) -> Self {
        let mut stream = std::net::TcpStream::connect(node.outbound()).expect("the outbound port is open");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let request = "GET /stream?100 HTTP/1.1\r\nhost: orders.weft.internal\r\n\r\n";
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it is written");
        let mut lasting = Self(stream);
        assert!(lasting.goes_on());
        lasting
    }

    /// Whether more of it comes.
    fn goes_on(&mut self) -> bool {
        std::io::Read::read(&mut self.0, &mut [0; 4096]).is_ok_and(|count| count > 0)
    }
}

#[test]
fn an_answer_on_its_way_is_decided_again_when_rules_change() {
    let mut mesh = Mesh::new("lasting");
    let app = Server::app("orders");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["web"]);
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    for node in [&one, &two] {
        node.reaches("orders", "/");
    }
    let operator = Operator::of(&mesh, &one, "policies");
    let (mut near, mut far) = (Lasting::ask(&one), Lasting::ask(&two));
    let deny = |from: &str| {
        let rule = format!("[[authorisation.rule]]\naction = \"deny\"\nfrom = {{ {from} }}\nmethods = [\"GET\"]\n");
        operator.write("orders.toml", &format!("[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\n{rule}"));
        operator.applied(&one);
    };
    deny("services = [\"web\"]");
    until_true("the answer to end", Duration::from_secs(3), || !far.goes_on());
    assert!(near.goes_on() && near.goes_on(), "another caller's goes on");
    deny("any = true");
    until_true("the answer on one machine to end", Duration::from_secs(3), || !near.goes_on());
}

#[test]
fn a_refusal_is_explained_by_its_id() {
    let mut mesh = Mesh::new("why");
    let app = Server::app("replica");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["web"]);
    one.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    two.reaches("orders", "/");
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", "\n[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\ndefault = \"deny\"\n");
    operator.applied(&one);
    let refused = two.get("orders", "/secret");
    assert_eq!(refused.status, 403, "{}", refused.text());
    let id = refused.header("weft-refusal").expect("an id").to_owned();
    assert!(id.starts_with("one."), "{id} names the node that refused");
    let why = one.weft(&["why", &id]).json();
    assert_eq!((&why["code"], &why["path"]), (&Value::from("not-allowed"), &Value::from("/secret")));
    let steps = why["steps"].as_array().expect("steps");
    let placed = steps.iter().find(|step| step["place"].is_object()).expect("a step that a document decided");
    assert_eq!((&placed["place"]["line"], &placed["place"]["revision"]), (&Value::from(5), &Value::from(1)), "{why:#}");
    assert_eq!(two.weft(&["why", &id]).code(), "refusal-unknown");

    // A call that nobody made is decided the same, from any node.
    let decided = two.weft(&["why", "web", "orders", "GET", "/secret"]).json();
    assert_eq!((&decided["is_allowed"], &decided["revision"]), (&Value::from(false), &Value::from(1)), "{decided:#}");
    let lines = |answer: &Value| answer["steps"].to_string();
    assert!(lines(&decided).contains("orders.toml\",\"line\":5"), "{decided:#}");
    let allow = "\n[[authorisation.rule]]\naction = \"allow\"\nfrom = { services = [\"web\"] }\nmethods = [\"GET\"]\n";
    let deny = "[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\ndefault = \"deny\"\n";
    operator.write("orders.toml", &format!("{deny}{allow}"));
    operator.applied(&one);
    let route = |method: &str| two.weft(&["route", method, "orders/secret", "--as", "web"]).json();
    assert_eq!((&route("GET")["is_allowed"], &route("POST")["is_allowed"]), (&Value::from(true), &Value::from(false)));
    assert!(lines(&route("GET")).contains("one"), "the endpoints are named");
    assert_eq!(two.get("orders", "/secret").status, 200);
    assert_eq!(two.weft(&["why", "a/b", "orders"]).code(), "usage-invalid");
}

#[test]
fn a_route_chooses_replicas_by_version_and_label() {
    let mut mesh = Mesh::new("labels");
    let (plain, gold) = (Server::nginx(mesh.scratch.path(), "plain"), Server::app("gold"));
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    one.weft(&["expose", "orders", &plain.port.to_string(), "--version", "1"]).json();
    two.weft(&["expose", "orders", &gold.port.to_string(), "--version", "2", "--label", "tier=gold"]).json();
    until_true("both replicas", SPREAD_LIMIT, || {
        let rows = one.listing("services");
        rows.iter().filter(|row| row["service"] == "orders").count() == 2
    });
    let operator = Operator::of(&mesh, &one, "policies");
    for (to, gold_answers) in [("{ labels = { tier = \"gold\" } }", true), ("{ version = \"1\" }", false)] {
        let route = format!("[[route]]\nname = \"orders\"\nservice = \"orders\"\n\n[[route.rule]]\nto = [{to}]\n");
        operator.write("orders.toml", &route);
        operator.applied(&one);
        for _ in 0..10 {
            let reply = one.get("orders", "/");
            assert_eq!((reply.status, reply.text().contains("gold")), (200, gold_answers), "{to}: {}", reply.text());
        }
    }
}
