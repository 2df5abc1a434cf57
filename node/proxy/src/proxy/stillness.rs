//! How long an exchange may stand still, and the look at its sockets while it lasts. Used by the phase forward.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::side::Side;
use crate::vigil::{Cut, Footing, Watch};

/// Space between two looks: twice within the shortest time in which bytes must be acknowledged ([`weft_env::Stream::gives_up_early`]).
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(4);

/// Why an exchange that stood still is over.
#[derive(Debug)]
pub(super) enum Over {
    /// It was too long, or something else ended it.
    Cut(Cut),
    /// One of its sides was reset, behind bytes that nobody took: the caller's,
    CallerGone,
    /// or the service's.
    ServiceGone,
}

/// When an exchange is over because nothing moves.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    /// When it is late.
    limit: Option<Instant>,
    /// When its sockets are looked at next; none before it began.
    look_at: Option<Instant>,
    has_looked: bool,
}

impl Stillness {
    /// Whether it has yet to be told a limit.
    pub(super) fn is_new(&self) -> bool {
        self.look_at.is_none()
    }

    /// Something moved now: from here on this is the limit.
    pub(super) fn moved(&mut self, watch: &mut Watch, now: Instant, limit: Option<Instant>) {
        self.limit = limit;
        let look_at = *self.look_at.get_or_insert(now + LOOK_EVERY);
        watch.due_at(Some(limit.map_or(look_at, |limit| limit.min(look_at))));
    }

    /// Ready when it has stood still for too long, or has to end for another reason. The caller's side comes first.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
        footing: &Footing<'_>,
        [caller, service]: [&Side; 2],
    ) -> Poll<Over> {
        loop {
            let cut = ready!(watch.poll_cut(cx, footing));
            let now = Instant::now();
            if !matches!(cut, Cut::Due) || self.limit.is_some_and(|limit| limit <= now) {
                return Poll::Ready(Over::Cut(cut));
            }
            if caller.is_dead() {
                return Poll::Ready(Over::CallerGone);
            }
            if service.is_dead() {
                return Poll::Ready(Over::ServiceGone);
            }
            // However much moves one way: the other may be shut.
            [caller, service].into_iter().for_each(Side::mind_window);
            self.has_looked = true;
            self.look_at = Some(now + LOOK_EVERY);
            self.moved(watch, now, self.limit);
        }
    }

    /// The exchange is over: what its side is used for next has the usual time again.
    pub(super) fn over(&self, side: &Side) {
        if self.has_looked {
            side.mind_window();
        }
    }
}
