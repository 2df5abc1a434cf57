//! The strictest reader of HTTP/1.1 requests: exactly what RFC 9112 lets a sender send, each framing field once and in its plainest form.

use crate::recorder::{Reading, Seen};

/// Looks at what was received so far.
pub fn read(bytes: &[u8]) -> Reading {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.iter().enumerate().all(|(at, byte)| is_line_byte(bytes, at, *byte)) {
            Reading::More
        } else {
            Reading::Refused("a byte that no line holds")
        };
    };
    let head = &bytes[..end];
    if !head.iter().enumerate().all(|(at, byte)| is_line_byte(head, at, *byte)) {
        return Reading::Refused("a byte that no line holds");
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let Some((method, target)) = request_line(lines.next().unwrap_or_default()) else {
        return Reading::Refused("a request line of another form");
    };
    let mut framing = Framing::default();
    for line in lines {
        if let Err(why) = framing.take(line) {
            return Reading::Refused(why);
        }
    }
    if framing.hosts != 1 || (framing.is_chunked && framing.length.is_some()) {
        return Reading::Refused("other than one host, or two framings");
    }
    let rest = &bytes[end + 4..];
    let body = if framing.is_chunked { chunks(rest) } else { counted(rest, framing.length.unwrap_or(0)) };
    match body {
        Ok(Some((body, used))) => Reading::Request(Seen { status: 200, method, target, body }, end + 4 + used),
        Ok(None) => Reading::More,
        Err(why) => Reading::Refused(why),
    }
}

/// CR and LF come together, and no other control byte comes.
fn is_line_byte(bytes: &[u8], at: usize, byte: u8) -> bool {
    match byte {
        b'\r' => bytes.get(at + 1).is_none_or(|next| *next == b'\n'),
        b'\n' => at > 0 && bytes[at - 1] == b'\r',
        b'\t' => true,
        _ => byte >= b' ' && byte != 0x7f,
    }
}

fn request_line(line: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let is_target = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let is_form = target.starts_with('/') || target == "*" || target.contains("://");
    (is_token(method.as_bytes()) && is_target && is_form && version == "HTTP/1.1")
        .then(|| (method.to_owned(), target.to_owned()))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// What the fields of a head say of its length.
#[derive(Default)]
struct Framing {
    hosts: usize,
    length: Option<usize>,
    is_chunked: bool,
}

impl Framing {
    fn take(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        if !is_token(&name) {
            return Err("a name that is no token");
        }
        match name.as_slice() {
            b"host" => self.hosts += 1,
            b"content-length" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let length = text.parse().ok().filter(|_| is_number).ok_or("a length that is no number")?;
                if self.length.replace(length).is_some() {
                    return Err("two lengths");
                }
            }
            b"transfer-encoding" if value != b"chunked" || self.is_chunked => return Err("codings"),
            b"transfer-encoding" => self.is_chunked = true,
            _ => {}
        }
        Ok(())
    }
}

/// A body, with the bytes that it took; none while it is not whole.
type Body = Result<Option<(Vec<u8>, usize)>, &'static str>;

fn counted(bytes: &[u8], length: usize) -> Body {
    Ok(bytes.get(..length).map(|body| (body.to_vec(), length)))
}

fn chunks(bytes: &[u8]) -> Body {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        let is_number = !line.is_empty() && line.len() <= 8 && line.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(line).ok().filter(|_| is_number).ok_or("a size that is no number")?;
        let size = usize::from_str_radix(text, 16).map_err(|_| "a size that is no number")?;
        at += end + 2;
        if size == 0 {
            return Ok(trailers(&bytes[at..])?.map(|used| (body, at + used)));
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk that is longer than its size");
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

/// How many bytes the trailers take, with the empty line.
fn trailers(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a trailer without a colon")?;
        if !is_token(&line[..colon]) {
            return Err("a trailer's name that is no token");
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
