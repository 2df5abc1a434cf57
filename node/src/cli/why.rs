//! `weft why ID`: the chain of decisions behind a refusal, each with the document, file, line and revision that decided it.

use std::path::Path;

use http::Method;
use serde_json::Value;
use weft_gossip::identity::GrantedLabels;
use weft_gossip::ids::SERVICE_DOMAIN;
use weft_gossip::{Code, Failure, ServiceName};

use super::args::{RouteOptions, WhyOptions};
use super::client::{ask, body};
use super::output::Output;
use super::remote::{granted, instant};
use crate::hypothesis::Hypothesis;

/// `weft why`.
pub(super) async fn run(dir: &Path, output: Output, options: WhyOptions) -> Result<(), Failure> {
    let WhyOptions { subject, to, method, path, labels, headers } = options;
    let Some(to) = to else {
        let value = ask(dir, Method::GET, &format!("/v1/why/{}", in_path(&subject)), None).await?;
        output.result(&shown(&value), value);
        return Ok(());
    };
    let labels = supposed(labels)?;
    decide(dir, output, Hypothesis { from: Some(subject), labels, to, method, path, headers }).await
}

/// `weft route`.
pub(super) async fn route(dir: &Path, output: Output, options: RouteOptions) -> Result<(), Failure> {
    let (to, path) = place_of(&options.url)?;
    let RouteOptions { method, url: _, identity: from, labels, headers } = options;
    let labels = supposed(labels)?;
    decide(dir, output, Hypothesis { from, labels, to, method: Some(method), path: Some(path), headers }).await
}

/// The labels that were given; none if none were.
fn supposed(labels: Vec<(String, String)>) -> Result<Option<GrantedLabels>, Failure> {
    let labels = granted(labels)?;
    Ok(Some(labels).filter(|labels| !labels.is_empty()))
}

async fn decide(dir: &Path, output: Output, call: Hypothesis) -> Result<(), Failure> {
    let value = ask(dir, Method::POST, "/v1/why", Some(body(&call)?)).await?;
    let verdict = if value["is_allowed"] == true { "allowed" } else { "refused" };
    let revision = &value["revision"];
    let caller = value["caller"].as_str().unwrap_or_default();
    let mut lines = vec![format!("{caller} -> {}: {verdict} (revision {revision})", call.to)];
    let rows = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    lines.extend(rows("steps").iter().map(step));
    lines.extend(rows("shares").iter().map(share));
    lines.extend(rows("endpoints").iter().map(endpoint));
    output.result(&lines.join("\n"), value);
    Ok(())
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

/// The service and the path of a URL.
fn place_of(url: &str) -> Result<(ServiceName, String), Failure> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = host.strip_suffix(SERVICE_DOMAIN).and_then(|name| name.strip_suffix('.')).unwrap_or(host);
    let service = name.parse().map_err(|error| Failure::new(Code::UsageInvalid, format!("{url:?}: {error}")))?;
    Ok((service, format!("/{path}")))
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
    fn a_url_names_service_and_path() {
        for url in ["http://orders.weft.internal/a?b=c", "orders.weft.internal/a?b=c", "orders/a?b=c"] {
            assert_eq!(place_of(url).unwrap(), ("orders".parse().unwrap(), "/a?b=c".to_owned()), "{url}");
        }
        assert_eq!(place_of("orders").unwrap().1, "/");
        assert!(place_of("http://example.com/").is_err());
    }

    #[test]
    fn an_id_cannot_name_another_route() {
        assert_eq!(in_path("vm-a.0f"), "vm-a.0f");
        assert_eq!(in_path("../x?y"), "..%2Fx%3Fy");
    }
}
