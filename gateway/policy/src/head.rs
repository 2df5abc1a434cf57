//! Which fields of a message travel on: what belongs to one connection only (RFC 9110, section 7.6.1), what claims something that its sender
//! cannot vouch for, and what nodes tell each other. Applied before any rule reads a head, so that rules see what applications see.

use http::Method;

use crate::fields::{Fields, Known, members};

/// Whether a message asks for another protocol on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// An ordinary message.
    None,
    /// `Connection: upgrade` with an `Upgrade` field that names a protocol which may be carried.
    Asked,
}

/// Who sent a message to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// An application, or anybody at a port of this machine.
    Application,
    /// Another node, which proved that it is one.
    Node,
}

/// Takes out of a request what belongs to its connection, and what its sender cannot vouch for. What `Connection` names goes first, so that
/// nothing which is put in later can be taken out by it. Returns whether an upgrade is asked for; only then `Upgrade` stays.
pub fn strip_request(fields: &mut Fields, sender: Sender, has_upgrade_option: bool) -> Upgrade {
    strip_hop_by_hop(fields);
    fields.retain(|known, name| match known {
        Known::ProxyAuthorization | Known::Http2Settings => false,
        Known::XForwardedClientCert | Known::ClientCert | Known::ClientCertChain => false,
        Known::WeftTraceRevision => true,
        Known::WeftPatience | Known::WeftReplica => sender == Sender::Node,
        Known::Other => !(is_twin(name) || name.starts_with(b"weft-") || name == b"remote-user"),
        _ => !name.starts_with(b"weft-"),
    });
    if fields.has(Known::Te) {
        let has_trailers =
            fields.each(Known::Te).flat_map(members).any(|member| member.eq_ignore_ascii_case(b"trailers"));
        fields.take_out(Known::Te);
        if has_trailers {
            fields.add(Known::Te, b"trailers");
        }
    }
    if !fields.has(Known::Upgrade) {
        return Upgrade::None;
    }
    let carried = carried_protocols(fields);
    fields.take_out(Known::Upgrade);
    if !has_upgrade_option || carried.is_empty() {
        return Upgrade::None;
    }
    fields.add(Known::Upgrade, &carried);
    Upgrade::Asked
}

/// Whether some applications could not tell a name from another: CGI and its heirs (WSGI, Rack, PHP, FastCGI) read `x-tenant` as the variable
/// `HTTP_X_TENANT`, and as the same one `x_tenant` and, where every byte but letters and digits becomes `_`, `x.tenant` and its like. The one
/// would carry past the rules what the other may not.
fn is_twin(name: &[u8]) -> bool {
    !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Takes out of trailers what nobody may say there, either way: what would be taken out of a head.
pub fn strip_trailers(fields: &mut Fields) {
    fields.retain(|known, name| {
        known == Known::GrpcStatus || !(is_twin(name) || name.starts_with(b"weft-") || name == b"remote-user")
    });
}

/// Whether a method is one that is known but for the case of its letters. Methods are told apart by case (RFC 9110, section 9.1), and some
/// applications do not.
pub fn is_known_in_another_case(method: &Method) -> bool {
    let text = method.as_str();
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return false;
    }
    let upper = text.to_ascii_uppercase();
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"].contains(&&*upper)
}

/// The protocols of `Upgrade` that may be carried: none that carries requests of its own, which no rule would see (`h2c`, RFC 7540 section
/// 3.2; `HTTP/…` and `TLS/…`, RFC 2817).
fn carried_protocols(fields: &Fields) -> Vec<u8> {
    let is_carried = |member: &&[u8]| {
        let lower = member.to_ascii_lowercase();
        ![&b"h2"[..], b"h3", b"http", b"tls"].iter().any(|prefix| lower.starts_with(prefix))
    };
    fields.each(Known::Upgrade).flat_map(members).filter(is_carried).collect::<Vec<_>>().join(&b", "[..])
}

/// Takes out of an answer what belongs to its connection, and what its sender cannot vouch for: of the fields of nodes, an application's
/// have no weight, and another node's two for callers stay.
pub fn strip_answer(fields: &mut Fields, sender: Sender) {
    strip_hop_by_hop(fields);
    fields.retain(|known, name| match known {
        Known::Upgrade | Known::Te | Known::ProxyAuthenticate => false,
        Known::WeftRefusal | Known::WeftRevision => sender == Sender::Node,
        _ => !name.starts_with(b"weft-"),
    });
}

fn strip_hop_by_hop(fields: &mut Fields) {
    if fields.has(Known::Connection) {
        // Most often it names nothing but the connection's own fate.
        let names =
            |member: &&[u8]| !member.eq_ignore_ascii_case(b"keep-alive") && !member.eq_ignore_ascii_case(b"close");
        let named: Vec<Vec<u8>> =
            fields.each(Known::Connection).flat_map(members).filter(names).map(<[u8]>::to_ascii_lowercase).collect();
        for name in named {
            // Both have their own rules, and the host is not the connection's.
            if !matches!(Known::of(&name), Known::Host | Known::Upgrade | Known::Te) {
                fields.remove_bytes(&name);
            }
        }
        fields.take_out(Known::Connection);
    }
    for known in [Known::KeepAlive, Known::ProxyConnection, Known::ContentLength, Known::TransferEncoding] {
        fields.take_out(known);
    }
}

