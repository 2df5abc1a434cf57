//! The sending half of a connection: frames heads, bodies and trailers, and holds what the transport has no room for yet. Owned by
//! [`super::Connection`], which lends it the transport.

use std::task::{Context, Poll, ready};

use http::Method;
use weft_policy::fields::{Fields, Known};
use weft_policy::head::Upgrade;

use super::write::{self, AnswerFraming, ConnectionField};
use crate::head::{HttpVersion, Length, Overlay, RequestHead, ResponseHead};
use crate::side::Broken;
use crate::stock::Recycled;
use crate::transport::Transport;

/// Bytes that wait to be sent before no more are taken.
const OUTPUT_MAX: usize = 32 * 1024;
/// A piece up to this is copied behind what waits; a larger one is written from where it is.
const COPIED_MAX: usize = 4 * 1024;
/// The largest chunk that is written.
const CHUNK_MAX: usize = 16 * 1024;

/// Whether the sender of a head will use the connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// As far as it goes.
    Keep,
    /// It will not.
    Close,
}

/// What of a request decides about its answer.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) version: HttpVersion,
    pub(super) method: Method,
}

/// Where the message that is sent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    Chunked,
    /// Bytes until this side of the connection is shut.
    UntilClose,
    Done,
    Broken,
}

/// One sending half.
pub(super) struct Sending {
    /// Room that a connection at rest does not hold.
    output: Option<Recycled<Vec<u8>>>,
    /// Bytes of `output` that were sent.
    sent: usize,
    state: State,
    /// What the head says of the connection.
    persistence: Persistence,
    is_shut: bool,
    /// Bytes were written since the last message.
    is_touched: bool,
}

impl Sending {
    /// Before the first head.
    pub(super) fn new() -> Self {
        Self {
            output: None,
            sent: 0,
            state: State::Head,
            persistence: Persistence::Keep,
            is_shut: false,
            is_touched: false,
        }
    }

    /// All that follows is bytes until the end.
    pub(super) fn becomes_bytes(&mut self) {
        (self.state, self.persistence) = (State::UntilClose, Persistence::Close);
    }

    /// Nothing more goes out.
    pub(super) fn cut(&mut self) {
        self.state = State::Broken;
        // An end in order must not come before the reset.
        self.is_shut = true;
    }

    /// Ready for the next head.
    pub(super) fn renew(&mut self) {
        (self.state, self.persistence) = (State::Head, Persistence::Keep);
        self.is_touched = false;
        self.sent = 0;
        self.output = None;
    }

    /// Where what is to be sent is written.
    fn output(&mut self) -> &mut Vec<u8> {
        self.output.get_or_insert_default()
    }

    /// What was written and is not sent.
    fn unsent(&self) -> &[u8] {
        self.output.as_deref().map_or(&[], |output| &output[self.sent..])
    }

    /// Takes back the head that was given and not begun to be sent, and what followed it; whether there was one.
    pub(super) fn retract(&mut self) -> bool {
        let is_held = !self.is_touched && self.waiting() > 0;
        if is_held {
            self.renew();
        }
        is_held
    }

    /// Whether it broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Whether nothing of it was written.
    pub(super) fn is_untouched(&self) -> bool {
        !self.is_touched
    }

