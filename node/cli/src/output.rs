//! The only place of the CLI that prints: results on standard output, failures on standard error, as text or JSON.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::{Value, json};
use weft_identity::{Code, Failure};

/// The version of every JSON form that the CLI prints; grows when a field goes or changes its meaning.
pub(super) const SCHEMA: u32 = 1;

/// Standard output was closed before everything was written: 128 and the number of SIGPIPE, as shells say it of other programs.
const EXIT_PIPE_CLOSED: i32 = 141;
/// What [`Paint`] writes, which may pass to a terminal.
const COLOURS: &[&str] = &["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[0m"];

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
        let line = match self {
            Self::Text => printable(text.trim_end(), self.paint()),
            Self::Json => with_schema(value).to_string(),
        };
        self.print(format!("{line}\n").as_bytes());
    }

    /// Prints bytes as they are. What cannot be written ends the process: nobody learns the result any more. Quietly where the reader
    /// went away, which is what `| head` does; with a failure where there is no room.
    pub(super) fn print(self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        drop(out);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(EXIT_PIPE_CLOSED),
            Err(error) => {
                self.failure(&Failure::new(Code::OutputFailed, format!("write to standard output: {error}")));
                std::process::exit(1);
            }
        }
    }

    /// Tells people on standard error what they may not have meant. Programs see it in the result.
    pub(super) fn note(self, text: &str) {
        if self == Self::Text {
            complain(&format!("note: {}", printable(text, Paint::Plain)));
        }
    }

    /// Prints a failure with its code and the next step.
    pub(super) fn failure(self, failure: &Failure) {
        complain(&self.failure_text(failure));
    }

    /// A failure with its code and the next step.
    pub(super) fn failure_text(self, failure: &Failure) -> String {
        let entry = failure.code.entry();
        match self {
            Self::Text => {
                let detail = printable(&failure.detail, Paint::Plain);
                format!("error[{}]: {detail}\nnext: {}", entry.code, entry.next_step)
            }
            Self::Json => {
                let error = json!({
                    "code": entry.code,
                    "title": entry.title,
                    "detail": failure.detail,
                    "next": entry.next_step,
                });
                with_schema(json!({ "error": error })).to_string()
            }
        }
    }
}

/// Where standard error cannot be written to either, the exit code is all that is left to say.
pub(super) fn complain(text: &str) {
    let _unsaid = writeln!(io::stderr().lock(), "{text}");
}

/// The text without what would steer a terminal: control characters of files and of other nodes are shown as they are written in TOML.
fn printable(text: &str, paint: Paint) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let colour = COLOURS.iter().find(|colour| paint == Paint::Coloured && rest.starts_with(**colour));
        let part = colour.map_or(&rest[..next.len_utf8()], |colour| &rest[..colour.len()]);
        if colour.is_none() && next.is_control() && !matches!(next, '\n' | '\t') {
            shown.push_str(&format!("\\u{:04X}", u32::from(next)));
        } else {
            shown.push_str(part);
        }
        rest = &rest[part.len()..];
    }
    shown
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
    fn nothing_of_a_file_steers_the_terminal() {
        let text = "a\u{1b}]0;title\u{7}\tb\r\u{9b}c\n\u{1b}[31mred\u{1b}[0m";
        assert_eq!(
            printable(text, Paint::Plain),
            "a\\u001B]0;title\\u0007\tb\\u000D\\u009Bc\n\\u001B[31mred\\u001B[0m"
        );
        assert!(printable(text, Paint::Coloured).ends_with("\n\u{1b}[31mred\u{1b}[0m"));
    }

    #[test]
    fn json_always_states_its_schema() {
        assert_eq!(with_schema(json!({"a": 1}))["schema"], SCHEMA);
        assert_eq!(with_schema(json!([1]))["schema"], SCHEMA);
    }
}