/// Whether an answer switches to a protocol that was asked for.
pub fn is_asked_for(asked: &Fields, answered: &Fields) -> bool {
    let mut chosen = answered.each(Known::Upgrade).flat_map(members);
    let is_offered = |chosen: &[u8]| {
        asked.each(Known::Upgrade).flat_map(members).any(|offered| offered.eq_ignore_ascii_case(chosen))
    };
    matches!((chosen.next(), chosen.next()), (Some(only), None) if is_offered(only))
}

/// Whether a request with this method may be sent twice (RFC 9110, section 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        of.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    fn names(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn what_belongs_to_the_connection_is_gone_before_anybody_looks() {
        let mut asked = fields(&[
            ("connection", "close, X-Secret, \u{e9}, x-tenant"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("te", "trailers;q=0.5, Trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("proxy-connection", "x"),
            ("x-tenant", "a"),
            ("x-kept", "1"),
            ("connection", "x-second"),
            ("x-second", "2"),
        ]);
        assert_eq!(strip_request(&mut asked, Sender::Application, true), Upgrade::None);
        assert_eq!(names(&asked), ["x-kept", "te"]);
    }

    #[test]
    fn only_protocols_without_requests_of_their_own_are_carried() {
        for (offered, carried) in [
            ("websocket", Some("websocket")),
            ("h2c, websocket", Some("websocket")),
            ("H2C", None),
            ("HTTP/2.0", None),
            ("TLS/1.3, HTTP/1.1", None),
            ("", None),
        ] {
            let mut asked = fields(&[("upgrade", offered)]);
            strip_request(&mut asked, Sender::Application, true);
            assert_eq!(asked.get("upgrade"), carried.map(str::as_bytes), "{offered}");
        }
        let mut unasked = fields(&[("upgrade", "websocket")]);
        assert_eq!(strip_request(&mut unasked, Sender::Application, false), Upgrade::None);
        assert!(unasked.is_empty());
    }

    #[test]
    fn names_and_methods_that_applications_confuse_do_not_pass() {
        // Every byte of a token that is neither letter nor digit (RFC 9110, section 5.6.2).
        for byte in "!#$%&'*+.^_`|~".chars() {
            let twin = format!("x{byte}tenant");
            let odd = [("x-tenant-2", "b"), (&*twin, "a"), (&*format!("transfer{byte}encoding"), "chunked")];
            for sender in [Sender::Application, Sender::Node] {
                let mut asked = fields(&odd);
                strip_request(&mut asked, sender, false);
                assert_eq!(names(&asked), ["x-tenant-2"], "{twin}");
            }
            let mut trailers = fields(&odd);
            strip_trailers(&mut trailers);
            assert_eq!(names(&trailers), ["x-tenant-2"], "{twin}");
        }
        let mut trailers = fields(&[("grpc-status", "0"), ("weft-x", "1"), ("remote-user", "a"), ("x", "1")]);
        strip_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["grpc-status", "x"]);
        for (method, is_odd) in [("get", true), ("Get", true), ("GET", false), ("PURGE", false), ("purge", false)] {
            assert_eq!(is_known_in_another_case(&Method::from_bytes(method.as_bytes()).unwrap()), is_odd, "{method}");
        }
    }

    #[test]
    fn an_answer_switches_only_to_what_was_asked() {
        let asked = fields(&[("upgrade", "websocket, x")]);
        assert!(is_asked_for(&asked, &fields(&[("upgrade", "WebSocket")])));
        assert!(!is_asked_for(&asked, &fields(&[("upgrade", "h2c")])));
        assert!(!is_asked_for(&asked, &fields(&[])));
        assert!(!is_asked_for(&fields(&[]), &fields(&[("upgrade", "websocket")])));
    }

    #[test]
    fn nobody_claims_what_only_nodes_know() {
        let claims = [
            ("weft-replica", "a"),
            ("weft-patience-ms", "1"),
            ("weft-undelivered", "overloaded"),
            ("weft-new", "1"),
            ("x-forwarded-client-cert", "URI=spiffe://bank/svc/root"),
            ("client-cert", ":AA==:"),
            ("remote-user", "root"),
        ];
        let mut application = fields(&claims);
        strip_request(&mut application, Sender::Application, false);
        assert!(application.is_empty(), "{:?}", names(&application));
        let mut node = fields(&claims);
        strip_request(&mut node, Sender::Node, false);
        assert_eq!(names(&node), ["weft-replica", "weft-patience-ms"]);
        let mut answer = fields(&[("weft-undelivered", "x"), ("weft-refusal", "vm-a.1"), ("x", "1")]);
        strip_answer(&mut answer, Sender::Application);
        assert_eq!(names(&answer), ["x"]);
    }
}
