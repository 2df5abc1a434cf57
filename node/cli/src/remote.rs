//! The commands that ask the running node.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft_identity::{Code, Failure, GrantedLabels, LabelChanges, LabelError, ReplicaName, ServiceName};
use weft_world::admin::{Agreement, BindRequest, ExposeRequest, HealthRequest, JoinRequest, TokenRequest};
use weft_world::server_names::ServerNames;
use weft_world::service_spec::LeadsTo;

use super::args::{BindOptions, ExposeOptions, Listing};
use super::client::{ask, body};
use super::history;
use super::output::{Output, table};
use super::status;

/// The columns that `weft ls` shows first.
const NODE_COLUMNS: &[&str] = &["node", "state", "addr", "zone", "services", "labels"];
const SERVICE_COLUMNS: &[&str] =
    &["service", "node", "replica", "version", "protocol", "healthy", "weight", "in_flight", "addr"];
const CERT_COLUMNS: &[&str] = &["identity", "not_before", "not_after", "labels", "key"];

/// `weft status`.
pub(super) async fn status(dir: &Path, output: Output) -> Result<(), Failure> {
    let mut value = ask(dir, Method::GET, "/v1/status", None).await?;
    let ledger = ask(dir, Method::GET, "/v1/ledger", None).await?;
    let shown = format!("{}\n{}", status::text(&value), history::ledger_text(&ledger));
    value["ledger"] = ledger;
    output.result(&shown, value);
    Ok(())
}

/// `weft ls`.
pub(super) async fn list(dir: &Path, output: Output, what: Listing, only: Option<String>) -> Result<(), Failure> {
    let (name, columns) = match what {
        Listing::Nodes => ("nodes", NODE_COLUMNS),
        Listing::Services => ("services", SERVICE_COLUMNS),
        Listing::Certs => ("certs", CERT_COLUMNS),
        Listing::Documents => return history::documents(dir, output, only).await,
    };
    let value = ask(dir, Method::GET, &format!("/v1/{name}"), None).await?;
    let rows = value.as_array().cloned().unwrap_or_default();
    let rows: Vec<Value> = match what {
        Listing::Services => rows.iter().flat_map(by_replica).collect(),
        Listing::Certs => rows.into_iter().map(with_times).collect(),
        Listing::Nodes | Listing::Documents => rows,
    };
    let is_wanted = |row: &Value| only.as_deref().is_none_or(|only| row[columns[0]] == only);
    let rows: Vec<Value> = rows.into_iter().filter(is_wanted).collect();
    rows.iter().filter_map(dissent).for_each(|text| output.note(&text));
    if let (Some(only), true) = (&only, rows.is_empty()) {
        let detail = format!("{only:?} is not among the {name}; `weft ls {name}` lists them");
        return Err(Failure::new(Code::UsageInvalid, detail));
    }
    let shown: Vec<Value> = rows.iter().cloned().map(without_milliseconds).collect();
    output.result(&table(&shown, columns), json!({ name: rows }));
    Ok(())
}

/// `weft cert ls`: this node's certificates, the signers and the roots, and when each ends.
pub(super) async fn list_certificates(dir: &Path, output: Output) -> Result<(), Failure> {
    let own = ask(dir, Method::GET, "/v1/certs", None).await?;
    let ca = ask(dir, Method::GET, "/v1/ca", None).await?;
    let rows_of = |value: &Value, kind: &str, name: &str| -> Vec<Value> {
        let rows = value.as_array().cloned().unwrap_or_default().into_iter().map(with_times);
        let row = |row: Value| {
            json!({
                "kind": kind,
                "name": row[name],
                "key": row["key"],
                "state": row["state"],
                "not_before": row["not_before"],
                "not_after": row["not_after"],
                "not_before_ms": row["not_before_ms"],
                "not_after_ms": row["not_after_ms"],
            })
        };
        rows.map(row).collect()
    };
    let mut rows = rows_of(&own, "certificate", "identity");
    rows.extend(rows_of(&ca["signers"], "signer", "node"));
    rows.extend(rows_of(&ca["roots"], "root", "root"));
    let shown: Vec<Value> = rows.iter().cloned().map(without_milliseconds).collect();
    let columns = ["kind", "name", "state", "not_before", "not_after", "key"];
    output.result(&table(&shown, &columns), json!({ "certs": rows }));
    Ok(())
}

