//! The receiving half of a connection: finds heads, bodies and trailers in what arrives, and knows where the message stands. Owned by
//! [`super::Connection`], which lends it the transport.

use std::io;
use std::task::{Context, Poll, ready};

use http::Method;
use weft_policy::fields::Fields;

use super::buffer::Buffer;
use super::chunked::{Chunked, Step};
use super::parse::{self, Options};
use super::scan::{HeadLimits, Scan};
use crate::head::{Length, Malformed, RequestHead, ResponseHead};
use crate::side::{Broken, Part};
use crate::transport::Transport;

/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was received at the start of a connection or between exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// A request's head.
    Request,
    /// The preface of HTTP/2, which is still to be read.
    Http2,
}

/// Why no head was received.
#[derive(Debug)]
pub(crate) enum HeadFault {
    /// The connection ended before a byte of it.
    Ended,
    /// It broke a rule.
    Malformed(Malformed),
    /// The connection failed, or ended within it.
    Broken(io::Error),
}

/// How the other end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// It will not send more: perhaps it waits for its answer all the same.
    Ended,
    /// The connection failed.
    Failed,
}

/// Where the message that is received stands.
#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
    Broken,
}

/// One receiving half.
pub(super) struct Receiving {
    limits: HeadLimits,
    input: Buffer,
    scan: Scan,
    state: State,
    /// What the head says of the connection.
    options: Options,
    trailers: Option<Fields>,
    /// Bytes of the body at the front of `input`.
    at_hand: usize,
    /// No message was received before: only here may the preface of HTTP/2 stand (RFC 9113, section 3.3).
    is_first: bool,
}

