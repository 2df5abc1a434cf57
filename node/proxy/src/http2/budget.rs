//! How many frames that carry nothing a connection may send: a bucket that time fills slowly and progress fills as it happens.
//!
//! h2 answers or forgets PING, SETTINGS, PRIORITY, unknown and empty frames for as long as they come, and flow control does not count them.
//! They are paid for here, in units of an eighth of such a frame. What an honest peer sends of them belongs to messages that we send it: a
//! WINDOW_UPDATE or two and a PING, to measure the way, for each. So each frame of DATA that we send earns three of them, or more if it is
//! long, and each head eight: with messages of 20 bytes and even with empty ones of gRPC nothing is ever spent. A WINDOW_UPDATE of one byte,
//! which lets us send one, earns no other. What is earned and not spent is kept up to the size of the bucket.

use std::time::Duration;

use tokio::time::Instant;

use super::Trust;
use super::frame::{Frame, Kind};

/// What a frame costs that asks little of us: PING, PRIORITY, WINDOW_UPDATE and the like.
const FRAME: u32 = 8;
/// Of SETTINGS: a change of the initial window touches every stream, and nobody honest sends more than a few in all.
const SETTINGS: u32 = 100 * FRAME;
/// Of a RST_STREAM soon after its stream was opened: a request was begun for nothing, which costs more than a frame, and nothing but this
/// bounds how many. Of a stream that has lasted, the limit of streams does.
const RESET: u32 = 10 * FRAME;
/// How long a stream has lasted at least to have lasted. With a hundred streams, a thousand a second can.
const LASTING: Duration = Duration::from_millis(100);
/// Earned by each head that we send: what an answered request may cost beside its own frames.
const HEAD_EARNS: u32 = 8 * FRAME;
/// Earned by each DATA frame that we send, unless it is tiny; its bytes if they are more.
const DATA_EARNS: u32 = 3 * FRAME;
/// DATA below this is no message of any protocol that is worth a frame: the least message of gRPC has 5 bytes, of WebSocket 6. Only bytes
/// from a keyboard are smaller, and they are few.
const DATA_LEN_MIN: usize = 5;
/// With so many bytes or more, padding (at most 255, and its length) is not all.
const PADDED_LEN_MIN: usize = DATA_LEN_MIN + 256;

/// How much one kind of peer may spend.
#[derive(Debug)]
struct Purse {
    most: u32,
    per_second: u32,
    /// What an early RST_STREAM costs.
    reset: u32,
    /// What a head costs.
    head: u32,
}

/// 10,000 frames at once and 1,000 a second beyond what is earned: ten times what keeping alive, measuring and cancelling by hand come to,
/// and a flood is cut after some 10 ms of work. Or 1,000 requests given up at once, soon after they were made, and 100 a second.
const STRANGER: Purse = Purse { most: 10_000 * FRAME, per_second: 1_000 * FRAME, reset: RESET, head: 0 };
/// Another node's callers may cancel as they like: it held each of them to a budget of its own. What is left is there for a node that has
/// gone mad: 50,000 resets a second keep a worker busy, and honest nodes of a cell together do not come near.
const PROVEN: Purse = Purse { most: 100_000 * FRAME, per_second: 50_000 * FRAME, reset: FRAME, head: 0 };
/// Who answers our requests. Two heads belong to each, for the head of which eight frames were earned; what else comes are interim answers,
/// which h2 keeps without a limit.
const ANSWERER: Purse = Purse { head: 3 * FRAME, ..PROVEN };

/// What is left for one connection.
#[derive(Debug)]
pub(super) struct Budget {
    purse: &'static Purse,
    left: u32,
    filled_at: Instant,
    ages: Ages,
}

/// Which streams have lasted: the newest of three spans of time, and when each was opened. Numbers of streams only rise.
#[derive(Debug)]
struct Ages {
    /// The last span first; each of the others is at least as long as a stream has to last.
    newest: [(Instant, u32); 3],
    span_began: Instant,
}

impl Ages {
    fn new(now: Instant) -> Self {
        Self { newest: [(now, 0); 3], span_began: now }
    }

