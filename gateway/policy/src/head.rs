//! What a request's head must look like before it is served, and which of its fields do not travel on (RFC 9110, section 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use weft_identity::Code;

/// Most bytes of a head; what Apache and nginx take in all by default.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields; the fixed array of the HTTP/1 parser.
pub const HEADERS_MAX: usize = 100;
/// What a field costs beside its name and value: `: ` and CRLF.
const FIELD_OVERHEAD: usize = 4;

/// Whether a message asks for another protocol on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// An ordinary message.
    None,
    /// `Connection: upgrade` with an `Upgrade` field: WebSocket and the like.
    Asked,
}

/// Checks a request's head.
///
/// # Errors
///
/// [`Code::HeadTooLarge`] past a limit; [`Code::RequestMalformed`] with a reason for two hosts or ambiguous framing.
pub fn check(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), (Code, &'static str)> {
    if headers.len() > HEADERS_MAX {
        return Err((Code::HeadTooLarge, "more than 100 header fields"));
    }
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
    if path + fields > HEAD_BYTES_MAX {
        return Err((Code::HeadTooLarge, "more than 32 KiB of head"));
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err((Code::RequestMalformed, "two Host headers"));
    }
    if version < Version::HTTP_2 && headers.contains_key(header::TRANSFER_ENCODING) {
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err((Code::RequestMalformed, "Transfer-Encoding and Content-Length together"));
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err((Code::RequestMalformed, "a Transfer-Encoding other than chunked"));
        }
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err((Code::RequestMalformed, "two Content-Length headers"));
    }
    Ok(())
}

/// The text that names the service: the URI's authority (absolute form, HTTP/2) before the Host header (RFC 9112, section 3.2.2).
///
/// # Errors
///
/// [`Code::HostMissing`] when there is neither; [`Code::RequestMalformed`] when the Host header is not text.
pub fn authority_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Code> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str());
    }
    let host = headers.get(header::HOST).ok_or(Code::HostMissing)?;
    host.to_str().map_err(|_| Code::RequestMalformed)
}

/// Whether the head asks for an upgrade.
pub fn upgrade_of(headers: &HeaderMap) -> Upgrade {
    let asked = headers.contains_key(header::UPGRADE)
        && connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    if asked { Upgrade::Asked } else { Upgrade::None }
}

/// Takes out what belongs to one connection only. `TE: trailers` stays, because trailers travel; an upgrade's own two fields stay
/// when one is asked for.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: Upgrade) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> =
            connection_tokens(headers).filter_map(|token| token.parse().ok()).filter(is_droppable).collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, header::TRANSFER_ENCODING, header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
    match upgrade {
        Upgrade::Asked => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Upgrade::None => {
            headers.remove(header::UPGRADE);
        }
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The tokens of every Connection field.
fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Whether a `Connection` token may take the field of its name out: not those that frame or route the message, or a caller
/// could have them dropped behind the checks.
fn is_droppable(name: &HeaderName) -> bool {
    ![header::HOST, header::CONTENT_LENGTH, header::UPGRADE, header::TE, header::COOKIE, header::AUTHORIZATION]
        .contains(name)
}

/// Whether a request with this method may be sent twice (RFC 9110, section 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
    }

    #[test]
    fn ambiguous_framing_and_two_hosts_are_refused() {
        for fields in [
            &[("host", "a"), ("host", "b")][..],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("transfer-encoding", ",chunked")],
            &[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
            &[("content-length", "3"), ("content-length", "3")],
        ] {
            let code = check(Version::HTTP_11, &Uri::from_static("/"), &headers(fields)).unwrap_err().0;
            assert_eq!(code, Code::RequestMalformed, "{fields:?}");
        }
        let fine = headers(&[("host", "a"), ("transfer-encoding", "chunked")]);
        assert_eq!(check(Version::HTTP_11, &Uri::from_static("/"), &fine), Ok(()));
    }

    #[test]
    fn a_head_over_the_limit_is_refused() {
        let mut map = HeaderMap::new();
        map.insert("x", HeaderValue::from_str(&"a".repeat(HEAD_BYTES_MAX)).unwrap());
        assert_eq!(check(Version::HTTP_11, &Uri::from_static("/"), &map).unwrap_err().0, Code::HeadTooLarge);
        let mut map = HeaderMap::new();
        for _ in 0..=HEADERS_MAX {
            map.append("x", HeaderValue::from_static("a"));
        }
        assert_eq!(check(Version::HTTP_11, &Uri::from_static("/"), &map).unwrap_err().0, Code::HeadTooLarge);
    }

    #[test]
    fn only_what_belongs_to_the_connection_is_stripped() {
        let mut map = headers(&[
            ("connection", "close, x-secret, host"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("host", "orders"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut map, Upgrade::None);
        let left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(map.contains_key("te") && map.contains_key("host") && map.contains_key("x-kept"));
    }

    #[test]
    fn an_upgrade_keeps_its_two_fields() {
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade_of(&map), Upgrade::Asked);
        strip_hop_by_hop(&mut map, Upgrade::Asked);
        assert_eq!(map.get("connection").unwrap(), "upgrade");
        assert_eq!(map.get("upgrade").unwrap(), "websocket");
    }
}
