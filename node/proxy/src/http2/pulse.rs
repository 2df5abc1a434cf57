//! The clock of one connection: one timer for all of its deadlines. It is set anew only when an earlier one comes up, or when it has gone
//! off; what was put off or called off meanwhile costs nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::observed::Observed;

/// How a silent peer is asked whether it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pings {
    /// Silence after which it is asked; noticed within another such time.
    pub(crate) interval: Duration,
    /// It is given up this long after.
    pub(crate) timeout: Duration,
}

impl Default for Pings {
    /// A machine that vanished is noticed within half a minute.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) }
    }
}

/// Deadlines of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// For the greeting, and for a header block after its first frame.
    pub(super) head_timeout: Duration,
    /// Without streams; none where its owner decides.
    pub(super) idle_timeout: Option<Duration>,
    /// Whether and how a silent peer is asked.
    pub(super) pings: Option<Pings>,
}

/// What a deadline says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// There were no streams for long enough.
    Idle,
    /// This did not come in time.
    Late(&'static str),
    /// The time for a clean end is over.
    Closed,
}

/// Whether a connection is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Streams are open.
    Busy,
    /// None is.
    Idle,
}

/// The number of the greeting among header blocks, which are counted from 1.
const GREETING: u64 = 0;

/// The deadlines that run.
pub(super) struct Pulse {
    deadlines: Deadlines,
    timer: Pin<Box<Sleep>>,
    /// Of which header block, 0 of the greeting, and until when.
    head_due: Option<(u64, Instant)>,
    idle_due: Option<Instant>,
    close_due: Option<Instant>,
    /// Streams do not put the end off.
    is_final: bool,
    asking: Option<Asking>,
}

/// Asking a silent peer.
struct Asking {
    pings: Pings,
    ping_pong: PingPong,
    due: Instant,
    /// What had been heard when it was looked at last.
    heard: u64,
    is_asked: bool,
}

impl Pulse {
    /// Starts with the time that the peer has for its greeting.
    pub(super) fn new(deadlines: Deadlines, ping_pong: Option<PingPong>) -> Self {
        let now = Instant::now();
        let head_due = now + deadlines.head_timeout;
        let asking = deadlines.pings.zip(ping_pong).map(|(pings, ping_pong)| Asking {
            pings,
            ping_pong,
            due: now + pings.interval,
            heard: 0,
            is_asked: false,
        });
        let timer = Box::pin(sleep_until(head_due));
        Self {
            deadlines,
            timer,
            head_due: Some((GREETING, head_due)),
            idle_due: None,
            close_due: None,
            is_final: false,
            asking,
        }
    }

    /// From here on the connection has this long to end.
    pub(super) fn closes_within(&mut self, time: Duration) {
        self.close_due.get_or_insert_with(|| Instant::now() + time);
        (self.idle_due, self.is_final) = (None, true);
    }

    /// The same, unless a stream comes meanwhile: one that its peer opened before it heard of the end.
    pub(super) fn closes_idle_within(&mut self, time: Duration) {
        self.close_due.get_or_insert_with(|| Instant::now() + time);
        self.idle_due = None;
    }

    /// Notes where the connection stands.
    pub(super) fn look(&mut self, observed: &Observed, usage: Use) {
        // Each has a time of its own, however the reads fall that it is seen by.
        let open = if observed.is_greeted() { observed.open_head() } else { Some(GREETING) };
        if open != self.head_due.map(|(head, _)| head) {
            self.head_due = open.map(|head| (head, Instant::now() + self.deadlines.head_timeout));
        }
        match (usage, self.idle_due, self.deadlines.idle_timeout) {
            (Use::Busy, _, _) => {
                self.idle_due = None;
                if !self.is_final {
                    self.close_due = None;
                }
            }
            (Use::Idle, None, Some(timeout)) if self.close_due.is_none() => {
                self.idle_due = Some(Instant::now() + timeout)
            }
            _ => {}
        }
    }

    /// Waits for the next deadline.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, observed: &Observed) -> Poll<Beat> {
        loop {
            let asking_due = self.asking.as_ref().map(|asking| asking.due);
            let Some(due) = [self.head_due.map(|(_, due)| due), self.idle_due, self.close_due, asking_due]
                .into_iter()
                .flatten()
                .min()
            else {
                return Poll::Pending;
            };
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            if let Some(beat) = self.beat(cx, observed) {
                return Poll::Ready(beat);
            }
        }
    }

    /// What is due now.
    fn beat(&mut self, cx: &mut Context<'_>, observed: &Observed) -> Option<Beat> {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.close_due) {
            return Some(Beat::Closed);
        }
        if is_due(self.head_due.map(|(_, due)| due)) {
            self.head_due = None;
            let is_greeted = observed.is_greeted();
            return Some(Beat::Late(if is_greeted { "the rest of a head" } else { "the preface and SETTINGS" }));
        }
        if is_due(self.idle_due) {
            self.idle_due = None;
            return Some(Beat::Idle);
        }
        self.asking.as_mut().filter(|asking| asking.due <= now)?.ask(cx, now, observed.heard())
    }
}

impl Asking {
    /// Silence is noticed by comparing, not by a timer that each frame would set anew.
    fn ask(&mut self, cx: &mut Context<'_>, now: Instant, heard: u64) -> Option<Beat> {
        if self.is_asked {
            // Makes the next PING possible, if the answer to the last is here.
            let _ = self.ping_pong.poll_pong(cx);
        }
        if heard != self.heard {
            (self.heard, self.is_asked, self.due) = (heard, false, now + self.pings.interval);
            return None;
        }
        if self.is_asked {
            self.due = now + self.pings.interval;
            return Some(Beat::Late("the answer to a PING"));
        }
        // One that is under way already asks as well.
        let _ = self.ping_pong.send_ping(Ping::opaque());
        (self.is_asked, self.due) = (true, now + self.pings.timeout);
        None
    }
}
