//! The routes of the ledger: what is in force, what would change, take this in, who has it; and why something was
//! refused.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{get, post};
use serde::Deserialize;
use weft_identity::Code;
use weft_ledger::Hash;
use weft_world::admin::ledger::HISTORY_MAX;

use super::desk::Question;
use super::routes::{Answer, Desk, ask, read, refuse};

/// Largest body of a draft, and of a signed one: 1,000 documents of 64 KiB are 62.5 MiB, and JSON writes some characters with two.
pub const DRAFT_LEN_MAX: usize = 96 * 1024 * 1024;

/// The routes; those that take documents have a limit of their own.
pub(super) fn routes() -> Router<Desk> {
    let taking = Router::new()
        .route("/v1/ledger/draft", post(draft))
        .route("/v1/ledger/apply", post(apply))
        .layer(DefaultBodyLimit::max(DRAFT_LEN_MAX));
    Router::new()
        .route("/v1/ledger", get(|State(desk): State<Desk>| ask(desk, Question::Ledger)))
        .route("/v1/documents", get(|State(desk): State<Desk>| ask(desk, Question::Documents)))
        .route("/v1/history", get(history))
        .route("/v1/why", post(decide))
        .route("/v1/why/{id}", get(|State(desk): State<Desk>, Path(id): Path<String>| ask(desk, Question::Why(id))))
        .route("/v1/ledger/receipt/{hash}", get(receipt))
        .merge(taking)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    #[serde(default = "whole_history")]
    count: usize,
}

fn whole_history() -> usize {
    HISTORY_MAX
}

async fn history(
    State(desk): State<Desk>,
    query: Result<Query<HistoryQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| refuse(Code::UsageInvalid, &error))?;
    ask(desk, Question::History(query.count)).await
}

async fn draft(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Draft(Box::new(read(&body)?))).await
}

async fn apply(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Apply(Box::new(read(&body)?))).await
}

async fn decide(State(desk): State<Desk>, body: Bytes) -> Answer {
    ask(desk, Question::Decide(Box::new(read(&body)?))).await
}

async fn receipt(State(desk): State<Desk>, Path(hash): Path<String>) -> Answer {
    let hash: Hash = hash.parse().map_err(|error: weft_ledger::HashError| refuse(Code::UsageInvalid, &error))?;
    ask(desk, Question::Receipt(hash)).await
}
