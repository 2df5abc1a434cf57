//! Header fields between the form of h2 and ours: what HTTP/2 adds to their rules, and what belongs to a connection and not to a message.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use weft_policy::fields::{Fields, Known};

use crate::head::{Malformed, content_length};
use crate::http1::{HeadLimits, is_forbidden_in_trailers};

/// Values of a head whose text is up to this lie in one buffer; larger texts would be held by the tables of HPACK for one value of each.
const SHARED_TEXT_MAX: usize = 1024;

/// The fields of a head, without those that the head has in another form.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The others.
    pub(super) fields: Fields,
    /// `host`.
    pub(super) host: Option<HeaderValue>,
    /// `content-length`.
    pub(super) length: Option<u64>,
}

/// Reads the fields of a head. h2 has refused upper case, pseudo-fields in wrong places and the fields of connections (RFC 9113, section
/// 8.2.2).
pub(super) fn received(map: &HeaderMap, limits: HeadLimits) -> Result<Received, Malformed> {
    let mut received = Received::default();
    let mut cookies = Vec::new();
    for (name, value) in map {
        check(name, value)?;
        if name == header::COOKIE {
            // Each may come for itself, for the sake of HPACK; everybody else expects one (RFC 9113, section 8.2.3).
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if name == header::HOST {
            if received.host.replace(value.clone()).is_some() {
                return Err(Malformed::new("there are two Host fields"));
            }
        } else if name == header::CONTENT_LENGTH {
            if received.length.replace(content_length(value.as_bytes())?).is_some() {
                return Err(Malformed::new("there are two Content-Length fields"));
            }
        } else {
            received.fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        received.fields.add(Known::Cookie, &cookies);
    }
    if received.fields.len() > limits.fields {
        return Err(Malformed::too_large("the head has too many fields"));
    }
    Ok(received)
}

/// Reads trailers. Those that frame or route are left out, as of HTTP/1.1.
pub(super) fn trailers_of(map: &HeaderMap, limits: HeadLimits) -> Result<Fields, Malformed> {
    let mut fields = Fields::new();
    for (name, value) in map {
        check(name, value)?;
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    fields.retain(|known, _| !is_forbidden_in_trailers(known));
    if fields.len() > limits.fields || fields.wire_len() > limits.bytes {
        return Err(Malformed::too_large("there are too many trailers"));
    }
    Ok(fields)
}

/// Checks what neither h2 nor the types of `http` do (RFC 9113, section 8.2.1).
fn check(name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
    // The one byte beyond those of a token that `http` takes in names.
    if name.as_str().contains('"') {
        return Err(Malformed::new("the name of a field is not a token"));
    }
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) {
        return Err(Malformed::new("the value of a field begins or ends with space"));
    }
    Ok(())
}

/// The fields in the form of h2, without those that belong to a connection or are said by other means.
pub(super) fn map_of(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    let text_len: usize = fields.iter().map(|(_, value)| value.len()).sum();
    let mut shared = if text_len <= SHARED_TEXT_MAX {
        let mut text = Vec::with_capacity(text_len);
        fields.iter().for_each(|(_, value)| text.extend_from_slice(value));
        Some(Bytes::from(text))
    } else {
        None
    };
    for (known, name, value) in fields.iter_known() {
        let own = shared.as_mut().map(|text| text.split_to(value.len()));
        if is_of_connection(known, value) {
            continue;
        }
        let value = match own {
            Some(text) => HeaderValue::from_maybe_shared(text),
            None => HeaderValue::from_bytes(value),
        };
        // Both came through a codec that is as strict.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            map.append(name, value);
        }
    }
    map
}

/// Adds how long a body is, or would be.
pub(super) fn state_length(map: &mut HeaderMap, length: Option<u64>) {
    if let Some(length) = length {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Whether a field cannot be said in HTTP/2, or is said otherwise there (RFC 9113, section 8.2.2).
fn is_of_connection(known: Known, value: &[u8]) -> bool {
    match known {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::Http2Settings
        | Known::Host
        | Known::ContentLength => true,
        Known::Te => value != b"trailers",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        fields.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    #[test]
    fn cookies_become_one_field_and_framing_leaves_the_fields() {
        let map =
            map(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("content-length", "3"), ("host", "orders")]);
        let received = received(&map, HeadLimits::APPLICATION).unwrap();
        let all: Vec<_> = received.fields.iter().collect();
        assert_eq!(all, [(&b"x-a"[..], &b"1"[..]), (b"cookie", b"a=1; b=2")]);
        assert_eq!((received.length, received.host.unwrap()), (Some(3), HeaderValue::from_static("orders")));
    }

    #[test]
    fn what_h2_lets_through_and_no_field_may_be_is_refused() {
        for bad in [
            map(&[("host", "a"), ("host", "a")]),
            map(&[("content-length", "2"), ("content-length", "2")]),
            map(&[("content-length", "+2")]),
            map(&[("content-length", "")]),
            map(&[("x-a", " 1")]),
            map(&[("x-a", "1\t")]),
        ] {
            assert!(received(&bad, HeadLimits::APPLICATION).is_err(), "{bad:?}");
        }
        let mut quoted = HeaderMap::new();
        quoted.insert(HeaderName::from_lowercase(b"x\"a").unwrap(), HeaderValue::from_static("1"));
        assert!(received(&quoted, HeadLimits::APPLICATION).is_err());
        let mut many = HeaderMap::new();
        for _ in 0..=HeadLimits::APPLICATION.fields {
            many.append("x-a", HeaderValue::from_static("1"));
        }
        assert!(received(&many, HeadLimits::APPLICATION).unwrap_err().is_too_large);
        assert!(received(&many, HeadLimits::NODE).is_ok());
    }

    #[test]
    fn nothing_of_a_connection_is_written_and_values_survive() {
        let mut fields = Fields::new();
        for (name, value) in [
            ("connection", "close"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("x-a", "1"),
            ("host", "a"),
            ("x-b", ""),
            ("keep-alive", "5"),
            ("x-c", "2"),
        ] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let short = map_of(&fields);
        assert_eq!(short, map(&[("te", "trailers"), ("x-a", "1"), ("x-b", ""), ("x-c", "2")]));
        fields.push(b"x-d", &[b'a'; SHARED_TEXT_MAX]);
        assert_eq!(map_of(&fields).len(), 5);
        fields.set("te", b"gzip, trailers");
        assert!(!map_of(&fields).contains_key("te"));
    }
}
