//! What was found out of a whole table a short while ago, so that not every call looks at all of its endpoints. Part of
//! [`super::EndpointTable`]; written and read by [`crate::choose`].

use std::sync::atomic::{AtomicU64, Ordering};

/// How long it is taken for true, in nanoseconds: looking at a thousand endpoints takes some ten microseconds, and that share of the
/// endpoints changes slowly which a choice depends on.
const TRUE_NS: u64 = 10_000_000;
/// How many bits the word has.
const WORD_BITS: u32 = 2;

/// A word of two bits and when it was written; 0 for a new table.
#[derive(Debug, Default)]
pub struct Remembered(AtomicU64);

impl Remembered {
    /// The word, if it is not too old.
    pub(crate) fn recall(&self, now_ns: u64) -> Option<u8> {
        let packed = self.0.load(Ordering::Relaxed);
        let is_fresh = packed != 0 && now_ns.saturating_sub(packed >> WORD_BITS) < TRUE_NS;
        // Two bits.
        is_fresh.then_some((packed & ((1 << WORD_BITS) - 1)) as u8)
    }

    /// Writes a word.
    pub(crate) fn remember(&self, word: u8, now_ns: u64) {
        self.0.store((now_ns.max(1) << WORD_BITS) | u64::from(word), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_true_for_a_while() {
        let remembered = Remembered::default();
        assert_eq!(remembered.recall(5), None);
        remembered.remember(3, 1_000);
        assert_eq!(remembered.recall(1_000 + TRUE_NS - 1), Some(3));
        assert_eq!(remembered.recall(1_000 + TRUE_NS), None);
    }
}
