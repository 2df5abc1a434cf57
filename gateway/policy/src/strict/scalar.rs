//! What a single value of a raw table may be: texts, names, spans, numbers within bounds, methods, header names.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use weft_identity::ids::NameError;
use weft_identity::{GrantedLabels, NodeId, ServiceName};

use super::field::{Form, Node, Read, word_of};
use super::{Mistakes, parse_span};

/// Longest span that a document can state: longer than any request, ejection or window lives.
const SPAN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Reads a text and then what it means; notes what is wrong with either.
fn parsed<T>(node: Node<'_>, mistakes: &mut Mistakes<'_>, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
    let text = node.text().ok_or_else(|| format!("must be a text in quotes, is a {}", node.type_name()));
    text.and_then(parse).map_err(|error| mistakes.add(node.span(), error)).ok()
}

impl Read for String {
    fn form() -> Form {
        Form::Text("text")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        parsed(node, mistakes, |text| Ok(text.to_owned()))
    }

    fn stand_in() -> Self {
        Self::new()
    }
}

fn named<T: FromStr<Err = NameError>>(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<T> {
    parsed(node, mistakes, |text| text.parse().map_err(|error: NameError| error.to_string()))
}

impl Read for ServiceName {
    fn form() -> Form {
        Form::Text("name")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        named(node, mistakes)
    }

    fn stand_in() -> Self {
        "unread".parse().expect("a label of six letters is a name")
    }
}

/// The name of a document, which follows the rules of a service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentName(pub ServiceName);

impl Read for DocumentName {
    fn form() -> Form {
        Form::Text("name")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let named = |text: &str| text.parse().map_err(|error| NameError { kind: "document", ..error }.to_string());
        parsed(node, mistakes, named).map(Self)
    }

    fn stand_in() -> Self {
        Self(ServiceName::stand_in())
    }
}

impl Read for NodeId {
    fn form() -> Form {
        Form::Text("node id")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        named(node, mistakes)
    }

    fn stand_in() -> Self {
        "unread".parse().expect("a label of six letters is a name")
    }
}

impl Read for Duration {
    fn form() -> Form {
        Form::Text("span")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let wrong = || "must be a span such as \"500ms\", \"20s\", \"5m\" or \"24h\"".to_owned();
        let span = node.text().and_then(parse_span).ok_or_else(wrong).and_then(|span| match span {
            Duration::ZERO => Err("a span must be longer than nothing".to_owned()),
            span if span > SPAN_MAX => Err("a span is at most 30d".to_owned()),
            span => Ok(span),
        });
        span.map_err(|error| mistakes.add(node.span(), error)).ok()
    }

    fn stand_in() -> Self {
        Self::from_secs(1)
    }
}

impl Read for bool {
    fn form() -> Form {
        Form::Switch
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let value = if let Node::Value(value) = node { value.as_bool() } else { None };
        if value.is_none() {
            mistakes.add(node.span(), format!("must be true or false, is a {}", node.type_name()));
        }
        value
    }

    fn stand_in() -> Self {
        false
    }
}

impl Read for HeaderName {
    fn form() -> Form {
        Form::Text("header name")
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        parsed(node, mistakes, |text| {
            Self::try_from(text).map_err(|_| format!("{text:?} is not the name of a header field"))
        })
    }

    fn stand_in() -> Self {
        http::header::ACCEPT
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number, for a bound that fits.
    pub fn u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Read for Whole<MIN, MAX> {
    fn form() -> Form {
        Form::Whole(MIN, MAX)
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let number = if let Node::Value(value) = node { value.as_integer() } else { None };
        let number = number.and_then(|number| u64::try_from(number).ok()).filter(|n| (MIN..=MAX).contains(n));
        if number.is_none() {
            mistakes.add(node.span(), format!("must be a whole number from {MIN} to {MAX}"));
        }
        number.map(Self)
    }

    fn stand_in() -> Self {
        Self(MIN)
    }
}

/// A share from 0 to 100 %, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

/// Millionths in 1 %.
const PER_PERCENT: u32 = 10_000;

impl Percent {
    /// All.
    pub const ALL: Self = Self(100 * PER_PERCENT);

    /// Of whole percents, at most 100.
    pub const fn whole(percent: u8) -> Self {
        Self(if percent > 100 { 100 * PER_PERCENT } else { percent as u32 * PER_PERCENT })
    }

    /// In millionths of the whole.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether a draw falls into the share; `random` is any of the 2^64 numbers, each as likely.
    pub fn hits(self, random: u64) -> bool {
        random % u64::from(Self::ALL.0) < u64::from(self.0)
    }
}

impl Read for Percent {
    fn form() -> Form {
        Form::Percent
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let number = match node {
            Node::Value(value) => {
                let whole = value.as_integer().and_then(|number| u8::try_from(number).ok()).map(f64::from);
                whole.or_else(|| value.as_float())
            }
            _ => None,
        };
        let Some(number) = number.filter(|number| (0.0..=100.0).contains(number)) else {
            mistakes.add(node.span(), "must be a number from 0 to 100 (percent)");
            return None;
        };
        let millionths = (number * f64::from(PER_PERCENT)).round();
        // Between 0 and 1,000,000 by the check above: nothing is cut off.
        Some(Self(millionths as u32))
    }

    fn stand_in() -> Self {
        Self::ALL
    }
}

/// A method that a rule can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `CONNECT`
    Connect,
}

/// Every method by its name (RFC 9110, section 9, and RFC 5789).
const METHODS: &[(&str, Method)] = &[
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("PATCH", Method::Patch),
    ("DELETE", Method::Delete),
    ("OPTIONS", Method::Options),
    ("TRACE", Method::Trace),
    ("CONNECT", Method::Connect),
];

impl Method {
    /// The method of a request; none for one that no rule can name.
    pub fn of(method: &http::Method) -> Option<Self> {
        METHODS.iter().find(|(name, _)| *name == method.as_str()).map(|(_, method)| *method)
    }
}

impl Read for Method {
    fn form() -> Form {
        Form::Words(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        word_of(node, METHODS, mistakes)
    }

    fn stand_in() -> Self {
        Self::Get
    }
}

/// Any keys, each with a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMap(pub BTreeMap<String, String>);

impl Read for TextMap {
    fn form() -> Form {
        Form::TextMap
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let Some(table) = node.table() else {
            mistakes.add(node.span(), format!("must be a table {{ name = \"value\" }}, is a {}", node.type_name()));
            return None;
        };
        let mut texts = BTreeMap::new();
        for (name, item) in table.iter() {
            let text = Node::of(item).and_then(|node| String::read(node, mistakes));
            texts.extend(text.map(|text| (name.to_owned(), text)));
        }
        Some(Self(texts))
    }

    fn stand_in() -> Self {
        Self::default()
    }
}

impl Read for GrantedLabels {
    fn stand_in() -> Self {
        Self::default()
    }

    fn form() -> Form {
        Form::TextMap
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let before = mistakes.len();
        let TextMap(labels) = TextMap::read(node, mistakes)?;
        if mistakes.len() > before {
            return None;
        }
        if labels.is_empty() {
            mistakes.add(node.span(), "is empty: leave it out, or fill it");
            return None;
        }
        Self::try_from(labels).map_err(|error| mistakes.add(node.span(), error.to_string())).ok()
    }
}
