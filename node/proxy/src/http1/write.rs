//! Heads of HTTP/1.1 messages as they are sent: assembled from the fields, with framing that is always our own.

use std::io::Write;

use weft_policy::fields::{Fields, Known};

use crate::head::{Form, HttpVersion, KnownSet, Length, Overlay, RequestHead, ResponseHead, has_usually_body};

/// What `Connection` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionField {
    /// Nothing: the connection persists.
    None,
    /// `close`.
    Close,
    /// `keep-alive`, for a caller of HTTP/1.0 that asked.
    KeepAlive,
    /// `upgrade`.
    Upgrade,
    /// Both.
    CloseUpgrade,
}

impl ConnectionField {
    fn text(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Close => b"connection: close\r\n",
            Self::KeepAlive => b"connection: keep-alive\r\n",
            Self::Upgrade => b"connection: upgrade\r\n",
            Self::CloseUpgrade => b"connection: close, upgrade\r\n",
        }
    }
}

/// Appends a request's head with what one try changes of it.
pub(super) fn request(head: &RequestHead, overlay: &Overlay, connection: ConnectionField, into: &mut Vec<u8>) {
    let method = overlay.method.as_ref().unwrap_or(&head.method);
    into.extend_from_slice(method.as_str().as_bytes());
    into.push(b' ');
    let path = overlay.path.as_ref().unwrap_or(&head.path);
    let target = if head.form == Form::Authority { &head.authority } else { path };
    into.extend_from_slice(target.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    into.extend_from_slice(head.authority.as_bytes());
    into.extend_from_slice(b"\r\n");
    lines(&head.fields, overlay.without, into);
    fields(&overlay.plus, into);
    into.extend_from_slice(connection.text());
    match head.length {
        Length::None if has_usually_body(method) => into.extend_from_slice(b"content-length: 0\r\n"),
        Length::None => {}
        Length::Exact(count) => content_length(count, into),
        Length::Unknown => into.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    into.extend_from_slice(b"\r\n");
}

/// How the body of an answer is framed for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFraming {
    /// There is none, and none is stated.
    None,
    /// There is none, and its length is stated all the same: HEAD, 304, or an empty body.
    Stated(u64),
    /// By its length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Appends an answer's head.
pub(super) fn response(head: &ResponseHead, framing: AnswerFraming, connection: ConnectionField, into: &mut Vec<u8>) {
    if head.status == 200 {
        into.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        let known = http::StatusCode::from_u16(head.status).ok().and_then(|status| status.canonical_reason());
        // Writing to memory cannot fail.
        let _ = write!(into, "HTTP/1.1 {} {}\r\n", head.status, known.unwrap_or_default());
    }
    fields(&head.fields, into);
    into.extend_from_slice(connection.text());
    match framing {
        AnswerFraming::None | AnswerFraming::Close => {}
        AnswerFraming::Stated(count) | AnswerFraming::Length(count) => content_length(count, into),
        AnswerFraming::Chunked => into.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    into.extend_from_slice(b"\r\n");
}

/// Appends fields, each with its line end.
pub(super) fn fields(fields: &Fields, into: &mut Vec<u8>) {
    lines(fields, KnownSet::default(), into);
}

fn lines(fields: &Fields, without: KnownSet, into: &mut Vec<u8>) {
    for (known, name, value) in fields.iter_known() {
        // The codec's own, whatever anybody put there.
        let is_framing =
            matches!(known, Known::Host | Known::Connection | Known::ContentLength | Known::TransferEncoding);
        if is_framing || without.has(known) {
            continue;
        }
        into.extend_from_slice(name);
        into.extend_from_slice(b": ");
        into.extend_from_slice(value);
        into.extend_from_slice(b"\r\n");
    }
}

fn content_length(count: u64, into: &mut Vec<u8>) {
    into.extend_from_slice(b"content-length: ");
    decimal(count, into);
    into.extend_from_slice(b"\r\n");
}

/// Appends a number.
fn decimal(mut number: u64, into: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[at..]);
}

/// Appends the size of a chunk and its line end.
pub(super) fn chunk_size(size: usize, into: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(into, "{size:x}\r\n");
}

/// How an answer to a request of this version and method is framed, where the body has this length.
pub(super) fn framing_of(head: &ResponseHead, asked: HttpVersion, may_have_body: bool) -> AnswerFraming {
    match (head.status, head.length) {
        (100..200 | 204, _) => AnswerFraming::None,
        (_, Length::None) => match head.stated {
            Some(count) => AnswerFraming::Stated(count),
            None if may_have_body && head.status != 304 => AnswerFraming::Stated(0),
            None => AnswerFraming::None,
        },
        (_, Length::Exact(count)) if !may_have_body => AnswerFraming::Stated(count),
        (_, Length::Unknown) if !may_have_body => AnswerFraming::None,
        (_, Length::Exact(count)) => AnswerFraming::Length(count),
        (_, Length::Unknown) if asked == HttpVersion::Http10 => AnswerFraming::Close,
        (_, Length::Unknown) => AnswerFraming::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_with_framing_of_our_own() {
        let mut head = RequestHead { authority: "orders".into(), path: "/a".into(), ..RequestHead::default() };
        head.fields.push(b"x-a", b"1");
        head.fields.push(b"via", b"old");
        head.fields.push(b"content-length", b"99");
        head.length = Length::Unknown;
        let mut out = Vec::new();
        let mut overlay = Overlay::default();
        overlay.put(Known::Via, b"1.1 a");
        request(&head, &overlay, ConnectionField::None, &mut out);
        assert_eq!(
            out,
            b"GET /a HTTP/1.1\r\nhost: orders\r\nx-a: 1\r\nvia: 1.1 a\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let answer = ResponseHead { status: 404, length: Length::Exact(120), ..ResponseHead::default() };
        out.clear();
        response(&answer, framing_of(&answer, HttpVersion::Http11, true), ConnectionField::Close, &mut out);
        assert_eq!(out, b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 120\r\n\r\n");
    }
}
