//! What one probe of a replica does: a connect, or a GET in the protocol that the application speaks. Spawned by Health, one task a
//! replica.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use weft_env::Env;
use weft_identity::Protocol;
use weft_identity::ids::SERVICE_DOMAIN;
use weft_world::service_spec::{ProbeKind, ServiceSpec};

use crate::core::Core;
use crate::message::health::Message;

/// Enough of a response to read its status line.
const STATUS_LEN: usize = 12;
/// By which an application's log tells probes from calls.
const USER_AGENT: &str = "weft-health";

/// Probes a replica for as long as the task runs.
pub(super) async fn run(core: Arc<Core>, spec: ServiceSpec) {
    let interval = spec.health.interval_ms.map_or(core.settings.health_interval, Duration::from_millis);
    loop {
        let found = tokio::time::timeout(core.settings.health_timeout, answers(&core.env, &spec)).await;
        // A full mailbox: the next probe says it again.
        let _ = core.health.try_send(Message::Probed(spec.id(), spec.app, found.unwrap_or(false)));
        tokio::time::sleep(core.env.random.jitter(interval, 0.1)).await;
    }
}

async fn answers(env: &Env, spec: &ServiceSpec) -> bool {
    let Ok(stream) = env.network.connect(spec.app).await else { return false };
    let ProbeKind::Http(path) = &spec.health.kind else { return true };
    // The name by which calls come, too: frameworks refuse hosts that they do not know, and the mesh's is the one that they must know.
    let host = format!("{}.{SERVICE_DOMAIN}", spec.service);
    match spec.protocol {
        Protocol::Http2 => answers_http2(stream, &host, path).await.unwrap_or(false),
        Protocol::Http | Protocol::Tcp => answers_http1(stream, &host, path).await.unwrap_or(false),
    }
}

async fn answers_http1<S>(mut stream: S, host: &str, path: &str) -> std::io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; STATUS_LEN];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && matches!(status[9], b'2' | b'3'))
}

/// HTTP/2 with prior knowledge (RFC 9113, section 3.3), as calls of such a service are made.
async fn answers_http2<S>(stream: S, host: &str, path: &str) -> Result<bool, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let uri = format!("http://{host}{path}");
    let Ok(request) = Request::builder().method(Method::GET).uri(uri).header("user-agent", USER_AGENT).body(()) else {
        return Ok(false);
    };
    let (sender, connection) = h2::client::handshake(stream).await?;
    let status = async {
        let (response, _) = sender.ready().await?.send_request(request, true)?;
        Ok::<_, h2::Error>(response.await?.status())
    };
    let mut status = pin!(status);
    let status = tokio::select! {
        found = &mut status => found?,
        // What it brought before it ended counts.
        _ended = connection => status.await?,
    };
    Ok(status.is_success() || status.is_redirection())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use weft_world::service_spec::HealthSpec;

    use super::*;

    async fn replica(protocol: Protocol) -> (TcpListener, ServiceSpec) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut spec = ServiceSpec::new("orders".parse().unwrap(), listener.local_addr().unwrap(), protocol);
        spec.health = HealthSpec { kind: ProbeKind::Http("/health?deep".to_owned()), interval_ms: None };
        (listener, spec)
    }

    async fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Answers one request; returns its head.
    async fn answer_http1(listener: &TcpListener, line: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    }

    /// The same in HTTP/2.
    async fn answer_http2(listener: &TcpListener, status: u16) -> Request<h2::RecvStream> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut answer) = connection.accept().await.unwrap().unwrap();
        let response = http::Response::builder().status(status).body(()).unwrap();
        answer.send_response(response, true).unwrap();
        // The answer goes out while the next request is waited for; the probe ends the connection.
        let _ended = connection.accept().await;
        request
    }

    #[tokio::test]
    async fn an_http_probe_names_the_service_as_host() {
        let (listener, spec) = replica(Protocol::Http).await;
        for (line, expected) in [("200 OK", true), ("302 Found", true), ("404 Not Found", false), ("503 Busy", false)] {
            let env = Env::machine();
            let (found, head) = tokio::join!(answers(&env, &spec), answer_http1(&listener, line));
            assert_eq!(found, expected, "{line}");
            let lines: Vec<&str> = head.split("\r\n").collect();
            assert_eq!(lines[0], "GET /health?deep HTTP/1.1");
            assert!(lines.contains(&"host: orders.weft.internal") && lines.contains(&"user-agent: weft-health"));
        }
    }

    #[tokio::test]
    async fn an_http2_service_is_probed_in_http2() {
        let (listener, spec) = replica(Protocol::Http2).await;
        for (status, expected) in [(200, true), (307, true), (404, false), (503, false)] {
            let env = Env::machine();
            let (found, request) = tokio::join!(answers(&env, &spec), answer_http2(&listener, status));
            assert_eq!(found, expected, "{status}");
            assert_eq!(request.uri().to_string(), "http://orders.weft.internal/health?deep");
            assert_eq!(
                (request.method(), &request.headers()["user-agent"]),
                (&Method::GET, &"weft-health".parse().unwrap())
            );
        }
    }

    #[tokio::test]
    async fn an_application_of_http1_does_not_answer_a_probe_of_http2() {
        let (listener, spec) = replica(Protocol::Http2).await;
        let application = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            stream
        };
        let env = Env::machine();
        assert!(!tokio::join!(answers(&env, &spec), application).0);
    }
}
