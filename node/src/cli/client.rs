//! Talks to the node of a state directory over its Unix socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use weft_gossip::{Code, Failure};

use crate::admin::SOCKET_FILE;

/// How long an answer may take; `leave` says goodbye to every peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer: a draft that replaces 1,000 documents of 64 KiB holds each twice, and JSON writes some characters with two.
const ANSWER_LEN_MAX: usize = 192 * 1024 * 1024;

/// Asks the node; a refusal comes back with the code that the node gave.
pub(super) async fn ask(dir: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, exchange(dir, method, path, body)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(Failure::new(Code::NodeNotRunning, format!("the node of {} did not answer in 30 s", dir.display())))
        }
    }
}

/// The JSON of a request.
pub(super) fn body<T: Serialize>(request: &T) -> Result<Value, Failure> {
    serde_json::to_value(request).map_err(|error| Failure::new(Code::Internal, format!("write the request: {error}")))
}

/// An answer of the node.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| Failure::new(Code::Internal, format!("read the answer: {error}")))
}

async fn exchange(dir: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    let socket = dir.join(SOCKET_FILE);
    let unreachable = |error: &dyn std::fmt::Display| {
        let code = if dir.join("node.json").exists() { Code::NodeNotRunning } else { Code::StateMissing };
        Failure::new(code, format!("connect to the node at {}: {error}", socket.display()))
    };
    let stream = UnixStream::connect(&socket).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    let driver = tokio::spawn(connection);
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes))
        .map_err(|error| Failure::new(Code::UsageInvalid, error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
    driver.abort();
    let bytes = body.map_err(|error| Failure::new(Code::Internal, format!("read the answer: {error}")))?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(Code::Internal, format!("the node answered {status} without JSON: {error}")))?;
    if status.is_success() { Ok(value) } else { Err(failure_of(&value)) }
}

fn failure_of(problem: &Value) -> Failure {
    let code = problem["code"].as_str().and_then(Code::find).unwrap_or(Code::Internal);
    Failure::new(code, problem["detail"].as_str().unwrap_or_default())
}