impl Receiving {
    /// Before the first head.
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            input: Buffer::default(),
            scan: Scan::default(),
            state: State::Head,
            options: Options::default(),
            trailers: None,
            at_hand: 0,
            is_first: true,
        }
    }

    /// All that follows is bytes until the end.
    pub(super) fn becomes_bytes(&mut self) {
        self.state = State::UntilClose;
        self.options.is_last = true;
    }

    /// Nothing of what still comes is believed.
    pub(super) fn cut(&mut self) {
        self.state = State::Broken;
    }

    /// Ready for the next head.
    pub(super) fn renew(&mut self) {
        self.state = State::Head;
        self.options = Options::default();
        self.trailers = None;
        self.at_hand = 0;
        self.is_first = false;
        self.input.rest();
    }

    /// What the head says of the connection.
    pub(super) fn options(&self) -> Options {
        self.options
    }

    /// Whether all of the message was received.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether bytes were received that nobody used.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.input.is_empty()
    }

    /// See [`super::Connection::poll_more`].
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<io::Result<usize>> {
        self.input.poll_fill(cx, io)
    }

    /// See [`super::Connection::held`].
    pub(super) fn held(&self) -> &[u8] {
        self.input.bytes()
    }

    /// What was received and not used.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.input.bytes().to_vec()
    }

    /// See [`super::Connection::poll_request`].
    pub(super) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
        head: &mut RequestHead,
    ) -> Poll<Result<Received, HeadFault>> {
        loop {
            let taken = self.take_request(head).map_err(HeadFault::Malformed)?;
            if let Some(received) = taken {
                return Poll::Ready(Ok(received));
            }
            match ready!(self.input.poll_fill(cx, io)) {
                Ok(0) if self.input.is_empty() => return Poll::Ready(Err(HeadFault::Ended)),
                Ok(0) => return Poll::Ready(Err(HeadFault::Broken(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(HeadFault::Broken(error))),
            }
        }
    }

    /// The head at hand; none where more bytes are needed.
    fn take_request(&mut self, head: &mut RequestHead) -> Result<Option<Received>, Malformed> {
        let skipped = self.scan.leading(self.input.bytes());
        self.input.consume(skipped);
        let bytes = self.input.bytes();
        let compared = bytes.len().min(PREFACE.len());
        // Three bytes tell: no method of a request begins as the preface does and goes on otherwise.
        if self.is_first && bytes[..compared] == PREFACE[..compared] {
            return Ok((compared == PREFACE.len()).then_some(Received::Http2));
        }
        let Some(len) = self.scan.find(bytes, self.limits)? else { return Ok(None) };
        let options = parse::request(&bytes[..len], self.limits, head)?;
        self.input.consume(len);
        self.begin(options, head.length);
        Ok(Some(Received::Request))
    }

    /// See [`super::Connection::poll_begun`].
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<Result<(), HeadFault>> {
        if self.holds_bytes() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.input.poll_fill(cx, io)) {
            Ok(0) => Poll::Ready(Err(HeadFault::Ended)),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(HeadFault::Broken(error))),
        }
    }

    /// See [`super::Connection::poll_response`]; the answer is one to this method.
    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
        asked: &Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.take_response(asked, head) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(malformed) => return Poll::Ready(Err(self.breaks(Broken::Malformed(malformed)))),
            }
            match ready!(self.input.poll_fill(cx, io)) {
                Ok(0) => return Poll::Ready(Err(self.breaks(Broken::Truncated))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.breaks(Broken::Io(error)))),
            }
        }
    }

    /// Takes the head at hand; false where more bytes are needed.
    fn take_response(&mut self, asked: &Method, head: &mut ResponseHead) -> Result<bool, Malformed> {
        let bytes = self.input.bytes();
        if bytes.is_empty() {
            return Ok(false);
        }
        let Some(len) = self.scan.find(bytes, self.limits)? else { return Ok(false) };
        let parsed = parse::response(&bytes[..len], self.limits, asked, head);
        self.input.consume(len);
        let options = parsed?;
        if head.status >= 200 || head.status == 101 {
            self.begin(options, head.length);
        } else {
            self.scan = Scan::default();
        }
        Ok(true)
    }

    /// A head was received; this much follows it.
    fn begin(&mut self, options: Options, length: Length) {
        self.scan = Scan::default();
        self.options = options;
        self.state = match length {
            Length::None => State::Done,
            Length::Exact(count) => State::Length(count),
            Length::Unknown if options.is_chunked => State::Chunked(Chunked::default()),
            Length::Unknown => State::UntilClose,
        };
    }

    fn breaks(&mut self, broken: Broken) -> Broken {
        self.state = State::Broken;
        broken
    }

    /// See [`crate::side::Side::poll_part`].
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<Result<Part, Broken>> {
        loop {
            match self.next_part() {
                Ok(Some(part)) => return Poll::Ready(Ok(part)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(self.breaks(Broken::Malformed(malformed)))),
            }
            match ready!(self.input.poll_fill(cx, io)) {
                Ok(0) if matches!(self.state, State::UntilClose) => self.state = State::Done,
                Ok(0) => return Poll::Ready(Err(self.breaks(Broken::Truncated))),
                Ok(_) => {}
                // A peer that ends TLS without saying so may have been cut off (RFC 8446, section 6.1).
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(self.breaks(Broken::Truncated)));
                }
                Err(error) => return Poll::Ready(Err(self.breaks(Broken::Io(error)))),
            }
        }
    }

    /// What is at hand of the body; none where more bytes are needed.
    fn next_part(&mut self) -> Result<Option<Part>, Malformed> {
        loop {
            let held = self.input.bytes();
            let step = match &mut self.state {
                State::Done => return Ok(Some(Part::End)),
                State::Broken => return Err(Malformed::new("the message broke off before")),
                State::Head => return Err(Malformed::new("no message has begun")),
                State::Length(0) => {
                    self.state = State::Done;
                    return Ok(Some(Part::End));
                }
                _ if held.is_empty() => return Ok(None),
                State::Length(left) => Step::Data(*left),
                State::UntilClose => Step::Data(u64::MAX),
                State::Chunked(chunked) => chunked.step(held)?,
            };
            match step {
                Step::More => return Ok(None),
                Step::Skip(count) => self.input.consume(count),
                Step::Data(left) => {
                    self.at_hand = usize::try_from(left).unwrap_or(usize::MAX).min(held.len());
                    return Ok(Some(Part::Data));
                }
                Step::Trailers => return self.parse_trailers(),
            }
        }
    }

    /// Takes the trailers at hand, with which the body ends; none where more bytes are needed.
    fn parse_trailers(&mut self) -> Result<Option<Part>, Malformed> {
        let held = self.input.bytes();
        let Some(len) = self.scan.find(held, self.limits)? else { return Ok(None) };
        self.scan = Scan::default();
        let trailers = parse::trailers(&held[..len], self.limits)?;
        self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        self.input.consume(len);
        self.state = State::Done;
        Ok(Some(Part::End))
    }

    /// See [`crate::side::Side::data`].
    pub(super) fn data(&self) -> &[u8] {
        &self.input.bytes()[..self.at_hand]
    }

    /// See [`crate::side::Side::consume`].
    pub(super) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.at_hand -= count.min(self.at_hand);
        match &mut self.state {
            State::Length(left) => *left = left.saturating_sub(count as u64),
            State::Chunked(chunked) => chunked.used(count as u64),
            _ => {}
        }
    }

    /// See [`crate::side::Side::take_trailers`].
    pub(super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// See [`super::Connection::poll_hangup`].
    pub(super) fn poll_hangup(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<Hangup> {
        loop {
            if self.input.is_full() || !self.is_done() {
                return Poll::Pending;
            }
            match ready!(self.input.poll_fill(cx, io)) {
                Ok(0) => return Poll::Ready(Hangup::Ended),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Hangup::Failed),
            }
        }
    }

    /// See [`super::Connection::poll_discard`].
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<()> {
        loop {
            self.input.consume(usize::MAX);
            match ready!(self.input.poll_fill(cx, io)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }
}
