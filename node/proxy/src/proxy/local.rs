//! What a request carries to an application: who calls, as the mesh proved it, and the form of the version that the application speaks.

use std::net::IpAddr;

use base64::Engine;
use weft_identity::SpiffeId;
use weft_policy::fields::{Fields, Known};

use crate::head::{Overlay, RequestHead};

/// Who calls, as an application is told.
#[derive(Debug, Clone)]
pub(crate) struct Introduced {
    /// The value of `x-forwarded-client-cert`, in Envoy's form.
    certificate: String,
    /// The address that the call came from, as far as this machine saw.
    address: String,
}

impl Introduced {
    /// Of a caller on another node: `by` is the service that was called, `hash` the SHA-256 of the caller's certificate in hexadecimal.
    pub(crate) fn new(by: &str, hash: &str, uri: &str, address: Option<IpAddr>) -> Self {
        let certificate = format!("By={by};Hash={hash};URI={uri}");
        Self { certificate, address: address.map(|address| address.to_string()).unwrap_or_default() }
    }

    /// Of a caller on this machine, which shows no certificate to itself.
    pub(crate) fn here(identity: &SpiffeId) -> Self {
        Self { certificate: format!("URI={identity}"), address: String::new() }
    }
}

/// Tells the application who calls. The field is the mesh's own: nothing that a caller put there is left. `x-forwarded-for` and `forwarded`
/// are the callers' word and stay; the address that this machine saw is put behind, so that the last one is always the mesh's.
pub(crate) fn introduce(overlay: &mut Overlay, head: &RequestHead, who: &Introduced) {
    overlay.put(Known::XForwardedClientCert, who.certificate.as_bytes());
    if who.address.is_empty() {
        return;
    }
    let mut chain: Vec<u8> = head.fields.each(Known::XForwardedFor).collect::<Vec<_>>().join(&b", "[..]);
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(who.address.as_bytes());
    overlay.put(Known::XForwardedFor, &chain);
    if head.fields.has(Known::Forwarded) {
        let mut chain: Vec<u8> = head.fields.each(Known::Forwarded).collect::<Vec<_>>().join(&b", "[..]);
        let node = if who.address.contains(':') { format!("\"[{}]\"", who.address) } else { who.address.clone() };
        chain.extend_from_slice(format!(", for={node}").as_bytes());
        overlay.put(Known::Forwarded, &chain);
    }
}

/// Notes for whom a balancer has passed a request on, behind whom the request itself names.
pub(crate) fn passed_on(head: &mut RequestHead, address: IpAddr) {
    let mut chain: Vec<u8> = head.fields.each(Known::XForwardedFor).collect::<Vec<_>>().join(&b", "[..]);
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(address.to_string().as_bytes());
    head.fields.put(Known::XForwardedFor, &chain);
}

/// A request for WebSocket over HTTP/2 (RFC 8441) as HTTP/1.1 asks for it (RFC 6455, section 4.1). Its key proves nothing here: both ends
/// of the hop are known.
pub(crate) fn as_http1(overlay: &mut Overlay, head: &RequestHead, mut random: impl FnMut() -> u64) {
    if head.protocol.is_none() {
        return;
    }
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&random().to_be_bytes());
    nonce[8..].copy_from_slice(&random().to_be_bytes());
    let key = base64::engine::general_purpose::STANDARD.encode(nonce);
    overlay.plus.push(b"sec-websocket-key", key.as_bytes());
}

/// An answer of 101 as a caller of HTTP/2 reads it.
pub(crate) fn as_http2_switch(fields: &mut Fields) -> u16 {
    fields.take_out(Known::Upgrade);
    fields.remove("sec-websocket-accept");
    200
}
