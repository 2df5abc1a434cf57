//! One stream, of either role: a side of an exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use weft_policy::fields::Fields;

use super::backlog::{Backlog, Chunk};
use super::client::Lease;
use super::fault::of_reset;
use super::inbox::Inbox;
use super::observed::Observed;
use super::outbox::{Outbox, Stop};
use super::request::Rest;
use super::response::{self, Asked};
use crate::head::{Length, Malformed, ResponseHead};
use crate::http1::HeadLimits;
use crate::side::{Broken, Part, reset};

/// Interim answers to one request; h2 keeps those that nobody read, and no window bounds them.
const INTERIM_MAX: u32 = 100;

/// What of a connection concerns each of its streams.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) limits: HeadLimits,
    pub(super) backlog: Arc<Backlog>,
    pub(super) observed: Arc<Observed>,
}

/// One stream. One task polls all of it. Dropped before both messages are over it is reset: with CANCEL as a client, with INTERNAL_ERROR as
/// a server that did not finish its answer, and with NO_ERROR as one that did and has not read all of the request.
pub(crate) struct Stream {
    role: Role,
    inbox: Option<Inbox>,
    outbox: Option<Outbox>,
    terms: Terms,
    /// The code it was reset with from here.
    code: Option<u32>,
    /// Who waits for a reset.
    waker: Waker,
}

enum Role {
    /// To answer with until the answer's head is sent.
    Server(Option<SendResponse<Chunk>>),
    Client(Call),
}

/// A client's request.
struct Call {
    asked: Asked,
    answer: Answer,
    interim: u32,
    is_unwanted: bool,
    _lease: Lease,
}

/// The head of the answer to a call.
enum Answer {
    Awaited(ResponseFuture),
    /// It came while the request was being sent, and was not asked for yet.
    Early(Box<Result<ResponseHead, Broken>>),
    Told,
}

impl Stream {
    /// A request that came.
    pub(super) fn accepted(respond: SendResponse<Chunk>, body: RecvStream, terms: &Terms) -> Self {
        Self {
            role: Role::Server(Some(respond)),
            inbox: Some(Inbox::new(body, terms.limits)),
            outbox: None,
            terms: terms.clone(),
            code: None,
            waker: Waker::noop().clone(),
        }
    }

    /// A request that goes out, and of whose body this much follows.
    pub(super) fn opened(
        (response, stream): (ResponseFuture, SendStream<Chunk>),
        length: Length,
        asked: Asked,
        lease: Lease,
        terms: &Terms,
    ) -> Self {
        let answer = Answer::Awaited(response);
        Self {
            role: Role::Client(Call { asked, answer, interim: 0, is_unwanted: false, _lease: lease }),
            inbox: None,
            outbox: Some(Outbox::new(stream, &terms.backlog, length)),
            terms: terms.clone(),
            code: None,
            waker: Waker::noop().clone(),
        }
    }

