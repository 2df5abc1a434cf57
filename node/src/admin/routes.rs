//! The routes of the admin API and the form of its errors.

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_identity::ids::NameError;
use weft_identity::{Code, Failure};

use super::desk::{AdminDesk, Question};
use super::ledger;

/// The state of every route.
pub(super) type Desk = Arc<dyn AdminDesk>;
/// What every route answers.
pub(super) type Answer = Result<axum::Json<Value>, Problem>;

/// The routes of the Unix socket: everything.
pub fn local_routes(desk: Desk) -> Router {
    let routes = Router::new()
        .route("/v1/status", get(|State(desk): State<Desk>| ask(desk, Question::Status)))
        .route("/v1/nodes", get(|State(desk): State<Desk>| ask(desk, Question::Nodes)))
        .route("/v1/certs", get(|State(desk): State<Desk>| ask(desk, Question::Certs)))
        .route("/v1/services", get(|State(desk): State<Desk>| ask(desk, Question::Services)).post(expose))
        .route("/v1/services/{service}", delete(unexpose))
        .route("/v1/services/{service}/{replica}", delete(unexpose_replica))
        .route("/v1/bindings", post(bind))
        .route("/v1/bindings/{port}", delete(unbind))
        .route("/v1/tokens", post(create_token))
        .route("/v1/ca", get(|State(desk): State<Desk>| ask(desk, Question::Ca)))
        .route("/v1/bundle", get(|State(desk): State<Desk>| ask(desk, Question::Bundle)).post(take_bundle))
        .route("/v1/join", post(join))
        .route("/v1/leave", post(|State(desk): State<Desk>| ask(desk, Question::Leave)))
        .merge(ledger::routes())
        .merge(health_routes());
    #[cfg(feature = "crash-test")]
    let routes = routes.route("/v1/crash/{actor}", post(crash));
    routes.with_state(desk)
}

/// The routes of the loopback port: metrics and health, nothing that changes or tells a secret.
pub fn public_routes(desk: Desk) -> Router {
    health_routes().with_state(desk)
}

fn health_routes() -> Router<Desk> {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

/// A failure on its way out: `application/problem+json` (RFC 9457).
pub(super) struct Problem(Failure);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let entry = self.0.code.entry();
        let status = match self.0.code {
            Code::UsageInvalid | Code::NameInvalid => StatusCode::BAD_REQUEST,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::CONFLICT,
        };
        let body = json!({
            "title": entry.title,
            "status": status.as_u16(),
            "code": entry.code,
            "detail": self.0.detail,
            "next": entry.next_step,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

pub(super) async fn ask(desk: Desk, question: Question) -> Answer {
    desk.ask(question).await.map(axum::Json).map_err(Problem)
}

async fn metrics(State(desk): State<Desk>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], desk.metrics())
}

async fn ready(State(desk): State<Desk>) -> (StatusCode, &'static str) {
    if desk.ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn expose(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Expose(read(&body)?)).await
}

async fn unexpose(State(desk): State<Desk>, Path(service): Path<String>) -> Answer {
    ask(desk, Question::Unexpose(named(&service)?, None)).await
}

async fn unexpose_replica(State(desk): State<Desk>, Path((service, replica)): Path<(String, String)>) -> Answer {
    ask(desk, Question::Unexpose(named(&service)?, Some(named(&replica)?))).await
}

fn named<T: FromStr<Err = NameError>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| refuse(Code::NameInvalid, &error))
}

async fn bind(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Bind(read(&body)?)).await
}

async fn unbind(State(desk): State<Desk>, Path(port): Path<String>) -> Answer {
    let port = port.parse().map_err(|error: std::num::ParseIntError| refuse(Code::UsageInvalid, &error))?;
    ask(desk, Question::Unbind(port)).await
}

async fn create_token(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::CreateToken(read(&body)?)).await
}

#[cfg(feature = "crash-test")]
async fn crash(State(desk): State<Desk>, Path(actor): Path<String>) -> Answer {
    ask(desk, Question::Crash(actor)).await
}

async fn take_bundle(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::TakeBundle(read(&body)?)).await
}

async fn join(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Join(read(&body)?)).await
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| refuse(Code::UsageInvalid, &error))
}

pub(super) fn refuse(code: Code, error: &dyn std::fmt::Display) -> Problem {
    Problem(Failure::new(code, format!("read the request: {error}")))
}
