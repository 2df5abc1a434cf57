//! Labels that a signer granted stand in the certificate and authorise; labels that a node states of itself do not.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::Operator;
use weft_tests::programs::{Server, dial, echo};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Within this a stream ends that rests on what is no more.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// A local port that leads to the echo.
const LOCAL_PORT: u16 = 7007;

/// The `deny` rule stands in line 5, the `allow` rule in line 8.
const RULES: &str = r#"[[authorisation]]
name = "orders"
services = ["orders", "echo"]

[[authorisation.rule]]
action = "deny"
from = { services = ["web"], labels = { team = "reports" } }
[[authorisation.rule]]
action = "allow"
from = { services = ["web"], labels = { team = "payments", env = "live" } }
"#;

/// A token with these words beside it.
fn token(signer: &Node, words: &[&str]) -> String {
    let mut all = vec!["token", "create"];
    all.extend(words);
    signer.weft(&all).json()["token"].as_str().expect("a token").to_owned()
}

fn joined(mesh: &mut Mesh, name: &str, signer: &Node, words: &[&str]) -> Node {
    let mut node = mesh.blank(name);
    let mut all = vec!["--grant", "web"];
    all.extend(words);
    node.join_by(signer, &token(signer, &all)).json();
    node.start();
    node.weft(&["bind", "echo", &LOCAL_PORT.to_string()]).json();
    node
}

/// Whether a new stream to the echo comes through.
fn streams(node: &Node) -> bool {
    let mut stream = dial(SocketAddr::new(node.outbound().ip(), LOCAL_PORT));
    stream.read_exact(&mut [0; 5]).is_ok() && echo(&mut stream, b"hello").is_ok()
}

/// A call that is refused: what the called node says of it.
fn refused(caller: &Node, called: &Node) -> Value {
    let answer = caller.get("orders", "/");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("\"not-allowed\""), "{}", answer.text());
    let id = answer.header("weft-refusal").expect("an id").to_owned();
    called.weft(&["why", &id]).json()
}

/// What the certificate carried, and the line of the rule that decided, by a chain of decisions.
fn told(why: &Value) -> (String, Option<u64>) {
    let steps = why["steps"].as_array().expect("steps");
    let carried = steps.iter().find(|step| step["what"] == "labels").expect("a step about labels");
    let line = steps.iter().find_map(|step| step["place"]["line"].as_u64());
    (carried["outcome"].as_str().expect("a text").to_owned(), line)
}

fn labels_of(row: &Value) -> Value {
    row["labels"].clone()
}

#[test]
fn replicas_of_one_service_are_told_apart_by_labels_that_a_signer_granted() {
    let mut mesh = Mesh::new("granted");
    let (orders, echoes) = (Server::app("orders"), Server::echo("echo"));
    let one = mesh.init_running("one");
    let pay = joined(&mut mesh, "pay", &one, &["--label", "team=payments", "--label", "env=live"]);
    let reports = joined(&mut mesh, "reports", &one, &["--label", "team=reports"]);
    let boast = joined(&mut mesh, "boast", &one, &[]);
    one.weft(&["expose", "orders", &orders.port.to_string()]).json();
    one.weft(&["expose", "echo", &echoes.port.to_string(), "--protocol", "tcp"]).json();
    // What a node says of its own replicas chooses replicas; it proves nothing.
    let own = orders.port.to_string();
    boast.weft(&["expose", "web", &own, "--label", "team=payments", "--label", "env=live"]).json();
    for node in [&one, &pay, &reports, &boast] {
        node.sees(4);
        node.reaches("orders", "/");
    }
    Operator::of(&mesh, &one, "policies").write("orders.toml", RULES);
    Operator::of(&mesh, &one, "policies").applied(&one);

    assert_eq!(pay.get("orders", "/").status, 200);
    assert!(streams(&pay));
    let why = refused(&reports, &one);
    assert_eq!(told(&why), ("the caller's certificate carries team=reports".to_owned(), Some(5)), "{why:#}");
    assert!(!streams(&reports));
    let why = refused(&boast, &one);
    assert_eq!(told(&why), ("the caller's certificate carries none".to_owned(), Some(8)), "{why:#}");
    assert!(!streams(&boast));

    let rows = one.nodes();
    let row = |name: &str| rows.iter().find(|row| row["node"] == name).expect("a row").clone();
    assert_eq!(labels_of(&row("pay")), json!({ "team": "payments", "env": "live" }));
    assert_eq!(labels_of(&row("boast")), json!({}));
    for certificate in pay.listing("certs") {
        assert_eq!(labels_of(&certificate), json!({ "team": "payments", "env": "live" }), "{certificate:#}");
    }
    hypothetical_calls_carry_the_labels_that_they_are_given(&pay, &boast);
}

