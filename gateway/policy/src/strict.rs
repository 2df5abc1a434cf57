//! Strict reading of TOML: every mistake at once, each with file, line, column and the nearest known word. The node's own file and
//! the policy documents are both read with it.

pub mod field;
mod raw_table;
mod scalar;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

pub use field::{Either, Field, Form, Need, Node, Read, Shape, Spanned, Wrong};
pub use scalar::{DocumentName, Method, Percent, TextMap, Whole};

/// Most mistakes that are kept of one text: nobody reads more before correcting some.
const MISTAKES_MAX: usize = 1_000;
/// Names further apart than this are not offered as what was meant.
const NEAREST_DISTANCE_MAX: usize = 4;

/// One mistake: where it stands and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the operator named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", one_line(&self.file), self.line, self.column, one_line(&self.text))
    }
}

/// A text whose control characters are written out, so that it stays one line and steers no terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let written = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(written).collect())
}

/// The mistakes of one text, in the order in which they were found.
pub struct Mistakes<'a> {
    source: &'a str,
    file: &'a str,
    lines_before: usize,
    /// The key whose value is being read; messages start with it.
    key: Option<&'static str>,
    /// Each with its byte in the text.
    found: Vec<(usize, Mistake)>,
}

impl<'a> Mistakes<'a> {
    /// None yet, in a text that is a whole file.
    pub fn new(source: &'a str, file: &'a str) -> Self {
        Self { source, file, lines_before: 0, key: None, found: Vec::new() }
    }

    /// None yet, in a text that starts at this line of its file.
    pub fn starting_at(source: &'a str, file: &'a str, line: u32) -> Self {
        let lines_before = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
        Self { source, file, lines_before, key: None, found: Vec::new() }
    }

    /// Adds one at a span of bytes; without a span, at the start of the text.
    pub fn add(&mut self, span: Option<Range<usize>>, text: impl Into<String>) {
        if self.found.len() == MISTAKES_MAX {
            return;
        }
        let at = span.map_or(0, |span| span.start).min(self.source.len());
        let at = self.source.floor_char_boundary(at);
        let before = &self.source[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = match self.key {
            Some(key) => format!("`{key}`: {}", text.into()),
            None => text.into(),
        };
        let mistake = Mistake {
            file: self.file.to_owned(),
            line: self.lines_before + before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text,
        };
        self.found.push((at, mistake));
    }

    /// Names the key whose value is read from here on; returns the one before.
    pub(crate) fn at_key(&mut self, key: Option<&'static str>) -> Option<&'static str> {
        std::mem::replace(&mut self.key, key)
    }

    /// Adds that a key is not known, with the known one that is nearest.
    pub fn unknown<'k>(&mut self, name: &str, span: Option<Range<usize>>, known: impl Iterator<Item = &'k str>) {
        match nearest(name, known) {
            Some(key) => self.add(span, format!("unknown key `{name}`; did you mean `{key}`?")),
            None => self.add(span, format!("unknown key `{name}`")),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub fn finish(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

/// The known word that was most likely meant, if one is near enough.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let (distance, word) = known.map(|word| (strsim::damerau_levenshtein(word, name), word)).min()?;
    (distance <= NEAREST_DISTANCE_MAX && distance < name.len()).then_some(word)
}

/// Reads a span of a whole number and a unit: `500ms`, `20s`, `5m`, `24h`, `30d`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// Writes a span as [`parse_span`] reads it.
pub fn span_text(span: Duration) -> String {
    let ms = span.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}