    fn opened(&mut self, stream: u32) {
        let now = Instant::now();
        if now.saturating_duration_since(self.span_began) >= LASTING {
            let [last, before, _] = self.newest;
            (self.newest, self.span_began) = ([last, last, before], now);
        }
        self.newest[0] = (now, stream.max(self.newest[0].1));
    }

    fn has_lasted(&self, stream: u32) -> bool {
        let now = Instant::now();
        self.newest.iter().any(|(at, newest)| stream <= *newest && now.saturating_duration_since(*at) >= LASTING)
    }
}

/// Which frames there were too many of; for people.
pub(super) type Excess = &'static str;

impl Budget {
    /// For a peer whose requests we answer.
    pub(super) fn server(trust: Trust) -> Self {
        Self::new(match trust {
            Trust::Stranger => &STRANGER,
            Trust::Proven => &PROVEN,
        })
    }

    /// For a peer that answers ours.
    pub(super) fn client() -> Self {
        Self::new(&ANSWERER)
    }

    fn new(purse: &'static Purse) -> Self {
        let now = Instant::now();
        Self { purse, left: purse.most, filled_at: now, ages: Ages::new(now) }
    }

    /// A frame came.
    ///
    /// # Errors
    ///
    /// It was one too many.
    pub(super) fn received(&mut self, frame: Frame) -> Result<(), Excess> {
        match frame.kind {
            Kind::Headers if self.purse.reset > FRAME => {
                self.ages.opened(frame.stream);
                Ok(())
            }
            Kind::Headers | Kind::PushPromise => self.spend(self.purse.head, "heads"),
            Kind::Data if frame.ends_stream() => Ok(()),
            Kind::Data if frame.is_padded() && frame.len < PADDED_LEN_MIN => self.spend(FRAME, "padded DATA"),
            Kind::Data if frame.len >= DATA_LEN_MIN => Ok(()),
            Kind::Data => self.spend(FRAME, "empty or tiny DATA"),
            Kind::Settings => self.spend(SETTINGS, "SETTINGS"),
            Kind::Reset => self.reset(frame.stream, "RST_STREAM"),
            Kind::Ping => self.spend(FRAME, "PING"),
            Kind::WindowUpdate => self.spend(FRAME, "WINDOW_UPDATE"),
            Kind::Priority => self.spend(FRAME, "PRIORITY"),
            Kind::Continuation => self.spend(FRAME, "CONTINUATION"),
            Kind::GoAway => self.spend(FRAME, "GOAWAY"),
            Kind::Unknown => self.spend(FRAME, "unknown types"),
        }
    }

    /// A frame was sent. Our RST_STREAM is the peer's expense: it opened a stream beyond its limit, or broke a rule on one.
    pub(super) fn sent(&mut self, frame: Frame) -> Result<(), Excess> {
        match frame.kind {
            Kind::Data => {
                let len = u32::try_from(frame.len).unwrap_or(u32::MAX);
                self.earn(if frame.len < DATA_LEN_MIN { len } else { len.max(DATA_EARNS) });
            }
            Kind::Headers => self.earn(HEAD_EARNS),
            Kind::Reset => return self.reset(frame.stream, "requests that end in RST_STREAM"),
            _ => {}
        }
        Ok(())
    }

    /// A stream was reset, by either end.
    fn reset(&mut self, stream: u32, what: Excess) -> Result<(), Excess> {
        let is_cheap = self.purse.reset == FRAME || self.ages.has_lasted(stream);
        self.spend(if is_cheap { FRAME } else { self.purse.reset }, what)
    }

    fn earn(&mut self, units: u32) {
        self.left = self.left.saturating_add(units).min(self.purse.most);
    }

    fn spend(&mut self, units: u32, what: Excess) -> Result<(), Excess> {
        if self.left < units {
            self.fill();
        }
        self.left = self.left.checked_sub(units).ok_or(what)?;
        Ok(())
    }

