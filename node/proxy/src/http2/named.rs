//! What a frame says of another stream than its own, read as it comes. Asked by [`super::guard`].

use super::frame::{Frame, Kind};

/// The stream that a frame names at the start of its payload, as it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) by: Frame,
    /// Bytes before it: the length of the padding.
    skip: usize,
    bytes: [u8; 4],
    len: usize,
}

impl Named {
    /// Of HEADERS the stream that theirs depends on, of GOAWAY the last one that its sender took.
    pub(super) fn of(by: Frame) -> Option<Self> {
        let begun = Self { by, skip: usize::from(by.is_padded()), bytes: [0; 4], len: 0 };
        (by.has_dependency() || by.kind == Kind::GoAway).then_some(begun)
    }

    /// Takes the next bytes of the payload; whether it has come whole.
    pub(super) fn take(&mut self, payload: &[u8]) -> bool {
        let payload = &payload[self.skip.min(payload.len())..];
        self.skip = 0;
        let count = payload.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + count].copy_from_slice(&payload[..count]);
        self.len += count;
        self.len == self.bytes.len()
    }

    pub(super) fn stream(self) -> u32 {
        // The first bit says whether a dependency is exclusive, and is reserved otherwise.
        u32::from_be_bytes(self.bytes) & (u32::MAX >> 1)
    }
}