    /// Whether all of the message was given to the transport.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done && self.waiting() == 0
    }

    /// Whether another message may follow.
    pub(super) fn persists(&self) -> bool {
        self.persistence == Persistence::Keep && !self.is_shut
    }

    /// See [`super::Connection::send_request`].
    pub(super) fn request(&mut self, head: &RequestHead, overlay: &Overlay, upgrade: Upgrade) {
        let connection = if upgrade == Upgrade::Asked { ConnectionField::Upgrade } else { ConnectionField::None };
        write::request(head, overlay, connection, self.output());
        self.state = match head.length {
            Length::None => State::Done,
            Length::Exact(count) => State::Length(count),
            Length::Unknown => State::Chunked,
        };
    }

    /// See [`super::Connection::send_response`].
    pub(super) fn response(&mut self, head: &ResponseHead, asked: &Asked, wanted: Persistence) {
        let framing = write::framing_of(head, asked.version, asked.method != Method::HEAD);
        let is_final = head.status >= 200 || head.status == 101;
        let closes = wanted == Persistence::Close || framing == AnswerFraming::Close;
        let connection = match (head.status, closes) {
            (101, _) => ConnectionField::Upgrade,
            (426, true) if head.fields.has(Known::Upgrade) => ConnectionField::CloseUpgrade,
            (426, false) if head.fields.has(Known::Upgrade) => ConnectionField::Upgrade,
            _ if !is_final => ConnectionField::None,
            (_, true) => ConnectionField::Close,
            _ if asked.version == HttpVersion::Http10 => ConnectionField::KeepAlive,
            _ => ConnectionField::None,
        };
        write::response(head, framing, connection, self.output());
        if !is_final {
            return;
        }
        self.persistence = if closes { Persistence::Close } else { Persistence::Keep };
        self.state = match framing {
            AnswerFraming::None | AnswerFraming::Stated(_) => State::Done,
            AnswerFraming::Length(count) => State::Length(count),
            AnswerFraming::Chunked => State::Chunked,
            AnswerFraming::Close => State::UntilClose,
        };
    }

    /// See [`super::Connection::send_switch`].
    pub(super) fn switch(&mut self, head: &ResponseHead) {
        let connection = if head.status == 101 { ConnectionField::Upgrade } else { ConnectionField::None };
        write::response(head, AnswerFraming::None, connection, self.output());
    }

    /// See [`crate::side::Side::poll_send`].
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
        data: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        if data.is_empty() {
            // A chunk of no bytes would be the last one.
            return Poll::Ready(Ok(0));
        }
        if self.waiting() >= OUTPUT_MAX {
            ready!(self.poll_write(cx, io, &[]))?;
        }
        let count = match self.state {
            State::Chunked => {
                let count = data.len().min(CHUNK_MAX);
                write::chunk_size(count, self.output());
                self.output().extend_from_slice(&data[..count]);
                self.output().extend_from_slice(b"\r\n");
                count
            }
            State::Length(left) if (data.len() as u64) > left => {
                self.state = State::Broken;
                return Poll::Ready(Err(Broken::Overrun));
            }
            State::Length(_) | State::UntilClose if data.len() <= COPIED_MAX => {
                self.output().extend_from_slice(data);
                data.len()
            }
            State::Length(_) | State::UntilClose => ready!(self.poll_write(cx, io, data))?,
            State::Head | State::Done | State::Broken => return Poll::Ready(Err(Broken::Overrun)),
        };
        if let State::Length(left) = &mut self.state {
            *left -= count as u64;
        }
        Poll::Ready(Ok(count))
    }

    /// See [`crate::side::Side::poll_end`].
    pub(super) fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Transport,
        trailers: Option<&Fields>,
    ) -> Poll<Result<(), Broken>> {
        match self.state {
            State::Chunked => {
                self.output().extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    write::fields(trailers, self.output());
                }
                self.output().extend_from_slice(b"\r\n");
                self.state = State::Done;
            }
            State::Length(0) => self.state = State::Done,
            State::Length(_) => {
                self.state = State::Broken;
                return Poll::Ready(Err(Broken::Overrun));
            }
            State::UntilClose => {
                ready!(self.poll_flush(cx, io))?;
                ready!(self.poll_shutdown(cx, io));
                self.state = State::Done;
                return Poll::Ready(Ok(()));
            }
            State::Head | State::Broken => return Poll::Ready(Err(Broken::Overrun)),
            State::Done => {}
        }
        self.poll_flush(cx, io)
    }

    fn waiting(&self) -> usize {
        self.unsent().len()
    }

    /// Writes what waits and then `data`, until a byte of `data` went, or all that waits where there is none; how much of `data` went.
    fn poll_write(&mut self, cx: &mut Context<'_>, io: &mut Transport, data: &[u8]) -> Poll<Result<usize, Broken>> {
        while self.waiting() > 0 || !data.is_empty() {
            let written = ready!(io.poll_write_both(cx, [self.unsent(), data]));
            let count = match written {
                Ok(count) => count,
                Err(error) => {
                    self.state = State::Broken;
                    return Poll::Ready(Err(Broken::Io(error)));
                }
            };
            self.is_touched = true;
            let of_output = count.min(self.waiting());
            self.sent += of_output;
            if self.waiting() == 0 {
                // A stream may rest for hours.
                (self.output, self.sent) = (None, 0);
            }
            if count > of_output {
                return Poll::Ready(Ok(count - of_output));
            }
        }
        Poll::Ready(Ok(0))
    }

    /// See [`crate::side::Side::poll_flush`].
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<Result<(), Broken>> {
        if self.waiting() > 0 {
            ready!(self.poll_write(cx, io, &[]))?;
        }
        match ready!(io.poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                self.state = State::Broken;
                Poll::Ready(Err(Broken::Io(error)))
            }
        }
    }

    /// See [`super::Connection::poll_shutdown`].
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<()> {
        if !self.is_shut {
            let _gone = ready!(io.poll_shutdown(cx));
            self.is_shut = true;
        }
        Poll::Ready(())
    }
}
