//! How a refusal or failure reaches the caller: `application/problem+json` (RFC 9457) with the code, where it arose, why and what
//! to do next, and a `proxy-status` header (RFC 9209). Made by [`crate::proxy`] and the listeners.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use weft_identity::Code;
use weft_policy::{Stage, Step};

use crate::body::Body;

/// The header of RFC 9209.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// Between two nodes: the request did not reach the application, so that trying another replica is safe. Never leaves the mesh.
pub(crate) const UNDELIVERED: HeaderName = HeaderName::from_static("weft-undelivered");

/// The id of a refusal, which `weft why` takes.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("weft-refusal");

/// `1` from an application of this machine asks for [`REVISION`] in the answer; never reaches the called application.
pub(crate) const TRACE_REVISION: HeaderName = HeaderName::from_static("weft-trace-revision");
/// Which revisions decided: of the calling node, a comma, of the called one; a single one where the other had no say.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("weft-revision");

/// Between two nodes: how many milliseconds the caller waits for an answer, where its documents say so. Else the called node would give
/// up by its own setting before the caller does. Never leaves the mesh.
pub(crate) const PATIENCE: HeaderName = HeaderName::from_static("weft-patience-ms");

/// Between two nodes: which replica of the service the caller chose, where the called node offers several. Never leaves the mesh.
pub(crate) const REPLICA: HeaderName = HeaderName::from_static("weft-replica");

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The code.
    pub(crate) code: Code,
    /// What was being done, and the likely cause.
    pub(crate) why: String,
    /// Whether anything of the request reached the application.
    pub(crate) delivery: Delivery,
    /// How a policy came to it; empty where none decided.
    pub(crate) steps: Vec<Step>,
    /// After which time another try makes sense, where that is known.
    pub(crate) retry_after: Option<Duration>,
}

/// Whether anything of a request reached the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Nothing did: it may be tried elsewhere.
    None,
    /// Something may have.
    Possible,
}

impl Delivery {
    /// What a try that ended at this stage may have delivered.
    pub(crate) fn after(stage: Stage) -> Self {
        match stage {
            Stage::Connect | Stage::Unsent => Self::None,
            Stage::Sent | Stage::Answered => Self::Possible,
        }
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), delivery: Delivery::None, steps: Vec::new(), retry_after: None }
    }

    /// The same, with what may have been delivered.
    pub(crate) fn delivered(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }
}

/// Whether a policy refused: every node would, so that no other is tried, and nothing speaks against the one that said so.
pub(crate) fn is_final(code: Code) -> bool {
    matches!(code, Code::NotAllowed | Code::RateLimited)
}

/// The body of the reply.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    r#where: &'a str,
    why: &'a str,
    next: &'a str,
    id: &'a str,
}

/// A span in whole seconds, rounded up and at least one: a caller that waits them is not refused for the same reason.
pub(crate) fn whole_seconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

/// The reply for a refusal that arose at `place`, for example `node vm-a, outbound`, and has this id.
pub(crate) fn reply(refusal: &Refusal, place: &str, id: &str) -> Response<Body> {
    let entry = refusal.code.entry();
    let status = StatusCode::from_u16(entry.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = Problem {
        r#type: format!("urn:weft:error:{}", entry.code),
        title: entry.title,
        status: status.as_u16(),
        detail: &refusal.why,
        code: entry.code,
        r#where: place,
        why: &refusal.why,
        next: entry.next_step,
        id,
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut reply = Response::new(Body::full(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let kind = if entry.proxy_status.is_empty() { "proxy_internal_error" } else { entry.proxy_status };
    let line = format!("weft; error={kind}; details=\"{}\"", entry.code);
    if let Ok(value) = HeaderValue::from_str(&line) {
        headers.insert(PROXY_STATUS, value);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REFUSAL, value);
    }
    if let Some(span) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(span)));
    }
    if matches!(refusal.code, Code::RequestMalformed | Code::HeadTooLarge) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_code_place_reason_and_next_step() {
        let reply = reply(&Refusal::new(Code::ServiceUnknown, "no service \"x\""), "node vm-a, outbound", "vm-a.7");
        assert_eq!(reply.status(), 404);
        let line = reply.headers().get(PROXY_STATUS).unwrap();
        assert_eq!(line, "weft; error=destination_not_found; details=\"service-unknown\"");
        assert_eq!(reply.headers().get(REFUSAL).unwrap(), "vm-a.7");
        let body = reply.into_body();
        let Body::Full(Some(bytes)) = &body else { panic!("a full body") };
        let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        for (field, value) in [
            ("code", "service-unknown"),
            ("where", "node vm-a, outbound"),
            ("why", "no service \"x\""),
            ("id", "vm-a.7"),
        ] {
            assert_eq!(json[field], value);
        }
        assert!(json["next"].as_str().unwrap().contains("weft"));
    }
}
