//! What goes to the peer of one stream: taken when the windows and the connection's backlog have room for it, and given to h2 at once. Only
//! small pieces wait, for others to share a frame with.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use weft_policy::fields::Fields;

use super::backlog::{Backlog, Chunk, Place};
use super::field;
use crate::head::Length;

/// Most that waits here, room or no room: with ten thousand streams whose peers open no window, 10 MiB.
const WAITING_MAX: usize = 1024;
/// The largest piece that h2 gets: the least maximum of a frame.
const PIECE_MAX: usize = 16 * 1024;

/// One stream's.
pub(super) struct Outbox {
    stream: SendStream<Chunk>,
    backlog: Arc<Backlog>,
    place: Place,
    waiting: BytesMut,
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

impl Drop for Outbox {
    fn drop(&mut self) {
        self.backlog.leave(self.place);
    }
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
            waiting: BytesMut::new(),
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
        let count = if self.waiting.len() + data.len() <= WAITING_MAX {
            self.waiting.extend_from_slice(data);
            data.len()
        } else {
            ready!(self.poll_pass(cx, data))?
        };
        self.left = self.left.map(|left| left - count as u64);
        Poll::Ready(Ok(count))
    }

    /// Gives to h2 what waits, and of `data` behind it as much as has room: at least one byte.
    fn poll_pass(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Stop>> {
        loop {
            let wanted = PIECE_MAX.min(self.waiting.len() + data.len());
            let room = ready!(self.poll_room(cx, wanted))?;
            let count = room.saturating_sub(self.waiting.len());
            if count > 0 {
                self.waiting.extend_from_slice(&data[..count]);
                let piece = std::mem::take(&mut self.waiting).freeze();
                return Poll::Ready(self.send(piece, More::Follows).map(|()| count));
            }
            let piece = self.waiting.split_to(room).freeze();
            self.send(piece, More::Follows)?;
        }
    }

    /// Gives to h2 what waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        self.poll_give(cx, More::Follows)
    }

    /// Gives to h2 what waits, and the end.
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

    /// Forgets what waits and ends.
    pub(super) fn clear(&mut self) {
        self.waiting = BytesMut::new();
        self.is_ended = true;
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, more: More) -> Poll<Result<(), Stop>> {
        while !self.waiting.is_empty() {
            let room = ready!(self.poll_room(cx, self.waiting.len()))?;
            if room < self.waiting.len() {
                let piece = self.waiting.split_to(room).freeze();
                self.send(piece, More::Follows)?;
                continue;
            }
            let piece = std::mem::take(&mut self.waiting).freeze();
            return Poll::Ready(self.send(piece, more));
        }
        Poll::Ready(if more == More::Ends { self.send(Bytes::new(), More::Ends) } else { Ok(()) })
    }

    /// Waits for room, of so many bytes at most: in the backlog and in the windows. Notices a reset meanwhile.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Stop>> {
        ready!(self.backlog.poll_room(cx, &mut self.place));
        self.stream.reserve_capacity(wanted);
        let room = match self.stream.capacity() {
            0 => match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(Stop::Closed)),
            },
            room => room,
        };
        Poll::Ready(Ok(room.min(wanted)))
    }

    fn send(&mut self, piece: Bytes, more: More) -> Result<(), Stop> {
        let chunk = Chunk::new(piece, &self.backlog);
        self.stream.send_data(chunk, more == More::Ends).map_err(|_| Stop::Closed)
    }
}
