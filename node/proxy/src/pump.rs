//! Moves a body from one side of an exchange to the other: reads where bytes are at hand, writes where there is room, and holds nothing in
//! between. Polled by the task of the exchange for both directions in turn.

use std::task::{Context, Poll, ready};

use weft_policy::fields::Fields;
use weft_policy::head::strip_trailers;

use crate::proxy::Tee;
use crate::side::{Broken, Part, Side};

/// Most of a body that is kept for another try: nearly all that is asked of services fits, and ten thousand of them are 160 MiB.
const KEPT_MAX: usize = 16 * 1024;

/// One direction of an exchange.
#[derive(Default)]
pub(crate) struct Flow {
    state: State,
    /// Bytes that were taken from its source.
    pub(crate) bytes: u64,
    /// Bytes that went where it goes now.
    sent: u64,
    /// All that was taken, while it may have to go elsewhere and is not too much.
    kept: Option<Vec<u8>>,
    /// Its source is at its end.
    has_read_all: bool,
    trailers: Option<Fields>,
    has_moved: bool,
    /// It stood still last because nothing came, and not because nothing was taken.
    waits_for_source: bool,
    /// Where a copy goes, too.
    tee: Option<Tee>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// All was read; the end is being written.
    Ending,
    Ended,
}

/// Which side a flow stopped at.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Where it comes from.
    From(Broken),
    /// Where it goes.
    To(Broken),
}

impl Flow {
    /// One that only says that there is nothing.
    pub(crate) fn of_nothing() -> Self {
        Self { state: State::Ending, has_read_all: true, ..Self::default() }
    }

    /// One that can begin anew elsewhere until it is [settled](Flow::settle), as long as it is short.
    pub(crate) fn repeatable() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    /// Stays where it goes.
    pub(crate) fn settle(&mut self) {
        self.kept = None;
    }

    /// Lets a copy of what goes over go to `tee`.
    pub(crate) fn copied_to(&mut self, tee: Tee) {
        self.tee = Some(tee);
    }

    /// Whether all of it went over.
    pub(crate) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether all of it can go elsewhere.
    pub(crate) fn can_restart(&self) -> bool {
        self.bytes == 0 || self.kept.is_some()
    }

    /// Whether nothing went where it goes now.
    pub(crate) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// Begins anew for another try, from its first byte. To be asked first: [`Flow::can_restart`].
    pub(crate) fn restart(&mut self) {
        debug_assert!(self.can_restart(), "the rest of a body is none");
        (self.state, self.sent) = (State::Open, 0);
    }

    /// What came behind the body, once all of it went over.
    pub(crate) fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// Whether it stands still because nothing comes.
    pub(crate) fn waits_for_its_source(&self) -> bool {
        self.waits_for_source
    }

    /// Whether bytes moved since this was asked last.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Moves on what is at hand.
    fn poll_data(&mut self, cx: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<Result<(), Stop>> {
        self.waits_for_source = false;
        let sent = ready!(to.poll_send(cx, from.data())).map_err(Stop::To)?;
        if let Some(tee) = &self.tee {
            tee.data(&from.data()[..sent]);
        }
        if let Some(kept) = &mut self.kept {
            if kept.len() + sent > KEPT_MAX {
                self.kept = None;
            } else {
                kept.extend_from_slice(&from.data()[..sent]);
            }
        }
        from.consume(sent);
        self.bytes += sent as u64;
        self.sent += sent as u64;
        self.has_moved = true;
        Poll::Ready(Ok(()))
    }

    /// Moves on what went elsewhere before.
    fn poll_kept(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<Result<(), Stop>> {
        let Some(kept) = &self.kept else { return Poll::Ready(Ok(())) };
        while self.sent < self.bytes {
            let rest = &kept[usize::try_from(self.sent).expect("it is at most what is kept")..];
            self.sent += ready!(to.poll_send(cx, rest)).map_err(Stop::To)? as u64;
            self.has_moved = true;
        }
        Poll::Ready(Ok(()))
    }

    /// The source is at its end.
    fn ends(&mut self, from: &mut Side) {
        // Told once: whoever begins anew still has them.
        if let Some(mut trailers) = from.take_trailers() {
            strip_trailers(&mut trailers);
            self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        }
        (self.state, self.has_read_all) = (State::Ending, true);
        self.has_moved = true;
        if let Some(tee) = self.tee.take() {
            tee.end(self.trailers.as_ref());
        }
    }

    /// Moves as much as can be moved; ready at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<Result<(), Stop>> {
        if self.state == State::Open && self.sent < self.bytes {
            self.waits_for_source = false;
            ready!(self.poll_kept(cx, to))?;
        }
        if self.state == State::Open && self.has_read_all {
            self.state = State::Ending;
        }
        while self.state == State::Open {
            match from.poll_part(cx) {
                Poll::Ready(Ok(Part::Data)) => ready!(self.poll_data(cx, from, to))?,
                Poll::Ready(Ok(Part::End)) => self.ends(from),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(Stop::From(broken))),
                Poll::Pending => {
                    self.waits_for_source = false;
                    // What was taken goes on while there is nothing to add to it.
                    ready!(to.poll_flush(cx)).map_err(Stop::To)?;
                    self.waits_for_source = true;
                    return Poll::Pending;
                }
            }
        }
        if self.state == State::Ending {
            self.waits_for_source = false;
            ready!(to.poll_end(cx, self.trailers.as_ref())).map_err(Stop::To)?;
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
