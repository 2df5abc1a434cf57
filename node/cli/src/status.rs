//! `weft status` for people: who the node is, how it fares, what it offers and where its local ports lead.

use serde_json::Value;

/// The node in a few lines, each a name and what holds.
pub(super) fn text(status: &Value) -> String {
    let mut lines = vec![
        format!(
            "node: {} of mesh {}, cell {}{}",
            shown(&status["node"]),
            shown(&status["mesh"]),
            shown(&status["cell"]),
            zone(status)
        ),
        format!("reached at: {}, listens on {}", shown(&status["advertise"]), shown(&status["bind"])),
    ];
    if let Some(reason) = status["revoked"].as_str() {
        lines.push(format!("REVOKED: {reason}; the other nodes refuse this one"));
    }
    let certificates =
        if status["certificates_current"] == true { "current" } else { "NOT current; see weft ls certs" };
    lines.push(format!("certificates: {certificates}"));
    lines.push(format!("signer: {}", if status["signer"] == true { "yes" } else { "no" }));
    if status["draining"] == true {
        lines.push("draining: no new calls are taken".to_owned());
    }
    lines.push(format!("mesh: {}, {}", counted(&status["members"], "member"), counted(&status["services"], "service")));
    lines.extend(rows(&status["exposed"]).iter().map(offered));
    lines.extend(rows(&status["dissents"]).iter().map(dissent));
    lines.extend(rows(&status["bindings"]).iter().flat_map(bound));
    let restarts = status["restarts"].as_object().into_iter().flatten();
    let restarts: Vec<String> = restarts.map(|(actor, count)| format!("{actor} {count}")).collect();
    lines.push(format!("restarts: {}", if restarts.is_empty() { "none".to_owned() } else { restarts.join(", ") }));
    lines.join("\n")
}

fn zone(status: &Value) -> String {
    status["zone"].as_str().map(|zone| format!(", zone {zone}")).unwrap_or_default()
}

/// `offers: orders from 127.0.0.1:8080, http, weight 100, version 2, tier=gold`.
fn offered(service: &Value) -> String {
    let version = service["version"].as_str().filter(|version| !version.is_empty());
    let labels = service["labels"].as_object().into_iter().flatten();
    let mut parts = vec![
        format!("offers: {} from {}", shown(&service["service"]), shown(&service["app"])),
        shown(&service["protocol"]).to_lowercase(),
        format!("weight {}", service["weight"]),
    ];
    parts.extend(version.map(|version| format!("version {version}")));
    parts.extend(labels.map(|(name, value)| format!("{name}={}", shown(value))));
    parts.join(", ")
}

/// `CONFLICT: orders is offered here as tcp, the mesh goes by http: ...`.
fn dissent(one: &Value) -> String {
    format!(
        "CONFLICT: {} is offered here as {}, the mesh goes by {}: nobody calls it here; expose it again with --protocol {}",
        shown(&one["service"]),
        shown(&one["stated"]),
        shown(&one["agreed"]),
        shown(&one["agreed"]),
    )
}

/// `local port: 127.0.0.1:5432 leads to ledger-db as web`, or a line for each server name.
fn bound(binding: &Value) -> Vec<String> {
    let identity = binding["identity"].as_str().map(|identity| format!(" as {identity}")).unwrap_or_default();
    let line = |name: String, service: &Value| {
        format!("local port: {}{name} leads to {}{identity}", shown(&binding["at"]), shown(service))
    };
    match binding["server_names"].as_object() {
        Some(names) => names.iter().map(|(name, service)| line(format!(" for {name}"), service)).collect(),
        None => vec![line(String::new(), &binding["service"])],
    }
}

fn counted(number: &Value, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_reads_as_lines() {
        let mut status = json!({
            "mesh": "bank", "node": "vm-a", "cell": "dc1", "zone": "z1", "advertise": "10.0.0.1:4510",
            "bind": "10.0.0.1:4510", "signer": true, "certificates_current": true, "draining": false, "services": 1,
            "members": 2, "restarts": {}, "revoked": null,
            "bindings": [
                { "at": "127.0.0.1:5432", "service": "db", "identity": "web" },
                { "at": "127.0.0.1:8443", "server_names": { "*": "www", "a.example": "a" }, "identity": null },
            ],
            "exposed": [{ "service": "web", "app": "127.0.0.1:8080", "protocol": "Http", "version": "2", "weight": 100,
                "labels": { "tier": "gold" }, "health": { "kind": "Tcp", "interval_ms": null } }],
        });
        let expected = "node: vm-a of mesh bank, cell dc1, zone z1\nreached at: 10.0.0.1:4510, listens on 10.0.0.1:4510\n\
            certificates: current\nsigner: yes\nmesh: 2 members, 1 service\n\
            offers: web from 127.0.0.1:8080, http, weight 100, version 2, tier=gold\n\
            local port: 127.0.0.1:5432 leads to db as web\n\
            local port: 127.0.0.1:8443 for * leads to www\nlocal port: 127.0.0.1:8443 for a.example leads to a\nrestarts: none";
        assert_eq!(text(&status), expected);
        status["revoked"] = json!("stolen (policies/r.toml:1)");
        status["restarts"] = json!({ "membership": 2 });
        status["dissents"] = json!([{ "service": "web", "node": "vm-a", "stated": "tcp", "agreed": "http" }]);
        let told = text(&status);
        assert!(told.contains("CONFLICT: web is offered here as tcp, the mesh goes by http"), "{told}");
        assert!(
            told.contains("REVOKED: stolen (policies/r.toml:1)") && told.ends_with("restarts: membership 2"),
            "{told}"
        );
    }
}
