//! `weft curl`: one HTTP request through the node's own outbound port, as an application would make it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use weft_actors::settings::local_ip;
use weft_actors::state::StateDir;
use weft_env::Env;
use weft_gossip::ids::SERVICE_DOMAIN;
use weft_gossip::{Code, Failure};

use super::args::CurlOptions;
use super::output::Output;
use crate::config;

/// Makes the request. The answer's status does not change the exit code, except that one of 400 and above is a failed check.
pub(super) async fn run(env: &Env, dir: &Path, output: Output, options: CurlOptions) -> Result<(), Failure> {
    let at = outbound_port(env, dir)?;
    let request = request_of(&options)?;
    let down =
        |error: &dyn std::fmt::Display| Failure::new(Code::NodeNotRunning, format!("call through {at}: {error}"));
    let stream = TcpStream::connect(at).await.map_err(|error| down(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| down(&error))?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| down(&error))?;
    let (head, mut body) = response.into_parts();
    let mut shown = Vec::new();
    if options.include {
        shown.extend_from_slice(format!("HTTP/1.1 {}\n", head.status).as_bytes());
        for (name, value) in &head.headers {
            shown.extend_from_slice(format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())).as_bytes());
        }
        shown.push(b'\n');
    }
    let mut whole = Vec::new();
    loop {
        let part = std::mem::take(&mut shown);
        match output {
            Output::Text => print(&part)?,
            Output::Json => whole.extend_from_slice(&part),
        }
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| Failure::new(Code::UpstreamReset, format!("read the answer: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            shown.extend_from_slice(&bytes);
        }
    }
    driver.abort();
    if output == Output::Json {
        output.result("", json!({ "status": head.status.as_u16(), "body": String::from_utf8_lossy(&whole) }));
    }
    if head.status.as_u16() < 400 {
        return Ok(());
    }
    Err(Failure::new(Code::CheckFailed, format!("the answer to {} was {}", options.url, head.status)))
}

/// Where the node's outbound port is, from its state and configuration.
fn outbound_port(env: &Env, dir: &Path) -> Result<SocketAddr, Failure> {
    let file = StateDir::new(env, dir).node_file()?;
    let config = config::load(&env.disk, dir)?;
    let bind = config.bind.unwrap_or(file.bind.ip());
    Ok(SocketAddr::new(local_ip(bind), config.settings.ports.outbound))
}

fn request_of(options: &CurlOptions) -> Result<Request<Full<Bytes>>, Failure> {
    let wrong = |text: String| Failure::new(Code::UsageInvalid, text);
    let (authority, path) = target_of(&options.url).map_err(wrong)?;
    let method = match (&options.request, &options.data) {
        (Some(name), _) => Method::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("{name:?} is no method")))?,
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let body = Full::new(Bytes::from(options.data.clone().unwrap_or_default()));
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority);
    for line in &options.headers {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(format!("header {line:?} has no colon")))?;
        let name =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| wrong(format!("{line:?}: {error}")))?;
        let value = HeaderValue::from_str(value.trim()).map_err(|error| wrong(format!("{line:?}: {error}")))?;
        request = request.header(name, value);
    }
    request.body(body).map_err(|error| wrong(error.to_string()))
}

/// The `Host` and the path of a URL in one of its three forms.
fn target_of(url: &str) -> Result<(String, String), String> {
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url:?} names no service"))?;
    let host = if host.contains('.') { host.to_owned() } else { format!("{host}.{SERVICE_DOMAIN}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((host, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }))
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Code::Internal, format!("write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_in_three_forms() {
        for url in ["http://orders.weft.internal/a?b", "orders.weft.internal/a?b", "orders/a?b"] {
            assert_eq!(target_of(url).unwrap(), ("orders.weft.internal".to_owned(), "/a?b".to_owned()), "{url}");
        }
        assert_eq!(target_of("orders").unwrap().1, "/");
        assert!(target_of("http:///x").is_err());
    }
}
