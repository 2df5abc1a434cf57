//! One try of one request at one endpoint or replica, once its connection has the head: move the body there, and wait for the head of the
//! answer.

use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::Code;
use weft_policy::Stage;
use weft_policy::head;

use super::exchange::Exchange;
use super::lease::Lease;
use super::stillness::LOOK_EVERY;
use crate::dial;
use crate::head::ResponseHead;
use crate::http1::{Hangup, Persistence};
use crate::pump::Stop;
use crate::side::{Broken, is_interim};
use crate::vigil::{Cut, Footing};

/// How long a caller that has shut its sending side still waits: it may be gone altogether, and nothing tells.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(10);
/// Interim answers to one request that are passed on; no application sends more.
const INTERIM_MAX: usize = 16;
/// How much time a try has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// From the moment the request was flushed to the head of its answer, for this try.
    pub(crate) answer: Duration,
    /// The same over all tries, from the moment the request was first flushed.
    pub(crate) answer_by: Option<Instant>,
    /// The whole exchange.
    pub(crate) total: Option<Instant>,
    /// Longest silence of a body.
    pub(crate) upload: Duration,
}

/// How an answer is awaited.
pub(crate) struct Awaited<'t> {
    pub(crate) times: &'t Times,
    /// Told when the whole request has been flushed.
    pub(crate) asked: &'t mut (dyn FnMut() + Send),
}

/// A try that got no answer, for a reason that is not its caller's.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Code,
    pub(crate) why: String,
    pub(crate) stage: Stage,
    /// The other side has not looked at the request, by its own word (REFUSED_STREAM, GOAWAY).
    pub(crate) is_refused: bool,
    /// The connection came from the pool, so that the failure says little of the endpoint.
    pub(crate) reused: bool,
    /// The connection ended after it had taken other requests, and not this one: nobody failed.
    pub(crate) is_unread: bool,
    /// No connection to the node came to be: none of its replicas can be reached.
    pub(crate) is_of_node: bool,
}

impl Failed {
    /// On a new connection, not refused by the other side's own word, and not of all the node.
    pub(crate) fn new(code: Code, why: String, stage: Stage) -> Self {
        Self { code, why, stage, is_refused: false, reused: false, is_unread: false, is_of_node: false }
    }
}

/// Why an exchange ends without an answer of its service, for a reason that is its caller's or this node's.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The caller went away, or its connection ended: nobody waits for an answer.
    Gone,
    /// The caller broke a rule of its protocol in the body.
    Malformed(&'static str),
    /// The caller's upload stood still too long.
    Stalled,
    /// Documents or trust changed, or the listener closed.
    Cut(Cut),
}

/// What became of a try that did not bring an answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Another may.
    Failed(Failed),
    /// None may.
    Ending(Ending),
}

/// Moves the request's body to the service and waits for the head of its answer; passes interim answers on. Says when the whole request was
/// sent: only from then on the service can be late.
pub(crate) async fn answer(
    exchange: &mut Exchange<'_>,
    lease: &mut Lease,
    footing: &Footing<'_>,
    awaited: Awaited<'_>,
    response: &mut ResponseHead,
) -> Result<Instant, Unanswered> {
    let reused = lease.reused;
    let worker = Arc::clone(exchange.record.worker());
    let mut waiting = Waiting::new(awaited, worker.noted());
    loop {
        let event = waiting.event(exchange, lease, footing, response).await;
        match event {
            Event::Head if is_interim(response) => {
                waiting.interims += 1;
                if waiting.interims > INTERIM_MAX {
                    let broken = Broken::Malformed(crate::head::Malformed::new("it sends interim answers without end"));
                    return Err(Unanswered::Failed(failed(&broken, Stage::Answered, false)));
                }
                head::strip_answer(&mut response.fields, super::message::sender_of(lease.is_application()));
                response.fields.take_out(weft_policy::fields::Known::WeftRevision);
                // A caller that cannot be told is found out about when it is answered.
                waiting.tells = exchange.side.send_response(response, Persistence::Keep).is_ok();
            }
            Event::Head => {
                waiting.over(lease);
                return Ok(waiting.flushed_at.unwrap_or(waiting.moved_at));
            }
            Event::Service(broken) => {
                let is_untouched = waiting.flushed_at.is_none() && exchange.upload.is_unsent() && waiting.is_unwritten;
                let stage = if is_untouched { Stage::Unsent } else { Stage::Sent };
                return Err(Unanswered::Failed(failed(&broken, stage, reused)));
            }
            Event::Late => return Err(Unanswered::Failed(late(&waiting))),
            Event::Ending(ending) => return Err(Unanswered::Ending(ending)),
        }
    }
}

