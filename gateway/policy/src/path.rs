//! The normal form of a request's path, and patterns over it. Rules are matched against the normal form alone, so that no other
//! spelling of a path gets around them.
//!
//! Normal form (after RFC 3986, section 6.2.2, and stricter): `.` and `..` segments are resolved, plain or percent-encoded; runs of
//! slashes are one slash; every percent-encoded character that may stand plainly in a path is decoded; the other encodings have
//! upper-case digits; bytes outside ASCII are encoded. Refused, because servers disagree about them: an encoded slash or
//! backslash, a plain backslash, encoded control bytes, a `%` without two digits, and segments whose parameters leave nothing or dots of
//! them (`..;x`).
//!
//! Parameters (RFC 3986, section 3.3) are what follows `;` in a segment, plain or encoded. Servlet containers cut them off before they look
//! for what a path names, others do not: rules are matched against both readings.

use std::borrow::Cow;

/// Most segments of a path or pattern; a request beyond it matches as refused. Bounds the work of a match.
pub const SEGMENTS_MAX: usize = 64;

/// Why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It does not start with `/`.
    #[error("the path does not start with a slash")]
    Relative,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("a percent sign in the path is not followed by two hexadecimal digits")]
    Percent,
    /// A slash or backslash that hides, or any backslash.
    #[error("the path holds a backslash, or an encoded slash or backslash")]
    Slash,
    /// A control byte.
    #[error("the path holds a control byte")]
    Control,
    /// A dot segment with parameters.
    #[error("the path holds a dot segment with parameters")]
    DotParameters,
    /// A segment before others that is nothing but parameters: where they are cut off, it is gone.
    #[error("a segment of the path is nothing but parameters")]
    Parameters,
    /// Too many segments.
    #[error("the path has more than 64 segments")]
    Segments,
}

/// A path in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'r> {
    matching: Cow<'r, str>,
    forward: Cow<'r, str>,
    /// [`NormalPath::matching`] without parameters, where it has some.
    bare: Option<Box<str>>,
}

/// How an application reads a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Parameters are part of their segments.
    Whole,
    /// Parameters are cut off.
    Bare,
}

impl<'r> NormalPath<'r> {
    /// The normal form of a request's path, without its query. Borrows where the path is in normal form already.
    ///
    /// # Errors
    ///
    /// Where the path has none: such a request is refused with 400.
    pub fn of(raw: &'r str) -> Result<Self, PathFault> {
        match raw {
            "" => return Ok(Self::borrowed("/", "/")),
            // The asterisk form of OPTIONS: matches what takes every path.
            "*" => return Ok(Self::borrowed("/*", "*")),
            _ if !raw.starts_with('/') => return Err(PathFault::Relative),
            _ => {}
        }
        if raw.bytes().filter(|byte| *byte == b'/').count() > SEGMENTS_MAX {
            return Err(PathFault::Segments);
        }
        if is_plain(raw.as_bytes()) {
            return Ok(Self::borrowed(raw, raw));
        }
        Self::rebuilt(raw)
    }

    fn borrowed(matching: &'r str, forward: &'r str) -> Self {
        Self { matching: Cow::Borrowed(matching), forward: Cow::Borrowed(forward), bare: None }
    }

    /// What rules are matched against, with its parameters.
    pub fn as_str(&self) -> &str {
        &self.matching
    }

    /// What rules are matched against, as it is read.
    pub fn read(&self, reading: Reading) -> &str {
        match (reading, &self.bare) {
            (Reading::Bare, Some(bare)) => bare,
            _ => &self.matching,
        }
    }

    /// Whether it has parameters, so that its two readings differ.
    pub fn has_parameters(&self) -> bool {
        self.bare.is_some()
    }

