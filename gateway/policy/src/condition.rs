//! Conditions on a request's head: method, header fields, query. Borrowed data in, yes or no out; nothing is allocated but to
//! decode a query parameter that is encoded.

use std::borrow::Cow;

use http::HeaderName;

use super::path::NormalPath;
use crate::fields::{Fields, members};
use crate::strict::Method;

/// What a decision may look at of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'r> {
    /// The method.
    pub method: &'r http::Method,
    /// The path in normal form.
    pub path: &'r NormalPath<'r>,
    /// The query without its `?`.
    pub query: Option<&'r str>,
    /// The header fields.
    pub headers: &'r Fields,
}

/// Some methods; the empty set is every method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MethodSet(u16);

impl MethodSet {
    /// The set of these.
    pub fn of(methods: impl Iterator<Item = Method>) -> Self {
        Self(methods.fold(0, |set, method| set | 1 << (method as u16)))
    }

    /// Whether it says anything.
    pub fn is_every(self) -> bool {
        self.0 == 0
    }

    /// Whether a request's method is one of them.
    pub fn takes(self, method: &http::Method) -> bool {
        self.is_every() || Method::of(method).is_some_and(|method| self.0 & 1 << (method as u16) != 0)
    }
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum Test {
    /// This.
    Exact(Box<str>),
    /// Starts so.
    Prefix(Box<str>),
    /// Matches as a whole.
    Regex(regex::bytes::Regex),
    /// There.
    Present,
    /// Not there.
    Absent,
}

impl Test {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
            Self::Absent => false,
        }
    }

    /// Whether a line of a field meets it. Nobody knows whether the application reads a line as one value or as a list.
    fn holds_for_line(&self, line: &[u8], several: Several) -> bool {
        match (several, Members::of(line)) {
            (_, Members::Itself) => self.holds(line),
            (Several::Any, Members::Few) => self.holds(line) || members(line).any(|member| self.holds(member)),
            (Several::Any, Members::Many) => true,
            // A line that is the text of the documents holds nothing that they do not name.
            (Several::All, _) if matches!(self, Self::Exact(_) | Self::Present) => self.holds(line),
            (Several::All, Members::Few) => self.holds(line) && members(line).all(|member| self.holds(member)),
            (Several::All, Members::Many) => false,
        }
    }
}

/// Most members of a line that are looked at. Bounds the work of a decision: a longer list is taken to hold whatever is asked for, and more.
const MEMBERS_MAX: usize = 64;

/// What a line of a field is as a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// The line is its only member.
    Itself,
    /// Some.
    Few,
    /// More than are looked at.
    Many,
}

impl Members {
    /// Of a line.
    pub(crate) fn of(line: &[u8]) -> Self {
        match line.iter().filter(|byte| **byte == b',').count() {
            0 => Self::Itself,
            1..MEMBERS_MAX => Self::Few,
            _ => Self::Many,
        }
    }
}

/// What several values of one name mean: the lines of a field, each as a whole and as a list of members between commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Several {
    /// One that meets the test is enough, a line or a member of one.
    Any,
    /// Each line must meet it, and each member of it.
    All,
}

/// A condition on a header field.
#[derive(Debug, Clone)]
pub struct HeaderCondition {
    /// The field.
    pub name: HeaderName,
    /// What its value must be.
    pub test: Test,
}

impl HeaderCondition {
    /// Whether the fields meet it.
    pub fn holds(&self, headers: &Fields, several: Several) -> bool {
        let mut values = headers.all(self.name.as_str()).peekable();
        match (&self.test, several) {
            (Test::Absent, _) => values.peek().is_none(),
            (test, Several::Any) => values.any(|value| test.holds_for_line(value, several)),
            (test, Several::All) => values.peek().is_some() && values.all(|value| test.holds_for_line(value, several)),
        }
    }
}

/// A condition on a parameter of the query.
#[derive(Debug, Clone)]
pub struct QueryCondition {
    /// The parameter, decoded.
    pub name: Box<str>,
    /// What its value must be, decoded.
    pub test: Test,
}

impl QueryCondition {
    /// Whether the query meets it; any of several values is enough.
    pub fn holds(&self, query: Option<&str>) -> bool {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut values = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*decoded(name) == *self.name.as_bytes()).then_some(value)
        });
        match &self.test {
            Test::Absent => values.next().is_none(),
            test => values.any(|value| test.holds(&decoded(value))),
        }
    }
}

/// A form-encoded text, decoded; a `%` without two digits stays as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = (bytes[at] == b'%').then(|| digit(at + 1).zip(digit(at + 2))).flatten();
        match (bytes[at], encoded) {
            (_, Some((high, low))) => {
                plain.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
                continue;
            }
            (b'+', None) => plain.push(b' '),
            (byte, None) => plain.push(byte),
        }
        at += 1;
    }
    Cow::Owned(plain)
}
