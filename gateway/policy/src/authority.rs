//! Which service a request names: the first label of its host under the mesh's domain; and the forms in which routes and rules compare hosts.
//! Called once per request by the data path.

use std::borrow::Cow;

use weft_identity::Code;
use weft_identity::ids::{LABEL_LEN_MAX, SERVICE_DOMAIN};

/// The service's name in an authority: `orders.weft.internal:80`, `orders.weft.internal.` and plain `orders` all name `orders`.
/// Borrowed, so that a request allocates nothing for it; whether such a service exists is the caller's question.
///
/// # Errors
///
/// [`Code::HostMissing`] for an empty authority, [`Code::RequestMalformed`] for one with user information,
/// [`Code::ServiceUnknown`] for a host outside the mesh's domain.
pub fn service_of(authority: &str) -> Result<&str, Code> {
    if authority.contains('@') {
        return Err(Code::RequestMalformed);
    }
    let host = without_port(authority)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(Code::HostMissing);
    }
    let label = match host.len().checked_sub(SERVICE_DOMAIN.len() + 1) {
        Some(at) if is_under_domain(host, at) => &host[..at],
        _ => host,
    };
    if is_label(label) { Ok(label) } else { Err(Code::ServiceUnknown) }
}

/// The host of an authority as conditions on the field `host` see it: without port and final dots, in lower case, and a name of the mesh in
/// full. `Orders:80` is `orders.weft.internal`, so that no other spelling gets around a rule.
pub fn canonical_host(authority: &str) -> Cow<'_, str> {
    let host = bare_host(authority);
    if is_label(&host) { Cow::Owned(format!("{host}.{SERVICE_DOMAIN}")) } else { host }
}

/// The host of an authority as routes compare it: without port and final dots, in lower case.
pub(crate) fn bare_host(authority: &str) -> Cow<'_, str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_end_matches('.');
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Whether a text may be the name of a service, in any case of letters.
fn is_label(text: &str) -> bool {
    (1..=LABEL_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether `host` is `<label at 0..at>.weft.internal`, in any case of letters.
fn is_under_domain(host: &str, at: usize) -> bool {
    host.is_char_boundary(at) && host[at..].starts_with('.') && host[at + 1..].eq_ignore_ascii_case(SERVICE_DOMAIN)
}

/// The authority without `:port`. A port is digits, perhaps none (RFC 3986, section 3.2.3); anything else is malformed.
fn without_port(authority: &str) -> Result<&str, Code> {
    match authority.rsplit_once(':') {
        None => Ok(authority),
        Some((host, port)) if is_port(port) => Ok(host),
        Some(_) => Err(Code::RequestMalformed),
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_in_every_form_of_its_host() {
        for host in [
            "orders",
            "orders:80",
            "orders:",
            "orders.weft.internal:",
            "orders.weft.internal",
            "orders.weft.internal.",
            "orders.weft.internal:4512",
            "orders.WEFT.Internal",
        ] {
            assert_eq!(service_of(host), Ok("orders"), "{host}");
        }
    }

    #[test]
    fn rules_see_one_form_of_a_host() {
        for host in [
            "orders",
            "orders.",
            "Orders:80",
            "orders:",
            "orders.weft.internal",
            "orders.weft.internal.",
            "orders.weft.internal..",
            "ORDERS.weft.Internal.:4512",
        ] {
            assert_eq!(canonical_host(host), "orders.weft.internal", "{host}");
        }
        for (host, seen) in [
            ("", ""),
            (".", ""),
            (":80", ""),
            ("Shop.Example.com:8080", "shop.example.com"),
            ("a.orders.weft.internal", "a.orders.weft.internal"),
            ("[FD00::7]:80", "[fd00::7]"),
            ("[fd00::7]", "[fd00::7]"),
            ("10.0.0.7:80", "10.0.0.7"),
        ] {
            assert_eq!(canonical_host(host), seen, "{host}");
        }
    }

    #[test]
    fn what_names_no_service_says_why() {
        for (host, code) in [
            ("", Code::HostMissing),
            (":80", Code::HostMissing),
            ("a@orders", Code::RequestMalformed),
            ("orders:x", Code::RequestMalformed),
            ("orders:+80", Code::RequestMalformed),
            ("orders:99999", Code::RequestMalformed),
            ("orders.example.com", Code::ServiceUnknown),
            ("a.orders.weft.internal", Code::ServiceUnknown),
            (".weft.internal", Code::ServiceUnknown),
            ("örders", Code::ServiceUnknown),
            ("ö.weft.internal", Code::ServiceUnknown),
        ] {
            assert_eq!(service_of(host), Err(code), "{host}");
        }
    }
}
