//! `weft why ID`: the chain of decisions behind a refusal, each with the document, file, line and revision that decided it.

use std::path::Path;

use http::Method;
use serde_json::Value;
use weft_identity::{Code, Failure, GrantedLabels};
use weft_world::admin::Hypothesis;

use super::args::{RouteOptions, WhyOptions};
use super::client::{ask, body};
use super::output::Output;
use super::remote::{granted, instant};
use super::target::{Target, check_headers};

/// `weft why`.
pub(super) async fn run(dir: &Path, output: Output, options: WhyOptions) -> Result<(), Failure> {
    let WhyOptions { subject, to, method, path, labels, headers } = options;
    let Some(to) = to else {
        if subject.trim().is_empty() {
            return Err(Failure::new(Code::UsageInvalid, "the id is empty; a refusal carries one in `weft-refusal`"));
        }
        let value = ask(dir, Method::GET, &format!("/v1/why/{}", in_path(&subject)), None).await?;
        output.result(&shown(&value), value);
        return Ok(());
    };
    let labels = supposed(labels)?;
    decide(dir, output, Hypothesis { from: Some(subject), labels, to, method, path, headers }).await
}

/// `weft route`.
pub(super) async fn route(dir: &Path, output: Output, options: RouteOptions) -> Result<(), Failure> {
    let RouteOptions { method, url, identity: from, labels, mut headers } = options;
    check_headers(&headers)?;
    let target = Target::of(&url)?;
    let (to, path, labels) = (target.service()?, target.path, supposed(labels)?);
    headers.push(format!("host: {}", target.host));
    decide(dir, output, Hypothesis { from, labels, to, method: Some(method), path: Some(path), headers }).await
}

/// The labels that were given; none if none were.
fn supposed(labels: Vec<(String, String)>) -> Result<Option<GrantedLabels>, Failure> {
    let labels = granted(labels)?;
    Ok(Some(labels).filter(|labels| !labels.is_empty()))
}

async fn decide(dir: &Path, output: Output, call: Hypothesis) -> Result<(), Failure> {
    let value = ask(dir, Method::POST, "/v1/why", Some(body(&call)?)).await?;
    let mut lines = vec![headline(&value, call.to.as_str())];
    let rows = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    lines.extend(rows("steps").iter().map(step));
    lines.extend(rows("shares").iter().map(share));
    lines.extend(rows("endpoints").iter().map(endpoint));
    output.result(&lines.join("\n"), value);
    Ok(())
}

/// `spiffe://bank/svc/web -> orders: allowed (revision 12)`.
fn headline(value: &Value, to: &str) -> String {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let has_endpoints = value["endpoints"].as_array().is_some_and(|endpoints| !endpoints.is_empty());
    let verdict = match (value["is_allowed"] == true, has_endpoints) {
        (false, _) => "refused".to_owned(),
        (true, true) => "allowed".to_owned(),
        (true, false) => format!("allowed, but no node offers {}", text("service")),
    };
    format!("{} -> {to}: {verdict} (revision {})", text("caller"), value["revision"])
}

/// `split: orders version 2, 5 of 100`.
fn share(share: &Value) -> String {
    let version = share["version"].as_str().map(|version| format!(" version {version}")).unwrap_or_default();
    format!(
        "  split: {}{version}, {} of {}",
        share["service"].as_str().unwrap_or_default(),
        share["weight"],
        share["of"]
    )
}

/// `endpoint: replica orders-b on vm-c, version 2, would be chosen`, or why it would not.
fn endpoint(state: &Value) -> String {
    let standing = match (state["is_chosen"].as_bool(), state["why_not"].as_str()) {
        (Some(true), _) => "would be chosen".to_owned(),
        (_, Some(why)) => format!("not chosen: {why}"),
        _ => "might be chosen".to_owned(),
    };
    let text = |name: &str| state[name].as_str().unwrap_or_default();
    let version = if text("version").is_empty() { String::new() } else { format!(", version {}", text("version")) };
    format!("  endpoint: replica {} on {}{version}, {standing}", text("replica"), text("node"))
}

/// What is not a letter, digit, dot or hyphen is written in percent, as a path needs it (RFC 3986, section 2.1).
fn in_path(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    id.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn shown(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("-");
    let asked = match (record["method"].as_str(), record["path"].as_str()) {
        (Some(method), Some(path)) => format!(" {method} {path}"),
        _ => String::new(),
    };
    let mut lines = vec![
        format!("{} -> {}{asked}", text("caller"), text("called")),
        format!(
            "refused {} with {} at {}, by revision {}: {}",
            text("direction"),
            text("code"),
            instant(record["at_ms"].as_u64().unwrap_or_default()),
            record["revision"],
            text("why")
        ),
    ];
    lines.extend(record["steps"].as_array().into_iter().flatten().map(step));
    lines.join("\n")
}

/// `allow rules: the call is allowed    policies/orders.toml:14 (revision 12)`.
pub(super) fn step(step: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = format!("  {}: {}", text(&step["what"]), text(&step["outcome"]));
    match &step["place"] {
        Value::Object(place) => {
            format!("{said}  {}:{} (revision {})", text(&place["file"]), place["line"], place["revision"])
        }
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_names_where_it_is_written() {
        let record = json!({
            "id": "vm-a.00", "at_ms": 0, "direction": "inbound", "caller": "spiffe://bank/svc/web", "called": "orders",
            "method": "POST", "path": "/orders/7", "code": "not-allowed", "why": "no rule allows it", "revision": 12,
            "steps": [
                { "what": "deny rules", "outcome": "none matches" },
                { "what": "service default", "outcome": "deny",
                  "place": { "document": "authorisation/orders", "file": "policies/orders.toml", "line": 14, "revision": 12 } },
            ],
        });
        let text = shown(&record);
        assert!(
            text.starts_with("spiffe://bank/svc/web -> orders POST /orders/7\nrefused inbound with not-allowed"),
            "{text}"
        );
        assert!(text.ends_with("  service default: deny  policies/orders.toml:14 (revision 12)"), "{text}");
    }

    #[test]
    fn the_headline_does_not_promise_what_nobody_answers() {
        let allowed = |endpoints: Value| {
            headline(
                &json!({ "caller": "a", "service": "orders", "is_allowed": true,
            "revision": 3, "endpoints": endpoints }),
                "shop",
            )
        };
        assert_eq!(allowed(json!([{ "node": "vm-a" }])), "a -> shop: allowed (revision 3)");
        assert_eq!(allowed(json!([])), "a -> shop: allowed, but no node offers orders (revision 3)");
    }

    #[test]
    fn an_id_cannot_name_another_route() {
        assert_eq!(in_path("vm-a.0f"), "vm-a.0f");
        assert_eq!(in_path("../x?y"), "..%2Fx%3Fy");
    }
}
