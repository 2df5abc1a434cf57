//! What a request carries to an application: who calls, as the mesh proved it, and the form of the version that the application speaks.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use weft_identity::SpiffeId;
use weft_policy::fields::{Fields, Known};

use crate::head::{Overlay, RequestHead};

/// Where the callers of this machine come from: its outbound port and bound ports listen on loopback addresses alone.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who calls, as an application is told.
#[derive(Debug, Clone)]
pub(crate) struct Introduced {
    /// The value of `x-forwarded-client-cert`, in Envoy's form.
    certificate: String,
    /// Where the call came from, as far as this machine saw.
    origin: Option<Origin>,
}

/// Where a call came from, as fields say it.
#[derive(Debug, Clone)]
struct Origin {
    /// The last member of `x-forwarded-for`.
    address: String,
    /// The last element of `forwarded` (RFC 7239, section 4).
    element: String,
}

impl Origin {
    fn new(address: IpAddr) -> Self {
        let element = match address {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        };
        Self { address: address.to_string(), element }
    }
}

impl Introduced {
    /// Of a caller on another node: `by` is the service that was called, `hash` the SHA-256 of the caller's certificate in hexadecimal.
    pub(crate) fn new(by: &str, hash: &str, uri: &str, address: Option<IpAddr>) -> Self {
        Self { certificate: format!("By={by};Hash={hash};URI={uri}"), origin: address.map(Origin::new) }
    }

    /// Of a caller on this machine, which shows no certificate to itself.
    pub(crate) fn here(identity: &SpiffeId) -> Self {
        Self { certificate: format!("URI={identity}"), origin: Some(Origin::new(HERE)) }
    }
}

/// Tells the application who calls. The field is the mesh's own: nothing that a caller put there is left. `x-forwarded-for` and `forwarded`
/// are the callers' word and stay; the address that this machine saw is put behind, so that the last one is always the mesh's. Where it saw
/// none, both go: the last one would be the caller's.
pub(crate) fn introduce(overlay: &mut Overlay, head: &RequestHead, who: &Introduced) {
    overlay.put(Known::XForwardedClientCert, who.certificate.as_bytes());
    let Some(origin) = &who.origin else {
        overlay.without.insert(Known::XForwardedFor);
        overlay.without.insert(Known::Forwarded);
        return;
    };
    if head.fields.has(Known::XForwardedFor) {
        let said = head.fields.each(Known::XForwardedFor);
        overlay.put(Known::XForwardedFor, &behind(said, &origin.address));
    } else {
        overlay.put(Known::XForwardedFor, origin.address.as_bytes());
    }
    if head.fields.has(Known::Forwarded) {
        // What an open quote begins would go on into the mesh's word.
        let said = head.fields.each(Known::Forwarded).filter(|said| is_forwarded(said));
        overlay.put(Known::Forwarded, &behind(said, &origin.element));
    }
}

/// Notes for whom a balancer has passed a request on, behind whom the request itself names.
pub(crate) fn passed_on(head: &mut RequestHead, address: IpAddr) {
    let chain = behind(head.fields.each(Known::XForwardedFor), &address.to_string());
    head.fields.put(Known::XForwardedFor, &chain);
}

/// A list of what callers said, with a last member behind it.
fn behind<'s>(said: impl Iterator<Item = &'s [u8]>, last: &'s str) -> Vec<u8> {
    said.filter(|said| !said.is_empty()).chain([last.as_bytes()]).collect::<Vec<_>>().join(&b", "[..])
}

/// Whether a value is a list of elements as `forwarded` has them (RFC 7239, section 4): pairs of a name and a token or a quoted text. Space
/// around pairs passes, and so do the characters of addresses outside of quotes, because many write `for=192.0.2.1:80`.
fn is_forwarded(value: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |byte: &u8| {
        match byte {
            _ if is_escaped => {
                is_escaped = false;
                return false;
            }
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b',' | b';' => return !is_quoted,
            _ => {}
        }
        false
    };
    let parts = value.split(is_separator).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let pairs: Vec<&[u8]> = parts.collect();
    !is_quoted && !pairs.is_empty() && pairs.into_iter().all(is_pair)
}

/// Whether it is a name, `=` and a value; quotes are paired.
fn is_pair(pair: &[u8]) -> bool {
    let Some(at) = pair.iter().position(|byte| *byte == b'=') else { return false };
    let (name, value) = (&pair[..at], &pair[at + 1..]);
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\".contains(byte);
    is_name
        && match value {
            [b'"', inner @ .., b'"'] => is_quotable(inner),
            _ => !value.is_empty() && value.iter().all(is_plain),
        }
}

/// Whether it may stand between two quotes (RFC 9110, section 5.6.4).
fn is_quotable(inner: &[u8]) -> bool {
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let text = if *byte == b'\\' { bytes.next() } else { Some(byte).filter(|byte| **byte != b'"') };
        if text.is_none_or(u8::is_ascii_control) {
            return false;
        }
    }
    true
}

