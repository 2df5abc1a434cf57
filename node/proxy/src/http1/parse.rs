//! Heads of HTTP/1 messages from received bytes, by httparse and the rules that it leaves to its caller. One reading of each head counts:
//! what has two is refused (RFC 9112, sections 3, 5 and 6), on answers as on requests.

use std::mem::MaybeUninit;

use http::Method;
use weft_policy::fields::{Fields, Known, members};

use super::scan::HeadLimits;
use crate::head::{Form, HttpVersion, Length, Malformed, RequestHead, ResponseHead, content_length, is_of_authority};

/// Fields that httparse can take in one head; the limits are below it.
const PARSED_MAX: usize = 128;

/// What a head says of its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The sender uses the connection no further.
    pub(super) is_last: bool,
    /// `Connection: upgrade` is there.
    pub(super) upgrades: bool,
    /// The body comes in chunks.
    pub(super) is_chunked: bool,
}

fn parsed<'b>(
    outcome: Result<httparse::Status<usize>, httparse::Error>,
    len: usize,
    fields: &'b [httparse::Header<'b>],
    limits: HeadLimits,
) -> Result<&'b [httparse::Header<'b>], Malformed> {
    match outcome {
        Ok(httparse::Status::Complete(used)) if used == len => {}
        Ok(_) => return Err(Malformed::new("the head does not end where its lines do")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::too_large("the head has too many fields")),
        Err(error) => return Err(Malformed::new(reason(error))),
    }
    if fields.len() > limits.fields { Err(Malformed::too_large("the head has too many fields")) } else { Ok(fields) }
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name is not a token, or is folded, or has a space before the colon",
        httparse::Error::HeaderValue => "a field's value holds a control byte",
        httparse::Error::NewLine => "a line of the head does not end in CRLF",
        httparse::Error::Status => "the status is not three digits, or its reason holds a control byte",
        httparse::Error::Token => "the request line is not a method, a target and a version, one space between them",
        httparse::Error::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
        httparse::Error::TooManyHeaders => "the head has too many fields",
    }
}

/// A request's head from all of its bytes; what `head` held before is forgotten.
pub(super) fn request(bytes: &[u8], limits: HeadLimits, head: &mut RequestHead) -> Result<Options, Malformed> {
    let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; PARSED_MAX];
    let mut read = httparse::Request::new(&mut []);
    let outcome = read.parse_with_uninit_headers(bytes, &mut room);
    let fields = parsed(outcome, bytes.len(), read.headers, limits)?;
    head.version = if read.version == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 };
    head.protocol = None;
    let method = read.method.unwrap_or_default();
    head.method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::new("the method is not a token"))?;
    target(read.path.unwrap_or_default(), head)?;
    let mut framing = Framing::default();
    head.fields.clear();
    let mut hosts = 0;
    for field in fields {
        match framing.take(field)? {
            Known::Host => {
                hosts += 1;
                let named = host(field.value)?;
                // A target that names one counts alone (RFC 9112, section 3.3).
                if matches!(head.form, Form::Origin | Form::Asterisk) {
                    head.authority.clear();
                    head.authority.push_str(named);
                }
            }
            Known::ContentLength | Known::TransferEncoding => {}
            _ => head.fields.push(field.name.as_bytes(), field.value.trim_ascii()),
        }
    }
    match hosts {
        1 => {}
        0 if head.version == HttpVersion::Http10 => {}
        0 => return Err(Malformed::new("there is no Host field")),
        _ => return Err(Malformed::new("there are two Host fields")),
    }
    head.length = framing.length(head.version)?.unwrap_or(Length::None);
    Ok(Options { is_chunked: framing.is_chunked, ..options(&head.fields, head.version) })
}

/// The text of a Host field: what an authority may be made of, and no user before it.
fn host(value: &[u8]) -> Result<&str, Malformed> {
    let value = value.trim_ascii();
    match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(is_of_authority) => Ok(text),
        _ => Err(Malformed::new("the Host field is not a host and a port")),
    }
}

