//! A request under way, as its phases hand it on: the caller's side, what may end it, what is recorded of it, and how far its body is.

use std::time::Duration;

use tokio::time::Instant;
use weft_policy::head::Sender;
use weft_policy::outcome::Outcome;

use super::Record;
use crate::pump::Flow;
use crate::side::Side;
use crate::vigil::Watch;

/// How much earlier than here a deadline may be over on the called node, which is told it in whole milliseconds.
const DEADLINE_SLACK: Duration = Duration::from_millis(2);

/// One request under way.
pub(crate) struct Exchange<'v> {
    /// The caller's side.
    pub(crate) side: &'v mut Side,
    /// What may end it.
    pub(crate) watch: &'v mut Watch,
    /// What is known of it.
    pub(crate) record: Record,
    /// The request's body on its way.
    pub(crate) upload: Flow,
    /// Who sent it.
    pub(crate) sender: Sender,
    /// What had been heard when it was decided about.
    pub(crate) heard: u64,
    /// When it must be over.
    pub(crate) total: Option<Instant>,
    /// The caller has chosen that.
    is_callers_deadline: bool,
    /// How long the caller waits for an answer to begin, as its node or its deadline says.
    pub(crate) patience: Option<Duration>,
    /// Time that a route let it wait on purpose: part of the time in which an answer must begin.
    pub(crate) paused: Duration,
    /// The caller has shut its sending side and perhaps waits no more.
    pub(crate) is_given_up: bool,
}

impl<'v> Exchange<'v> {
    /// One that begins.
    pub(crate) fn new(side: &'v mut Side, watch: &'v mut Watch, record: Record, sender: Sender) -> Self {
        let heard = watch.heard();
        let total = record.worker().total_deadline(record.started());
        Self {
            side,
            watch,
            record,
            upload: Flow::repeatable(),
            sender,
            heard,
            total,
            is_callers_deadline: false,
            patience: None,
            paused: Duration::ZERO,
            is_given_up: false,
        }
    }

    /// Whether a caller that has shut its sending side may wait for its answer all the same: an application may, a node never does.
    pub(crate) fn allows_half_close(&self) -> bool {
        self.sender == Sender::Application
    }

    /// Gives it at most so much time from its start.
    pub(crate) fn ends_within(&mut self, span: Duration) {
        let end = self.record.started() + span;
        self.total = Some(self.total.map_or(end, |total| total.min(end)));
    }

    /// The same, because its caller waits no longer, for the whole of the answer as for its beginning.
    pub(crate) fn caller_waits(&mut self, span: Duration) {
        let before = self.total;
        self.ends_within(span);
        self.is_callers_deadline = self.total != before;
        self.patience = Some(span);
    }

    /// Whether this came of a deadline that the caller has chosen: its own patience says nothing of an endpoint. The called node keeps the
    /// same time, and may be first to say so.
    pub(crate) fn is_over_for_caller(&self, outcome: Outcome) -> bool {
        let is_late = matches!(outcome, Outcome::Late | Outcome::GatewayError { status: 504 });
        let over = |total: Instant| self.record.worker().noted() + DEADLINE_SLACK >= total;
        is_late && self.is_callers_deadline && self.total.is_some_and(over)
    }
}
