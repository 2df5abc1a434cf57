//! One node that offers several replicas of a service, of one version or of several: what blue and green on one machine need.

use std::io::Read;
use std::net::SocketAddr;

use serde_json::Value;
use weft_tests::http::{Connection, Reply};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::Operator;
use weft_tests::programs::{Server, dial};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

fn expose(node: &Node, service: &str, app: &Server, more: &[&str]) -> weft_tests::weft::Outcome {
    let port = app.port.to_string();
    let mut words = vec!["expose", service, &port];
    words.extend(more);
    node.weft(&words)
}

/// Waits until a node knows so many replicas of a service.
fn knows(node: &Node, service: &str, count: usize) {
    until_true(&format!("{count} replicas of {service} on {}", node.name), SPREAD_LIMIT, || {
        node.listing("services").iter().filter(|row| row["service"] == service).count() == count
    });
}

fn route_to(target: &str) -> String {
    format!("[[route]]\nname = \"orders\"\nservice = \"orders\"\n\n[[route.rule]]\nto = [{target}]\n")
}

fn get_with(to: SocketAddr, field: &str) -> Reply {
    let request = format!("GET /headers HTTP/1.1\r\nhost: orders.weft.internal\r\n{field}\r\n\r\n");
    Connection::open(to).expect("the outbound port is open").send(request.as_bytes()).expect("it answers")
}

#[test]
fn one_node_offers_two_versions_and_routes_choose_between_them() {
    let mut mesh = Mesh::new("versions");
    let (old, new) = (Server::app("old"), Server::app("new"));
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["web"]);
    expose(&one, "orders", &old, &["--version", "1"]).json();
    expose(&one, "orders", &new, &["--version", "2", "--replica", "orders-b"]).json();
    assert_eq!(expose(&one, "orders", &new, &["--replica", "c", "--protocol", "tcp"]).code(), "protocol-mismatch");
    [&one, &two].into_iter().for_each(|node| knows(node, "orders", 2));
    assert_eq!(one.nodes()[0]["services"], Value::from(vec!["orders"]), "a service is named once");

    let operator = Operator::of(&mesh, &one, "policies");
    let both = "[[traffic]]\nname = \"orders\"\nservice = \"orders\"\nbalancing = \"round-robin\"\n";
    operator.write("traffic.toml", both);
    operator.applied(&one);
    for node in [&one, &two] {
        let answers: Vec<String> = (0..4).map(|_| node.get("orders", "/").text()[..3].to_owned()).collect();
        let of = |name: &str| answers.iter().filter(|answer| *answer == name).count();
        assert_eq!((of("old"), of("new")), (2, 2), "{} shares: {answers:?}", node.name);
    }
    for (version, name) in [("1", "old"), ("2", "new")] {
        operator.write("orders.toml", &route_to(&format!("{{ version = \"{version}\" }}")));
        operator.applied(&one);
        for node in [&one, &two] {
            for _ in 0..6 {
                assert!(node.get("orders", "/").text().starts_with(name), "{} to version {version}", node.name);
            }
        }
    }
    let told = two.weft(&["route", "GET", "orders/"]).json();
    let chosen: Vec<&Value> =
        told["endpoints"].as_array().unwrap().iter().filter(|end| end["is_chosen"] == true).collect();
    assert_eq!((chosen.len(), &chosen[0]["replica"], &chosen[0]["node"]), (1, &"orders-b".into(), &"one".into()));

    // What an application says of replicas counts for nothing, and no application hears of them.
    operator.write("orders.toml", &route_to("{ version = \"1\" }"));
    operator.applied(&one);
    for node in [&one, &two] {
        let reply = get_with(node.outbound(), "weft-replica: orders-b");
        assert!(reply.status == 200 && !reply.text().contains("weft-replica"), "{}", reply.text());
        assert!(node.get("orders", "/").text().starts_with("old"));
    }

    // A replica that ends takes its version with it, and nothing else.
    drop(old);
    until_true("the old version to be gone", SPREAD_LIMIT, || two.get("orders", "/").status == 503);
    operator.write("orders.toml", &route_to("{ version = \"2\" }"));
    operator.applied(&one);
    assert!(two.get("orders", "/").text().starts_with("new"));
    one.weft(&["expose", "orders", "--remove", "--replica", "orders-b"]).json();
    [&one, &two].into_iter().for_each(|node| knows(node, "orders", 1));
    assert_eq!(one.weft(&["expose", "orders", "--remove", "--replica", "orders-b"]).code(), "service-unknown");
}

#[test]
fn streams_are_spread_over_the_replicas_of_a_node_and_survive_one_that_refuses() {
    let mut mesh = Mesh::new("streams");
    let (first, second) = (Server::echo("first"), Server::echo("other"));
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["web"]);
    let unprobed = ["--protocol", "tcp", "--health", "none"];
    expose(&one, "echo", &first, &unprobed).json();
    expose(&one, "echo", &second, &[&unprobed[..], &["--replica", "b"]].concat()).json();
    knows(&two, "echo", 2);
    let port = weft_tests::loopback::free_port(two.address);
    two.weft(&["bind", "echo", &port.to_string()]).json();
    let greeting = || {
        let mut stream = dial(SocketAddr::from((two.address, port)));
        let mut name = [0; 5];
        stream.read_exact(&mut name).ok().map(|()| (String::from_utf8_lossy(&name).into_owned(), stream))
    };
    let open: Vec<_> = (0..8).map(|_| greeting().expect("a stream")).collect();
    let names: std::collections::BTreeSet<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["first", "other"]);
    drop((open, first));
    for _ in 0..8 {
        assert_eq!(greeting().expect("the other takes it").0, "other");
    }
}