    /// Each of its readings that is another: with its parameters first.
    pub fn readings(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.matching), self.bare.as_deref()].into_iter().flatten()
    }

    /// What is sent on: dot segments and runs of slashes are gone, percent-encodings are as they came.
    pub fn forward(&self) -> &str {
        &self.forward
    }

    fn rebuilt(raw: &str) -> Result<Self, PathFault> {
        // (as it came, decoded)
        let mut kept: Vec<(&str, String)> = Vec::new();
        let mut segments = raw[1..].split('/').peekable();
        let mut ends_in_slash = false;
        while let Some(segment) = segments.next() {
            let decoded = decode(segment)?;
            let is_last = segments.peek().is_none();
            match decoded.as_str() {
                "" | "." => ends_in_slash = is_last,
                ".." => {
                    kept.pop();
                    ends_in_slash = is_last;
                }
                _ if matches!(name_of(&decoded), "." | "..") => return Err(PathFault::DotParameters),
                _ => kept.push((segment, decoded)),
            }
        }
        // At the end it is an empty segment without them, as behind a slash.
        let before_others = if ends_in_slash { kept.len() } else { kept.len().saturating_sub(1) };
        if kept[..before_others].iter().any(|(_, decoded)| decoded.starts_with(';')) {
            return Err(PathFault::Parameters);
        }
        let end = if ends_in_slash && !kept.is_empty() { "/" } else { "" };
        let joined = |part: &dyn Fn(&(&str, String)) -> String| {
            let joined: String = kept.iter().map(|pair| format!("/{}", part(pair))).collect();
            if joined.is_empty() { "/".to_owned() } else { joined + end }
        };
        let matching = joined(&|(_, decoded)| decoded.clone());
        let forward = joined(&|(as_it_came, _)| (*as_it_came).to_owned());
        let bare = matching.contains(';').then(|| joined(&|(_, decoded)| name_of(decoded).to_owned()).into());
        Ok(Self { matching: Cow::Owned(matching), forward: Cow::Owned(forward), bare })
    }
}

/// A segment without its parameters.
fn name_of(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

/// Whether nothing in the path can differ from its normal form, and it has no parameters.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if !is_path_byte(byte) && byte != b'/' || byte == b';' || before == b'/' && (byte == b'/' || byte == b'.') {
            return false;
        }
        before = byte;
    }
    true
}

/// A character that may stand plainly in a segment (`pchar` of RFC 3986).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// One segment in normal form.
fn decode(segment: &str) -> Result<String, PathFault> {
    let mut normal = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let value = if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathFault::Percent) };
            u8::try_from(high * 16 + low).map_err(|_| PathFault::Percent)?
        } else {
            byte
        };
        match value {
            b'/' | b'\\' => return Err(PathFault::Slash),
            0..0x20 | 0x7f => return Err(PathFault::Control),
            _ if is_path_byte(value) => normal.push(char::from(value)),
            _ => {
                normal.push('%');
                normal.push_str(&format!("{value:02X}"));
            }
        }
    }
    Ok(normal)
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text.
    Literal(Box<str>),
    /// Any text but none.
    Any,
}

/// A pattern over normal paths: segments, and whether it takes what lies below them, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    below: Below,
}

/// What a pattern takes beyond its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// Nothing.
    Nothing,
    /// Everything below, and the path itself.
    Everything,
}

impl Pattern {
    /// A path, a template or one of these with `/**` at its end; the slash at its end counts.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong and what would be right.
    pub fn template(text: &str) -> Result<Self, String> {
        let (head, below) = match text.strip_suffix("/**") {
            Some(head) => (head, Below::Everything),
            None => (text, Below::Nothing),
        };
        if below == Below::Nothing || !head.is_empty() {
            check_start(head)?;
        }
        let mut segments = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for part in parts(head) {
            segments.push(template_segment(part, &mut names)?);
        }
        Self::bounded(text, segments, below)
    }

    /// A path, taken literally.
    ///
    /// # Errors
    ///
    /// As [`Pattern::template`].
    pub fn exact(text: &str) -> Result<Self, String> {
        check_start(text)?;
        let segments = parts(text).map(literal).collect::<Result<_, _>>()?;
        Self::bounded(text, segments, Below::Nothing)
    }

