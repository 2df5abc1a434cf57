//! Keys come, end and are taken back, one at a time: a replica's, a node's, an operator's. What hangs on the key ends, and nothing else.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weft_tests::by_hand::{Hand, document, give};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::programs::{Server, dial, echo};
use weft_tests::rogue::Rogue;
use weft_tests::wait::{let_pass, until, until_true};
use weft_tests::{Mesh, Node};

/// Within this after `weft revoke` every open connection of the key is closed, on every other node.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Within this a node that is refused for the key of its own certificate is back with another.
const RETURN_LIMIT: Duration = Duration::from_secs(40);
/// Local ports of the caller.
const LOCAL_PORT: u16 = 7007;
const OTHER_PORT: u16 = 7008;

/// The key of a node's certificate for an identity, as an operator finds it.
fn key_of(node: &Node, identity: &str) -> String {
    let certs = node.listing("certs");
    let row = certs.iter().find(|row| row["identity"].as_str().is_some_and(|id| id.ends_with(identity)));
    row.unwrap_or_else(|| panic!("{identity} in {certs:#?}"))["key"].as_str().expect("a key").to_owned()
}

/// A stream through a local port of the node that the replica of this name answers.
fn stream_to(node: &Node, port: u16, replica: &str) -> TcpStream {
    until(&format!("a stream to {replica}"), SPREAD_LIMIT, || {
        let mut stream = dial(SocketAddr::new(node.outbound().ip(), port));
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).ok()?;
        greeting.starts_with(replica.as_bytes()).then_some(stream)
    })
}

#[test]
fn what_hangs_on_a_replicas_key_ends_and_nothing_else() {
    let mut mesh = Mesh::new("one-key");
    let (leaky, other, sound) = (Server::echo("leak"), Server::echo("othr"), Server::echo("good"));
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["echo", "other"]);
    let caller = mesh.join_running("caller", &one, &["web"]);
    one.weft(&["expose", "echo", &sound.port.to_string(), "--protocol", "tcp"]).json();
    two.weft(&["expose", "echo", &leaky.port.to_string(), "--protocol", "tcp"]).json();
    two.weft(&["expose", "other", &other.port.to_string(), "--protocol", "tcp"]).json();
    caller.weft(&["bind", "echo", &LOCAL_PORT.to_string()]).json();
    caller.weft(&["bind", "other", &OTHER_PORT.to_string()]).json();
    let mut falls = stream_to(&caller, LOCAL_PORT, "leak");
    let mut stay = [stream_to(&caller, LOCAL_PORT, "good"), stream_to(&caller, OTHER_PORT, "othr")];
    let (key, node_key) = (key_of(&two, "/svc/echo"), key_of(&two, "/node/two"));
    let listed = two.weft(&["cert", "ls"]).json()["certs"].clone();
    assert!(listed.as_array().expect("a list").iter().any(|row| row["key"] == key.as_str()), "{listed:#}");

    let operator = Operator::of(&mesh, &one, "policies");
    operator.signs(&one, &["revoke", "key", &key, "--reason", "it leaked"]).json();
    let closed = until_true("its streams to end", CLOSE_LIMIT, || echo(&mut falls, b"hello").is_err());
    for stream in &mut stay {
        assert_eq!(echo(stream, b"hello").expect("nobody else's stream"), b"hello");
    }
    // The node makes another key by itself, and its replica is back.
    let renewed = until_true("another key", SPREAD_LIMIT, || key_of(&two, "/svc/echo") != key);
    echo(&mut stream_to(&caller, LOCAL_PORT, "leak"), b"hello").expect("a stream with the new key");
    assert_eq!(key_of(&two, "/node/two"), node_key, "nothing else was replaced");
    println!("closed {closed:?} and renewed {renewed:?} after the command returned");
    let new = key_of(&two, "/svc/echo");
    operator.signs(&one, &["revoke", "key", &key, "--undo"]).json();
    for stream in &mut stay {
        assert_eq!(echo(stream, b"hello").expect("nobody else's stream"), b"hello");
    }
    assert_eq!(key_of(&two, "/svc/echo"), new, "the node stays with its new key");
}

#[test]
fn a_revoked_key_is_refused_until_it_is_trusted_again() {
    let mut mesh = Mesh::new("copied");
    let one = mesh.init_running("one");
    let own = mesh.next_address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let thief = runtime.block_on(Rogue::join(&one.token(&["web"]), "rogue", own, one.address));
    assert!(runtime.block_on(thief.is_answered()));
    let operator = Operator::of(&mesh, &one, "policies");
    operator.signs(&one, &["revoke", "key", &thief.key(), "--reason", "it was copied"]).json();
    assert!(!runtime.block_on(thief.is_answered()), "a revoked key connects nowhere");
    operator.signs(&one, &["revoke", "key", &thief.key(), "--undo"]).json();
    assert!(runtime.block_on(thief.is_answered()));
}

/// The others cut it off before it can hear why.
#[test]
fn a_node_whose_own_key_was_revoked_comes_back_with_another() {
    let mut mesh = Mesh::new("own-key");
    let app = Server::app("orders");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    two.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    one.reaches("orders", "/");
    let key = key_of(&two, "/node/two");
    let operator = Operator::of(&mesh, &one, "policies");
    operator.signs(&one, &["revoke", "key", &key, "--reason", "it leaked", "--wait", "1s"]);
    let renewed = until_true("another key", RETURN_LIMIT, || key_of(&two, "/node/two") != key);
    until_true("the node to hear why", RETURN_LIMIT, || documents(&two) == documents(&one));
    let back = one.reaches("orders", "/");
    println!("another key after {renewed:?}, calls {back:?} later");
}

