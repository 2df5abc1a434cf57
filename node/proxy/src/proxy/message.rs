//! Answers of our own: refusals and failures with their code, and what a route answers itself.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use weft_identity::Code;
use weft_identity::SpiffeId;
use weft_policy::fields::{Fields, Known};
use weft_policy::grpc;
use weft_policy::head::Sender;
use weft_policy::outcome::Outcome;
use weft_world::World;

use super::exchange::Exchange;
use super::judged::Other;
use super::record::Record;
use crate::head::{HttpVersion, Length, RequestHead, ResponseHead};
use crate::http1::{Hangup, Persistence};
use crate::metrics::Direction;
use crate::problem::{self, Delivery, Refusal};
use crate::server::Serve;
use crate::side::{Side, reset};
use crate::vigil::{Footing, Watch};

/// How long a caller may take to read an answer of our own.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// An answer of our own.
pub(crate) struct Own {
    pub(crate) head: ResponseHead,
    pub(crate) body: Bytes,
}

impl Own {
    /// With a status and nothing else.
    pub(crate) fn empty(status: u16) -> Self {
        Self { head: ResponseHead { status, ..ResponseHead::default() }, body: Bytes::new() }
    }
}

/// Whether a request is a call of gRPC: its errors travel as `grpc-status`.
pub(crate) fn is_grpc(head: &RequestHead) -> bool {
    let kind = head.fields.first(Known::ContentType).unwrap_or_default();
    head.version == HttpVersion::Http2 && kind.starts_with(b"application/grpc")
}

/// Answers with a refusal and keeps it.
pub(crate) async fn refuse(
    exchange: &mut Exchange<'_>,
    refusal: &Refusal,
    world: &World,
    caller: Option<&SpiffeId>,
    head: &RequestHead,
) {
    let id = exchange.record.failed_by(refusal, world, caller, Some(head));
    let direction = exchange.record.direction();
    let mut own = reply(refusal, world, direction, &id, head);
    exchange.record.judged.tell(&mut own.head.fields, Other::None);
    send_own(exchange, own, head, persistence_after(refusal)).await;
}

/// Answers with something of our own that is no refusal.
pub(crate) async fn answer_own(exchange: &mut Exchange<'_>, mut own: Own, head: &RequestHead) {
    exchange.record.status = own.head.status;
    exchange.record.judged.tell(&mut own.head.fields, Other::None);
    send_own(exchange, own, head, Persistence::Keep).await;
}

async fn send_own(exchange: &mut Exchange<'_>, own: Own, head: &RequestHead, wanted: Persistence) {
    let persistence = if exchange.watch.is_draining() { Persistence::Close } else { wanted };
    let sent = send(exchange.side, exchange.watch, own, &head.method, persistence).await;
    exchange.record.received = exchange.upload.bytes;
    if let Some(sent) = sent {
        exchange.record.sent = sent as u64;
        exchange.record.complete();
    }
}