/// A request for WebSocket over HTTP/2 (RFC 8441) as HTTP/1.1 asks for it (RFC 6455, section 4.1). Its key proves nothing here: both ends
/// of the hop are known. It stands in the place of any that the caller sent, which means nothing in HTTP/2.
pub(crate) fn as_http1(overlay: &mut Overlay, head: &RequestHead, mut random: impl FnMut() -> u64) {
    if head.protocol.is_none() {
        return;
    }
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&random().to_be_bytes());
    nonce[8..].copy_from_slice(&random().to_be_bytes());
    let key = base64::engine::general_purpose::STANDARD.encode(nonce);
    overlay.put(Known::SecWebsocketKey, key.as_bytes());
}

/// An answer of 101 as a caller of HTTP/2 reads it.
pub(crate) fn as_http2_switch(fields: &mut Fields) -> u16 {
    fields.take_out(Known::Upgrade);
    fields.remove("sec-websocket-accept");
    200
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sec-websocket-key";

    /// What reaches the application of a request with these fields.
    fn sent(fields: &[(&str, &str)], change: impl FnOnce(&mut Overlay, &RequestHead)) -> Fields {
        let mut head = RequestHead { protocol: Some("websocket".into()), ..RequestHead::default() };
        fields.iter().for_each(|(name, value)| head.fields.push(name.as_bytes(), value.as_bytes()));
        let mut overlay = Overlay::default();
        change(&mut overlay, &head);
        overlay.applied(&head).fields
    }

    fn values(fields: &Fields, name: &str) -> Vec<String> {
        fields.all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn introduced(who: &Introduced, fields: &[(&str, &str)]) -> [Vec<String>; 2] {
        let sent = sent(fields, |overlay, head| introduce(overlay, head, who));
        [values(&sent, "x-forwarded-for"), values(&sent, "forwarded")]
    }

    fn elsewhere(address: &str) -> Introduced {
        Introduced::new("spiffe://bank/svc/orders", "00", "spiffe://bank/svc/web", address.parse().ok())
    }

    fn here() -> Introduced {
        Introduced::here(&"spiffe://bank/svc/web".parse().unwrap())
    }

    #[test]
    fn the_last_address_is_the_word_of_the_mesh_wherever_the_caller_is() {
        let claims = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "7.7.7.7")];
        for (who, address, node) in [
            (elsewhere("10.0.0.7"), "10.0.0.7", "10.0.0.7"),
            (elsewhere("fd00::7"), "fd00::7", "\"[fd00::7]\""),
            (here(), "127.0.0.1", "127.0.0.1"),
        ] {
            let [addresses, nodes] = introduced(&who, &claims);
            assert_eq!(addresses, [format!("6.6.6.6, 7.7.7.7, {address}")]);
            assert_eq!(nodes, [format!("for=6.6.6.6, for={node}")]);
            assert_eq!(introduced(&who, &[]), [vec![address.to_owned()], vec![]]);
        }
        let unseen = introduced(&elsewhere("unknown"), &claims);
        assert_eq!(unseen, [const { Vec::<String>::new() }; 2], "nobody's word is taken for that of the mesh");
    }

    #[test]
    fn what_callers_say_swallows_no_word_of_the_mesh() {
        for (said, kept) in [
            ("for=6.6.6.6;by=\"x", ""),
            ("for=\"6.6.6.6\\", ""),
            ("for=\"6.6.6.6\\\"", ""),
            ("for=6.6.6.6 by=x", ""),
            ("for=a\"b", ""),
            ("for=\"a\"b", ""),
            ("for", ""),
            ("for=", ""),
            ("=a", ""),
            ("a b=c", ""),
            ("for=\"a\u{7f}\"", ""),
            ("", ""),
            (" , ;", ""),
            ("for=6.6.6.6;by=\"x\"", "for=6.6.6.6;by=\"x\", "),
            (
                "For=\"[2001:db8::17]:4711\" ; proto=http , for=_a",
                "For=\"[2001:db8::17]:4711\" ; proto=http , for=_a, ",
            ),
            ("for=192.0.2.1:80, for=unknown", "for=192.0.2.1:80, for=unknown, "),
            ("for=\"a\\\"b, c\"", "for=\"a\\\"b, c\", "),
            (", for=a;", ", for=a;, "),
        ] {
            let [_, nodes] = introduced(&here(), &[("forwarded", said)]);
            assert_eq!(nodes, [format!("{kept}for=127.0.0.1")], "{said}");
        }
        let [_, nodes] = introduced(&here(), &[("forwarded", "for=\"a"), ("forwarded", "for=b"), ("forwarded", "\"")]);
        assert_eq!(nodes, ["for=b, for=127.0.0.1"], "of several the sound ones stay");
    }

    #[test]
    fn a_request_for_a_websocket_has_one_key() {
        let sent = sent(&[(KEY, "mine"), (KEY, "and mine")], |overlay, head| as_http1(overlay, head, || 7));
        assert_eq!(values(&sent, KEY), ["AAAAAAAAAAcAAAAAAAAABw=="]);
    }
}
