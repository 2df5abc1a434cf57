//! Whether a failed try may be made again, and where: what is safe to repeat, what the documents want, what it may cost a service in
//! all. One rule for HTTP and TCP.

mod budget;

use std::time::Duration;

use crate::choose::Again;
use crate::outcome::{Outcome, Refused};
use crate::raw::route::RetryOn;

pub use budget::{RetryBudget, RetryRates};

/// Most tries after the first, where a document says nothing. Two more replicas are enough to get past one that died; more only feeds an overload.
pub const RETRIES_MAX: usize = 2;

/// Why a try failed, in the words of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection came to be.
    Connect,
    /// The connection broke before an answer began.
    Reset,
    /// The other side refused the stream before it looked at it.
    RefusedStream,
    /// The other side is at its limit.
    Overloaded,
    /// This status.
    Status(u16),
    /// The try took too long.
    Timeout,
}

impl Cause {
    /// The cause of an outcome; none for what is no failure, is nobody's, or is not to be repeated.
    pub fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Answered { status } | Outcome::GatewayError { status } => Some(Self::Status(status)),
            Outcome::Reset => Some(Self::Reset),
            Outcome::Undelivered(Refused::Connect) => Some(Self::Connect),
            Outcome::Undelivered(Refused::Stream) => Some(Self::RefusedStream),
            Outcome::Overloaded => Some(Self::Overloaded),
            Outcome::Late => Some(Self::Timeout),
            Outcome::Undelivered(Refused::Stale | Refused::Unread)
            | Outcome::Opened
            | Outcome::Cancelled
            | Outcome::Withheld => None,
        }
    }
}

/// Whether the documents want another try after a failure. Where they name none, after each that brought no answer. An overload is no failure
/// of the request, and they need not name it.
pub fn is_wanted(on: &[RetryOn], cause: Cause) -> bool {
    if cause == Cause::Overloaded {
        return true;
    }
    if on.is_empty() {
        return !matches!(cause, Cause::Status(_));
    }
    on.iter().any(|on| match (on, cause) {
        (RetryOn::ConnectFailure, Cause::Connect)
        | (RetryOn::Reset, Cause::Reset | Cause::RefusedStream)
        | (RetryOn::RefusedStream, Cause::RefusedStream)
        | (RetryOn::Timeout, Cause::Timeout) => true,
        (RetryOn::GatewayError, Cause::Status(status)) => is_gateway_error(status),
        (RetryOn::ServerError, Cause::Status(status)) => status >= 500,
        _ => false,
    })
}

fn is_gateway_error(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// How far a failed try came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection came to be: nothing reached the other side.
    Connect,
    /// Nothing of the request reached an application: its connection was closed before, or the stream was refused.
    Unsent,
    /// The request was sent, and no answer began.
    Sent,
    /// An answer began, of which the caller has seen nothing.
    Answered,
}

/// What repeating a request would mean.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// The method may be executed twice.
    pub idempotent: bool,
    /// All of the body is at hand: nothing of it went anywhere, or what went was kept.
    pub repeatable: bool,
}

impl Repeat {
    /// A TCP stream that is not open yet: nothing of the caller has been sent.
    pub const STREAM: Self = Self { idempotent: true, repeatable: true };
}

/// Whether a failure at `stage` may be tried again at all; the documents and the budget have their say after it.
pub fn is_safe(stage: Stage, repeat: Repeat) -> bool {
    // However little became of the request: the rest of a body is not the body.
    repeat.repeatable
        && match stage {
            Stage::Connect | Stage::Unsent => true,
            Stage::Sent | Stage::Answered => repeat.idempotent,
        }
}

/// What is wanted of the retries of one call.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Most tries after the first.
    pub attempts: usize,
    /// After which failures; empty: after each that brought no answer.
    pub on: &'a [RetryOn],
    /// What repeating it would mean.
    pub repeat: Repeat,
}

/// A try that did not bring what the caller wants.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// What became of it.
    pub outcome: Outcome,
    /// How far it came.
    pub stage: Stage,
    /// Whether it found out if an endpoint is back ([`Try::is_probe`](crate::outcome::Try::is_probe)).
    pub is_probe: bool,
    /// How many tries of the call were made again already.
    pub retried: usize,
    /// What is left of the time of the call.
    pub left: Duration,
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The caller gets what came of it.
    Stop,
    /// Again at an endpoint that the call was not tried on; without one, the caller gets what came of it.
    Elsewhere,
    /// Again at such an endpoint; without one, at any, on a new connection.
    Anywhere,
}

impl Step {
    /// How the next endpoint is chosen; none where there is no next.
    pub fn again(self) -> Option<Again> {
        match self {
            Self::Stop => None,
            Self::Elsewhere => Some(Again::Never),
            Self::Anywhere => Some(Again::WhereNoneIsLeft),
        }
    }
}

