//! Who answers in a service's place and is not it.

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn an_impostor_of_another_mesh_is_told_and_gets_nothing() {
    let mesh = Mesh::new(15);
    // Of the same name, at the same address, with a root of its own.
    let other = Mesh::new(15);
    let app = TcpListener::bind(mesh.at(2, 8080)).await.unwrap();
    let _impostor = other.node(2, &[("orders", HTTP), ("raw", Protocol::Tcp)], &[]).await;
    let near = mesh.node(1, &[], &[("orders", HTTP, &[2]), ("raw", Protocol::Tcp, &[2])]).await;
    let answer = get(near.outbound, "orders").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("details=\"identity-mismatch\"") && answer.contains("\"next\":"), "{answer}");
    let tunnel = raw(near.outbound, "CONNECT raw:1 HTTP/1.1\r\nhost: raw\r\nconnection: close\r\n\r\n").await;
    assert!(tunnel.contains("details=\"identity-mismatch\""), "{tunnel}");
    assert!(app.accept().now_or_never().is_none(), "nothing reached the impostor's application");
    mesh.counts("weft_request_errors_total", &["direction=\"outbound\"", "code=\"identity-mismatch\""], 2.0).await;
    assert!(mesh.sum("weft_upstream_connects_total", &["direction=\"outbound\"", "caller=\"vm-1\""]) >= 2.0);
}
