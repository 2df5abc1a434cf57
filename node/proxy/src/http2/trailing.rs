//! Which heads end messages and do not begin them, as far as frames alone tell. Asked by [`super::guard`].

use super::frame::{Frame, Kind};
use super::regroup::Place;

/// Most streams that are followed: more than a peer is offered. Frames of streams that are over may come, so that without a bound they would
/// gather; of one that is forgotten, the trailers are judged by h2 alone.
const STREAMS_MAX: usize = 1024;

/// Whose messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Requests: each stream begins with its one head.
    AtHead,
    /// Answers: what comes before DATA may be an interim head, and its last one the head of the answer.
    AtData,
}

/// The streams on which a head would end a message.
#[derive(Debug)]
pub(super) struct Trailing {
    begins: Begins,
    open: Vec<u32>,
}

impl Trailing {
    /// Of a connection whose peer asks.
    pub(super) fn of_requests() -> Self {
        Self { begins: Begins::AtHead, open: Vec::new() }
    }

    /// Of one whose peer answers.
    pub(super) fn of_answers() -> Self {
        Self { begins: Begins::AtData, open: Vec::new() }
    }

    /// A frame has come: what the block that it begins, if it does, belongs to.
    pub(super) fn place_of(&mut self, frame: Frame) -> Place {
        let at = self.open.iter().rposition(|stream| *stream == frame.stream);
        let is_over = frame.kind == Kind::Reset || frame.ends_stream();
        let begins = match self.begins {
            Begins::AtHead => frame.kind == Kind::Headers,
            Begins::AtData => frame.kind == Kind::Data,
        };
        match at {
            Some(at) if is_over => drop(self.open.swap_remove(at)),
            None if begins && !is_over => {
                self.open.truncate(STREAMS_MAX - 1);
                self.open.push(frame.stream);
            }
            _ => {}
        }
        if frame.kind == Kind::Headers && at.is_some() { Place::Trailers } else { Place::Head }
    }

    /// A frame was sent: nothing is expected of a stream that is reset.
    pub(super) fn sent(&mut self, frame: Frame) {
        if frame.kind == Kind::Reset {
            self.open.retain(|stream| *stream != frame.stream);
        }
    }
}
