//! Where requests go, and what is done to them on the way.

use super::*;
use crate::explain::Question;
use weft_policy::fields::Fields;

/// An application that says who it is, and what it was sent.
async fn teller(at: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(tell(stream, name));
        }
    });
}

async fn tell(stream: TcpStream, name: &'static str) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
        let status = if request.uri().path() == "/fails" { 503 } else { 200 };
        let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let fields: Vec<_> =
            ["host", "x-set", "x-gone", "weft-trace-revision"].map(field).into_iter().flatten().collect();
        let text = format!("{name} {} {}", request.uri(), fields.join(" "));
        let response = Response::builder().status(status).header("x-said", name);
        Ok::<_, Infallible>(response.body(http_body_util::Full::new(Bytes::from(text))).unwrap())
    });
    let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn ask(to: SocketAddr, path: &str, fields: &str) -> String {
    raw(to, &format!("GET {path} HTTP/1.1\r\nhost: orders\r\n{fields}connection: close\r\n\r\n")).await
}

const ROUTES: &str = r#"
[[route]]
name = "orders"
service = "orders"

[[route.rule]]
match = [{ path = { prefix = "/old" } }]
redirect = { path = "/new", status = 308 }

[[route.rule]]
match = [{ path = { exact = "/broken" } }]
fault = { abort = { status = 418 } }

[[route.rule]]
match = [{ path = { exact = "/slow" } }]
fault = { delay = { span = "300ms" } }

[[route.rule]]
match = [{ path = { prefix = "/api" } }]
rewrite = { prefix = "/v1", host = "inner.example" }
request_headers = { set = { x-set = "yes" }, remove = ["x-gone"] }
response_headers = { set = { x-said = "the mesh" } }

[[route.rule]]
match = [{ path = { prefix = "/split" } }]
to = [{ version = "v2", weight = 1 }, { service = "other", weight = 3 }]

[[route.rule]]
match = [{ path = { exact = "/copied" } }]
to = [{ version = "v2" }]
mirror = { service = "other" }

[[route.rule]]
match = [{ path = { exact = "/nobody" } }]
to = [{ version = "v9" }]
"#;

/// Two nodes with `orders`, one with `other`, and one that calls them by the routes.
async fn routed(net: u8) -> (Mesh, Vec<Node>, Node) {
    let mesh = Mesh::new(net);
    let mut far = Vec::new();
    for (node, service, name) in [(2, "orders", "two"), (3, "orders", "three"), (4, "other", "four")] {
        teller(mesh.at(node, 8080), name).await;
        far.push(mesh.node(node, &[(service, HTTP)], &[]).await);
    }
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2, 3]), ("other", HTTP, &[4])]).await;
    near.apply(&policy(5, ROUTES));
    (mesh, far, near)
}

#[tokio::test]
async fn a_rule_redirects_fails_and_waits_on_purpose() {
    let (_mesh, _far, near) = routed(40).await;
    let answer = ask(near.outbound, "/old/x?a=1", "").await;
    assert!(answer.starts_with("HTTP/1.1 308") && answer.contains("location: http://orders/new?a=1"), "{answer}");
    let answer = ask(near.outbound, "/broken", "").await;
    assert!(answer.starts_with("HTTP/1.1 418") && answer.contains("fault of policies/orders.toml:10"), "{answer}");
    let began = tokio::time::Instant::now();
    assert!(ask(near.outbound, "/slow", "").await.starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    // What no rule takes goes as it is.
    assert!(ask(near.outbound, "/plain", "").await.contains("/plain"));
}

#[tokio::test]
async fn a_rule_changes_request_and_answer() {
    let (_mesh, _far, near) = routed(41).await;
    let answer = ask(near.outbound, "/api/a/../x?q=1", "x-gone: here\r\n").await;
    assert!(answer.ends_with("/v1/x?q=1 inner.example yes"), "{answer}");
    assert!(answer.contains("x-said: the mesh"), "{answer}");
}

#[tokio::test]
async fn a_split_draws_version_and_service_by_weight() {
    let (_mesh, _far, near) = routed(42).await;
    let mut counts = BTreeMap::new();
    for _ in 0..200 {
        let answer = ask(near.outbound, "/split", "").await;
        let name =
            ["two", "three", "four"].into_iter().find(|name| answer.contains(&format!("{name} /split"))).unwrap();
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts.get("three"), None, "another version");
    assert!((20..90).contains(&counts["two"]) && counts["four"] > counts["two"], "{counts:?}");
    let answer = ask(near.outbound, "/nobody", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("version or labels"), "{answer}");
}

#[tokio::test]
async fn a_copy_goes_elsewhere_and_changes_nothing() {
    let (mesh, _far, near) = routed(43).await;
    assert!(ask(near.outbound, "/copied", "").await.contains("two /copied"));
    let labels = ["direction=\"inbound\"", "service=\"other\"", "code_class=\"2xx\""];
    let copied = async {
        while mesh.sum("weft_requests_total", &labels) < 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), copied).await.unwrap();
}

