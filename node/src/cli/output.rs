//! The only place of the CLI that prints: results on standard output, failures on standard error, as text or JSON.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the CLI prints")]

use std::io::IsTerminal;

use clap::ValueEnum;
use serde_json::{Value, json};
use weft_gossip::Failure;

/// The version of every JSON form that the CLI prints; grows when a field goes or changes its meaning.
pub(super) const SCHEMA: u32 = 1;

/// In which form results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object with `"schema": 1`.
    Json,
}

/// Whether what is printed has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// It has none.
    Plain,
    /// A terminal shows it.
    Coloured,
}

impl Paint {
    /// What comes.
    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What goes.
    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

impl Output {
    /// Colours for people on a terminal who did not refuse them (no-color.org).
    pub(super) fn paint(self) -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_shown = self == Self::Text && std::io::stdout().is_terminal();
        if is_shown && !refused { Paint::Coloured } else { Paint::Plain }
    }

    /// Prints a result: `text` for people, or the object with its schema.
    pub(super) fn result(self, text: &str, value: Value) {
        match self {
            Self::Text => println!("{}", text.trim_end()),
            Self::Json => println!("{}", with_schema(value)),
        }
    }

    /// Prints a failure with its code and the next step.
    pub(super) fn failure(self, failure: &Failure) {
        let entry = failure.code.entry();
        match self {
            Self::Text => eprintln!("error[{}]: {}\nnext: {}", entry.code, failure.detail, entry.next_step),
            Self::Json => {
                let error = json!({
                    "code": entry.code,
                    "title": entry.title,
                    "detail": failure.detail,
                    "next": entry.next_step,
                });
                eprintln!("{}", with_schema(json!({ "error": error })));
            }
        }
    }
}

fn with_schema(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            fields.insert("schema".to_owned(), json!(SCHEMA));
            Value::Object(fields)
        }
        other => json!({ "schema": SCHEMA, "result": other }),
    }
}

/// A table of the rows' fields: `first` in this order, then whatever else the first row has.
pub(super) fn table(rows: &[Value], first: &[&str]) -> String {
    let Some(Value::Object(sample)) = rows.first() else { return "none".to_owned() };
    let known = first.iter().copied().filter(|name| sample.contains_key(*name));
    let others = sample.keys().map(String::as_str).filter(|name| !first.contains(name));
    let columns: Vec<&str> = known.chain(others).collect();
    let mut lines = vec![columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    let padded = |line: &Vec<String>| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect::<Vec<_>>().join("\n")
}

/// One `name: value` line a field.
pub(super) fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return cell(value) };
    fields
        .iter()
        .map(|(name, value)| format!("{}: {}", name.replace('_', " "), cell(value)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_puts_the_stated_columns_first() {
        let rows = [json!({"zone": null, "node": "vm-a"}), json!({"zone": "a", "node": "b"})];
        assert_eq!(table(&rows, &["node"]), "NODE  ZONE\nvm-a  -\nb     a");
        assert_eq!(table(&[], &["node"]), "none");
    }

    #[test]
    fn json_always_states_its_schema() {
        assert_eq!(with_schema(json!({"a": 1}))["schema"], SCHEMA);
        assert_eq!(with_schema(json!([1]))["schema"], SCHEMA);
    }
}
