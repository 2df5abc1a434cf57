//! One mistake in a configuration file, with its place. Collected by [`super::read`].

use std::fmt;
use std::ops::Range;

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
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.text)
    }
}

/// The mistakes of one file, in the order in which they were found.
pub(super) struct Mistakes<'a> {
    source: &'a str,
    file: &'a str,
    found: Vec<Mistake>,
}

impl<'a> Mistakes<'a> {
    /// None yet.
    pub(super) fn new(source: &'a str, file: &'a str) -> Self {
        Self { source, file, found: Vec::new() }
    }

    /// Adds one at a span of bytes; without a span, at the start of the file.
    pub(super) fn add(&mut self, span: Option<Range<usize>>, text: impl Into<String>) {
        let mut at = span.map_or(0, |span| span.start).min(self.source.len());
        while !self.source.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.source[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.found.push(Mistake {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: text.into(),
        });
    }

    /// All of them, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|mistake| (mistake.line, mistake.column));
        self.found
    }
}