/// What a wait for an answer came to.
enum Event {
    Head,
    Service(Broken),
    Late,
    Ending(Ending),
}

/// A wait for the head of an answer.
struct Waiting<'t> {
    times: &'t Times,
    /// Told when the whole request has been flushed.
    asked: &'t mut (dyn FnMut() + Send),
    /// When the last byte of the body moved, or the wait began.
    moved_at: Instant,
    /// When the whole request had been flushed.
    flushed_at: Option<Instant>,
    /// The service takes no more of the body: an answer may wait there all the same.
    stopped: Option<Broken>,
    is_unwritten: bool,
    /// When the caller shut its sending side.
    half_closed_at: Option<Instant>,
    interims: usize,
    /// An interim answer is on its way to the caller.
    tells: bool,
    /// When the service's socket is looked at next.
    look_at: Instant,
    has_looked: bool,
}

impl<'t> Waiting<'t> {
    fn new(Awaited { times, asked }: Awaited<'t>, now: Instant) -> Self {
        Self {
            times,
            asked,
            moved_at: now,
            flushed_at: None,
            stopped: None,
            is_unwritten: false,
            half_closed_at: None,
            interims: 0,
            tells: false,
            look_at: now + LOOK_EVERY,
            has_looked: false,
        }
    }

    /// Looks at the service's socket when it is time for that, and nothing else is due: it may have no room for the body. Whether it did.
    fn looks(&mut self, lease: &Lease) -> bool {
        let now = Instant::now();
        if self.look_at > now || self.due() <= now {
            return false;
        }
        lease.side.mind_window();
        (self.look_at, self.has_looked) = (now + LOOK_EVERY, true);
        true
    }

    /// The wait is over: what the connection is used for next has the usual time again.
    fn over(&self, lease: &Lease) {
        if self.has_looked {
            lease.side.mind_window();
        }
    }

    /// When the wait is over.
    fn due(&self) -> Instant {
        let mut due = match self.flushed_at {
            Some(at) => at + self.times.answer,
            None => self.moved_at + self.times.upload,
        };
        if let Some(by) = self.times.answer_by {
            due = due.min(by);
        }
        if let Some(at) = self.half_closed_at {
            due = due.min(at + HALF_CLOSED_MAX);
        }
        self.times.total.map_or(due, |total| due.min(total))
    }

    async fn event(
        &mut self,
        exchange: &mut Exchange<'_>,
        lease: &mut Lease,
        footing: &Footing<'_>,
        response: &mut ResponseHead,
    ) -> Event {
        std::future::poll_fn(|cx| {
            // An interim answer is for now: the caller may wait for it.
            if self.tells && exchange.side.poll_flush(cx).is_ready() {
                self.tells = false;
            }
            if let Some(event) = self.upload(cx, exchange, lease) {
                return Poll::Ready(event);
            }
            match lease.side.poll_response(cx, response) {
                Poll::Ready(Ok(())) => return Poll::Ready(Event::Head),
                Poll::Ready(Err(broken)) => return Poll::Ready(Event::Service(self.stopped.take().unwrap_or(broken))),
                Poll::Pending => {}
            }
            if let Some(event) = self.caller(cx, exchange) {
                return Poll::Ready(event);
            }
            self.poll_cut(cx, exchange, lease, footing)
        })
        .await
    }

    fn poll_cut(
        &mut self,
        cx: &mut std::task::Context<'_>,
        exchange: &mut Exchange<'_>,
        lease: &Lease,
        footing: &Footing<'_>,
    ) -> Poll<Event> {
        loop {
            exchange.watch.due_at(Some(self.due().min(self.look_at)));
            let cut = ready!(exchange.watch.poll_cut(cx, footing));
            if !(matches!(cut, Cut::Due) && self.looks(lease)) {
                return Poll::Ready(self.ended(cut, exchange));
            }
            if exchange.side.is_dead() {
                return Poll::Ready(Event::Ending(Ending::Gone));
            }
        }
    }

