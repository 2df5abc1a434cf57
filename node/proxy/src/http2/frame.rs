//! The heads of frames (RFC 9113, section 4.1): nine bytes each, found in a stream of bytes however it is split.

/// Bytes of a frame's head.
pub(super) const HEAD_LEN: usize = 9;
/// Bytes of a dependency and a weight (section 6.2).
const DEPENDENCY_LEN: usize = 5;
/// The client's first bytes (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be ignored (RFC 9113, section 5.5).
    Unknown,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) len: usize,
}

/// Longest payload that a peer may send: what SETTINGS_MAX_FRAME_SIZE is until it is set, and it is not (section 6.5.2).
pub(super) const FRAME_LEN_MAX: usize = 1 << 14;
/// ACK of SETTINGS and PING.
const ACK: u8 = 0x1;
/// PADDED of DATA and HEADERS.
const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
const PRIORITY: u8 = 0x20;

impl Frame {
    /// Of DATA and HEADERS.
    pub(super) const END_STREAM: u8 = 0x1;
    /// Of HEADERS, PUSH_PROMISE and CONTINUATION.
    pub(super) const END_HEADERS: u8 = 0x4;

    pub(super) fn parse(head: [u8; HEAD_LEN]) -> Self {
        let [len_a, len_b, len_c, kind, flags, stream @ ..] = head;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        };
        let len = u32::from_be_bytes([0, len_a, len_b, len_c]) as usize;
        // The first bit is reserved and has no meaning.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Self { kind, flags, stream, len }
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & Self::END_STREAM != 0
    }

    /// As it is written; not for kinds that are ignored.
    pub(super) fn head(self) -> [u8; HEAD_LEN] {
        let [_, len_a, len_b, len_c] = u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [len_a, len_b, len_c, self.kind as u8, self.flags, a, b, c, d]
    }

    /// Whether no frame of its kind is as long as it says (section 4.2).
    pub(super) fn is_missized(self) -> bool {
        self.len > FRAME_LEN_MAX
            || self.len < self.content_at()
            || match self.kind {
                Kind::Ping => self.len != 8,
                Kind::Reset | Kind::WindowUpdate => self.len != 4,
                Kind::Priority => self.len != 5,
                Kind::Settings => !self.len.is_multiple_of(6) || (self.is_ack() && self.len > 0),
                Kind::GoAway => self.len < 8,
                _ => false,
            }
    }

    /// Bytes of the payload before what it carries: the length of the padding, a dependency and a weight (sections 6.1 and 6.2).
    pub(super) fn content_at(self) -> usize {
        usize::from(self.is_padded()) + if self.has_dependency() { DEPENDENCY_LEN } else { 0 }
    }

    pub(super) fn is_ack(self) -> bool {
        matches!(self.kind, Kind::Settings | Kind::Ping) && self.flags & ACK != 0
    }

    /// Whether it is part of a header block.
    pub(super) fn is_head(self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation)
    }

    pub(super) fn ends_head(self) -> bool {
        self.is_head() && self.flags & Self::END_HEADERS != 0
    }

    /// Whether it names a stream that it depends on (RFC 9113, section 5.3).
    pub(super) fn has_dependency(self) -> bool {
        self.kind == Kind::Headers && self.flags & PRIORITY != 0
    }

    pub(super) fn is_padded(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & PADDED != 0
    }
}

/// Finds the heads in bytes that are only looked at.
#[derive(Debug)]
pub(super) struct Heads {
    partial: [u8; HEAD_LEN],
    partial_len: usize,
    /// Bytes until the next head.
    skip: usize,
}

impl Heads {
    /// `skip` bytes come before the first head.
    pub(super) fn after(skip: usize) -> Self {
        Self { partial: [0; HEAD_LEN], partial_len: 0, skip }
    }

    /// Looks at the next bytes, and tells of each head that ends in them.
    pub(super) fn look(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD_LEN - self.partial_len).min(bytes.len());
            self.partial[self.partial_len..self.partial_len + taken].copy_from_slice(&bytes[..taken]);
            self.partial_len += taken;
            bytes = &bytes[taken..];
            if self.partial_len == HEAD_LEN {
                let frame = Frame::parse(self.partial);
                self.partial_len = 0;
                self.skip = frame.len;
                found(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(frames: &[(u8, u8, u32, usize)]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, stream, len) in frames {
            bytes.extend_from_slice(&u32::try_from(*len).unwrap().to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            // What a payload holds is never taken for a head.
            bytes.resize(bytes.len() + len, 4);
        }
        bytes
    }

    proptest! {
        #[test]
        fn heads_are_found_however_the_bytes_are_split(
            frames in prop::collection::vec((0u8..12, any::<u8>(), any::<u32>(), 0usize..40), 0..20),
            cuts in prop::collection::vec(1usize..30, 1..60),
        ) {
            let bytes = written(&frames);
            let mut heads = Heads::after(PREFACE.len());
            let mut found = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                heads.look(piece, |frame| found.push((frame.flags, frame.stream, frame.len)));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let sent: Vec<_> = frames.iter().map(|(_, flags, stream, len)| (*flags, stream & 0x7fff_ffff, *len)).collect();
            prop_assert_eq!(found, sent);
        }
    }
}
