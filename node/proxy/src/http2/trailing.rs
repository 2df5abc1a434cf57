//! Which heads end messages and do not begin them, as far as frames alone tell. Asked by [`super::guard`].

use super::frame::{Frame, Kind};
use super::regroup::Place;

/// Most streams that are followed: more than a peer is offered, so that only one that opens streams against the rules makes the oldest be
/// forgotten. Of one that is forgotten, the trailers are judged by h2 alone.
const STREAMS_MAX: usize = 1024;

/// Whose messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Requests: each stream begins with its one head.
    AtHead,
    /// Answers to requests that we sent: what comes before DATA may be an interim head, and its last one the head of the answer.
    AtData,
}

/// A stream on which the peer has not ended its message, and that nobody has reset.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    /// A head that comes now would end its message.
    has_begun: bool,
}

/// The streams that are open.
#[derive(Debug)]
pub(super) struct Trailing {
    begins: Begins,
    /// By their numbers.
    open: Vec<Open>,
    /// The last that was opened: numbers only rise.
    newest: u32,
}

impl Trailing {
    /// Of a connection whose peer asks.
    pub(super) fn of_requests() -> Self {
        Self { begins: Begins::AtHead, open: Vec::new(), newest: 0 }
    }

    /// Of one whose peer answers.
    pub(super) fn of_answers() -> Self {
        Self { begins: Begins::AtData, open: Vec::new(), newest: 0 }
    }

    /// A frame has come: what the block that it begins, if it does, belongs to.
    pub(super) fn place_of(&mut self, frame: Frame) -> Place {
        let is_over = frame.kind == Kind::Reset || frame.ends_stream();
        if frame.kind == Kind::Data && self.begins == Begins::AtHead && !is_over {
            return Place::Head;
        }
        let found = self.at(frame.stream);
        let is_trailers = frame.kind == Kind::Headers && found.is_ok_and(|at| self.open[at].has_begun);
        match found {
            Ok(at) if is_over => drop(self.open.remove(at)),
            Ok(at) => self.open[at].has_begun |= frame.kind == Kind::Data,
            Err(_) if self.begins == Begins::AtHead && frame.kind == Kind::Headers && !is_over => {
                self.follow(Open { stream: frame.stream, has_begun: true });
            }
            Err(_) => {}
        }
        if is_trailers { Place::Trailers } else { Place::Head }
    }

    /// A frame was sent: a request begins what is expected of a stream, and a reset ends it.
    pub(super) fn sent(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Headers if self.begins == Begins::AtData => {
                self.follow(Open { stream: frame.stream, has_begun: false });
            }
            Kind::Reset => {
                if let Ok(at) = self.at(frame.stream) {
                    self.open.remove(at);
                }
            }
            _ => {}
        }
    }

    fn at(&self, stream: u32) -> Result<usize, usize> {
        self.open.binary_search_by_key(&stream, |open| open.stream)
    }

    /// Follows a stream that opens; trailers open none.
    fn follow(&mut self, open: Open) {
        if open.stream <= self.newest {
            return;
        }
        self.newest = open.stream;
        if self.open.len() == STREAMS_MAX {
            self.open.remove(0);
        }
        self.open.push(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, stream: u32, flags: u8) -> Frame {
        Frame { kind, flags, stream, len: 5 }
    }

    fn is_trailers(trailing: &mut Trailing, stream: u32) -> bool {
        trailing.place_of(frame(Kind::Headers, stream, 0)) == Place::Trailers
    }

    #[test]
    fn what_follows_data_ends_an_answer() {
        let mut trailing = Trailing::of_answers();
        trailing.sent(frame(Kind::Headers, 1, 0));
        assert!(!is_trailers(&mut trailing, 1) && !is_trailers(&mut trailing, 1), "interim, and the answer");
        trailing.place_of(frame(Kind::Data, 1, 0));
        assert!(is_trailers(&mut trailing, 1));
        // Nobody asked on it.
        trailing.place_of(frame(Kind::Data, 3, 0));
        assert!(!is_trailers(&mut trailing, 3));
    }

    #[test]
    fn what_was_given_up_is_followed_no_longer() {
        let mut trailing = Trailing::of_answers();
        for stream in (1..10_000).step_by(2) {
            trailing.sent(frame(Kind::Headers, stream, 0));
            trailing.place_of(frame(Kind::Data, stream, 0));
            trailing.sent(frame(Kind::Reset, stream, 0));
            // What was on its way when it was reset, and trailers of our own that were.
            trailing.place_of(frame(Kind::Data, stream, 0));
            trailing.sent(frame(Kind::Headers, stream, 0));
        }
        assert!(trailing.open.is_empty());
    }

    #[test]
    fn the_oldest_is_forgotten_where_more_are_open_than_may_be() {
        let mut trailing = Trailing::of_requests();
        let last = 2 * u32::try_from(STREAMS_MAX).unwrap() + 1;
        for stream in (1..=last).step_by(2) {
            assert!(!is_trailers(&mut trailing, stream));
        }
        assert!(!is_trailers(&mut trailing, 1) && is_trailers(&mut trailing, 3) && is_trailers(&mut trailing, last));
        assert_eq!(trailing.open.len(), STREAMS_MAX);
    }
}