#[test]
fn an_operator_with_a_key_of_their_own_stays_in_scope_and_ends_with_the_ledgers_tips() {
    let mut mesh = Mesh::new("operators");
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["web"]);
    for node in [&mut one, &mut two] {
        node.tolerate("part of the ledger was refused");
    }
    let scratch = mesh.scratch.path().to_owned();
    let file = |name: &str| scratch.join(name).display().to_string();
    let (root, passphrase) = (one.file("keys/root.key").display().to_string(), file("passphrase"));
    // Made where no root key is, and made known by who has it.
    let made = two.weft(&["ca", "key", &file("kim.key"), "--passphrase-file", &passphrase]).json();
    let public = made["key"].as_str().expect("a public key").to_owned();
    let again = two.weft(&["ca", "key", &file("kim.key"), "--passphrase-file", &passphrase]);
    assert_eq!(again.code(), "usage-invalid", "a key is never written over");
    let kim = Operator::with_key(&mesh, scratch.join("kim.key"), "kim");
    kim.write("own.toml", &traffic("orders", 5));
    assert_eq!(kim.apply(&two).code(), "change-set-invalid", "nobody knows the key");
    let signed_by_root = ["--root-key", &root, "--passphrase-file", &passphrase];
    let ca = |words: &[&str]| one.weft(&[&["ca", "operator"], words, &signed_by_root].concat()).json();
    ca(&["add", "--public-key", &public, "--scope", "orders"]);
    kim.applied(&two);
    let operator = Operator::of(&mesh, &one, "policies");
    let known = documents(&one);
    assert_eq!(known, documents(&two));

    let hand = Hand::of(&mesh, &scratch.join("kim.key"));
    let refuses = |node: &Node, draft, label: &str| {
        let (status, problem) = give(node, draft);
        assert_eq!((status, problem["code"].as_str()), (409, Some("change-set-invalid")), "{problem:#}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(label)), "{label} in {problem:#}");
    };
    let outside = hand.signs(&one, &[document("traffic/web", Some("web"), "request_timeout = \"1s\"")]);
    [&one, &two].into_iter().for_each(|node| refuses(node, &outside, "service web"));
    assert!(documents(&one) == known && documents(&two) == known);

    let revoke = operator.signs(&one, &["revoke", "key", &public, "--reason", "it leaked"]);
    assert_eq!(revoke.code(), "usage-invalid", "it would change nothing: only the root takes an operator back");

    // Retired, what was signed before stays, also for who comes later; what is signed after counts nowhere.
    ca(&["retire", &public]);
    let late = hand.signs(&one, &[document("traffic/orders", Some("orders"), "request_timeout = \"9s\"")]);
    [&one, &two].into_iter().for_each(|node| refuses(node, &late, "retired"));
    let own = mesh.next_address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut rogue = runtime.block_on(Rogue::join(&one.token(&["web"]), "rogue", own, one.address));
    runtime.block_on(async { rogue.keep_a_ledger_of(&[late]) });
    let mut version = 0;
    let counted = |node: &Node| node.metric("weft_ledger_refused_total", &["reason=\"operator-retired\""]) > 0.0;
    until_true("every node to refuse what a member spreads of it", SPREAD_LIMIT, || {
        version += 1;
        runtime.block_on(rogue.live(version));
        counted(&one) && counted(&two)
    });
    let mut three = mesh.join("three", &one, &["web"]);
    three.tolerate("part of the ledger was refused");
    three.start();
    until_true("the newcomer to hold it", SPREAD_LIMIT, || documents(&three) == known);
    assert!(documents(&one) == known && documents(&two) == known);
}

#[test]
fn a_later_authors_word_lets_in_what_an_ended_key_signed() {
    let mut mesh = Mesh::new("vouched");
    let one = mesh.init_running("one");
    let mut away = mesh.join_running("away", &one, &["web"]);
    let key = mesh.scratch.path().join("kim.key");
    let (file, root) = (key.display().to_string(), one.file("keys/root.key").display().to_string());
    let passphrase = mesh.scratch.path().join("passphrase").display().to_string();
    one.sees(2);
    away.stop();
    one.sees(1);
    let add = ["ca", "operator", "add", "--new-operator-key", &file, "--ttl", "4s"];
    one.weft(&[&add[..], &["--root-key", &root, "--passphrase-file", &passphrase]].concat()).json();
    let kim = Operator::with_key(&mesh, key, "kim");
    kim.write("orders.toml", &traffic("orders", 5));
    kim.applied(&one);
    let_pass(Duration::from_secs(4));
    away.tolerate("part of the ledger was refused");
    away.start();
    let refused = |reason: &str| away.metric("weft_ledger_refused_total", &[&format!("reason=\"{reason}\"")]);
    until_true("the ended key to be refused", SPREAD_LIMIT, || refused("operator-lapsed") > 0.0);
    assert_eq!(
        refused("operator-unknown"),
        0.0,
        "the bundle that names the key is fetched before what it signed is judged"
    );
    assert!(documents(&away).is_empty() && documents(&one).len() == 1);

    let operator = Operator::of(&mesh, &one, "policies");
    operator.write("web.toml", &traffic("web", 5));
    operator.applied(&one);
    assert_eq!(documents(&away), documents(&one), "whoever built upon it stands behind it");
    assert_eq!(documents(&away).len(), 2);
}