    /// Waits for more of the body that the peer sends.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        self.inbox.as_mut().map_or(Poll::Ready(Err(Broken::Overrun)), |inbox| inbox.poll_part(cx))
    }

    /// What is at hand of it, after [`Part::Data`].
    pub(crate) fn data(&self) -> &[u8] {
        self.inbox.as_ref().map_or(&[], Inbox::data)
    }

    /// So many bytes of it went on: the peer may send as many more.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(inbox) = &mut self.inbox {
            inbox.consume(count);
        }
    }

    /// The trailers, after [`Part::End`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        self.inbox.as_mut()?.take_trailers()
    }

    /// Takes bytes for the peer, at least one where it is ready. Small pieces wait for more, or for [`Stream::poll_flush`]. A peer that wants
    /// no more ([`Stream::is_unwanted`]) is as ready as can be, and gets nothing.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.is_unwanted() {
            return Poll::Ready(Ok(data.len()));
        }
        let Some(outbox) = &mut self.outbox else { return Poll::Ready(Err(Broken::Overrun)) };
        match ready!(outbox.poll_take(cx, data)) {
            Ok(count) => Poll::Ready(Ok(count)),
            Err(stop) => Poll::Ready(self.stopped(cx, stop).map(|()| data.len())),
        }
    }

    /// Ends the body that goes to the peer; ready when h2 has all of it. Called again after `Pending` with the same trailers.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        if self.is_unwanted() {
            return Poll::Ready(Ok(()));
        }
        let Some(outbox) = &mut self.outbox else { return Poll::Ready(Err(Broken::Overrun)) };
        match ready!(outbox.poll_end(cx, trailers)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(stop) => Poll::Ready(self.stopped(cx, stop)),
        }
    }

    /// Gives to h2 what was taken; ready when the windows had room for it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(outbox) = self.outbox.as_mut().filter(|outbox| !outbox.is_ended()) else { return Poll::Ready(Ok(())) };
        match ready!(outbox.poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(stop) => Poll::Ready(self.stopped(cx, stop)),
        }
    }

    /// Waits until the peer resets the stream or the connection ends; not after its whole answer, which makes a reset say nothing. Takes in
    /// what comes of the body meanwhile.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if let Some(code) = self.code {
            return Poll::Ready(Broken::Reset(code));
        }
        self.waker.clone_from(cx.waker());
        // Whoever waits for something else reads nothing meanwhile, and h2 is not to keep frame by frame what comes.
        if let Some(inbox) = &mut self.inbox {
            inbox.fill(cx);
        }
        let reset = match (&mut self.role, &mut self.outbox) {
            (_, Some(outbox)) => outbox.stream().poll_reset(cx),
            (Role::Server(Some(respond)), None) => respond.poll_reset(cx),
            (_, None) => return Poll::Pending,
        };
        match ready!(reset).map(|code| self.reset_by_peer(cx, code)) {
            Ok(Err(broken)) => Poll::Ready(broken),
            Ok(Ok(())) => Poll::Pending,
            Err(error) => Poll::Ready(self.lost(error.into())),
        }
    }

    /// Ends the stream with a code (RFC 9113, section 7) and drops what waits to be sent. Never waits.
    pub(crate) fn reset(&mut self, code: u32) {
        let code = *self.code.get_or_insert(code);
        if let Some(outbox) = &mut self.outbox {
            outbox.clear();
            outbox.stream().send_reset(Reason::from(code));
        } else if let Role::Server(Some(respond)) = &mut self.role {
            respond.send_reset(Reason::from(code));
        }
    }

    /// As a server: the head of the answer. END_STREAM goes with it where the head says that no body follows.
    pub(crate) fn send_response(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        let response = response::of(head)?;
        let Role::Server(Some(respond)) = &mut self.role else { return Err(Broken::Overrun) };
        let Ok(stream) = respond.send_response(response, head.length == Length::None) else {
            let waker = self.waker.clone();
            let over = self.poll_reset(&mut Context::from_waker(&waker));
            return Err(now(over).unwrap_or(Broken::Overrun));
        };
        self.outbox = Some(Outbox::new(stream, &self.terms.backlog, head.length));
        self.role = Role::Server(None);
        Ok(())
    }

    /// As a server, before the answer: an interim one (1xx, but not 101, which HTTP/2 does not have).
    pub(crate) fn send_informational(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        let response = response::of(head)?;
        // h2 does not look whether the stream is over, and can only be asked as if to wait.
        let waker = self.waker.clone();
        if let Poll::Ready(broken) = self.poll_reset(&mut Context::from_waker(&waker)) {
            return Err(broken);
        }
        let Role::Server(Some(respond)) = &mut self.role else { return Err(Broken::Overrun) };
        Ok(respond.send_informational(response)?)
    }

    /// As a client: waits for the next head, an interim one (1xx) or the answer's.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        let Role::Client(call) = &mut self.role else { return Poll::Ready(Err(Broken::Overrun)) };
        let Answer::Awaited(response) = &mut call.answer else {
            return Poll::Ready(match std::mem::replace(&mut call.answer, Answer::Told) {
                Answer::Early(head) => *head,
                _ => Err(Broken::Overrun),
            });
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            call.interim += 1;
            if call.interim > INTERIM_MAX {
                return Poll::Ready(Err(Malformed::new("there is no end to interim answers").into()));
            }
            let (parts, ()) = interim.into_parts();
            return Poll::Ready(Ok(response::head_of(&parts, Rest::Follows, call.asked, self.terms.limits)?));
        }
        let response = ready!(Pin::new(response).poll(cx));
        call.answer = Answer::Told;
        Poll::Ready(self.answered(response).map_err(|broken| self.lost(broken)))
    }

    /// The answer's head is here; its body can be read.
    fn answered(&mut self, response: Result<Response<RecvStream>, h2::Error>) -> Result<ResponseHead, Broken> {
        let (parts, body) = response?.into_parts();
        let rest = if body.is_end_stream() { Rest::None } else { Rest::Follows };
        let asked = if let Role::Client(call) = &self.role { call.asked } else { Asked::Content };
        let head = response::head_of(&parts, rest, asked, self.terms.limits);
        let body_is_due = head.as_ref().is_ok_and(|head| head.length != Length::None);
        let body = Inbox::new(body, self.terms.limits);
        self.inbox = Some(if body_is_due { body } else { body.of_nothing() });
        Ok(head?)
    }

    /// Whether our message was given to h2 to its end.
    pub(crate) fn is_sent(&self) -> bool {
        self.code.is_none() && self.outbox.as_ref().is_some_and(Outbox::is_ended)
    }

    /// As a client: whether the peer has answered in full and wants no more of the request (RFC 9113, section 8.1). Known once something
    /// was sent in vain.
    pub(crate) fn is_unwanted(&self) -> bool {
        matches!(&self.role, Role::Client(Call { is_unwanted: true, .. }))
    }

    /// Why nothing more can be sent; nothing where that is as it should be.
    fn stopped(&mut self, cx: &mut Context<'_>, stop: Stop) -> Result<(), Broken> {
        if let Some(code) = self.code {
            return Err(Broken::Reset(code));
        }
        let (Stop::Closed, Some(outbox)) = (stop, &mut self.outbox) else { return Err(Broken::Overrun) };
        match outbox.stream().poll_reset(cx) {
            Poll::Ready(Ok(code)) => self.reset_by_peer(cx, code),
            Poll::Ready(Err(error)) => Err(self.lost(error.into())),
            Poll::Pending => Err(Broken::Overrun),
        }
    }

    /// What the end of the connection means: a request of which nothing was written may be sent again. Where none was taken at all, it is not
    /// this request that came too late.
    fn lost(&mut self, broken: Broken) -> Broken {
        let (Role::Client(_), Some(outbox)) = (&self.role, &mut self.outbox) else { return broken };
        let id = outbox.stream().stream_id().as_u32();
        let is_unread = match broken {
            Broken::Io(_) => !self.terms.observed.has_sent(id),
            _ => matches!(broken, Broken::Unread),
        };
        match (is_unread, self.terms.observed.has_taken_any()) {
            (true, true) => Broken::Unread,
            (true, false) => Broken::Refused,
            (false, _) => broken,
        }
    }

    /// What a reset means. Only the receiving half knows whether it was one, or a GOAWAY, and whether the answer was whole before it.
    fn reset_by_peer(&mut self, cx: &mut Context<'_>, code: Reason) -> Result<(), Broken> {
        self.look_for_answer(cx)?;
        let Some(inbox) = &mut self.inbox else { return Err(of_reset(code)) };
        inbox.fill(cx);
        let (Role::Client(call), true) = (&mut self.role, inbox.has_end()) else {
            return Err(inbox.failure().unwrap_or_else(|| of_reset(code)));
        };
        call.is_unwanted = true;
        if let Some(outbox) = &mut self.outbox {
            outbox.clear();
        }
        Ok(())
    }

    /// Takes the head of an answer that nobody has asked for yet, if it is here.
    fn look_for_answer(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Role::Client(Call { answer: Answer::Awaited(response), .. }) = &mut self.role else { return Ok(()) };
        let Poll::Ready(response) = Pin::new(response).poll(cx) else { return Ok(()) };
        let response = response.map_err(|error| self.lost(error.into()))?;
        let head = self.answered(Ok(response));
        if let Role::Client(call) = &mut self.role {
            call.answer = Answer::Early(Box::new(head));
        }
        Ok(())
    }
}

fn now<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // h2 itself cancels what is left open, and sends NO_ERROR after a whole answer; it cannot know that an answer is broken off.
        if matches!(self.role, Role::Server(_)) && self.code.is_none() && !self.is_sent() {
            self.reset(reset::INTERNAL_ERROR);
        }
    }
}
