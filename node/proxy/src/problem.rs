//! How a refusal or failure reaches the caller: `application/problem+json` (RFC 9457) with the code, where it arose, why and what
//! to do next, and a `proxy-status` header (RFC 9209). Made by [`crate::proxy`] and the listeners.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use weft_env::Timestamp;
use weft_identity::Code;
use weft_policy::Stage;
use weft_policy::Step;
use weft_policy::fields::{Fields, Known};

use crate::head::ResponseHead;
use crate::proxy::Own;

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
pub(crate) fn reply(refusal: &Refusal, place: &str, id: &str) -> Own {
    let entry = refusal.code.entry();
    let status = if entry.status == 0 { 500 } else { entry.status };
    let problem = Problem {
        r#type: format!("urn:weft:error:{}", entry.code),
        title: entry.title,
        status,
        detail: &refusal.why,
        code: entry.code,
        r#where: place,
        why: &refusal.why,
        next: entry.next_step,
        id,
    };
    let body = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
    let mut fields = Fields::new();
    fields.add(Known::ContentType, b"application/problem+json");
    let kind = if entry.proxy_status.is_empty() { "proxy_internal_error" } else { entry.proxy_status };
    // RFC 9209.
    fields.push(b"proxy-status", format!("weft; error={kind}; details=\"{}\"", entry.code).as_bytes());
    fields.add(Known::WeftRefusal, id.as_bytes());
    if let Some(span) = refusal.retry_after {
        fields.push(b"retry-after", whole_seconds(span).to_string().as_bytes());
    }
    Own { head: ResponseHead { status, fields, ..ResponseHead::default() }, body }
}

/// A moment as `Date` states it (RFC 9110, section 5.6.7).
pub(crate) fn date(at: Timestamp) -> String {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|moment| moment.format(form).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_code_place_reason_and_next_step() {
        let reply = reply(&Refusal::new(Code::ServiceUnknown, "no service \"x\""), "node vm-a, outbound", "vm-a.7");
        assert_eq!(reply.head.status, 404);
        let line = reply.head.fields.get("proxy-status").unwrap();
        assert_eq!(line, b"weft; error=destination_not_found; details=\"service-unknown\"");
        assert_eq!(reply.head.fields.first(Known::WeftRefusal).unwrap(), b"vm-a.7");
        let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
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

    #[test]
    fn a_date_is_written_as_http_wants_it() {
        assert_eq!(date(Timestamp(784_111_777_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
