//! An answer as the strictest of callers reads it: whole by its own framing, or not at all.

use crate::peer::{Ended, Raw};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The statuses of interim answers before it.
    pub interims: Vec<u16>,
    /// The status.
    pub status: u16,
    /// Names in lower case, and values, in the order of arrival.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Bytes of the connection that follow it.
    pub rest: Vec<u8>,
}

impl Answer {
    /// Reads the first answer of what a raw caller got; `asked` is the method. An error says what is missing or wrong.
    pub fn first(raw: &Raw, asked: &str) -> Result<Self, &'static str> {
        let (mut at, mut interims) = (0, Vec::new());
        loop {
            let (status, fields, used) = head(&raw.bytes[at..])?;
            at += used;
            if (100..200).contains(&status) && status != 101 {
                interims.push(status);
                continue;
            }
            let (body, used) = body(&raw.bytes[at..], (status, asked), &fields, raw.ended)?;
            return Ok(Self { interims, status, fields, body, rest: raw.bytes[at + used..].to_vec() });
        }
    }

    /// The only answer of a connection that ended in order behind it.
    pub fn only(raw: &Raw, asked: &str) -> Result<Self, &'static str> {
        let answer = Self::first(raw, asked)?;
        if !answer.rest.is_empty() {
            return Err("more follows");
        }
        if raw.ended == Ended::Open { Err("the connection stays open") } else { Ok(answer) }
    }

    /// The values of a field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The code of an answer of Weft's own, which must be a problem of the documented form.
    pub fn code(&self) -> Option<String> {
        if self.field("content-type") != ["application/problem+json"] {
            return None;
        }
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let is_whole = ["type", "title", "detail", "where", "why", "next"].iter().all(|part| !value[*part].is_null());
        (is_whole && value["status"] == self.status).then(|| value["code"].as_str().map(str::to_owned))?
    }
}

type Fields = Vec<(String, String)>;

fn head(bytes: &[u8]) -> Result<(u16, Fields, usize), &'static str> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no whole head")?;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").or(first.strip_prefix("HTTP/1.0 ")).ok_or("no status line")?;
    let status = status.get(..3).and_then(|digits| digits.parse().ok()).ok_or("no status")?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line that is no field")?;
        if name.is_empty() || name.contains([' ', '\t', '\r', '\n']) || value.contains(['\r', '\n', '\0']) {
            return Err("a field of another form");
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok((status, fields, end + 4))
}

/// The body, and how many bytes it takes.
fn body(
    bytes: &[u8],
    (status, asked): (u16, &str),
    fields: &Fields,
    ended: Ended,
) -> Result<(Vec<u8>, usize), &'static str> {
    let values = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        return Err("two framings");
    }
    if status == 101 || status == 204 || status == 304 || asked == "HEAD" {
        return Ok((Vec::new(), 0));
    }
    match (lengths.first(), codings.first()) {
        (Some(length), _) => {
            let length: usize = length.parse().map_err(|_| "a length that is no number")?;
            bytes.get(..length).map(|body| (body.to_vec(), length)).ok_or("cut: less than its length")
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => chunks(bytes),
        (None, Some(_)) => Err("a coding other than chunked"),
        (None, None) if ended == Ended::Closed => Ok((bytes.to_vec(), bytes.len())),
        (None, None) => Err("cut: it would end with the connection, which did not end in order"),
    }
}

fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    let line = |at: usize| bytes[at..].windows(2).position(|window| window == b"\r\n").ok_or("cut: no last chunk");
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let end = line(at)?;
        let digits = std::str::from_utf8(&bytes[at..at + end]).unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a chunk's size that is no number")?;
        at += end + 2;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at + size).ok_or("cut: within a chunk")?);
        at += size;
        if bytes.get(at..at + 2) != Some(b"\r\n") {
            return Err("cut: no end of a chunk");
        }
        at += 2;
    }
    loop {
        let end = line(at)?;
        at += end + 2;
        if end == 0 {
            return Ok((body, at));
        }
    }
}
