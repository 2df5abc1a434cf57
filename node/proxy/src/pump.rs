//! Moves a body from one side of an exchange to the other: reads where bytes are at hand, writes where there is room, and holds nothing in
//! between. Polled by the task of the exchange for both directions in turn.

use std::task::{Context, Poll, ready};

use weft_policy::fields::Fields;
use weft_policy::head::strip_trailers;

use crate::proxy::Tee;
use crate::side::{Broken, Part, Side};

/// One direction of an exchange.
#[derive(Default)]
pub(crate) struct Flow {
    state: State,
    /// Bytes that went over.
    pub(crate) bytes: u64,
    trailers: Option<Fields>,
    has_moved: bool,
    is_of_nothing: bool,
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
        Self { state: State::Ending, is_of_nothing: true, ..Self::default() }
    }

    /// Lets a copy of what goes over go to `tee`.
    pub(crate) fn copied_to(&mut self, tee: Tee) {
        self.tee = Some(tee);
    }

    /// Whether all of it went over.
    pub(crate) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Begins anew for another try, where nothing went over: a body that is empty ends again.
    pub(crate) fn restart(&mut self) {
        if self.bytes == 0 {
            self.state = if self.is_of_nothing { State::Ending } else { State::Open };
        }
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
        from.consume(sent);
        self.bytes += sent as u64;
        self.has_moved = true;
        Poll::Ready(Ok(()))
    }

    /// The source is at its end.
    fn ends(&mut self, from: &mut Side) {
        // Told once: whoever begins anew still has them.
        if let Some(mut trailers) = from.take_trailers() {
            strip_trailers(&mut trailers);
            self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        }
        self.state = State::Ending;
        self.has_moved = true;
        if let Some(tee) = self.tee.take() {
            tee.end(self.trailers.as_ref());
        }
    }

    /// Moves as much as can be moved; ready at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<Result<(), Stop>> {
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