    /// A path and what lies below it; a slash at its end makes no difference.
    ///
    /// # Errors
    ///
    /// As [`Pattern::template`].
    pub fn prefix(text: &str) -> Result<Self, String> {
        check_start(text)?;
        let segments = parts(text.strip_suffix('/').unwrap_or(text)).map(literal).collect::<Result<_, _>>()?;
        Self::bounded(text, segments, Below::Everything)
    }

    /// What takes every path.
    pub fn everything() -> Self {
        Self { text: "/**".into(), segments: Box::default(), below: Below::Everything }
    }

    /// Whether it takes a path in normal form; looks at each segment. Tables of patterns are asked by their index instead.
    pub fn takes(&self, path: &str) -> bool {
        let mut rest = parts(path);
        let fits = self.segments.iter().all(|segment| match (segment, rest.next()) {
            (_, None) => false,
            (Segment::Literal(text), Some(part)) => **text == *part,
            (Segment::Any, Some(part)) => !part.is_empty(),
        });
        fits && (self.below == Below::Everything || rest.next().is_none())
    }

    fn bounded(text: &str, segments: Vec<Segment>, below: Below) -> Result<Self, String> {
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("has more than {SEGMENTS_MAX} segments"));
        }
        let is_empty = |segment: &Segment| matches!(segment, Segment::Literal(part) if part.is_empty());
        let inner = if below == Below::Nothing { segments.len().saturating_sub(1) } else { segments.len() };
        if segments[..inner].iter().any(is_empty) {
            return Err(format!("{text:?} holds two slashes in a row; requests are matched with one"));
        }
        let is_parameters = |segment: &Segment| matches!(segment, Segment::Literal(part) if part.starts_with(';'));
        if segments[..inner].iter().any(is_parameters) {
            return Err(format!("a segment of {text:?} is nothing but parameters; requests with it are refused"));
        }
        Ok(Self { text: text.into(), segments: segments.into(), below })
    }

    /// The same, without the slash at its end.
    #[must_use]
    pub fn without_end_slash(mut self) -> Self {
        if self.segments.last().is_some_and(|last| matches!(last, Segment::Literal(text) if text.is_empty())) {
            self.segments = self.segments[..self.segments.len() - 1].into();
        }
        self
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What it takes beyond them.
    pub fn below(&self) -> Below {
        self.below
    }

    /// How many of its segments are literal.
    pub fn literal_count(&self) -> usize {
        self.segments.iter().filter(|segment| **segment != Segment::Any).count()
    }
}

/// The segments of a path in normal form; a slash at its end is a last, empty segment.
pub fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/'))
}

fn check_start(text: &str) -> Result<(), String> {
    if text.starts_with('/') { Ok(()) } else { Err(format!("{text:?} must start with /")) }
}

fn literal(part: &str) -> Result<Segment, String> {
    let path = format!("/{part}");
    let normal = NormalPath::of(&path).map_err(|fault| fault.to_string())?;
    let normal = normal.as_str().trim_start_matches('/').to_owned();
    if normal != part || part.starts_with('.') && matches!(part, "." | "..") {
        return Err(format!("{part:?} is not in normal form; requests are matched as {normal:?}"));
    }
    Ok(Segment::Literal(part.into()))
}

fn template_segment<'t>(part: &'t str, names: &mut Vec<&'t str>) -> Result<Segment, String> {
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !is_name {
            return Err(format!("{part:?}: a name of letters, digits, - and _ stands between the braces"));
        }
        if names.contains(&name) {
            return Err(format!("{part:?} stands twice"));
        }
        names.push(name);
        return Ok(Segment::Any);
    }
    if part.contains(['{', '}']) {
        return Err(format!("{part:?}: braces enclose a whole segment, as in /orders/{{id}}"));
    }
    if part.contains('*') {
        return Err(format!("{part:?}: write {{name}} for one segment, or /** at the end for all below"));
    }
    literal(part)
}
