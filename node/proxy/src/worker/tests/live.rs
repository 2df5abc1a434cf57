//! What is open when documents or trust change.

use super::*;

/// Longest that something open may outlive the change that ends it.
const SOON: Duration = Duration::from_secs(3);

async fn echo(at: SocketAddr) {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo_bytes(stream));
        }
    });
}

/// Sends each byte back at once, until either side ends.
async fn echo_bytes(mut stream: TcpStream) {
    let mut bytes = [0; 1];
    while stream.read_exact(&mut bytes).await.is_ok() {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A tunnel to a service, and whether it carries.
async fn tunnel(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(b"CONNECT orders:1 HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    carries(&mut stream).await;
    stream
}

async fn carries(stream: &mut TcpStream) {
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

async fn ends(stream: &mut TcpStream) {
    let ended = tokio::time::timeout(SOON, stream.read_u8()).await.expect("it ends soon");
    assert!(ended.is_err());
}

const DENY: &str = r#"
[[authorisation]]
name = "closed"
service = "orders"
default = "deny"
"#;

const OPEN: &str = r#"
[[authorisation]]
name = "open"
service = "orders"
default = "allow"
"#;

#[tokio::test]
async fn an_open_stream_ends_when_it_is_no_longer_allowed() {
    let mesh = Mesh::new(30);
    echo(mesh.at(2, 8080)).await;
    let far = mesh.node(2, &[("orders", Protocol::Tcp)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    let mut stream = tunnel(near.outbound).await;
    far.apply(&policy(1, OPEN));
    carries(&mut stream).await;
    far.apply(&policy(2, DENY));
    ends(&mut stream).await;
}

#[tokio::test]
async fn an_open_stream_on_one_machine_ends_when_it_is_no_longer_allowed() {
    let mesh = Mesh::new(31);
    echo(mesh.at(1, 8080)).await;
    let own = mesh.node(1, &[("orders", Protocol::Tcp)], &[("orders", Protocol::Tcp, &[1])]).await;
    let mut stream = tunnel(own.outbound).await;
    own.apply(&policy(2, DENY));
    ends(&mut stream).await;
}

#[tokio::test]
async fn an_open_web_socket_ends_when_its_request_is_no_longer_allowed() {
    let mesh = Mesh::new(32);
    app(mesh.at(2, 8080), "echo").await;
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    let mut stream = TcpStream::connect(near.outbound).await.unwrap();
    let ask = b"GET /chat HTTP/1.1\r\nhost: orders\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let paths = "[[authorisation]]\nname = \"x\"\nservice = \"orders\"\ndefault = \"allow\"\n[[authorisation.rule]]\n\
        action = \"deny\"\npaths = [\"/PATH\"]\nfrom = { any = true }\n";
    far.apply(&policy(2, &paths.replace("PATH", "other")));
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
    assert!(quiet.is_err(), "another path's rule does not end it");
    far.apply(&policy(3, &paths.replace("PATH", "chat")));
    ends(&mut stream).await;
}

#[tokio::test]
async fn every_open_connection_of_a_revoked_node_ends() {
    let mesh = Mesh::new(33);
    echo(mesh.at(2, 8080)).await;
    let far = mesh.node(2, &[("orders", Protocol::Tcp), ("shop", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    let mut stream = tunnel(near.outbound).await;
    revoke(&far.world, "vm-7");
    carries(&mut stream).await;
    revoke(&far.world, "vm-1");
    ends(&mut stream).await;
}

#[tokio::test]
async fn a_caller_drops_its_connections_to_a_revoked_node() {
    let mesh = Mesh::new(34);
    echo(mesh.at(2, 8080)).await;
    app(mesh.at(3, 8080), "web").await;
    let _far = mesh.node(2, &[("orders", Protocol::Tcp)], &[]).await;
    let web = mesh.node(3, &[("web", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2]), ("web", HTTP, &[3])]).await;
    let mut stream = tunnel(near.outbound).await;
    assert!(get(near.outbound, "web").await.ends_with("web"));
    assert_eq!(web.listeners[0].in_flight(), 1, "one pooled connection");
    // The certificates of the tests' services all name vm-1 as the node that holds their keys.
    revoke(&near.world, "vm-1");
    ends(&mut stream).await;
    let closed = async {
        while web.listeners[0].in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.expect("the pooled connection is closed");
}

/// Only callers with this label.
fn only(labels: &str) -> String {
    format!(
        "[[authorisation]]\nname = \"o\"\nservice = \"orders\"\n[[authorisation.rule]]\naction = \"allow\"\n\
         from = {{ labels = {{ {labels} }} }}\n"
    )
}

#[tokio::test]
async fn a_stream_is_judged_again_with_the_labels_of_its_certificate() {
    let mut mesh = Mesh::new(36);
    mesh.labels.insert(1, "team=payments".parse().unwrap());
    mesh.labels.insert(2, "team=payments".parse().unwrap());
    echo(mesh.at(2, 8080)).await;
    let far = mesh.node(2, &[("orders", Protocol::Tcp)], &[("orders", Protocol::Tcp, &[2])]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    far.apply(&policy(1, &only("team = \"payments\"")));
    let mut through_the_mesh = tunnel(near.outbound).await;
    let mut directly = tunnel(far.outbound).await;
    far.apply(&policy(2, &(only("team = \"payments\"") + "[[traffic]]\nname = \"t\"\nservice = \"orders\"\n")));
    carries(&mut through_the_mesh).await;
    carries(&mut directly).await;
    far.apply(&policy(3, &only("team = \"reports\"")));
    ends(&mut through_the_mesh).await;
    ends(&mut directly).await;
}

#[tokio::test]
async fn what_was_opened_with_a_label_ends_where_the_node_loses_it() {
    let mut mesh = Mesh::new(37);
    mesh.labels.insert(1, "team=payments".parse().unwrap());
    echo(mesh.at(2, 8080)).await;
    let _far = mesh.node(2, &[("orders", Protocol::Tcp)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", Protocol::Tcp, &[2])]).await;
    let relabel = |mesh: &mut Mesh, labels: &str| {
        let labels = if labels.is_empty() { GrantedLabels::default() } else { labels.parse().unwrap() };
        mesh.labels.insert(1, labels);
        let credentials = mesh.credentials(1, &[]);
        near.world.change(|world| world.credentials = Arc::clone(&credentials));
    };
    let mut stream = tunnel(near.outbound).await;
    relabel(&mut mesh, "env=live,team=payments");
    carries(&mut stream).await;
    relabel(&mut mesh, "env=live");
    ends(&mut stream).await;
    let mut stream = tunnel(near.outbound).await;
    relabel(&mut mesh, "env=trial");
    ends(&mut stream).await;
    let mut stream = tunnel(near.outbound).await;
    relabel(&mut mesh, "");
    ends(&mut stream).await;
    let mut stream = tunnel(near.outbound).await;
    relabel(&mut mesh, "team=payments");
    carries(&mut stream).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_dropped_connection() {
    let mesh = Mesh::new(10);
    app(mesh.at(2, 8080), "orders").await;
    let far = mesh.node(2, &[("orders", HTTP)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2])]).await;
    for _ in 0..5 {
        assert!(get(near.outbound, "orders").await.starts_with("HTTP/1.1 200"));
        let (one, two) = (mesh.credentials(1, &[]), mesh.credentials(2, &["orders"]));
        near.world.change(|world| world.credentials = Arc::clone(&one));
        far.world.change(|world| world.credentials = Arc::clone(&two));
    }
    assert!(get(near.outbound, "orders").await.starts_with("HTTP/1.1 200"));
}