/// Takes the target apart (RFC 9112, section 3.2).
fn target(text: &str, head: &mut RequestHead) -> Result<(), Malformed> {
    head.authority.clear();
    head.path.clear();
    if !text.bytes().all(|byte| matches!(byte, b'!'..=b'~')) || text.contains('#') {
        return Err(Malformed::new("the target holds a byte that a target cannot, or a fragment"));
    }
    if head.method == Method::CONNECT {
        head.form = Form::Authority;
        head.authority.push_str(host(text.as_bytes())?);
        return Ok(());
    }
    if text == "*" {
        head.form = Form::Asterisk;
        head.path.push('*');
        let is_options = head.method == Method::OPTIONS;
        return if is_options { Ok(()) } else { Err(Malformed::new("only OPTIONS may ask for `*`")) };
    }
    if text.starts_with('/') {
        head.form = Form::Origin;
        head.path.push_str(text);
        return Ok(());
    }
    head.form = Form::Absolute;
    let (scheme, rest) = text.split_once("://").ok_or(Malformed::new("the target is neither a path nor a URI"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::new("the target's scheme is neither http nor https"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(Malformed::new("the target names no host"));
    }
    head.authority.push_str(host(authority.as_bytes())?);
    if !path.starts_with('/') {
        head.path.push('/');
    }
    head.path.push_str(path);
    Ok(())
}

/// An answer's head from all of its bytes, to a request with this method.
pub(super) fn response(
    bytes: &[u8],
    limits: HeadLimits,
    asked: &Method,
    head: &mut ResponseHead,
) -> Result<Options, Malformed> {
    let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; PARSED_MAX];
    let mut read = httparse::Response::new(&mut []);
    let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut read, bytes, &mut room);
    let fields = parsed(outcome, bytes.len(), read.headers, limits)?;
    head.version = if read.version == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 };
    head.status = read.code.unwrap_or_default();
    if !(100..=999).contains(&head.status) {
        return Err(Malformed::new("the status is below 100"));
    }
    let mut framing = Framing::default();
    head.fields.clear();
    for field in fields {
        match framing.take(field)? {
            Known::ContentLength | Known::TransferEncoding => {}
            _ => head.fields.push(field.name.as_bytes(), field.value.trim_ascii()),
        }
    }
    let length = framing.length(head.version)?;
    head.stated = None;
    head.length = match (head.status, length) {
        (100..200 | 204, _) => Length::None,
        (304, length) => bodiless(length, &mut head.stated),
        (_, length) if *asked == Method::HEAD => bodiless(length, &mut head.stated),
        (_, Some(length)) => length,
        // Until the connection ends.
        (_, None) => Length::Unknown,
    };
    let mut options = options(&head.fields, head.version);
    options.is_chunked = framing.is_chunked;
    options.is_last |= head.length == Length::Unknown && !framing.is_chunked;
    Ok(options)
}

fn bodiless(length: Option<Length>, stated: &mut Option<u64>) -> Length {
    *stated = match length {
        Some(Length::Exact(count)) => Some(count),
        Some(Length::None) => Some(0),
        _ => None,
    };
    Length::None
}

/// The two fields that say how long a message is.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    /// Reads a field if it is one of the two; what the name is known as.
    fn take(&mut self, field: &httparse::Header<'_>) -> Result<Known, Malformed> {
        let name = field.name.as_bytes();
        // Only names of these lengths can be one of the three.
        if !matches!(name.len(), 4 | 14 | 17) {
            return Ok(Known::Other);
        }
        if name.eq_ignore_ascii_case(b"host") {
            return Ok(Known::Host);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = content_length(field.value.trim_ascii())?;
            if self.length.replace(length).is_some() {
                return Err(Malformed::new("there are two Content-Length fields"));
            }
            return Ok(Known::ContentLength);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::new("Transfer-Encoding is anything but one `chunked`"));
            }
            self.is_chunked = true;
            return Ok(Known::TransferEncoding);
        }
        Ok(Known::Other)
    }

    /// What they say; none where neither is there.
    fn length(&self, version: HttpVersion) -> Result<Option<Length>, Malformed> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Malformed::new("Transfer-Encoding and Content-Length together")),
            (true, None) if version == HttpVersion::Http10 => {
                Err(Malformed::new("Transfer-Encoding in a message of HTTP/1.0"))
            }
            (true, None) => Ok(Some(Length::Unknown)),
            (false, Some(0)) => Ok(Some(Length::None)),
            (false, Some(length)) => Ok(Some(Length::Exact(length))),
            (false, None) => Ok(None),
        }
    }
}

fn options(fields: &Fields, version: HttpVersion) -> Options {
    let (mut closes, mut keeps, mut upgrades) = (false, false, false);
    for member in fields.each(Known::Connection).flat_map(members) {
        closes |= member.eq_ignore_ascii_case(b"close");
        keeps |= member.eq_ignore_ascii_case(b"keep-alive");
        upgrades |= member.eq_ignore_ascii_case(b"upgrade");
    }
    Options { is_last: closes || (version == HttpVersion::Http10 && !keeps), upgrades, is_chunked: false }
}

/// Fields that trailers cannot have: they frame or route the message, or are read before its body (RFC 9110, section 6.5.1).
pub(crate) fn is_forbidden_in_trailers(known: Known) -> bool {
    !matches!(known, Known::Other | Known::GrpcStatus | Known::Date | Known::Via)
}

