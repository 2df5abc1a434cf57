//! Which heads end messages and do not begin them, as far as frames alone tell. Asked by [`super::guard`].

use super::frame::{Frame, Kind};
use super::regroup::Place;

/// Most streams whose answers are followed: more than a peer is offered. DATA of streams that are over may come, so that without a bound they
/// would gather; of the one that is forgotten, the trailers are judged as before.
const STREAMS_MAX: usize = 1024;

/// What is known of a connection's streams.
#[derive(Debug)]
pub(super) enum Trailing {
    /// The newest stream: its number rises with each request.
    Requests(u32),
    /// The streams of which DATA has come, and no end. Before DATA, a head may follow an interim one.
    Answers(Vec<u32>),
}

impl Trailing {
    /// Of a connection whose peer asks.
    pub(super) fn of_requests() -> Self {
        Self::Requests(0)
    }

    /// Of one whose peer answers.
    pub(super) fn of_answers() -> Self {
        Self::Answers(Vec::new())
    }

    /// A frame has come: what the block that it begins, if it does, belongs to.
    pub(super) fn place_of(&mut self, frame: Frame) -> Place {
        match self {
            Self::Requests(newest) if frame.kind == Kind::Headers && frame.stream <= *newest => return Place::Trailers,
            Self::Requests(newest) if frame.kind == Kind::Headers => *newest = frame.stream,
            Self::Requests(_) => {}
            Self::Answers(streams) => {
                let at = streams.iter().rposition(|stream| *stream == frame.stream);
                match (frame.kind, at) {
                    (Kind::Reset, Some(at)) => drop(streams.swap_remove(at)),
                    (Kind::Data | Kind::Headers, Some(at)) if frame.ends_stream() => drop(streams.swap_remove(at)),
                    (Kind::Data, None) if !frame.ends_stream() => {
                        streams.truncate(STREAMS_MAX - 1);
                        streams.push(frame.stream);
                    }
                    _ => {}
                }
                if frame.kind == Kind::Headers && at.is_some() {
                    return Place::Trailers;
                }
            }
        }
        Place::Head
    }

    /// A frame was sent: nothing is expected of a stream that is reset.
    pub(super) fn sent(&mut self, frame: Frame) {
        if let (Self::Answers(streams), Kind::Reset) = (self, frame.kind) {
            streams.retain(|stream| *stream != frame.stream);
        }
    }
}
