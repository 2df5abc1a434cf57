//! Who may call what, decided where a call arrives; with the ids of refusals.

use super::*;

/// The JSON of an answer's body, and the id in its head.
pub(super) fn problem(answer: &str) -> (serde_json::Value, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let id = head.lines().find_map(|line| line.strip_prefix("weft-refusal: ")).unwrap();
    (serde_json::from_str(body).unwrap(), id.to_owned())
}

async fn get_path(to: SocketAddr, path: &str) -> String {
    raw(to, &format!("GET {path} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n")).await
}

const RULES: &str = r#"
[[authorisation]]
name = "orders"
services = ["orders"]

[[authorisation.rule]]
action = "deny"
paths = ["/admin/**"]
from = { any = true }

[[authorisation.rule]]
action = "allow"
from = { services = ["web"] }
"#;

#[tokio::test]
async fn a_call_is_refused_where_it_arrives_and_names_its_rule() {
    let mesh = Mesh::new(20);
    app(mesh.at(2, 8080), "orders").await;
    app(mesh.at(1, 8080), "orders here").await;
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[("web", HTTP)], &[("orders", HTTP, &[2])]).await;
    let here = mesh.node(3, &[("orders", HTTP)], &[("orders", HTTP, &[3])]).await;
    let rules = policy(12, RULES);
    for node in [&far, &near, &here] {
        node.apply(&rules);
    }
    assert!(get_path(near.outbound, "/").await.ends_with("orders"));
    for path in ["/admin/x", "/a/../admin/x", "/%61dmin/x", "//admin/x"] {
        let answer = get_path(near.outbound, path).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        let (problem, id) = problem(&answer);
        assert_eq!((&problem["code"], &problem["id"]), (&"not-allowed".into(), &id.clone().into()));
        let why = problem["why"].as_str().unwrap();
        assert!(why.contains("policies/orders.toml:6 (revision 12)"), "{why}");
        let kept = far.path.refusals(&id).unwrap();
        assert_eq!((kept.path.as_deref(), kept.revision), (Some(path), 12));
        assert_eq!(kept.caller.as_deref(), Some("spiffe://bank/svc/web"));
        assert!(kept.steps.iter().any(|step| step.place.as_ref().is_some_and(|place| place.line == 6)), "{kept:?}");
    }
    // Directly, on one machine: the caller is `orders` itself, which no rule allows.
    let answer = get_path(here.outbound, "/").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(here.path.refusals(&problem(&answer).1).is_some());
    // A path without a normal form might get around the rules.
    assert!(get_path(near.outbound, "/a%2fb").await.starts_with("HTTP/1.1 400"));
    for node in [&far, &near, &here] {
        node.apply(&Arc::default());
    }
    assert!(get_path(near.outbound, "/a%2fb").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_refused_call_is_tried_nowhere_else_and_ejects_nobody() {
    let mesh = Mesh::new(21);
    app(mesh.at(2, 8080), "two").await;
    app(mesh.at(3, 8080), "three").await;
    let two = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let _three = mesh.node(3, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2, 3])]).await;
    let turns = "[[traffic]]\nname = \"t\"\nservice = \"orders\"\nbalancing = \"round-robin\"\n";
    near.apply(&policy(1, turns));
    // One of the two nodes has the documents already.
    two.apply(&policy(12, RULES));
    let mut refused = 0;
    for _ in 0..10 {
        let answer = get(near.outbound, "orders").await;
        refused += usize::from(answer.starts_with("HTTP/1.1 403"));
    }
    assert_eq!(refused, 5, "a retry would have hidden it, and an ejection the second");
    assert_eq!(mesh.sum("weft_ejections_total", &[]), 0.0);
    assert_eq!(mesh.sum("weft_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn a_stream_is_refused_by_the_same_rules() {
    let mesh = Mesh::new(22);
    let echo = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = echo.accept().await.unwrap();
            tokio::spawn(echo_all(stream));
        }
    });
    let far = mesh.node(2, &[("orders", Protocol::Tcp)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    let connect = "CONNECT orders:1 HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";
    far.apply(&policy(12, RULES));
    let answer = raw(near.outbound, connect).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let (problem, _) = problem(&answer);
    // The called node keeps the reason; the calling one knows under which id.
    let id = problem["why"].as_str().unwrap().rsplit(' ').next().unwrap();
    let kept = far.path.refusals(id).unwrap();
    assert_eq!((kept.code, kept.method.as_deref()), ("not-allowed", None));
    assert_eq!(mesh.sum("weft_ejections_total", &[]), 0.0);
}

#[tokio::test]
async fn a_bound_port_of_an_http_service_serves_requests() {
    let mesh = Mesh::new(23);
    app(mesh.at(2, 8080), "orders").await;
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[("web", HTTP)], &[("orders", HTTP, &[2])]).await;
    let at = mesh.at(1, 8000);
    let spec = ListenerSpec::Bound(BindSpec {
        at,
        leads_to: LeadsTo::Service("orders".parse().unwrap()),
        identity: None,
        proxy_protocol: false,
    });
    let _bound = near.path.open(spec, Arc::clone(&near.world)).await.unwrap();
    // Whatever host a request names.
    assert!(get_path(at, "/admin/x").await.starts_with("HTTP/1.1 200"));
    assert!(
        raw(at, "GET / HTTP/1.1\r\nhost: 127.0.0.1:8000\r\nconnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let connect = raw(at, "CONNECT orders:1 HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").await;
    assert_eq!(problem(&connect).0["code"], "protocol-mismatch", "{connect}");
    far.apply(&policy(12, RULES));
    let answer = get_path(at, "/admin/x").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("not-allowed"), "{answer}");
}

#[tokio::test]
async fn no_stream_reaches_an_http_service() {
    let mesh = Mesh::new(25);
    app(mesh.at(2, 8080), "orders").await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    // As a member that says nothing true of its own view would.
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    let connect = "CONNECT orders:1 HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";
    let answer = raw(near.outbound, connect).await;
    assert_eq!(problem(&answer).0["code"], "protocol-mismatch", "{answer}");
}

#[tokio::test]
async fn a_document_in_shadow_mode_is_counted_and_refuses_nothing() {
    let mesh = Mesh::new(24);
    app(mesh.at(2, 8080), "orders").await;
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    far.apply(&policy(12, &RULES.replace("name = \"orders\"", "name = \"orders\"\nmode = \"shadow\"")));
    assert!(get_path(near.outbound, "/admin/x").await.starts_with("HTTP/1.1 200"));
    let labels = ["service=\"orders\"", "document=\"orders\""];
    assert_eq!(mesh.sum("weft_shadow_refusals_total", &labels), 1.0);
}

/// `team = payments` may call, whoever it is otherwise.
const LABELLED: &str = r#"
[[authorisation]]
name = "orders"
service = "orders"

[[authorisation.rule]]
action = "deny"
from = { labels = { state = "suspect" } }

[[authorisation.rule]]
action = "allow"
from = { services = ["web", "orders"], labels = { team = "payments" } }
"#;

/// A mesh whose nodes 1 to 4 are of these labels.
fn labelled(net: u8, labels: [&str; 4]) -> Mesh {
    let mut mesh = Mesh::new(net);
    for (node, labels) in (1..).zip(labels).filter(|(_, labels)| !labels.is_empty()) {
        mesh.labels.insert(node, labels.parse().unwrap());
    }
    mesh
}

#[tokio::test]
async fn the_labels_of_the_certificate_tell_two_replicas_of_one_service_apart() {
    let mesh = labelled(25, ["team=payments", "team=payments", "team=reports", "state=suspect,team=payments"]);
    for node in 1..=4 {
        app(mesh.at(node, 8080), "orders").await;
    }
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let rules = policy(12, LABELLED);
    far.apply(&rules);
    for (number, status, step) in [
        (1, "200", ""),
        (3, "403", "the caller's certificate carries team=reports"),
        (4, "403", "the caller's certificate carries state=suspect,team=payments"),
    ] {
        let node = mesh.node(number, &[("web", HTTP)], &[("orders", HTTP, &[2])]).await;
        let answer = get_path(node.outbound, "/").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{number}: {answer}");
        if status == "403" {
            let kept = far.path.refusals(&problem(&answer).1).unwrap();
            assert!(kept.steps.iter().any(|one| one.what == "labels" && one.outcome == step), "{kept:?}");
        }
    }
    // Directly, on one machine, by the node's own certificate.
    for (number, status) in [(1, "200"), (3, "403")] {
        let node = mesh.node(number, &[("orders", HTTP)], &[("orders", HTTP, &[number])]).await;
        node.apply(&rules);
        let answer = get_path(node.outbound, "/").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{number}: {answer}");
    }
}
