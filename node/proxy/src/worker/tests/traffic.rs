//! How calls are carried: limits, balancing, rate limits.

use super::authorisation::problem;
use super::*;

/// An application that takes connections and never answers.
pub(super) async fn mute(at: SocketAddr) {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
        }
    });
}

async fn named(mesh: &Mesh) -> Vec<Node> {
    app(mesh.at(2, 8080), "two").await;
    app(mesh.at(3, 8080), "three").await;
    vec![mesh.node(2, &[("orders", HTTP)], &[]).await, mesh.node(3, &[("orders", HTTP)], &[]).await]
}

async fn body_of(to: SocketAddr, fields: &str) -> String {
    let answer = raw(to, &format!("GET / HTTP/1.1\r\nhost: orders\r\n{fields}connection: close\r\n\r\n")).await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_the_documents_allow() {
    let mesh = Mesh::new(50);
    mute(mesh.at(2, 8080)).await;
    let _far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    near.apply(&policy(3, "[[traffic]]\nname = \"t\"\nservice = \"orders\"\nlimits = { in_flight = 2 }\n"));
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(near.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    while near.path.in_flight() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = get(near.outbound, "orders").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let why = problem(&answer).0["why"].as_str().unwrap().to_owned();
    assert!(why.contains("policies/orders.toml:1 (revision 3)"), "{why}");
}

#[tokio::test]
async fn the_documents_say_how_an_endpoint_is_chosen() {
    let mesh = Mesh::new(51);
    let _far = named(&mesh).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2, 3])]).await;
    let traffic = |balancing: &str| {
        policy(3, &format!("[[traffic]]\nname = \"t\"\nservice = \"orders\"\nbalancing = {balancing}\n"))
    };
    near.apply(&traffic("\"round-robin\""));
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(body_of(near.outbound, "").await);
    }
    assert!(bodies[0] != bodies[1] && bodies[0] == bodies[2] && bodies[1] == bodies[3], "{bodies:?}");
    near.apply(&traffic("{ ring-hash = { cookie = \"cart\" } }"));
    let mut homes = std::collections::BTreeSet::new();
    for cart in 0..12 {
        let field = format!("cookie: a=b; cart={cart}\r\n");
        let home = body_of(near.outbound, &field).await;
        for _ in 0..3 {
            assert_eq!(body_of(near.outbound, &field).await, home);
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 2, "the carts are spread");
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_back() {
    let mesh = Mesh::new(52);
    let far = named(&mesh).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let limit = "[[rate-limit]]\nname = \"l\"\nservice = \"orders\"\nrequests = 2\nper = \"60s\"\n";
    far[0].apply(&policy(3, limit));
    for _ in 0..2 {
        assert!(get(near.outbound, "orders").await.starts_with("HTTP/1.1 200"));
    }
    let answer = get(near.outbound, "orders").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 30\r\n"), "{answer}");
    // The same limit of a new revision goes on where the old one was.
    far[0].apply(&policy(4, limit));
    assert!(get(near.outbound, "orders").await.starts_with("HTTP/1.1 429"));
    assert_eq!(mesh.sum("weft_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn a_second_line_of_the_counted_field_buys_no_second_allowance() {
    let mesh = Mesh::new(55);
    let far = named(&mesh).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let limit =
        "[[rate-limit]]\nname = \"l\"\nservice = \"orders\"\nrequests = 1\nper = \"60s\"\nby = { header = \"x-t\" }\n";
    far[0].apply(&policy(3, limit));
    assert_eq!(body_of(near.outbound, "x-t: a\r\n").await, "two");
    assert!(body_of(near.outbound, "x-t: A \r\n").await.contains("rate-limited"));
    for added in ["x-t: b\r\nx-t: a\r\n", "x-t: a\r\nx-t:\r\n"] {
        let refused = body_of(near.outbound, added).await;
        assert!(refused.contains("request-malformed") && refused.contains("x-t"), "{refused}");
    }
    assert_eq!(body_of(near.outbound, "x-t: b\r\n").await, "two", "what is refused so costs nothing");
}

#[tokio::test]
async fn the_called_node_waits_as_long_as_the_callers_documents_say() {
    let mut mesh = Mesh::new(53);
    mute(mesh.at(2, 8080)).await;
    mesh.settings.request_timeout = Duration::from_millis(300);
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let text = "[[traffic]]\nname = \"t\"\nservice = \"orders\"\nrequest_timeout = \"1s\"\n";
    near.apply(&policy(3, text));
    let began = tokio::time::Instant::now();
    assert!(body_of(near.outbound, "").await.contains("request-timeout"));
    assert!(began.elapsed() < Duration::from_secs(1), "a member's word alone holds nothing: {:?}", began.elapsed());
    far.apply(&policy(3, text));
    let began = tokio::time::Instant::now();
    // What an application says of it counts for nothing.
    assert!(body_of(near.outbound, "weft-patience-ms: 90000\r\n").await.contains("request-timeout"));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    near.apply(&Arc::default());
    let began = tokio::time::Instant::now();
    assert!(body_of(near.outbound, "weft-patience-ms: 90000\r\n").await.contains("request-timeout"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
