//! What nodes offer: how an application is probed, and two nodes that disagree over what a service speaks.

use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::Server;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// Calls that must all succeed: enough for every replica to be chosen.
const CALLS: usize = 20;

fn is_healthy(node: &Node, service: &str, expected: bool) {
    until_true(&format!("healthy: {expected}"), SPREAD_LIMIT, || {
        node.listing("services").iter().any(|row| row["service"] == service && row["healthy"] == expected)
    });
}

#[test]
fn an_http2_service_is_probed_in_its_protocol() {
    let mut mesh = Mesh::new("probe2");
    let node = mesh.init_running("one");
    let folder = mesh.scratch.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("health"), "well").unwrap();
    let server = Server::nghttpd(&folder);
    node.offers("greeter", &server, &["--protocol", "http2", "--health", "/missing"]);
    is_healthy(&node, "greeter", false);
    node.offers("greeter", &server, &["--protocol", "http2", "--health", "/health"]);
    is_healthy(&node, "greeter", true);
}

#[test]
fn an_application_that_knows_its_host_takes_probes() {
    let mut mesh = Mesh::new("probe");
    let node = mesh.init_running("one");
    let app = Server::app_that("orders", &["--host", "orders.weft.internal"]);
    node.offers("orders", &app, &["--health", "/status?500"]);
    is_healthy(&node, "orders", false);
    node.offers("orders", &app, &["--health", "/"]);
    is_healthy(&node, "orders", true);
    node.offers("other", &app, &["--health", "/"]);
    is_healthy(&node, "other", false);
}

fn all_calls_succeed(nodes: &[&Node]) {
    for node in nodes {
        for _ in 0..CALLS {
            let reply = node.get("orders", "/");
            assert_eq!(reply.status, 200, "through {}: {}", node.name, reply.text());
        }
    }
}

#[test]
fn another_protocol_than_the_mesh_knows_is_refused() {
    let (mut mesh, app) = (Mesh::new("refused"), Server::app("orders"));
    let mut one = mesh.init_running("one");
    one.tolerate("in another protocol");
    let mut two = mesh.join_running("two", &one, &["orders"]);
    one.offers("orders", &app, &[]);
    two.knows("orders", 1);
    let port = app.port.to_string();
    let refused = two.weft(&["expose", "orders", &port, "--protocol", "tcp"]);
    assert_eq!(refused.code(), "protocol-mismatch");
    assert!(refused.stderr.contains("--anyway"), "{}", refused.stderr);
    all_calls_succeed(&[&one, &two]);
    two.tolerate("in another protocol");
    two.offers("orders", &app, &["--protocol", "tcp", "--anyway"]);
    all_calls_succeed(&[&one, &two]);
}

#[test]
fn a_node_with_a_wrong_protocol_harms_nobody_else() {
    let (mut mesh, app) = (Mesh::new("dissent"), Server::app("orders"));
    let mut one = mesh.init_running("one");
    one.offers("orders", &app, &[]);
    let mut two = mesh.join("two", &one, &["orders"]);
    one.tolerate("in another protocol");
    two.tolerate("in another protocol");
    two.configure(&format!("[[service]]\nname = \"orders\"\nport = {}\nprotocol = \"tcp\"\n", app.port));
    two.start();
    let left_out = |node: &Node| {
        let rows = node.listing("services");
        rows.iter().any(|row| row["node"] == "two" && row["protocol"] == "tcp" && row["agreed"] == "http")
    };
    for node in [&one, &two] {
        until_true("the conflict to be listed", SPREAD_LIMIT, || left_out(node));
    }
    all_calls_succeed(&[&one, &two]);
    let status = two.weft(&["status"]).json();
    assert_eq!(status["dissents"][0]["agreed"], "http", "{status:#}");
    let told =
        |node: &Node| node.process().stderr.all().iter().filter(|line| line.contains("in another protocol")).count();
    for node in [&one, &two] {
        until_true("the conflict to be logged", SPREAD_LIMIT, || told(node) > 0);
    }
    two.offers("orders", &app, &[]);
    one.knows("orders", 2);
    all_calls_succeed(&[&one, &two]);
    assert!(!left_out(&one) && !left_out(&two));
    assert_eq!((told(&one), told(&two)), (1, 1), "each node says it once");
}
