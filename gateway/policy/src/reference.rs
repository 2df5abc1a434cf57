//! The JSON Schema of each kind and the reference page of all, made from the raw tables. A test holds
//! `docs/reference/policies.md` against it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::place::Kind;
use super::raw::route::RawRoute;
use super::raw::traffic::RawTraffic;
use super::raw::{RawAuthorisation, RawMesh, RawRateLimit, RawRevocation};
use crate::strict::{Field, Form, Need, Shape};

/// The table of a kind.
pub fn shape(kind: Kind) -> &'static Shape {
    match kind {
        Kind::Mesh => RawMesh::shape(),
        Kind::Authorisation => RawAuthorisation::shape(),
        Kind::Route => RawRoute::shape(),
        Kind::Traffic => RawTraffic::shape(),
        Kind::RateLimit => RawRateLimit::shape(),
        Kind::Revocation => RawRevocation::shape(),
    }
}

/// The JSON Schema (2020-12) of one document of a kind.
pub fn schema(kind: Kind) -> Value {
    let mut schema = table_schema(shape(kind));
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!(kind.word()));
    }
    schema
}

fn table_schema(shape: &Shape) -> Value {
    let mut properties = Map::new();
    for field in shape.fields {
        let mut property = form_schema(&(field.form)());
        if let Some(object) = property.as_object_mut() {
            object.insert("description".to_owned(), json!(one_line(field.doc)));
        }
        properties.insert(field.key.to_owned(), property);
    }
    let is_needed = |field: &&Field| field.need == Need::Needed;
    let needed: Vec<&str> = shape.fields.iter().filter(is_needed).map(|field| field.key).collect();
    json!({
        "type": "object",
        "description": one_line(shape.doc),
        "properties": properties,
        "required": needed,
        "additionalProperties": false,
    })
}

fn form_schema(form: &Form) -> Value {
    match form {
        Form::Text("span") => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Form::Text(_) => json!({ "type": "string" }),
        Form::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Form::Percent => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
        Form::Switch => json!({ "type": "boolean" }),
        Form::Words(words) => json!({ "enum": words }),
        Form::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Form::List(element) => json!({ "type": "array", "minItems": 1, "items": form_schema(element) }),
        Form::Table(shape) => table_schema(shape),
        Form::Either(word, table) => json!({ "anyOf": [form_schema(word), form_schema(table)] }),
    }
}

/// A doc comment as one line.
fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

const HEAD: &str = "# Policies

What holds in the whole mesh is written in *documents*: TOML files in git, brought in by `weft plan DIR` and `weft apply DIR`. Each
`[[kind]]` table is one document with a name; a file may hold any number of them, of any kinds.

Files are read strictly: a key that does not exist is a mistake, and all mistakes of all files are reported at once with file, line,
column and the nearest key. Every node compiles the same text with the same reader.

- Spans are a whole number and a unit: `500ms`, `20s`, `5m`, `24h`, `30d`.
- A *header name* is written in any case of letters.
- A *text* is in quotes. An empty list is a mistake: leave the key out.
- `[[authorisation.rule]]` may also be written `rule = [{ … }]`.

A document says which services it concerns: the `service` or `services` that it names, and, for a route, those that it sends requests or
copies to. An operator who may change only some services can bring in only documents that concern no others. `[[mesh]]`,
`[[revocation]]` and `mesh = true` concern the whole mesh.

How routes are chosen, and the normal form of paths: [routing](routing.md). How a call is allowed or refused:
[authorisation](authorisation.md).
";

/// The whole page.
pub fn policy_page() -> String {
    let mut page = String::from(HEAD);
    for kind in Kind::ALL {
        let _ = write!(page, "\n## `[[{}]]`\n\nExample: [{0}.toml](../examples/{0}.toml)\n", kind.word());
        let mut seen = BTreeSet::new();
        section(&mut page, shape(kind), &mut seen);
    }
    page
}

/// A table's section, and those of the tables inside it, each once a kind.
fn section(page: &mut String, shape: &'static Shape, seen: &mut BTreeSet<&'static str>) {
    if !seen.insert(shape.title) {
        return;
    }
    if !shape.title.starts_with("[[") || shape.title.contains('.') {
        let _ = write!(page, "\n### `{}`\n", shape.title);
    }
    let _ = write!(page, "\n{}\n\n| Key | Form | Default | Meaning |\n|---|---|---|---|\n", one_line(shape.doc));
    for field in shape.fields {
        let form = (field.form)();
        let default = match (field.need, &form) {
            (Need::Needed, _) => "needed",
            (Need::Default(text), _) => text,
        };
        let doc = one_line(field.doc).replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {} | {default} | {doc} |", field.key, form_text(&form));
    }
    for field in shape.fields {
        inner(page, &(field.form)(), seen);
    }
}

fn inner(page: &mut String, form: &Form, seen: &mut BTreeSet<&'static str>) {
    match form {
        Form::Table(shape) => section(page, shape, seen),
        Form::List(element) => inner(page, element, seen),
        Form::Either(_, table) => inner(page, table, seen),
        _ => {}
    }
}

fn form_text(form: &Form) -> String {
    match form {
        Form::Text(what) => (*what).to_owned(),
        Form::Whole(min, max) => format!("{min} to {max}"),
        Form::Percent => "0 to 100".to_owned(),
        Form::Switch => "`true`, `false`".to_owned(),
        Form::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Form::TextMap => "table of texts".to_owned(),
        Form::List(element) => format!("list of {}", form_text(element)),
        Form::Table(shape) => format!("`{}`", shape.title),
        Form::Either(word, table) => format!("{}, or {}", form_text(word), form_text(table)),
    }
}