    /// Adds what time has brought. The clock is read only when the bucket seems empty; what it brought meanwhile is not lost by that.
    fn fill(&mut self) {
        let now = Instant::now();
        let brought =
            now.saturating_duration_since(self.filled_at).as_millis() * u128::from(self.purse.per_second) / 1_000;
        if brought > 0 {
            self.filled_at = now;
            self.earn(u32::try_from(brought).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn frame(kind: Kind, len: usize) -> Frame {
        Frame { kind, flags: 0, stream: 1, len }
    }

    /// How many of these frames come through at once.
    fn passes(trust: Trust, frame: Frame) -> u32 {
        let mut budget = Budget::server(trust);
        (0..1_000_000).take_while(|_| budget.received(frame).is_ok()).count() as u32
    }

    #[tokio::test(start_paused = true)]
    async fn floods_are_cut_soon() {
        for kind in [Kind::Ping, Kind::WindowUpdate, Kind::Priority, Kind::Unknown, Kind::Continuation, Kind::Data] {
            assert_eq!(passes(Trust::Stranger, frame(kind, 0)), 10_000, "{kind:?}");
            assert_eq!(passes(Trust::Proven, frame(kind, 0)), 100_000, "{kind:?}");
        }
        assert_eq!(passes(Trust::Stranger, frame(Kind::Settings, 0)), 100);
        assert_eq!(passes(Trust::Stranger, frame(Kind::Data, 4)), 10_000);
        assert_eq!(passes(Trust::Stranger, frame(Kind::Data, 5)), 1_000_000);
        assert_eq!(passes(Trust::Stranger, frame(Kind::Reset, 4)), 1_000);
        assert_eq!(passes(Trust::Proven, frame(Kind::Reset, 4)), 100_000);
        // A window of one byte for one byte.
        let mut budget = Budget::server(Trust::Stranger);
        let mut tiny = (0..1_000_000).take_while(|_| {
            budget.sent(frame(Kind::Data, 1)).is_ok() && budget.received(frame(Kind::WindowUpdate, 4)).is_ok()
        });
        assert!(tiny.by_ref().count() < 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn honest_peers_are_never_cut() {
        let mut budget = Budget::server(Trust::Stranger);
        // Unary calls of a client that measures the way and gives up every other one after the answer's head.
        for _ in 0..1_000_000 {
            budget.received(frame(Kind::Headers, 40)).unwrap();
            budget.received(frame(Kind::Data, 25)).unwrap();
            budget.sent(frame(Kind::Headers, 40)).unwrap();
            let others = [Kind::WindowUpdate, Kind::WindowUpdate, Kind::Ping, Kind::Priority];
            others.iter().for_each(|kind| budget.received(frame(*kind, 8)).unwrap());
            budget.sent(frame(Kind::Data, 25)).unwrap();
            budget.received(frame(Kind::Reset, 4)).unwrap();
            budget.sent(frame(Kind::Headers, 40)).unwrap();
        }
        // Streams of empty messages both ways.
        for _ in 0..1_000_000 {
            budget.received(frame(Kind::Data, 5)).unwrap();
            budget.sent(frame(Kind::Data, 5)).unwrap();
            let others = [Kind::WindowUpdate, Kind::WindowUpdate, Kind::Ping];
            others.iter().for_each(|kind| budget.received(frame(*kind, 8)).unwrap());
        }
        // Nothing but PING, a hundred a second, for an hour.
        for _ in 0..360_000 {
            budget.received(frame(Kind::Ping, 8)).unwrap();
            advance(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_time_out_are_no_rapid_resets() {
        let mut budget = Budget::server(Trust::Stranger);
        let of = |kind, stream| Frame { kind, flags: 0, stream, len: 4 };
        // A hundred at a time, each given up after a quarter of a second, for an hour: nothing is ever answered.
        for round in 0..14_400 {
            let streams = (0..100).map(|at| (round * 100 + at) * 2 + 1);
            streams.clone().for_each(|stream| budget.received(of(Kind::Headers, stream)).unwrap());
            advance(Duration::from_millis(250)).await;
            streams.for_each(|stream| budget.received(of(Kind::Reset, stream)).unwrap());
        }
    }
}
