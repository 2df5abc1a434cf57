//! What was received of one stream and not read. It takes from h2 all that came, whenever it is asked, although the reader may be slow: h2
//! keeps some hundred bytes for each DATA frame, which for frames of one byte is a hundred times what the window of the stream bounds.
//! Here small pieces lie together in one buffer, and the window is given back only for what went on.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use weft_policy::fields::Fields;

use super::field;
use crate::head::Malformed;
use crate::http1::HeadLimits;
use crate::side::{Broken, Part};

/// A piece below this is copied to the others: it would hold on to the whole buffer that h2 read it into.
const COPIED_MAX: usize = 1024;
/// The window is given back in pieces of at least this, or when all was read: a reader that takes byte by byte asks for no frame a byte.
const RELEASED_MIN: usize = 16 * 1024;

/// One stream's.
pub(super) struct Inbox {
    stream: RecvStream,
    limits: HeadLimits,
    /// What is read next; empty only if all is.
    front: Bytes,
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    /// Read, and not given back to the peer.
    freed: usize,
    state: State,
    trailers: Option<Fields>,
    /// The head excludes a body, whatever comes.
    is_of_nothing: bool,
}

/// What is still to come from h2.
#[derive(Debug)]
enum State {
    Data,
    Trailers,
    Ended,
    /// To be told once what came before was read.
    Failed(Broken),
    /// It was told.
    Broken,
}

impl Inbox {
    pub(super) fn new(stream: RecvStream, limits: HeadLimits) -> Self {
        Self {
            stream,
            limits,
            front: Bytes::new(),
            queue: VecDeque::new(),
            tail: BytesMut::new(),
            freed: 0,
            state: State::Data,
            trailers: None,
            is_of_nothing: false,
        }
    }

    /// The same behind a head that excludes a body (RFC 9110, section 6.4.1): bytes of one are a fault of whoever sends them.
    pub(super) fn of_nothing(self) -> Self {
        Self { is_of_nothing: true, ..self }
    }

    /// Waits for more.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        self.fill(cx);
        if !self.front.is_empty() {
            return Poll::Ready(Ok(Part::Data));
        }
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Ended => {
                self.state = State::Ended;
                Poll::Ready(Ok(Part::End))
            }
            State::Failed(broken) => Poll::Ready(Err(broken)),
            State::Broken => Poll::Ready(Err(Broken::Truncated)),
            open => {
                self.state = open;
                Poll::Pending
            }
        }
    }

    /// Takes from h2 all that has come. Its window bounds how much that is.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(state) = self.poll_state(cx) {
            self.state = state;
            if matches!(self.state, State::Ended | State::Failed(_)) {
                return;
            }
        }
    }

    /// One step on; pending where h2 has nothing, or there is nothing to come.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<State> {
        match self.state {
            State::Data => Poll::Ready(match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) if self.is_of_nothing && !bytes.is_empty() => {
                    State::Failed(Malformed::new("there is a body where the head excludes one").into())
                }
                Some(Ok(bytes)) => {
                    self.push(bytes);
                    State::Data
                }
                Some(Err(error)) => State::Failed(error.into()),
                None => State::Trailers,
            }),
            State::Trailers => Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
                Ok(None) => State::Ended,
                Ok(Some(trailers)) => match field::trailers_of(&trailers, self.limits) {
                    Ok(trailers) => {
                        self.trailers = Some(trailers);
                        State::Ended
                    }
                    Err(malformed) => State::Failed(Broken::Malformed(malformed)),
                },
                Err(error) => State::Failed(error.into()),
            }),
            State::Ended | State::Failed(_) | State::Broken => Poll::Pending,
        }
    }

    fn push(&mut self, bytes: Bytes) {
        if self.front.is_empty() {
            self.front = bytes;
        } else if bytes.len() < COPIED_MAX {
            self.tail.extend_from_slice(&bytes);
        } else {
            if !self.tail.is_empty() {
                self.queue.push_back(self.tail.split().freeze());
            }
            self.queue.push_back(bytes);
        }
    }

    /// What is at hand.
    pub(super) fn data(&self) -> &[u8] {
        &self.front
    }

    /// So many bytes of it went on.
    pub(super) fn consume(&mut self, count: usize) {
        self.front.advance(count);
        if self.front.is_empty() {
            self.front = self.queue.pop_front().unwrap_or_else(|| self.tail.split().freeze());
        }
        self.freed += count;
        if self.freed >= RELEASED_MIN || self.front.is_empty() {
            // Fails for a stream that is over: nobody wants the window.
            let _ = self.stream.flow_control().release_capacity(self.freed);
            self.freed = 0;
        }
    }

    /// The trailers, once.
    pub(super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// Whether the peer has said that it is the end, and how much is still to be read does not matter.
    pub(super) fn has_end(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What it failed with, before that is told to the reader.
    pub(super) fn failure(&self) -> Option<Broken> {
        let State::Failed(broken) = &self.state else { return None };
        Some(match broken {
            Broken::Malformed(malformed) => Broken::Malformed(*malformed),
            Broken::Truncated => Broken::Truncated,
            Broken::Overrun => Broken::Overrun,
            Broken::Reset(code) => Broken::Reset(*code),
            Broken::Refused => Broken::Refused,
            Broken::Unread => Broken::Unread,
            Broken::Io(error) => Broken::Io(io::Error::new(error.kind(), error.to_string())),
        })
    }
}
