//! The most lenient reader of HTTP/1.1 requests: LF or CR alone end lines, the first number in a length counts, `chunked` anywhere is
//! chunked and beats a length, and whatever stands behind a chunk's size is passed over.

use crate::recorder::{Reading, Seen};

/// Looks at what was received so far.
pub fn read(bytes: &[u8]) -> Reading {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (mut lines, mut at) = (Vec::new(), start);
    loop {
        let Some((line, used)) = line(&bytes[at..]) else { return Reading::More };
        at += used;
        if line.is_empty() {
            break;
        }
        lines.push(String::from_utf8_lossy(line).into_owned());
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let value = |name: &str| lines.iter().skip(1).find_map(|line| value_of(line, name));
    let is_chunked = value("transfer-encoding").is_some_and(|value| value.to_lowercase().contains("chunked"));
    let body = if is_chunked {
        chunks(&bytes[at..])
    } else {
        let length = value("content-length").map_or(0, |value| first_number(&value, 10));
        bytes[at..].get(..length).map(|body| (body.to_vec(), length))
    };
    match body {
        Some((body, used)) => {
            let seen = Seen { status: 200, method: method.to_owned(), target: target.to_owned(), body };
            Reading::Request(seen, at + used)
        }
        None => Reading::More,
    }
}

/// The first line and the bytes that it takes with its end; none where it has no end yet.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let used = match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => end + 2,
        // Perhaps half of CRLF.
        (b'\r', None) => return None,
        _ => end + 1,
    };
    Some((&bytes[..end], used))
}

fn value_of(line: &str, name: &str) -> Option<String> {
    let (found, value) = line.split_once(':')?;
    found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
}

/// The first run of digits.
fn first_number(text: &str, radix: u32) -> usize {
    let digits = text.chars().skip_while(|c| !c.is_digit(radix)).take_while(|c| c.is_digit(radix));
    usize::from_str_radix(&digits.collect::<String>(), radix).unwrap_or(0)
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, used) = line(&bytes[at..])?;
        at += used;
        let size = first_number(&String::from_utf8_lossy(size), 16);
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        let (_, used) = line(&bytes[at..])?;
        at += used;
    }
    loop {
        let (trailer, used) = line(&bytes[at..])?;
        at += used;
        if trailer.is_empty() {
            return Some((body, at));
        }
    }
}
