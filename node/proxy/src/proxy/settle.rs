//! What of a request's head is settled before anything is decided, and what of it goes on.

use std::sync::Arc;

use http::Method;
use weft_identity::Code;
use weft_policy::fields::Known;
use weft_policy::grpc;
use weft_policy::head::{self, Upgrade};

use super::Matched;
use super::connect::Wire;
use super::exchange::Exchange;
use crate::head::{HttpVersion, RequestHead};
use crate::problem::Refusal;
use crate::pump::Flow;
use crate::side::Side;
use crate::trace;

/// What of a head is settled before anything is decided: hop-by-hop fields and claims are gone, a trace is there. Returns whether another
/// protocol is asked for.
pub(super) fn settled(exchange: &mut Exchange<'_>, head: &mut RequestHead) -> Result<Upgrade, Refusal> {
    let malformed = |why: &str| Refusal::new(Code::RequestMalformed, why);
    if head::is_known_in_another_case(&head.method) {
        return Err(malformed("the method is a known one in other letters: methods are told apart by case"));
    }
    // HTTP/1.0 has no upgrade (RFC 9110, section 7.8).
    let has_option = head.version != HttpVersion::Http10
        && matches!(&*exchange.side, Side::Http1(connection) if connection.asks_for_upgrade());
    let mut upgrade = head::strip_request(&mut head.fields, exchange.sender, has_option);
    if head.method == Method::CONNECT && head.protocol.is_some() {
        upgrade = head.ask_as_http1().map_err(malformed)?;
        // What follows is not of the request: it waits for the switch.
        exchange.upload = Flow::of_nothing();
    }
    let worker = Arc::clone(exchange.record.worker());
    let trace = trace::carry(&mut head.fields, || worker.random());
    exchange.record.asked(head, trace);
    let timeout = head.fields.first(Known::GrpcTimeout).and_then(|text| std::str::from_utf8(text).ok());
    if let Some(span) = timeout.and_then(grpc::parse_timeout) {
        exchange.caller_waits(span);
    }
    Ok(upgrade)
}

/// Whether a wish for another protocol goes on over this version. HTTP/2 has no 101 (RFC 9113, section 8.6): a request goes on without its
/// wish, unless it is nothing but the wish.
pub(crate) fn carried_by(wire: Wire, upgrade: Upgrade, head: &RequestHead) -> Result<Upgrade, Refusal> {
    match (wire, &head.protocol) {
        (Wire::Http1, _) => Ok(upgrade),
        (Wire::Http2, None) => Ok(Upgrade::None),
        (Wire::Http2, Some(protocol)) => {
            Err(Refusal::new(Code::ProtocolMismatch, format!("{protocol} is not carried to services of HTTP/2")))
        }
    }
}

/// A call that comes by this node a second time on its way to one service goes round and round (RFC 9110, section 7.6.3).
pub(super) fn goes_round_once(matched: &Matched<'_>, head: &mut RequestHead) -> Result<(), Refusal> {
    let own = &matched.state.via;
    let is_own = |member: &[u8]| member == own.as_bytes();
    if head.fields.each(Known::Via).flat_map(weft_policy::fields::members).any(is_own) {
        let (node, service) = (&matched.state.node, &matched.table.service);
        let why = format!("it came by node {node} before, on its way to {service}: does an application send it back?");
        return Err(Refusal::new(Code::CallLoops, why));
    }
    head.fields.add(Known::Via, own.as_bytes());
    Ok(())
}