/// Sends an answer of our own to a request of this method; how many bytes of it went, if all did.
async fn send(side: &mut Side, watch: &mut Watch, own: Own, asked: &Method, persistence: Persistence) -> Option<usize> {
    let Own { mut head, body } = own;
    if !head.fields.has(Known::Date) {
        head.fields.add(Known::Date, problem::date(watch.wall()).as_bytes());
    }
    let len = body.len() as u64;
    (head.length, head.stated) = match len {
        0 => (Length::None, None),
        _ if *asked == Method::HEAD => (Length::None, Some(len)),
        _ => (Length::Exact(len), None),
    };
    let body = if *asked == Method::HEAD { Bytes::new() } else { body };
    side.send_response(&head, persistence).ok()?;
    let mut at = 0;
    let due = tokio::time::Instant::now() + REPLY_MAX;
    let footing = Footing::default();
    let sent = watch.until(Some(due), &footing, |cx| {
        if matches!(side.poll_gone(cx), Poll::Ready(Hangup::Failed)) {
            return Poll::Ready(None);
        }
        while at < body.len() {
            match side.poll_send(cx, &body[at..]) {
                Poll::Ready(Ok(count)) => at += count,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        side.poll_end(cx, None).map(|ended| ended.ok())
    });
    match sent.await {
        Ok(Some(())) => Some(body.len()),
        _ => {
            side.cut(reset::CANCEL);
            None
        }
    }
}

/// Answers a message that is no request, or one that this node has no place for.
pub(crate) async fn turn_away<S: Serve>(
    entry: &S,
    (side, watch): (&mut Side, &mut Watch),
    (head, refusal): (&RequestHead, &Refusal),
) {
    let (worker, world) = (entry.worker(), entry.world().load());
    let caller = entry.caller(&world);
    let mut record = Record::of_none(worker, S::DIRECTION);
    if let Some(caller) = caller {
        record.counted_by(worker.states.meter_nowhere(S::DIRECTION, caller));
    }
    record.asked_in_vain(head);
    let id = record.failed_by(refusal, &world, caller, Some(head).filter(|head| !head.path.is_empty()));
    let own = reply(refusal, &world, S::DIRECTION, &id, head);
    if let Some(sent) = send(side, watch, own, &head.method, persistence_after(refusal)).await {
        record.sent = sent as u64;
        record.complete();
    }
}

/// After a message that breaks the rules nobody knows where the next begins.
fn persistence_after(refusal: &Refusal) -> Persistence {
    match refusal.code {
        Code::RequestMalformed | Code::HeadTooLarge | Code::CallerTooSlow => Persistence::Close,
        _ => Persistence::Keep,
    }
}

fn reply(refusal: &Refusal, world: &World, direction: Direction, id: &str, asked: &RequestHead) -> Own {
    let place = format!("node {}, {}", world.facts.node, direction.as_str());
    let mut own = problem::reply(refusal, &place, id);
    if direction == Direction::Inbound && refusal.delivery == Delivery::None && is_elsewhere(refusal.code) {
        own.head.fields.add(Known::WeftUndelivered, refusal.code.as_str().as_bytes());
        // Another node reads it, and answers its own caller.
        return own;
    }
    if is_grpc(asked) {
        own = as_grpc(own, refusal);
    }
    own
}

/// A refusal as a call of gRPC reads it: only trailers, in the place of the head.
fn as_grpc(own: Own, refusal: &Refusal) -> Own {
    let mut fields = Fields::new();
    own.head
        .fields
        .iter_known()
        .filter(|(known, ..)| *known != Known::ContentType)
        .for_each(|(_, name, value)| fields.push(name, value));
    fields.add(Known::ContentType, b"application/grpc");
    fields.add(Known::GrpcStatus, (grpc::Status::of(refusal.code) as u8).to_string().as_bytes());
    fields.push(b"grpc-message", &encoded(&format!("{}: {}", refusal.code, refusal.why)));
    Own { head: ResponseHead { status: 200, fields, ..ResponseHead::default() }, body: Bytes::new() }
}

/// A text as `grpc-message` carries it: everything but printable ASCII, and `%` itself, in percent-encoding.
fn encoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

/// What an answer's head says became of a try. The rest of one of gRPC may say otherwise: [`failed_at_its_end`].
pub(crate) fn outcome_of(response: &ResponseHead) -> Outcome {
    match grpc_status(&response.fields) {
        Some(status) => grpc::outcome_of(status),
        None => Outcome::of_status(response.status),
    }
}

/// Whether the trailers of an answer of gRPC say that it failed as a gateway error or worse does.
pub(crate) fn failed_at_its_end(trailers: &Fields) -> bool {
    grpc_status(trailers).is_some_and(|status| match grpc::outcome_of(status) {
        Outcome::Answered { status } => status >= 500,
        _ => true,
    })
}

fn grpc_status(fields: &Fields) -> Option<u8> {
    std::str::from_utf8(fields.first(Known::GrpcStatus)?).ok()?.parse().ok()
}

/// The code of an answer by which another node says that its application never saw the request.
pub(crate) fn undelivered_code(response: &ResponseHead) -> Option<Code> {
    // Whatever its status: to a caller of gRPC a refusal is 200 and a `grpc-status`.
    let value = response.fields.first(Known::WeftUndelivered)?;
    Code::find(std::str::from_utf8(value).ok()?)
}

/// Whether another node may serve what this one refused.
fn is_elsewhere(code: Code) -> bool {
    !problem::is_final(code)
        && !matches!(
            code,
            Code::RequestMalformed
                | Code::HeadTooLarge
                | Code::ProtocolMismatch
                | Code::HostMissing
                | Code::CallerTooSlow
                | Code::CallLoops
        )
}

/// Who sent an answer.
pub(crate) fn sender_of(is_application: bool) -> Sender {
    if is_application { Sender::Application } else { Sender::Node }
}
