//! Heads of requests between the form of h2 and ours.

use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, request};

use super::field::{self, Received};
use crate::head::{Form, HttpVersion, Length, Malformed, RequestHead, has_usually_body, is_of_authority};
use crate::http1::HeadLimits;

/// Whether END_STREAM came with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It did.
    None,
    /// More follows.
    Follows,
}

/// Reads the head of a request (RFC 9113, section 8.3.1).
pub(super) fn head_of(parts: request::Parts, rest: Rest, limits: HeadLimits) -> Result<RequestHead, Malformed> {
    let Received { fields, host, length } = field::received(&parts.headers, limits)?;
    let protocol: Option<Box<str>> = parts.extensions.get::<Protocol>().map(|protocol| protocol.as_str().into());
    let (form, path) = target(&parts.method, &parts.uri, protocol.as_deref())?;
    let authority = authority(&parts.uri, host.as_ref())?;
    let length = match (form, rest, length) {
        (Form::Authority, _, Some(_)) => return Err(Malformed::new("CONNECT states a length")),
        (Form::Authority, _, None) if authority.is_empty() => return Err(Malformed::new("CONNECT names no host")),
        (_, Rest::None, _) => Length::None,
        (_, Rest::Follows, Some(length)) => Length::Exact(length),
        (_, Rest::Follows, None) => Length::Unknown,
    };
    if authority.len() + path.len() + fields.wire_len() > limits.bytes {
        return Err(Malformed::too_large("the head is too large"));
    }
    Ok(RequestHead {
        version: HttpVersion::Http2,
        method: parts.method,
        form,
        authority,
        path,
        protocol,
        fields,
        length,
    })
}

/// Form and path of a target. h2 has cut a fragment off.
fn target(method: &Method, uri: &Uri, protocol: Option<&str>) -> Result<(Form, String), Malformed> {
    if *method == Method::CONNECT && protocol.is_none() {
        return Ok((Form::Authority, String::new()));
    }
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Malformed::new("the scheme is neither http nor https"));
    }
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if path == "*" {
        let is_options = *method == Method::OPTIONS;
        return if is_options {
            Ok((Form::Asterisk, path.to_owned()))
        } else {
            Err(Malformed::new("only OPTIONS may ask for `*`"))
        };
    }
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed::new("the path does not begin with `/`, or holds a byte that a path cannot"));
    }
    Ok((Form::Origin, path.to_owned()))
}

/// Host and port: `:authority`, else `host`. Who names both names one.
fn authority(uri: &Uri, host: Option<&HeaderValue>) -> Result<String, Malformed> {
    let named = uri.authority().map(Authority::as_str);
    let host = match host.map(HeaderValue::as_bytes) {
        None => None,
        Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| Malformed::new("the Host field is not text"))?),
    };
    let authority = match (named, host) {
        (Some(named), Some(host)) if !is_same(named, host, uri.scheme()) => {
            return Err(Malformed::new("`:authority` and Host name different hosts"));
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => "",
    };
    // And a comma: here no two fields can have been joined by it.
    if !authority.bytes().all(|byte| is_of_authority(byte) || byte == b',') {
        return Err(Malformed::new("the authority is not a host and a port"));
    }
    Ok(authority.to_owned())
}

/// Whether two texts name the same host, after what the scheme implies (RFC 9113, section 8.3.1; RFC 3986, section 6.2).
fn is_same(named: &str, host: &str, scheme: Option<&Scheme>) -> bool {
    let implied = if scheme == Some(&Scheme::HTTPS) { ":443" } else { ":80" };
    let plain = |text| str::strip_suffix(text, implied).unwrap_or(text);
    plain(named).eq_ignore_ascii_case(plain(host))
}

/// The head in the form of h2.
///
/// # Errors
///
/// Its target or authority cannot be said in HTTP/2.
pub(super) fn of(head: &RequestHead) -> Result<Request<()>, Malformed> {
    let unfit = |_| Malformed::new("the target or the host cannot be said in HTTP/2");
    let mut uri = http::uri::Parts::default();
    if !head.authority.is_empty() {
        uri.authority = Some(Authority::try_from(head.authority.as_str()).map_err(unfit)?);
    }
    if head.form != Form::Authority {
        uri.path_and_query = Some(PathAndQuery::try_from(head.path.as_str()).map_err(unfit)?);
        uri.scheme = uri.authority.as_ref().map(|_| Scheme::HTTP);
    }
    let uri = Uri::from_parts(uri).map_err(|_| Malformed::new("the request names no host"))?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = field::map_of(&head.fields);
    let length = match head.length {
        Length::Exact(length) => Some(length),
        Length::None if has_usually_body(&head.method) => Some(0),
        Length::None | Length::Unknown => None,
    };
    field::state_length(request.headers_mut(), length);
    if let Some(protocol) = &head.protocol {
        request.extensions_mut().insert(Protocol::from(&**protocol));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, uri: &str, host: Option<&'static str>) -> Result<RequestHead, Malformed> {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        head_of(request.body(()).unwrap().into_parts().0, Rest::None, HeadLimits::APPLICATION)
    }

    #[test]
    fn targets_have_the_forms_of_http() {
        for (method, uri, form, authority, path) in [
            (Method::GET, "http://orders:80/a?b=%20", Form::Origin, "orders:80", "/a?b=%20"),
            (Method::OPTIONS, "*", Form::Asterisk, "orders", "*"),
            (Method::CONNECT, "orders:443", Form::Authority, "orders:443", ""),
            (Method::GET, "/a", Form::Origin, "orders", "/a"),
        ] {
            let host = if authority == "orders" { Some("orders") } else { None };
            let head = head(method, uri, host).unwrap();
            assert_eq!((head.form, &*head.authority, &*head.path), (form, authority, path), "{uri}");
        }
        for (method, uri) in [(Method::GET, "*"), (Method::GET, "ftp://orders/"), (Method::GET, "http://u@orders/")] {
            assert!(head(method, uri, None).is_err(), "{uri}");
        }
    }

    #[test]
    fn two_names_of_the_host_must_be_one() {
        for (uri, host) in [
            ("http://Orders/", "orders:80"),
            ("http://orders:80/", "orders"),
            ("https://orders/", "orders:443"),
            ("http://orders:8080/", "orders:8080"),
        ] {
            assert!(head(Method::GET, uri, Some(host)).is_ok(), "{uri} {host}");
        }
        for (uri, host) in [("http://orders/", "web"), ("http://orders/", "orders:443"), ("http://orders/", "")] {
            assert!(head(Method::GET, uri, Some(host)).is_err(), "{uri} {host}");
        }
        assert_eq!(head(Method::GET, "/", None).unwrap().authority, "");
    }

    #[test]
    fn a_head_survives_the_way_through_h2() {
        for (method, uri) in [
            (Method::GET, "http://orders:80/a?b=c"),
            (Method::OPTIONS, "*"),
            (Method::CONNECT, "orders:443"),
            (Method::POST, "http://orders/"),
        ] {
            let mut there = head(method, uri, None).unwrap();
            there.fields.push(b"x-a", b"1");
            let mut back = of(&there).unwrap().into_parts().0;
            assert_eq!(back.headers.remove("content-length").is_some(), there.method == Method::POST);
            let back = head_of(back, Rest::None, HeadLimits::APPLICATION).unwrap();
            assert_eq!((&back.authority, &back.path, back.form), (&there.authority, &there.path, there.form));
            assert_eq!((back.fields.len(), back.length), (1, there.length));
        }
    }
}