/// What to do after a failed try. The caller chooses an endpoint next, and then takes the retry from the budget: without either it stops.
///
/// The same endpoint is tried again only where the documents name the failure: who lets any failure be retried means that another replica may
/// do better, who names one means that a second time may. A probe was the node's own idea, so that its failure is retried elsewhere even where
/// the documents name it not.
pub fn next_step(wanted: &Wanted<'_>, failure: &Failure) -> Step {
    if failure.left.is_zero() {
        return Step::Stop;
    }
    if failure.outcome == Outcome::Undelivered(Refused::Stale) {
        // Nobody's failure: not one that the documents count.
        let may = failure.retried < RETRIES_MAX.max(wanted.attempts) && is_safe(failure.stage, wanted.repeat);
        return if may { Step::Anywhere } else { Step::Stop };
    }
    if failure.outcome == Outcome::Undelivered(Refused::Unread) {
        // The same, and its connection has served another call first: it comes to an end, however many had to share one.
        return if is_safe(failure.stage, wanted.repeat) { Step::Anywhere } else { Step::Stop };
    }
    let Some(cause) = Cause::of(failure.outcome) else { return Step::Stop };
    if failure.retried >= wanted.attempts || !is_safe(stage_of(failure), wanted.repeat) {
        return Step::Stop;
    }
    if is_wanted(wanted.on, cause) {
        let is_named = !wanted.on.is_empty() && cause != Cause::Overloaded;
        return if is_named { Step::Anywhere } else { Step::Elsewhere };
    }
    let is_bad = !matches!(cause, Cause::Status(status) if !is_gateway_error(status));
    if failure.is_probe && is_bad { Step::Elsewhere } else { Step::Stop }
}

