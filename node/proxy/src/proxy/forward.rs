//! The phase forward: the answer's head to the caller, then both bodies until the answer is over. Truncation stays truncation: an answer
//! that breaks off is never ended as if it were whole.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::Code;

use super::exchange::Exchange;
use super::lease::Lease;
use super::message;
use super::stillness::{Over, Stillness};
use crate::head::ResponseHead;
use crate::http1::{Hangup, Persistence};
use crate::problem::{Delivery, Refusal};
use crate::pump::{Flow, Stop};
use crate::side::{Broken, Side, reset};
use crate::vigil::{Cut, Footing};

/// How long an answer may stand still, in either direction of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// No byte of the answer came or went.
    pub(crate) silence: Option<Duration>,
    /// The whole exchange.
    pub(crate) total: Option<Instant>,
}

/// How a transfer ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Whole.
    Whole,
    /// The caller went away, or stopped reading.
    Caller,
    /// The service's side broke off.
    Service(Broken),
    /// It stood still too long, or its time was over.
    Late,
    /// Documents or trust changed, or the listener closed.
    Cut(Cut),
}

impl From<Over> for End {
    fn from(over: Over) -> Self {
        match over {
            Over::Cut(Cut::Due) => Self::Late,
            Over::Cut(cut) => Self::Cut(cut),
            Over::CallerGone => Self::Caller,
            Over::ServiceGone => Self::Service(Broken::Io(std::io::ErrorKind::ConnectionReset.into())),
        }
    }
}

/// Sends an answer on, head and body. The lease is given back, or ended. What broke off before its caller had any of it is refused, so that
/// the caller is told.
pub(crate) async fn answer(
    exchange: &mut Exchange<'_>,
    mut lease: Lease,
    footing: &Footing<'_>,
    head: &ResponseHead,
    persistence: Persistence,
) -> Result<(), Refusal> {
    exchange.record.status = head.status;
    exchange.watch.rests_since(exchange.heard);
    exchange.upload.settle();
    let worker = std::sync::Arc::clone(exchange.record.worker());
    let patience = Patience { silence: worker.settings().answer_timeout, total: exchange.total };
    let mut download = Flow::default();
    let end = match exchange.side.send_response(head, persistence) {
        Ok(()) => transfer(exchange, &mut lease, &mut download, footing, patience).await,
        Err(_) => End::Caller,
    };
    exchange.record.sent = download.bytes;
    exchange.record.received = exchange.upload.bytes;
    match end {
        End::Whole => {
            exchange.record.complete();
            if download.trailers().is_some_and(message::failed_at_its_end) {
                lease.broke();
            }
            if exchange.upload.is_ended() {
                lease.release(&worker, worker.noted());
            }
        }
        End::Caller => exchange.side.cut(reset::CANCEL),
        End::Service(broken) => {
            lease.broke();
            if exchange.side.retract_response() {
                exchange.record.sent = 0;
                return Err(unsent(&broken));
            }
            exchange.side.cut(code_of(&broken));
            exchange.record.broken(fault_of(&broken));
        }
        End::Late => {
            exchange.side.cut(reset::CANCEL);
            exchange.record.broken(Code::RequestTimeout);
        }
        End::Cut(cut) => {
            exchange.side.cut(reset::CANCEL);
            closed(exchange, cut);
        }
    }
    Ok(())
}

/// Notes that something open was ended from here.
pub(crate) fn closed(exchange: &mut Exchange<'_>, cut: Cut) {
    match cut {
        Cut::Due => exchange.record.broken(Code::RequestTimeout),
        Cut::Closed => exchange.record.broken(Code::UpstreamReset),
        Cut::Refused(refusal) => {
            if let Some(world) = exchange.record.worker().world() {
                let id = exchange.record.refused(&refusal, &world.load(), None, None);
                tracing::info!(code = %refusal.code, id, why = refusal.why, "open stream closed");
            }
            exchange.record.broken(refusal.code);
        }
    }
}

/// What a service's side did that broke off within its answer.
fn fault_of(broken: &Broken) -> Code {
    if matches!(broken, Broken::Malformed(_)) { Code::AnswerMalformed } else { Code::UpstreamReset }
}

/// The answer in the place of one that broke off before its caller had any of it.
fn unsent(broken: &Broken) -> Refusal {
    let why = match broken {
        Broken::Malformed(malformed) => format!("its answer is not HTTP: {}", malformed.why),
        _ => "its answer broke off before any of it went on".to_owned(),
    };
    Refusal::new(fault_of(broken), why).delivered(Delivery::Possible)
}

/// The code by which a caller of HTTP/2 learns why its stream ended.
fn code_of(broken: &Broken) -> u32 {
    match broken {
        Broken::Reset(code) => *code,
        Broken::Refused | Broken::Unread => reset::REFUSED_STREAM,
        _ => reset::INTERNAL_ERROR,
    }
}

/// Sends what came just before the other side broke, if it can go at once.
fn last_words(cx: &mut Context<'_>, side: &mut Side) {
    let _flushed = side.poll_flush(cx);
}