    /// What ended it from outside.
    fn ended(&self, cut: Cut, exchange: &Exchange<'_>) -> Event {
        match cut {
            Cut::Due if self.half_closed_at.is_some() && self.is_caller_the_reason() => Event::Ending(Ending::Gone),
            Cut::Due if self.flushed_at.is_none() && self.is_upload_the_reason(exchange) => {
                Event::Ending(Ending::Stalled)
            }
            Cut::Due => Event::Late,
            cut => Event::Ending(Ending::Cut(cut)),
        }
    }

    /// Moves the body on.
    fn upload(
        &mut self,
        cx: &mut std::task::Context<'_>,
        exchange: &mut Exchange<'_>,
        lease: &mut Lease,
    ) -> Option<Event> {
        if self.flushed_at.is_some() || self.stopped.is_some() {
            return None;
        }
        let moved = exchange.upload.poll(cx, exchange.side, &mut lease.side);
        if exchange.upload.take_moved() {
            self.moved_at = exchange.record.worker().noted();
        }
        match moved {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                (self.asked)();
                self.flushed_at = Some(exchange.record.worker().noted());
            }
            Poll::Ready(Err(Stop::To(broken))) => {
                self.is_unwritten = exchange.upload.is_unsent() && lease.side.is_untouched();
                self.stopped = Some(broken);
            }
            Poll::Ready(Err(Stop::From(broken))) => {
                return Some(Event::Ending(match broken {
                    Broken::Malformed(malformed) => Ending::Malformed(malformed.why),
                    _ => Ending::Gone,
                }));
            }
        }
        None
    }

    /// Notices that the caller went away.
    fn caller(&mut self, cx: &mut std::task::Context<'_>, exchange: &mut Exchange<'_>) -> Option<Event> {
        if self.half_closed_at.is_some() {
            return None;
        }
        match exchange.side.poll_gone(cx) {
            Poll::Pending => None,
            Poll::Ready(Hangup::Ended) if exchange.allows_half_close() => {
                self.half_closed_at = Some(exchange.record.worker().noted());
                exchange.is_given_up = true;
                None
            }
            Poll::Ready(_) => Some(Event::Ending(Ending::Gone)),
        }
    }

    fn is_caller_the_reason(&self) -> bool {
        self.half_closed_at.is_some_and(|at| at + HALF_CLOSED_MAX <= Instant::now())
    }

    fn is_upload_the_reason(&self, exchange: &Exchange<'_>) -> bool {
        let is_in_time = self.times.total.is_none_or(|total| total > exchange.record.worker().noted());
        is_in_time && exchange.upload.waits_for_its_source()
    }
}

fn late(waiting: &Waiting<'_>) -> Failed {
    let why = match waiting.flushed_at {
        _ if waiting.times.total.is_some_and(|total| total <= Instant::now()) => {
            "the total timeout was over before an answer began".to_owned()
        }
        Some(_) => format!("no answer began within {:?} after the request was sent", waiting.times.answer),
        None => "the request could not be sent on: nothing was taken for too long".to_owned(),
    };
    Failed::new(Code::RequestTimeout, why, Stage::Sent)
}

/// The failure of a service's side before an answer.
pub(super) fn failed(broken: &Broken, stage: Stage, reused: bool) -> Failed {
    let (code, why, is_refused) = match broken {
        Broken::Malformed(malformed) => {
            (Code::AnswerMalformed, format!("its answer is not HTTP: {}", malformed.why), false)
        }
        Broken::Truncated => (Code::UpstreamReset, "the connection ended before an answer began".to_owned(), false),
        Broken::Overrun => (Code::Internal, "the request's body does not fit its own length".to_owned(), false),
        Broken::Reset(code) => (Code::UpstreamReset, format!("the stream was reset with code {code}"), false),
        Broken::Refused => {
            (Code::UpstreamReset, "the other side refused the stream before it looked at it".to_owned(), true)
        }
        Broken::Unread => {
            (Code::UpstreamReset, "the connection ended before the other side looked at the stream".to_owned(), true)
        }
        Broken::Io(error) => {
            let code = dial::code_of(error).unwrap_or(Code::UpstreamReset);
            (code, format!("the connection broke before an answer: {error}"), false)
        }
    };
    let stage = if is_refused { Stage::Unsent } else { stage };
    // Only a connection that ended without a word of this request can have been dead, or about to go, before.
    let reused = reused && matches!(broken, Broken::Truncated | Broken::Io(_) | Broken::Refused);
    let is_unread = matches!(broken, Broken::Unread);
    Failed { is_refused, reused, is_unread, ..Failed::new(code, why, stage) }
}
