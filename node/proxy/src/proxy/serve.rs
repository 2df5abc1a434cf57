//! What a caller is given: the service's answer, or a tunnel.

use weft_policy::fields::Known;
use weft_policy::head::{self, Sender};

use super::exchange::Exchange;
use super::forward::{self, tunnel};
use super::lease::Lease;
use super::{judged, local};
use crate::head::{HttpVersion, RequestHead, ResponseHead};
use crate::http1::Persistence;
use crate::memory::Step;
use crate::problem::Refusal;
use crate::side::Side;
use crate::stock::Recycled;
use crate::vigil::Footing;

/// What is given to a caller.
pub(super) enum Served<'s> {
    /// The service's answer.
    Answer(Lease, Recycled<ResponseHead>, Footing<'s>),
    /// A tunnel to a stream that is open.
    Tunnel(Lease, Footing<'s>),
}

/// What of an answer's head travels on.
pub(super) fn travel_back(
    exchange: &mut Exchange<'_>,
    response: &mut ResponseHead,
    sender: Sender,
    other: judged::Other,
) {
    // What was switched to, or what a caller has to ask for (RFC 9110, section 15.5.22). HTTP/2 has no such field.
    let names_protocol = match response.status {
        101 => true,
        426 => matches!(&*exchange.side, Side::Http1(_)),
        _ => false,
    };
    let upgrade = names_protocol.then(|| response.fields.first(Known::Upgrade).map(<[u8]>::to_vec)).flatten();
    head::strip_answer(&mut response.fields, sender);
    if let Some(upgrade) = upgrade {
        response.fields.add(Known::Upgrade, &upgrade);
    }
    exchange.record.judged.tell(&mut response.fields, other);
}

/// Whether the connection ends with the answer: while it drains, and an application's when memory runs short. That of another node
/// stays, because another handshake would cost more than it holds.
fn closes(exchange: &Exchange<'_>) -> bool {
    let is_short = || exchange.record.worker().memory().step() > Step::Free;
    exchange.watch.is_draining() || (exchange.sender == Sender::Application && is_short())
}

/// Gives the caller what it gets; a refusal where it got nothing.
pub(super) async fn serve(exchange: &mut Exchange<'_>, served: Served<'_>, head: &RequestHead) -> Result<(), Refusal> {
    let closing = closes(exchange) && head.version != HttpVersion::Http2;
    let persistence = if closing { Persistence::Close } else { Persistence::Keep };
    match served {
        Served::Answer(lease, response, footing) if response.status == 101 => {
            Box::pin(switch(exchange, lease, response, &footing)).await;
        }
        Served::Answer(lease, response, footing) => {
            return forward::answer(exchange, lease, &footing, &response, persistence).await;
        }
        Served::Tunnel(lease, footing) => {
            let mut answer = Recycled::<ResponseHead>::default();
            answer.status = 200;
            Box::pin(switch(exchange, lease, answer, &footing)).await;
        }
    }
    Ok(())
}

/// The connection becomes a tunnel, with the answer that says so. A tunnel lasts as long as its two ends want it.
async fn switch(
    exchange: &mut Exchange<'_>,
    mut lease: Lease,
    mut answer: Recycled<ResponseHead>,
    footing: &Footing<'_>,
) {
    exchange.record.status = answer.status;
    if let (Side::Http2(_), 101) = (&*exchange.side, answer.status) {
        answer.status = local::as_http2_switch(&mut answer.fields);
    }
    answer.length = crate::head::Length::Unknown;
    if exchange.side.send_switch(&answer).is_err() {
        return;
    }
    exchange.side.becomes_tunnel();
    lease.side.becomes_tunnel();
    let idle = exchange.record.worker().settings().stream_timeout;
    tunnel(exchange, lease, footing, idle).await;
}
