//! The URL of `weft curl` and `weft route`. Both read it here, so that the one tells what becomes of what the other sends.

use http::Uri;
use weft_identity::ids::SERVICE_DOMAIN;
use weft_identity::{Code, Failure, ServiceName};
use weft_policy::authority::service_of;

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The value of `Host`.
    pub(super) host: String,
    /// Path and query.
    pub(super) path: String,
}

impl Target {
    /// Reads `http://host/path`, whose host is sent as it is written, or `orders/path`, short for `http://orders.weft.internal/path`.
    pub(super) fn of(url: &str) -> Result<Self, Failure> {
        let wrong = |text: &str| Failure::new(Code::UsageInvalid, format!("{url:?} {text}"));
        let (is_short, rest) = match url.split_once("://") {
            None => (true, url),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err(wrong("is not http://: applications speak HTTP to their node, which encrypts")),
        };
        let uri: Uri = format!("http://{rest}")
            .parse()
            .map_err(|error| wrong(&format!("is not a URL that can be sent: {error}")))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no service"))?;
        if uri.authority().is_none_or(|authority| authority.as_str() != host) {
            return Err(wrong("names a port or a user; a service has neither: leave it out"));
        }
        let is_label = is_short && !host.contains('.');
        let host = if is_label { format!("{host}.{SERVICE_DOMAIN}") } else { host.to_owned() };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, path })
    }

    /// The service that a node takes from the host.
    pub(super) fn service(&self) -> Result<ServiceName, Failure> {
        let host = &self.host;
        let unknown = || {
            let detail = format!("the host {host:?} names no service; services answer at NAME.{SERVICE_DOMAIN}");
            Failure::new(Code::UsageInvalid, detail)
        };
        let label = service_of(host).map_err(|_| unknown())?;
        label.to_ascii_lowercase().parse().map_err(|_| unknown())
    }
}

/// Refuses a header line that contradicts the URL.
pub(super) fn check_headers(lines: &[String]) -> Result<(), Failure> {
    let is_host = |line: &&String| line.split(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("host"));
    match lines.iter().find(is_host) {
        Some(line) => Err(Failure::new(Code::UsageInvalid, format!("the host stands in the URL, not in -H {line:?}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_in_three_forms() {
        for url in ["http://orders.weft.internal/a?b=c", "orders.weft.internal/a?b=c", "orders/a?b=c"] {
            let target = Target::of(url).unwrap();
            assert_eq!((target.host.as_str(), target.path.as_str()), ("orders.weft.internal", "/a?b=c"), "{url}");
            assert_eq!(target.service().unwrap().as_str(), "orders");
        }
        assert_eq!(Target::of("orders").unwrap().path, "/");
        assert_eq!(Target::of("orders?x=1").unwrap().path, "/?x=1");
    }

    #[test]
    fn the_host_of_a_whole_url_is_sent_as_it_is_written() {
        for (url, host) in [("http://orders/a", "orders"), ("HTTP://Orders.weft.internal", "Orders.weft.internal")] {
            let target = Target::of(url).unwrap();
            assert_eq!((target.host.as_str(), target.service().unwrap().as_str()), (host, "orders"), "{url}");
        }
        assert_eq!(Target::of("http://example.com/").unwrap().service().unwrap_err().code, Code::UsageInvalid);
    }

    #[test]
    fn what_would_be_sent_otherwise_than_written_is_refused() {
        for url in [
            "https://orders/a",
            "ftp://orders/a",
            "http://orders:8080/",
            "orders:80/",
            "http://me@orders/",
            "http:///x",
            "",
            "/a",
            "orders/a b",
        ] {
            assert_eq!(Target::of(url).unwrap_err().code, Code::UsageInvalid, "{url}");
        }
        assert!(check_headers(&["x-host: a".to_owned()]).is_ok());
        assert_eq!(check_headers(&["HOST: shop".to_owned()]).unwrap_err().code, Code::UsageInvalid);
    }
}