#[tokio::test]
async fn an_answer_tells_the_revisions_that_decided_where_asked() {
    let (_mesh, far, near) = routed(44).await;
    for node in &far {
        node.apply(&policy(7, ROUTES));
    }
    let answer = ask(near.outbound, "/plain", "weft-trace-revision: 1\r\n").await;
    assert!(answer.contains("weft-revision: 5,7\r\n") && answer.ends_with("/plain orders"), "{answer}");
    assert!(!ask(near.outbound, "/plain", "").await.contains("weft-revision"));
    let answer = ask(near.outbound, "/nobody", "weft-trace-revision: 1\r\n").await;
    assert!(answer.contains("weft-revision: 5\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_is_tried_again_where_the_documents_say_so() {
    let (mesh, _far, near) = routed(45).await;
    assert!(ask(near.outbound, "/fails", "").await.starts_with("HTTP/1.1 503"));
    assert_eq!(mesh.sum("weft_retries_total", &[]), 0.0);
    let retries =
        "[[traffic]]\nname = \"t\"\nservice = \"orders\"\nretries = { attempts = 3, on = [\"gateway-error\"] }\n";
    near.apply(&policy(6, retries));
    assert!(ask(near.outbound, "/fails", "").await.starts_with("HTTP/1.1 503"), "the last answer stands");
    assert_eq!(mesh.sum("weft_retries_total", &[]), 3.0);
}

#[tokio::test]
async fn a_question_is_answered_with_the_steps_of_the_decision() {
    let (_mesh, _far, near) = routed(46).await;
    let question = |path: &str| Question {
        caller: None,
        labels: None,
        service: "orders".parse().unwrap(),
        method: Some(http::Method::GET),
        path: path.to_owned(),
        headers: Fields::new(),
    };
    let told = near.path.explain(&question("/copied?a=1")).unwrap();
    assert!(told.is_allowed && told.revision == 5 && told.service == "orders", "{told:?}");
    let lines: Vec<_> = told.steps.iter().filter_map(|step| step.place.as_ref()).map(|place| place.line).collect();
    assert!(lines.contains(&28), "{told:?}");
    let states: Vec<_> =
        told.endpoints.iter().map(|end| (end.node.as_str(), end.is_chosen, end.why_not.is_some())).collect();
    assert_eq!(states, [("vm-2", true, false), ("vm-3", false, true)]);
    let told = near.path.explain(&question("/split")).unwrap();
    assert_eq!((told.service.as_str(), told.shares.len(), told.shares[1].of), ("other", 2, 4));
    near.apply(&policy(6, "[[authorisation]]\nname = \"a\"\nservice = \"orders\"\ndefault = \"deny\"\n"));
    let told = near.path.explain(&question("/copied")).unwrap();
    assert!(!told.is_allowed && told.steps.iter().any(|step| step.what == "service default"), "{told:?}");
    let by_host = "[[authorisation]]\nname = \"a\"\nservice = \"orders\"\ndefault = \"allow\"\n[[authorisation.rule]]\naction = \"deny\"\n\
                   from = { any = true }\nheaders = [{ name = \"host\", value = \"orders.weft.internal\" }]\n";
    near.apply(&policy(7, by_host));
    for (host, is_allowed) in [("Orders:80", false), ("orders.weft.internal.", false), ("web", true)] {
        let mut hosted = question("/copied");
        hosted.headers.push(b"host", host.as_bytes());
        assert_eq!(near.path.explain(&hosted).unwrap().is_allowed, is_allowed, "{host}");
    }
}

#[tokio::test]
async fn a_replica_that_answers_no_copy_is_late() {
    let mut mesh = Mesh::new(124);
    teller(mesh.at(2, 8080), "two").await;
    super::traffic::mute(mesh.at(4, 8080)).await;
    let _far = [mesh.node(2, &[("orders", HTTP)], &[]).await, mesh.node(4, &[("other", HTTP)], &[]).await];
    mesh.settings.request_timeout = Duration::from_millis(300);
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2]), ("other", HTTP, &[4])]).await;
    let copied = "[[route]]\nname = \"r\"\nservice = \"orders\"\n[[route.rule]]\nmirror = { service = \"other\" }\n";
    near.apply(&policy(5, copied));
    assert!(ask(near.outbound, "/", "").await.starts_with("HTTP/1.1 200"));
    mesh.counts("weft_ejections_total", &["service=\"other\""], 1.0).await;
}