/// Trailers from all of their bytes, with the empty line.
pub(super) fn trailers(bytes: &[u8], limits: HeadLimits) -> Result<Fields, Malformed> {
    let mut room = [httparse::EMPTY_HEADER; PARSED_MAX];
    let fields = match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete((used, fields))) if used == bytes.len() => fields,
        Ok(_) => return Err(Malformed::new("the trailers do not end where their lines do")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::too_large("there are too many trailers")),
        Err(error) => return Err(Malformed::new(reason(error))),
    };
    if fields.len() > limits.fields {
        return Err(Malformed::too_large("there are too many trailers"));
    }
    let mut trailers = Fields::new();
    for field in fields {
        trailers.push(field.name.as_bytes(), field.value.trim_ascii());
    }
    trailers.retain(|known, _| !is_forbidden_in_trailers(known));
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<RequestHead, Malformed> {
        let mut head = RequestHead::default();
        request(text.as_bytes(), HeadLimits::APPLICATION, &mut head).map(|_| head)
    }

    fn with(fields: &str) -> Result<RequestHead, Malformed> {
        of(&format!("POST /a HTTP/1.1\r\nhost: orders\r\n{fields}\r\n"))
    }

    #[test]
    fn targets_are_taken_apart_in_every_form() {
        for (line, form, authority, path) in [
            ("GET /a?b=\"c\" HTTP/1.1", Form::Origin, "orders", "/a?b=\"c\""),
            ("GET http://web:80?x HTTP/1.1", Form::Absolute, "web:80", "/?x"),
            ("GET HTTP://web HTTP/1.1", Form::Absolute, "web", "/"),
            ("GET https://web/ HTTP/1.0", Form::Absolute, "web", "/"),
            ("OPTIONS * HTTP/1.1", Form::Asterisk, "orders", "*"),
            ("CONNECT db:5432 HTTP/1.1", Form::Authority, "db:5432", ""),
        ] {
            let head = of(&format!("{line}\r\nhost: orders\r\n\r\n")).unwrap();
            assert_eq!((head.form, &*head.authority, &*head.path), (form, authority, path), "{line}");
        }
        for bad in [
            "GET * HTTP/1.1",
            "GET a HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET http://svc#/x HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET http:///a HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/2.0",
            "GET /",
            "G@T / HTTP/1.1",
            "GET /\t HTTP/1.1",
            "CONNECT /a HTTP/1.1",
            " GET / HTTP/1.1",
        ] {
            assert!(of(&format!("{bad}\r\nhost: orders\r\n\r\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_one_host_unless_it_is_old() {
        assert!(of("GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(of("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n").is_err());
        assert!(of("GET / HTTP/1.1\r\nhost: a@b\r\n\r\n").is_err());
        assert!(of("GET http://a/ HTTP/1.1\r\nhost: a@b\r\n\r\n").is_err());
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n").unwrap().authority, "");
        assert_eq!(of("GET / HTTP/1.1\r\nhost:\r\n\r\n").unwrap().authority, "");
    }

    #[test]
    fn a_length_has_one_meaning() {
        assert_eq!(with("content-length: 3\r\n").unwrap().length, Length::Exact(3));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().length, Length::Unknown);
        assert_eq!(with("").unwrap().length, Length::None);
        for bad in [
            "content-length: 3\r\ncontent-length: 3\r\n",
            "content-length: 2,2\r\n",
            "content-length: +5\r\n",
            "content-length: \r\n",
            "content-length: 1 1\r\n",
            "content-length: 0x3\r\n",
            "content-length: 9999999999999999999\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
            "transfer-encoding: ,chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "x : a\r\n",
            "x\r\n",
            " x: a\r\n",
            "x: a\u{0}\r\n",
            "x: a\r\n b\r\n",
            "transfer-encoding\u{b}: chunked\r\n",
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
        assert!(of("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    fn answer(text: &str, asked: &Method) -> Result<(ResponseHead, Options), Malformed> {
        let mut head = ResponseHead::default();
        response(text.as_bytes(), HeadLimits::APPLICATION, asked, &mut head).map(|options| (head, options))
    }

    #[test]
    fn the_length_of_an_answer_follows_its_request_and_status() {
        let length = |text: &str, asked| answer(text, asked).unwrap().0.length;
        assert_eq!(length("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", &Method::GET), Length::Exact(3));
        assert_eq!(length("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n", &Method::HEAD), Length::None);
        assert_eq!(length("HTTP/1.1 304 x\r\ncontent-length: 3\r\n\r\n", &Method::GET), Length::None);
        assert_eq!(length("HTTP/1.1 204 x\r\ncontent-length: 3\r\n\r\n", &Method::GET), Length::None);
        let (head, options) = answer("HTTP/1.1 200 OK\r\n\r\n", &Method::GET).unwrap();
        assert_eq!((head.length, options.is_last), (Length::Unknown, true));
        let (_, options) = answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &Method::GET).unwrap();
        assert!(!options.is_last);
        for bad in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2,2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        ] {
            assert!(answer(bad, &Method::GET).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn trailers_carry_nothing_that_frames() {
        let fields =
            trailers(b"grpc-status: 0\r\nhost: a\r\ncontent-length: 3\r\nX-A: 1\r\n\r\n", HeadLimits::NODE).unwrap();
        let names: Vec<_> = fields.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names, [b"grpc-status".to_vec(), b"x-a".to_vec()]);
    }
}
