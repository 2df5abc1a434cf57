//! The JSON Schema of `node.toml`, made from the table of keys; `weft config schema` prints it for editors.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Kind};
use super::read::WEIGHT_MAX;

/// A span as it is written.
const SPAN_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";

/// The schema (2020-12) of the whole file.
pub fn config_schema() -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        let mut property = form(key.kind);
        property["description"] = json!(key.doc);
        match key.name.split_once('.') {
            None => drop(properties.insert(key.name.to_owned(), property)),
            Some((table, name)) => {
                let table = properties.entry(table).or_insert_with(|| closed(json!({}), &[]));
                table["properties"][name] = property;
            }
        }
    }
    properties.insert("service".to_owned(), json!({ "type": "array", "items": service() }));
    properties.insert("binding".to_owned(), json!({ "type": "array", "items": binding() }));
    let mut schema = closed(Value::Object(properties), &[]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("node.toml");
    schema
}

fn form(kind: Kind) -> Value {
    match kind {
        Kind::Span(..) => json!({ "type": "string", "pattern": SPAN_PATTERN }),
        Kind::Count(_, min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Switch(_) => json!({ "type": "boolean" }),
        Kind::Text(_) => json!({ "type": "string" }),
    }
}

fn closed(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn port() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })
}

fn service() -> Value {
    let health = json!({
        "kind": { "enum": ["none", "tcp", "http"] },
        "path": { "type": "string" },
        "interval": { "type": "string", "pattern": SPAN_PATTERN },
    });
    let properties = json!({
        "name": { "type": "string" },
        "replica": { "type": "string" },
        "port": port(),
        "address": { "type": "string" },
        "protocol": { "enum": ["http", "http2", "grpc", "tcp"] },
        "version": { "type": "string" },
        "weight": { "type": "integer", "minimum": 1, "maximum": WEIGHT_MAX },
        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
        "health": closed(health, &["kind"]),
        "proxy_protocol": { "type": "boolean" },
    });
    closed(properties, &["name", "port"])
}

fn binding() -> Value {
    let (text, flag) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    let names = json!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 });
    let properties =
        json!({ "service": text, "server_names": names, "port": port(), "as": text, "proxy_protocol": flag });
    let mut binding = closed(properties, &["port"]);
    binding["oneOf"] = json!([{ "required": ["service"] }, { "required": ["server_names"] }]);
    binding
}

#[cfg(test)]
mod tests {
    use super::super::read::{BINDING_KEYS, HEALTH_KEYS, SERVICE_KEYS};
    use super::*;

    fn keys_of(schema: &Value) -> Vec<&str> {
        let mut keys: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    fn sorted(keys: &[&'static str]) -> Vec<&'static str> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn the_schema_knows_what_the_reader_knows() {
        let schema = config_schema();
        for key in KEYS {
            let found = match key.name.split_once('.') {
                None => &schema["properties"][key.name],
                Some((table, name)) => &schema["properties"][table]["properties"][name],
            };
            assert_eq!(found["description"], key.doc, "{}", key.name);
        }
        let service = &schema["properties"]["service"]["items"];
        assert_eq!(keys_of(service), sorted(SERVICE_KEYS));
        assert_eq!(keys_of(&service["properties"]["health"]), sorted(HEALTH_KEYS));
        assert_eq!(keys_of(&schema["properties"]["binding"]["items"]), sorted(BINDING_KEYS));
        assert_eq!(schema["additionalProperties"], false);
    }
}