/// The labels of `--label NAME=VALUE`, each name once.
pub(super) fn granted(labels: Vec<(String, String)>) -> Result<GrantedLabels, Failure> {
    let changes = LabelChanges::new(labels, []).map_err(unlabelled)?;
    GrantedLabels::default().after(&changes).map_err(unlabelled)
}

/// What a token does to labels.
pub(super) fn label_changes(granted: Vec<(String, String)>, removed: Vec<String>) -> Result<LabelChanges, Failure> {
    LabelChanges::new(granted, removed).map_err(unlabelled)
}

fn unlabelled(error: LabelError) -> Failure {
    Failure::new(Code::UsageInvalid, error.to_string())
}

/// `weft token create`.
pub(super) async fn create_token(dir: &Path, output: Output, request: TokenRequest) -> Result<(), Failure> {
    let value = ask(dir, Method::POST, "/v1/tokens", Some(body(&request)?)).await?;
    let line = format!("weft join {} --token {}", text(&value, "at"), text(&value, "token"));
    let mut shown = value;
    shown["line"] = json!(line);
    output.result(&line, shown);
    Ok(())
}

/// `weft join` where the node runs already.
pub(super) async fn join(dir: &Path, output: Output, request: JoinRequest) -> Result<(), Failure> {
    let value = ask(dir, Method::POST, "/v1/join", Some(body(&request)?)).await?;
    let said = format!("node {} has the grants and labels of the token", text(&value, "node"));
    output.result(&said, value);
    Ok(())
}

/// `weft expose`.
pub(super) async fn expose(dir: &Path, output: Output, options: ExposeOptions) -> Result<(), Failure> {
    let (service, replica) = (options.service, options.replica);
    let Some(app) = options.app.filter(|_| !options.remove) else {
        let (path, which) = match &replica {
            Some(replica) => (format!("/v1/services/{service}/{replica}"), format!("replica {replica} of {service}")),
            None => (format!("/v1/services/{service}"), service.to_string()),
        };
        ask(dir, Method::DELETE, &path, None).await?;
        let told = json!({ "service": service, "replica": replica, "exposed": false });
        output.result(&format!("{which} is no longer offered from here"), told);
        return Ok(());
    };
    let replica = replica.unwrap_or_else(|| ReplicaName::from(&service));
    let health = match options.health.as_str() {
        "none" => HealthRequest::None,
        "tcp" => HealthRequest::Tcp,
        path if path.starts_with('/') => HealthRequest::Http { path: path.to_owned() },
        other => {
            return Err(Failure::new(
                Code::UsageInvalid,
                format!("--health {other:?}: give none, tcp or a path that starts with /"),
            ));
        }
    };
    let (protocol, version, weight) = (options.protocol, options.version, options.weight);
    let labels = options.labels.into_iter().collect();
    let request = ExposeRequest {
        service: service.clone(),
        replica: Some(replica.clone()),
        app,
        protocol,
        version,
        weight,
        labels,
        health,
        proxy_protocol: options.proxy_protocol,
        agreement: if options.anyway { Agreement::Waived } else { Agreement::Needed },
    };
    ask(dir, Method::POST, "/v1/services", Some(body(&request)?)).await?;
    let said =
        format!("{service} is offered from {app}; it answers at {service}.{}", weft_identity::ids::SERVICE_DOMAIN);
    output.result(&said, json!({ "service": service, "replica": replica, "exposed": true, "app": app }));
    Ok(())
}