/// Moves both bodies until the answer is over.
async fn transfer(
    exchange: &mut Exchange<'_>,
    lease: &mut Lease,
    download: &mut Flow,
    footing: &Footing<'_>,
    patience: Patience,
) -> End {
    let mut stillness = Stillness::default();
    let mut takes_upload = !exchange.upload.is_ended();
    let mut is_half_closed = exchange.is_given_up;
    let worker = std::sync::Arc::clone(exchange.record.worker());
    let end = std::future::poll_fn(|cx| {
        if takes_upload && let Some(end) = upload(cx, exchange, lease, &mut takes_upload) {
            return Poll::Ready(end);
        }
        match download.poll(cx, &mut lease.side, exchange.side) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Whole),
            Poll::Ready(Err(Stop::From(broken))) => {
                if !exchange.side.is_untouched() {
                    last_words(cx, exchange.side);
                }
                return Poll::Ready(End::Service(broken));
            }
            Poll::Ready(Err(Stop::To(_))) => return Poll::Ready(End::Caller),
            Poll::Pending => {}
        }
        if !is_half_closed {
            match exchange.side.poll_gone(cx) {
                Poll::Ready(Hangup::Ended) if exchange.allows_half_close() => is_half_closed = true,
                Poll::Ready(_) => return Poll::Ready(End::Caller),
                Poll::Pending => {}
            }
        }
        let has_moved = download.take_moved() | exchange.upload.take_moved();
        if has_moved || stillness.is_new() {
            let now = worker.noted();
            let silent = patience.silence.map(|span| now + span);
            stillness.moved(exchange.watch, now, [silent, patience.total].into_iter().flatten().min());
        }
        stillness.poll(cx, exchange.watch, footing, [exchange.side, &lease.side]).map(End::from)
    })
    .await;
    stillness.over(&lease.side);
    stillness.over(exchange.side);
    end
}

/// Moves what is left of the request's body. A service that takes no more of it has answered, and is let.
fn upload(
    cx: &mut Context<'_>,
    exchange: &mut Exchange<'_>,
    lease: &mut Lease,
    takes_upload: &mut bool,
) -> Option<End> {
    match exchange.upload.poll(cx, exchange.side, &mut lease.side) {
        Poll::Pending => None,
        Poll::Ready(Ok(()) | Err(Stop::To(_))) => {
            *takes_upload = false;
            None
        }
        Poll::Ready(Err(Stop::From(_))) => Some(End::Caller),
    }
}

/// Carries bytes both ways until both directions ended: a tunnel, or a stream of TCP. A side that ends its sending is ended on the other; a
/// side that is reset resets the other.
pub(crate) async fn tunnel(
    exchange: &mut Exchange<'_>,
    mut lease: Lease,
    footing: &Footing<'_>,
    idle: Option<Duration>,
) {
    exchange.watch.rests_since(exchange.heard);
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let mut stillness = Stillness::default();
    let end = std::future::poll_fn(|cx| {
        let mut is_over = true;
        if !up.is_ended() {
            match up.poll(cx, exchange.side, &mut lease.side) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Stop::From(_))) => {
                    last_words(cx, &mut lease.side);
                    return Poll::Ready(End::Caller);
                }
                Poll::Ready(Err(Stop::To(broken))) => return Poll::Ready(End::Service(broken)),
                Poll::Pending => is_over = false,
            }
        }
        if !down.is_ended() {
            match down.poll(cx, &mut lease.side, exchange.side) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Stop::From(broken))) => {
                    last_words(cx, exchange.side);
                    return Poll::Ready(End::Service(broken));
                }
                Poll::Ready(Err(Stop::To(_))) => return Poll::Ready(End::Caller),
                Poll::Pending => is_over = false,
            }
        }
        if is_over {
            return Poll::Ready(End::Whole);
        }
        // A reset of a stream comes before the bytes that nobody has taken yet.
        if matches!(exchange.side.poll_gone(cx), Poll::Ready(Hangup::Failed)) {
            return Poll::Ready(End::Caller);
        }
        if up.take_moved() | down.take_moved() || stillness.is_new() {
            let now = Instant::now();
            stillness.moved(exchange.watch, now, idle.map(|span| now + span));
        }
        stillness.poll(cx, exchange.watch, footing, [exchange.side, &lease.side]).map(End::from)
    })
    .await;
    (exchange.record.received, exchange.record.sent) = (up.bytes, down.bytes);
    if !matches!(end, End::Whole) {
        lease.side.cut(reset::CANCEL);
        // A WebSocket ends as TCP does (RFC 8441, section 5), a tunnel by CONNECT with a code of its own (RFC 9113, section 8.5).
        exchange.side.cut(if exchange.record.is_of_connect() { reset::CONNECT_ERROR } else { reset::CANCEL });
    }
    match end {
        End::Whole => exchange.record.complete(),
        End::Caller => {}
        End::Service(broken) => exchange.record.broken(fault_of(&broken)),
        End::Late => exchange.record.broken(Code::RequestTimeout),
        End::Cut(cut) => closed(exchange, cut),
    }
}