/// How far a try came: what was refused was not delivered, whatever was written.
fn stage_of(failure: &Failure) -> Stage {
    match failure.outcome {
        Outcome::Undelivered(Refused::Connect | Refused::Stream) | Outcome::Overloaded => Stage::Unsent,
        _ => failure.stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Repeat = Repeat { idempotent: true, repeatable: true };
    const POST: Repeat = Repeat { idempotent: false, repeatable: true };
    /// Of which some is gone.
    const LARGE: Repeat = Repeat { idempotent: false, repeatable: false };
    const LATE: Outcome = Outcome::Late;
    const BAD_GATEWAY: Outcome = Outcome::GatewayError { status: 502 };

    fn wanted(on: &[RetryOn], repeat: Repeat) -> Wanted<'_> {
        Wanted { attempts: 3, on, repeat }
    }

    fn failure(outcome: Outcome, stage: Stage) -> Failure {
        Failure { outcome, stage, is_probe: false, retried: 0, left: Duration::from_secs(1) }
    }

    #[test]
    fn only_what_cannot_happen_twice_is_repeated() {
        let put = Repeat { idempotent: true, repeatable: false };
        for (stage, repeat, safe) in [
            (Stage::Connect, POST, true),
            (Stage::Unsent, POST, true),
            (Stage::Connect, LARGE, false),
            (Stage::Unsent, LARGE, false),
            (Stage::Sent, POST, false),
            (Stage::Sent, GET, true),
            (Stage::Sent, put, false),
            (Stage::Answered, GET, true),
            (Stage::Answered, POST, false),
        ] {
            assert_eq!(is_safe(stage, repeat), safe, "{stage:?} {repeat:?}");
        }
    }

    #[test]
    fn the_documents_say_after_what_a_request_is_tried_again() {
        use Cause::{Connect, Overloaded, RefusedStream, Reset, Status, Timeout};
        for cause in [Connect, Reset, RefusedStream, Timeout, Overloaded] {
            assert!(is_wanted(&[], cause), "{cause:?}");
        }
        assert!(!is_wanted(&[], Status(503)));
        let on = [RetryOn::GatewayError, RetryOn::Timeout];
        let wanted = [Connect, Reset, Status(500), Status(502), Status(504), Timeout, Overloaded]
            .map(|cause| is_wanted(&on, cause));
        assert_eq!(wanted, [false, false, false, true, true, true, true]);
        assert!(is_wanted(&[RetryOn::ServerError], Status(500)) && !is_wanted(&[RetryOn::ServerError], Status(404)));
        assert!(is_wanted(&[RetryOn::RefusedStream], RefusedStream) && !is_wanted(&[RetryOn::RefusedStream], Reset));
    }

    #[test]
    fn each_failure_has_its_step() {
        let (refused, stream) = (Outcome::Undelivered(Refused::Connect), Outcome::Undelivered(Refused::Stream));
        let timeout = [RetryOn::Timeout];
        let gateway = [RetryOn::GatewayError];
        let refused_stream = [RetryOn::RefusedStream];
        for (on, repeat, outcome, stage, step) in [
            // Without documents: elsewhere, where it is safe.
            (&[][..], POST, refused, Stage::Connect, Step::Elsewhere),
            (&[], POST, stream, Stage::Sent, Step::Elsewhere),
            (&[], POST, Outcome::Overloaded, Stage::Sent, Step::Elsewhere),
            (&[], LARGE, Outcome::Overloaded, Stage::Sent, Step::Stop),
            (&[], LARGE, stream, Stage::Sent, Step::Stop),
            (&[], LARGE, refused, Stage::Connect, Step::Stop),
            (&[], POST, Outcome::Reset, Stage::Sent, Step::Stop),
            (&[], GET, Outcome::Reset, Stage::Sent, Step::Elsewhere),
            (&[], GET, LATE, Stage::Sent, Step::Elsewhere),
            (&[], POST, LATE, Stage::Sent, Step::Stop),
            (&[], POST, LATE, Stage::Connect, Step::Elsewhere),
            (&[], GET, BAD_GATEWAY, Stage::Answered, Step::Stop),
            (&[], GET, Outcome::Answered { status: 200 }, Stage::Answered, Step::Stop),
            // What documents name may go to the same again.
            (&timeout, GET, LATE, Stage::Sent, Step::Anywhere),
            (&timeout, POST, LATE, Stage::Sent, Step::Stop),
            (&timeout, GET, BAD_GATEWAY, Stage::Answered, Step::Stop),
            (&timeout, GET, refused, Stage::Connect, Step::Stop),
            (&timeout, POST, Outcome::Overloaded, Stage::Sent, Step::Elsewhere),
            (&gateway, GET, BAD_GATEWAY, Stage::Answered, Step::Anywhere),
            (&gateway, POST, BAD_GATEWAY, Stage::Answered, Step::Stop),
            (&refused_stream, POST, stream, Stage::Sent, Step::Anywhere),
            // Nobody's failure, and nobody there.
            (&timeout, POST, Outcome::Undelivered(Refused::Stale), Stage::Unsent, Step::Anywhere),
            (&timeout, POST, Outcome::Undelivered(Refused::Stale), Stage::Sent, Step::Stop),
            (&timeout, POST, Outcome::Undelivered(Refused::Unread), Stage::Unsent, Step::Anywhere),
            (&timeout, LARGE, Outcome::Undelivered(Refused::Unread), Stage::Unsent, Step::Stop),
            (&[], GET, Outcome::Cancelled, Stage::Sent, Step::Stop),
        ] {
            assert_eq!(next_step(&wanted(on, repeat), &failure(outcome, stage)), step, "{on:?} {repeat:?} {outcome:?}");
        }
    }

    #[test]
    fn tries_and_time_come_to_an_end() {
        let on = [RetryOn::Timeout];
        let steps = (0..4).map(|retried| {
            let failure = Failure { retried, ..failure(LATE, Stage::Sent) };
            next_step(&wanted(&on, GET), &failure)
        });
        assert_eq!(steps.collect::<Vec<_>>(), [Step::Anywhere, Step::Anywhere, Step::Anywhere, Step::Stop]);
        let over = Failure { left: Duration::ZERO, ..failure(LATE, Stage::Sent) };
        assert_eq!(next_step(&wanted(&on, GET), &over), Step::Stop);
        let off = Wanted { attempts: 0, ..wanted(&[], GET) };
        assert_eq!(next_step(&off, &failure(Outcome::Reset, Stage::Sent)), Step::Stop);
        let stale = failure(Outcome::Undelivered(Refused::Stale), Stage::Unsent);
        assert_eq!(next_step(&off, &stale), Step::Anywhere, "a closed connection of the pool is no try");
        assert_eq!(next_step(&off, &Failure { retried: RETRIES_MAX, ..stale }), Step::Stop);
        let unread = failure(Outcome::Undelivered(Refused::Unread), Stage::Unsent);
        assert_eq!(next_step(&off, &Failure { retried: RETRIES_MAX, ..unread }), Step::Anywhere);
        assert_eq!(next_step(&off, &Failure { left: Duration::ZERO, ..unread }), Step::Stop);
    }

    #[test]
    fn a_probe_that_fails_is_tried_again_elsewhere_though_no_document_asks() {
        let probe = Failure { is_probe: true, ..failure(BAD_GATEWAY, Stage::Answered) };
        assert_eq!(next_step(&wanted(&[], GET), &probe), Step::Elsewhere);
        assert_eq!(next_step(&wanted(&[], POST), &probe), Step::Stop);
        let off = Wanted { attempts: 0, ..wanted(&[], GET) };
        assert_eq!(next_step(&off, &probe), Step::Stop);
        let missing = Failure { outcome: Outcome::Answered { status: 404 }, ..probe };
        assert_eq!(next_step(&wanted(&[], GET), &missing), Step::Stop, "that is an answer");
    }
}
