//! Which service a request names: the first label of its host under the mesh's domain. Called once per request by the data path.

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
    let is_label = label.len() <= LABEL_LEN_MAX && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_label && !label.is_empty() { Ok(label) } else { Err(Code::ServiceUnknown) }
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