fn hypothetical_calls_carry_the_labels_that_they_are_given(pay: &Node, boast: &Node) {
    let allowed = |answer: &Value| answer["is_allowed"].as_bool().expect("a verdict");
    let why = |words: &[&str]| boast.weft(&[&["why", "web", "orders"][..], words].concat()).json();
    let supposed = why(&["--label", "team=payments", "--label", "env=live"]);
    assert!(allowed(&supposed), "{supposed:#}");
    assert_eq!(told(&supposed).0, "the caller's certificate carries env=live,team=payments");
    assert!(
        supposed["steps"][0]["outcome"].as_str().expect("a text").contains("supposing that its certificate carries")
    );
    assert!(!allowed(&why(&["--label", "team=payments"])) && !allowed(&why(&[])));
    let route = |node: &Node, words: &[&str]| node.weft(&[&["route", "GET", "orders/"][..], words].concat()).json();
    let own = route(pay, &[]);
    assert!(allowed(&own), "as itself, with its own certificate: {own:#}");
    assert_eq!(labels_of(&own), json!({ "team": "payments", "env": "live" }));
    assert!(!allowed(&route(pay, &["--as", "web"])) && !allowed(&route(boast, &[])));
    assert!(allowed(&route(boast, &["--as", "web", "--label", "team=payments", "--label", "env=live"])));
}

#[test]
fn a_token_changes_the_labels_of_a_node_that_runs() {
    let mut mesh = Mesh::new("relabelled");
    let (orders, echoes) = (Server::app("orders"), Server::echo("echo"));
    let one = mesh.init_running("one");
    let web = joined(&mut mesh, "web-1", &one, &["--label", "team=reports", "--label", "env=live"]);
    one.weft(&["expose", "orders", &orders.port.to_string()]).json();
    one.weft(&["expose", "echo", &echoes.port.to_string(), "--protocol", "tcp"]).json();
    web.reaches("orders", "/");
    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("orders.toml", RULES);
    operator.applied(&one);
    let process = web.process().id();
    refused(&web, &one);

    // The label of the same name is replaced, the other stays; in force when the command returns.
    let took = web.join_by(&one, &token(&one, &["--label", "team=payments"])).json();
    assert_eq!(labels_of(&took), json!({ "team": "payments", "env": "live" }));
    assert_eq!(web.get("orders", "/").status, 200);
    assert!(streams(&web));
    until_true("the other node to list the new label", SPREAD_LIMIT, || {
        one.nodes().iter().any(|row| row["node"] == "web-1" && row["labels"]["team"] == "payments")
    });

    // A token without labels says nothing of them.
    web.join_by(&one, &token(&one, &["--grant", "web"])).json();
    assert_eq!(web.get("orders", "/").status, 200);
    let mut open = dial(SocketAddr::new(web.outbound().ip(), LOCAL_PORT));
    open.read_exact(&mut [0; 5]).expect("the greeting");
    assert_eq!(echo(&mut open, b"hello").expect("an open stream"), b"hello");
    let took = web.join_by(&one, &token(&one, &["--remove-label", "team"])).json();
    assert_eq!(labels_of(&took), json!({ "env": "live" }));
    let why = refused(&web, &one);
    assert_eq!(told(&why).0, "the caller's certificate carries env=live");
    assert!(!streams(&web));
    until_true("the open stream to end", CLOSE_LIMIT, || echo(&mut open, b"hello").is_err());
    assert_eq!(web.process().id(), process, "it ran all the time");
    let mut web = web;
    web.stop();
    web.start();
    for certificate in web.listing("certs") {
        assert_eq!(labels_of(&certificate), json!({ "env": "live" }), "{certificate:#}");
    }
}

#[test]
fn the_first_node_has_labels_and_wrong_ones_are_refused() {
    let mut mesh = Mesh::new("founder");
    let mut one = mesh.blank("one");
    let passphrase = mesh.scratch.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").expect("the scratch directory is writable");
    let (at, file) = (one.address.to_string(), passphrase.display().to_string());
    let init = |words: &[&str]| {
        let place = ["init", "founder", "--advertise", &at, "--bind", &at, "--node", "one", "--passphrase-file", &file];
        one.weft(&[&place[..], words].concat())
    };
    for wrong in ["team", "team=", "=payments", "team=pay ments", "team=a,b", "team=a=b"] {
        let outcome = init(&["--label", wrong]);
        assert_eq!((outcome.code().as_str(), outcome.exit), ("usage-invalid", 2), "{wrong}");
    }
    assert_eq!(init(&["--label", "team=a", "--label", "team=b"]).code(), "usage-invalid");
    init(&["--label", "team=ops"]).json();
    one.start();
    assert_eq!(labels_of(&one.weft(&["status"]).json()), json!({ "team": "ops" }));
    for certificate in one.listing("certs") {
        assert_eq!(labels_of(&certificate), json!({ "team": "ops" }), "{certificate:#}");
    }
    let create = |words: &[&str]| one.weft(&[&["token", "create"][..], words].concat());
    assert_eq!(create(&["--label", "team=x y"]).code(), "usage-invalid");
    assert_eq!(create(&["--label", "team=x", "--remove-label", "team"]).code(), "usage-invalid");
    assert_eq!(create(&["--remove-label", "a=b"]).code(), "usage-invalid");
    let nine: Vec<String> = (0..9).map(|number| format!("--label=n{number}=v")).collect();
    assert_eq!(create(&nine.iter().map(String::as_str).collect::<Vec<_>>()).code(), "usage-invalid");
    one.weft(&["expose", "orders", "8080", "--health", "none"]).json();
    let orders = one.listing("certs").into_iter().find(|row| row["identity"].as_str().unwrap().ends_with("svc/orders"));
    assert_eq!(labels_of(&orders.expect("a certificate")), json!({ "team": "ops" }));
}
