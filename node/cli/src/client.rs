//! Talks to the node of a state directory over its Unix socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use weft_identity::{Code, Failure};
use weft_world::admin::SOCKET_FILE;

/// How long an answer may take; `leave` says goodbye to every peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer: a draft that replaces 1,000 documents of 64 KiB holds each twice, and JSON writes some characters with two.
const ANSWER_LEN_MAX: usize = 192 * 1024 * 1024;

/// What is asked by POST and changes nothing.
const QUESTIONS: &[&str] = &["/v1/ledger/draft", "/v1/why"];

/// Asks the node; a refusal comes back with the code that the node gave. [`Code::AnswerMissing`] where the node has a request that changes
/// something and its answer did not come: it may have been carried out.
pub(super) async fn ask(dir: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    let changes = method != Method::GET && !QUESTIONS.contains(&path);
    let silent = |_| Failure::new(Code::NodeNotRunning, format!("the node of {} takes no connection", dir.display()));
    let mut call = tokio::time::timeout(ANSWER_TIMEOUT, connect(dir)).await.map_err(silent)??;
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes))
        .map_err(|error| Failure::new(Code::UsageInvalid, error.to_string()))?;
    let lost = match tokio::time::timeout(ANSWER_TIMEOUT, call.answer(request)).await {
        Ok(Ok((status, bytes))) => return outcome(status, &bytes),
        Ok(Err(lost)) => lost,
        Err(_) => "no answer came in 30 s".to_owned(),
    };
    let (code, rest) =
        if changes { (Code::AnswerMissing, "; what was asked may have been done") } else { (Code::NodeNotRunning, "") };
    Err(Failure::new(code, format!("the node of {} did not answer: {lost}{rest}", dir.display())))
}

/// The JSON of a request.
pub(super) fn body<T: Serialize>(request: &T) -> Result<Value, Failure> {
    serde_json::to_value(request).map_err(|error| Failure::new(Code::Internal, format!("write the request: {error}")))
}

/// An answer of the node.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| Failure::new(Code::Internal, format!("read the answer: {error}")))
}

/// A connection to the node.
struct Call {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<Result<(), hyper::Error>>,
}

async fn connect(dir: &Path) -> Result<Call, Failure> {
    let socket = dir.join(SOCKET_FILE);
    let unreachable = |error: &dyn std::fmt::Display| {
        let code = if dir.join("node.json").exists() { Code::NodeNotRunning } else { Code::StateMissing };
        Failure::new(code, format!("connect to the node at {}: {error}", socket.display()))
    };
    let stream = UnixStream::connect(&socket).await.map_err(|error| unreachable(&error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    Ok(Call { sender, driver: tokio::spawn(connection) })
}

impl Call {
    /// Status and body, or how they were lost.
    async fn answer(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| format!("read the answer: {error}"))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn outcome(status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(Code::Internal, format!("the node answered {status} without JSON: {error}")))?;
    if status.is_success() { Ok(value) } else { Err(failure_of(&value)) }
}

fn failure_of(problem: &Value) -> Failure {
    let code = problem["code"].as_str().and_then(Code::find).unwrap_or(Code::Internal);
    Failure::new(code, problem["detail"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    /// Takes each request and hangs up before the answer.
    async fn dies_asked(listener: UnixListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _asked = stream.read(&mut [0; 64]).await;
        }
    }

    #[tokio::test]
    async fn a_lost_answer_is_not_called_a_node_that_does_not_run() {
        let dir = std::env::temp_dir().join(format!("weft-client-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join(SOCKET_FILE)).unwrap();
        let node = tokio::spawn(dies_asked(listener));
        let asked = [
            (Method::POST, "/v1/ledger/apply", Code::AnswerMissing),
            (Method::DELETE, "/v1/services/orders", Code::AnswerMissing),
            (Method::POST, "/v1/ledger/draft", Code::NodeNotRunning),
            (Method::GET, "/v1/status", Code::NodeNotRunning),
        ];
        for (method, path, code) in asked {
            assert_eq!(ask(&dir, method, path, None).await.unwrap_err().code, code, "{path}");
        }
        node.abort();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(ask(&dir, Method::POST, "/v1/ledger/apply", None).await.unwrap_err().code, Code::StateMissing);
    }
}
