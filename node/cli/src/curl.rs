//! `weft curl`: one HTTP request through the node's own outbound port, as an application would make it.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use weft_actors::state::StateDir;
use weft_env::Env;
use weft_identity::{Code, Failure};
use weft_world::config;
use weft_world::settings::local_ip;

use super::args::CurlOptions;
use super::output::Output;
use super::target::{Target, check_headers};

/// Longest body that is looked at for the code of a refusal: a reason has a few hundred bytes.
const PROBLEM_LEN_MAX: usize = 16 * 1024;

/// Makes the request. The answer's status does not change the exit code, except that one of 400 and above is a failed check.
pub(super) async fn run(env: &Env, dir: &Path, output: Output, options: CurlOptions) -> Result<(), Failure> {
    let request = request_of(&options)?;
    let at = outbound_port(env, dir)?;
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
    let (mut whole, mut start): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    loop {
        let part = std::mem::take(&mut shown);
        match output {
            Output::Text => output.print(&part),
            Output::Json => whole.extend_from_slice(&part),
        }
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| Failure::new(Code::UpstreamReset, format!("read the answer: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            shown.extend_from_slice(&bytes);
            start.extend(bytes.iter().take(PROBLEM_LEN_MAX - start.len()));
        }
    }
    driver.abort();
    if output == Output::Json {
        output.result("", json!({ "status": head.status.as_u16(), "body": String::from_utf8_lossy(&whole) }));
    }
    if head.status.as_u16() < 400 {
        return Ok(());
    }
    let refused = refusal_of(&head, &start);
    let meaning = refused.map(|code| format!(": the mesh refused it; `weft explain {code}`")).unwrap_or_default();
    Err(Failure::new(Code::CheckFailed, format!("the answer to {} was {}{meaning}", options.url, head.status)))
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
    check_headers(&options.headers)?;
    let Target { host, path } = Target::of(&options.url)?;
    let method = match (&options.request, &options.data) {
        (Some(name), _) => Method::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("{name:?} is no method")))?,
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let body = Full::new(Bytes::from(options.data.clone().unwrap_or_default()));
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    for line in &options.headers {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(format!("header {line:?} has no colon")))?;
        let name =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| wrong(format!("{line:?}: {error}")))?;
        let value = HeaderValue::from_str(value.trim()).map_err(|error| wrong(format!("{line:?}: {error}")))?;
        request = request.header(name, value);
    }
    request.body(body).map_err(|error| wrong(error.to_string()))
}

/// The code that a node of the mesh refused the request with; none for an answer of the application.
fn refusal_of(head: &Parts, body: &[u8]) -> Option<Code> {
    head.headers.get("proxy-status").filter(|value| value.as_bytes().starts_with(b"weft;"))?;
    let problem: Value = serde_json::from_slice(body).ok()?;
    problem["code"].as_str().and_then(Code::find)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_mesh_is_told_from_an_answer_of_the_application() {
        let head = |proxy_status| {
            let answer = http::Response::builder().status(404).header("proxy-status", proxy_status).body(()).unwrap();
            answer.into_parts().0
        };
        let body = br#"{"code":"service-unknown"}"#;
        let weft = head("weft; error=destination_not_found; details=\"service-unknown\"");
        assert_eq!(refusal_of(&weft, body), Some(Code::ServiceUnknown));
        assert_eq!(refusal_of(&weft, b"cut sho"), None);
        assert_eq!(refusal_of(&head("nginx"), body), None);
    }
}
