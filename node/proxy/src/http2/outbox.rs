//! What goes to the peer of one stream: taken until the stream's window, the connection's and the connection's backlog have room, then given
//! to h2.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use weft_policy::fields::Fields;

use super::backlog::{Backlog, Chunk, Place};
use super::field;
use crate::head::Length;

/// Most that waits here, and the largest piece that h2 gets: the least maximum of a frame.
const TAKEN_MAX: usize = 16 * 1024;

/// One stream's.
pub(super) struct Outbox {
    stream: SendStream<Chunk>,
    backlog: Arc<Backlog>,
    place: Place,
    taken: BytesMut,
    /// What the head said is still to come.
    left: Option<u64>,
    is_ended: bool,
}

/// Why nothing more goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The stream takes no more: it was reset, or the connection is over. The stream knows more.
    Closed,
    /// The message is over, longer than its head said, or would be shorter.
    Overrun,
}

/// Whether more follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Follows,
    /// The last piece carries END_STREAM.
    Ends,
}

impl Outbox {
    /// For what follows a head that went out. A body that the head excludes has ended with it.
    pub(super) fn new(stream: SendStream<Chunk>, backlog: &Arc<Backlog>, length: Length) -> Self {
        let left = match length {
            Length::Exact(count) => Some(count),
            Length::None | Length::Unknown => None,
        };
        Self {
            stream,
            backlog: Arc::clone(backlog),
            place: Place::default(),
            taken: BytesMut::new(),
            left,
            is_ended: length == Length::None,
        }
    }

    /// The stream that it sends on.
    pub(super) fn stream(&mut self) -> &mut SendStream<Chunk> {
        &mut self.stream
    }

    /// Whether all was given to h2.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Takes bytes: at least one where it is ready.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Stop>> {
        if self.is_ended || self.left.is_some_and(|left| left < data.len() as u64) {
            return Poll::Ready(Err(Stop::Overrun));
        }
        if self.taken.len() >= TAKEN_MAX {
            ready!(self.poll_give(cx, More::Follows))?;
        }
        let count = data.len().min(TAKEN_MAX - self.taken.len());
        self.taken.extend_from_slice(&data[..count]);
        self.left = self.left.map(|left| left - count as u64);
        if self.taken.len() >= TAKEN_MAX
            && let Poll::Ready(given) = self.poll_give(cx, More::Follows)
        {
            given?;
        }
        Poll::Ready(Ok(count))
    }

    /// Gives to h2 what was taken.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        self.poll_give(cx, More::Follows)
    }

    /// Gives to h2 what was taken, and the end.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Stop>> {
        if self.is_ended {
            return Poll::Ready(Ok(()));
        }
        if self.left.is_some_and(|left| left > 0) {
            return Poll::Ready(Err(Stop::Overrun));
        }
        match trailers {
            None => ready!(self.poll_give(cx, More::Ends))?,
            Some(trailers) => {
                ready!(self.poll_give(cx, More::Follows))?;
                self.stream.send_trailers(field::map_of(trailers)).map_err(|_| Stop::Closed)?;
            }
        }
        self.is_ended = true;
        Poll::Ready(Ok(()))
    }

    /// Forgets what was taken and ends.
    pub(super) fn clear(&mut self) {
        self.taken = BytesMut::new();
        self.is_ended = true;
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, more: More) -> Poll<Result<(), Stop>> {
        while !self.taken.is_empty() {
            ready!(self.backlog.poll_room(cx, &mut self.place));
            let room = ready!(self.poll_window(cx))?;
            let piece = if room < self.taken.len() {
                self.taken.split_to(room).freeze()
            } else {
                std::mem::take(&mut self.taken).freeze()
            };
            if more == More::Ends && self.taken.is_empty() {
                return Poll::Ready(self.send(piece, More::Ends));
            }
            self.send(piece, More::Follows)?;
        }
        Poll::Ready(if more == More::Ends { self.send(Bytes::new(), More::Ends) } else { Ok(()) })
    }

    /// Waits for room in the windows; notices a reset meanwhile.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Stop>> {
        self.stream.reserve_capacity(self.taken.len());
        match self.stream.capacity() {
            0 => match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => Poll::Ready(Ok(room)),
                Some(Err(_)) | None => Poll::Ready(Err(Stop::Closed)),
            },
            room => Poll::Ready(Ok(room)),
        }
    }

    fn send(&mut self, piece: Bytes, more: More) -> Result<(), Stop> {
        let chunk = Chunk::new(piece, &self.backlog);
        self.stream.send_data(chunk, more == More::Ends).map_err(|_| Stop::Closed)
    }
}
