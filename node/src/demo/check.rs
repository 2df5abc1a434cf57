//! `weft demo --check`: makes the calls that the demo's page invites to, kills a replica, and looks whether calls go on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use serde_json::Value;
use weft_identity::{Code, Failure};

use super::app;

/// Calls made while a replica is gone; each must succeed.
const CALLS_AFTER_KILL: usize = 200;
/// Rounds in which both replicas must have answered.
const ROUNDS_TO_SEE_BOTH: usize = 50;
/// Calls at once in a round: one after the other may all go to the faster replica, and rightly so.
const CALLS_A_ROUND: usize = 16;

/// Makes one call and expects a 200.
async fn expect_ok(outbound: SocketAddr, method: Method, service: &str, path: &str) -> Result<Value, Failure> {
    let failed = |why: String| Failure::new(Code::CheckFailed, format!("{method} {service}{path}: {why}"));
    match app::call(outbound, method.clone(), service, path).await {
        Ok((StatusCode::OK, body)) => Ok(body),
        Ok((status, body)) => Err(failed(format!("{status} {body}"))),
        Err(why) => Err(failed(why)),
    }
}

/// The calls that the page invites to; each crosses the mesh, some several times.
pub(super) async fn invited_calls(outbound: SocketAddr) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for (method, service, path) in [
        (Method::GET, "accounts", "/accounts/7"),
        (Method::GET, "quotes", "/quotes/WEFT"),
        (Method::POST, "payments", "/payments"),
        (Method::POST, "orders", "/orders"),
    ] {
        let body = expect_ok(outbound, method.clone(), service, path).await?;
        lines.push(format!("{method} http://{service}.weft.internal{path} -> {body}"));
    }
    let (status, body) = app::call(outbound, Method::GET, "nowhere", "/")
        .await
        .map_err(|why| Failure::new(Code::CheckFailed, format!("GET nowhere: {why}")))?;
    if status != StatusCode::NOT_FOUND || body["code"] != Code::ServiceUnknown.as_str() {
        return Err(Failure::new(Code::CheckFailed, format!("an unknown service answered {status} {body}")));
    }
    lines.push(format!("GET http://nowhere.weft.internal/ -> {status} with code {}", Code::ServiceUnknown));
    Ok(lines)
}

/// Which replicas of a service answer, over a bounded number of calls.
pub(super) async fn replicas_seen(
    outbound: SocketAddr,
    service: &str,
    path: &str,
) -> Result<BTreeSet<String>, Failure> {
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS_TO_SEE_BOTH {
        let calls = (0..CALLS_A_ROUND).map(|_| expect_ok(outbound, Method::GET, service, path));
        for body in try_join_all(calls).await? {
            seen.insert(body["served_by"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(seen)
}

/// Calls a service again and again; none may fail.
pub(super) async fn calls_go_on(outbound: SocketAddr, service: &str, path: &str) -> Result<String, Failure> {
    let mut slowest = Duration::ZERO;
    for _ in 0..CALLS_AFTER_KILL {
        let start = tokio::time::Instant::now();
        expect_ok(outbound, Method::GET, service, path).await?;
        slowest = slowest.max(start.elapsed());
    }
    Ok(format!("{CALLS_AFTER_KILL} of {CALLS_AFTER_KILL} calls answered, the slowest in {} ms", slowest.as_millis()))
}
