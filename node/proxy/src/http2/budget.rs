//! How many frames that carry nothing a connection may send: a bucket that time fills slowly and progress fills as it happens.
//!
//! h2 answers or forgets PING, SETTINGS, PRIORITY, unknown and empty frames for as long as they come, and flow control does not count them.
//! They are paid for here, in units of an eighth of such a frame. What an honest peer sends of them belongs to messages that we send it: a
//! WINDOW_UPDATE or two, a PING to measure the way, for each. So each byte of DATA that we send earns a unit, and each head eight frames;
//! with 20-byte messages (25 bytes of DATA) three frames for each are free for ever, while a WINDOW_UPDATE of one byte, which lets
//! us send one, is not. What is earned and not spent is kept up to the size of the bucket.

#[cfg(test)]
use std::time::Duration;

use tokio::time::Instant;

use super::Trust;
use super::frame::{Frame, Kind};

/// What a frame costs that asks little of us: PING, PRIORITY, WINDOW_UPDATE and the like.
const FRAME: u32 = 8;
/// Of SETTINGS: a change of the initial window touches every stream, and nobody honest sends more than a few in all.
const SETTINGS: u32 = 100 * FRAME;
/// Of a stranger's RST_STREAM, and of ours to a stranger: a request was begun for nothing, which costs more than a frame. What browsers and
/// gRPC clients cancel are requests of which most others are answered.
const RESET: u32 = 10 * FRAME;
/// Earned by each head that we send: what an answered request may cost beside its own frames.
const HEAD_EARNS: u32 = 8 * FRAME;
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
    /// What RST_STREAM costs.
    reset: u32,
}

/// 10,000 frames at once and 1,000 a second beyond what is earned: ten times what keeping alive, measuring and cancelling by hand come to,
/// and a flood is cut after some 10 ms of work. Or 1,000 requests given up at once and 100 a second.
const STRANGER: Purse = Purse { most: 10_000 * FRAME, per_second: 1_000 * FRAME, reset: RESET };
/// Another node's callers may cancel as they like: it held each of them to a budget of its own. The rest is there for a node that has gone
/// mad; its frames are our own h2's, a few for each message.
const PROVEN: Purse = Purse { most: 100_000 * FRAME, per_second: 50_000 * FRAME, reset: 0 };

/// What is left for one connection.
#[derive(Debug)]
pub(super) struct Budget {
    purse: &'static Purse,
    left: u32,
    filled_at: Instant,
}

/// Which frames there were too many of; for people.
pub(super) type Excess = &'static str;

impl Budget {
    pub(super) fn new(trust: Trust) -> Self {
        let purse = match trust {
            Trust::Stranger => &STRANGER,
            Trust::Proven => &PROVEN,
        };
        Self { purse, left: purse.most, filled_at: Instant::now() }
    }

    /// A frame came.
    ///
    /// # Errors
    ///
    /// It was one too many.
    pub(super) fn received(&mut self, frame: Frame) -> Result<(), Excess> {
        match frame.kind {
            Kind::Headers | Kind::PushPromise => Ok(()),
            Kind::Data if frame.ends_stream() => Ok(()),
            Kind::Data if frame.is_padded() && frame.len < PADDED_LEN_MIN => self.spend(FRAME, "padded DATA"),
            Kind::Data if frame.len >= DATA_LEN_MIN => Ok(()),
            Kind::Data => self.spend(FRAME, "empty or tiny DATA"),
            Kind::Settings => self.spend(SETTINGS, "SETTINGS"),
            Kind::Reset => self.spend(self.purse.reset, "RST_STREAM"),
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
            Kind::Data => self.earn(u32::try_from(frame.len).unwrap_or(u32::MAX)),
            Kind::Headers => self.earn(HEAD_EARNS),
            Kind::Reset => return self.spend(self.purse.reset, "requests that end in RST_STREAM"),
            _ => {}
        }
        Ok(())
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

    /// How long an empty bucket takes to be full.
    #[cfg(test)]
    fn refill(&self) -> Duration {
        Duration::from_secs(u64::from(self.purse.most / self.purse.per_second))
    }
}
