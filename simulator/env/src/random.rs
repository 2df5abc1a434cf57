//! Randomness: the machine's generator in production, one seeded stream in the simulator.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of random numbers. Cheap to clone; clones of a seeded source share one stream.
///
/// The machine's source is cryptographically secure (ChaCha, reseeded from the operating system).
#[derive(Clone)]
pub struct Random {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Machine,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Random {
    /// The machine's generator.
    pub fn machine() -> Self {
        Self { source: Source::Machine }
    }

    /// A stream that is the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self { source: Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))) }
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.source {
            Source::Machine => rand::rng().fill_bytes(bytes),
            Source::Seeded(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes),
        }
    }

    /// Any 64-bit number.
    pub fn next_u64(&self) -> u64 {
        match &self.source {
            Source::Machine => rand::rng().next_u64(),
            Source::Seeded(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).next_u64(),
        }
    }

    /// A number below `bound`; zero if the bound is zero. The bias is below `bound / 2^64`.
    pub fn below(&self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        // 53 bits are what an f64 holds without rounding up to 1.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `span` made longer or shorter by up to `part` of it: `jitter(10 s, 0.2)` lies between 8 s and 12 s.
    pub fn jitter(&self, span: Duration, part: f64) -> Duration {
        let part = part.clamp(0.0, 1.0);
        span.mul_f64(1.0 - part + 2.0 * part * self.fraction())
    }

    /// A new stream that depends on this one only through its seed.
    pub fn split(&self) -> Self {
        match &self.source {
            Source::Machine => Self::machine(),
            Source::Seeded(_) => Self::seeded(self.next_u64()),
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Machine => f.write_str("Random(machine)"),
            Source::Seeded(_) => f.write_str("Random(seeded)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (left, right) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(left.next_u64(), right.next_u64());
        assert_ne!(Random::seeded(8).next_u64(), Random::seeded(7).next_u64());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let random = Random::seeded(1);
        assert_eq!(random.below(0), 0);
        assert!((0..1_000).all(|_| random.below(3) < 3));
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let random = Random::seeded(1);
        let span = Duration::from_secs(10);
        for _ in 0..1_000 {
            let jittered = random.jitter(span, 0.2);
            assert!(jittered >= Duration::from_secs(8) && jittered <= Duration::from_secs(12), "{jittered:?}");
        }
    }
}