/// `weft bind`.
pub(super) async fn bind(dir: &Path, output: Output, options: BindOptions) -> Result<(), Failure> {
    if let Some(port) = options.remove {
        ask(dir, Method::DELETE, &format!("/v1/bindings/{port}"), None).await?;
        output.result(&format!("port {port} is closed"), json!({ "port": port, "bound": false }));
        return Ok(());
    }
    let Some(port) = options.port.or(options.tls) else {
        return Err(Failure::new(Code::UsageInvalid, "give a service and a port"));
    };
    let misused = |why: String| Failure::new(Code::UsageInvalid, why);
    let names = options.tls.map(|_| ServerNames::new(options.names)).transpose();
    let server_names = names.map_err(|why| misused(format!("--name {why}")))?;
    let leads_to = LeadsTo::new(options.service.clone(), server_names.clone());
    let leads_to = leads_to.map_err(|why| misused(why.to_owned()))?;
    let request = BindRequest {
        service: options.service,
        server_names,
        port,
        identity: options.identity,
        proxy_protocol: options.proxy_protocol,
    };
    ask(dir, Method::POST, "/v1/bindings", Some(body(&request)?)).await?;
    let services = ask(dir, Method::GET, "/v1/services", None).await?;
    let offered: Vec<&Value> = services.as_array().into_iter().flatten().map(|row| &row["service"]).collect();
    let is_offered = |service: &ServiceName| offered.iter().any(|offered| **offered == service.as_str());
    let missing: BTreeSet<&ServiceName> = leads_to.services().into_iter().filter(|one| !is_offered(one)).collect();
    for service in missing {
        output.note(&format!("no node offers {service} yet; `weft ls services` names those that are offered"));
    }
    let mut result = json!(leads_to);
    result["port"] = json!(port);
    result["bound"] = json!(true);
    output.result(&format!("port {port} leads to {leads_to}"), result);
    Ok(())
}

/// `weft leave`.
pub(super) async fn leave(dir: &Path, output: Output) -> Result<(), Failure> {
    ask(dir, Method::POST, "/v1/leave", None).await?;
    output.result("the node said goodbye and stops", json!({ "left": true }));
    Ok(())
}

/// What a row of `weft ls services` says of a node that is left out.
fn dissent(row: &Value) -> Option<String> {
    let agreed = row["agreed"].as_str()?;
    let (node, service, stated) = (text(row, "node"), text(row, "service"), text(row, "protocol"));
    Some(format!(
        "node {node} offers {service} as {stated}, the mesh goes by {agreed}: its replicas get no calls; \
         `weft expose {service} PORT --protocol {agreed}` there brings them in"
    ))
}

/// One row a replica, so that the list reads as a table, then one for each node that is left out for its protocol; a service without any
/// keeps one row.
fn by_replica(service: &Value) -> Vec<Value> {
    let left_out = |one: &Value| {
        json!({
            "service": service["service"],
            "node": one["node"],
            "protocol": one["stated"],
            "agreed": one["agreed"],
            "healthy": false,
        })
    };
    let dissents: Vec<Value> = service["dissents"].as_array().into_iter().flatten().map(left_out).collect();
    let mut rows = in_table(service);
    rows.extend(dissents);
    rows
}

fn in_table(service: &Value) -> Vec<Value> {
    let named = |mut row: Value| {
        row["service"] = service["service"].clone();
        row["protocol"] = service["protocol"].clone();
        row
    };
    match service["endpoints"].as_array() {
        Some(endpoints) if !endpoints.is_empty() => endpoints.iter().cloned().map(named).collect(),
        _ => vec![named(json!({}))],
    }
}

/// The times of a certificate as RFC 3339, which people and programs read alike.
pub(super) fn with_times(mut certificate: Value) -> Value {
    for (name, from) in [("not_before", "not_before_ms"), ("not_after", "not_after_ms")] {
        if let Some(at) = certificate.get(from) {
            certificate[name] = json!(at.as_u64().map(instant));
        }
    }
    certificate
}

/// For people, who have the same times in a form that they can read.
pub(super) fn without_milliseconds(mut row: Value) -> Value {
    if let Some(fields) = row.as_object_mut() {
        fields.retain(|name, _| !name.ends_with("_ms"));
    }
    row
}

pub(super) fn instant(unix_ms: u64) -> String {
    i64::try_from(unix_ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_listed_by_replica_and_times_are_readable() {
        let service = json!({"service": "orders", "protocol": "http", "endpoints": [{"node": "a"}, {"node": "b"}]});
        let rows = by_replica(&service);
        assert_eq!((rows.len(), &rows[1]["node"], &rows[1]["service"]), (2, &json!("b"), &json!("orders")));
        assert_eq!(with_times(json!({"not_before_ms": 1000}))["not_before"], "1970-01-01T00:00:01Z");
        assert_eq!(instant(u64::MAX), u64::MAX.to_string());
    }
}
