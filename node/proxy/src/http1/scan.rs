//! Finds the end of a head while it arrives: looks at each byte once, however slowly they come, and knows nothing but lines. A line that
//! ends in anything but CRLF is refused here (RFC 9112, section 2.2, lets a recipient take a bare LF; two recipients that differ in it can
//! be played off against each other).

use crate::head::Malformed;

/// How much a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// Most bytes.
    pub(crate) bytes: usize,
    /// Most fields.
    pub(crate) fields: usize,
}

impl HeadLimits {
    /// From strangers and applications.
    pub(crate) const APPLICATION: Self = Self { bytes: crate::head::HEAD_BYTES_MAX, fields: crate::head::FIELDS_MAX };
    /// From another node: what an application may send, and what nodes add.
    pub(crate) const NODE: Self = Self { bytes: 40 * 1024, fields: 120 };
}

/// Where a search for the end of a head stands.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// Where the current line begins.
    line: usize,
    lines: usize,
    /// Empty lines before the head that were passed over.
    skipped: usize,
}

/// Empty lines before a request that are passed over (RFC 9112, section 2.2, asks for at least one).
const EMPTY_LINES_MAX: usize = 2;

impl Scan {
    /// Bytes of the whole head, with the empty line, once it is there. `bytes` starts with the head and grows between calls; how it grows
    /// makes no difference.
    pub(super) fn find(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Option<usize>, Malformed> {
        let window = &bytes[..bytes.len().min(limits.bytes)];
        for at in memchr::memchr_iter(b'\n', &window[self.seen..]) {
            let at = self.seen + at;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Malformed::new("a line of the head ends in LF without CR"));
            }
            let is_empty = at - 1 == self.line;
            self.line = at + 1;
            if is_empty {
                self.seen = at + 1;
                let is_within = at < limits.bytes;
                return if is_within { Ok(Some(at + 1)) } else { Err(Malformed::too_large("the head is too large")) };
            }
            self.lines += 1;
            if self.lines > limits.fields + 1 {
                return Err(Malformed::too_large("the head has too many fields"));
            }
        }
        // A lone CR may be half of an empty line before the head: it is looked at with what follows.
        self.seen = if window == b"\r" { 0 } else { window.len() };
        if bytes.len() > limits.bytes { Err(Malformed::too_large("the head is too large")) } else { Ok(None) }
    }

    /// Bytes of empty lines before the head, which are passed over; asked before [`Scan::find`].
    pub(super) fn leading(&mut self, bytes: &[u8]) -> usize {
        if self.seen > 0 {
            return 0;
        }
        let left = EMPTY_LINES_MAX - self.skipped;
        let lines = bytes.chunks_exact(2).take(left).take_while(|line| *line == b"\r\n").count();
        self.skipped += lines;
        lines * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 100, fields: 3 };

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut scan = Scan::default();
        for len in 0..head.len() {
            assert_eq!(scan.find(&head[..len], LIMITS), Ok(None), "{len}");
        }
        let mut more = head.to_vec();
        more.extend_from_slice(b"rest");
        assert_eq!(scan.find(&more, LIMITS), Ok(Some(head.len())));
    }

    #[test]
    fn other_line_ends_and_too_much_are_refused() {
        for bad in ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nhost: a\n\r\n", "\n"] {
            assert!(Scan::default().find(bad.as_bytes(), LIMITS).is_err(), "{bad:?}");
        }
        let many = "a\r\n".repeat(5);
        assert!(Scan::default().find(many.as_bytes(), LIMITS).unwrap_err().is_too_large);
        assert!(Scan::default().find(&[b'a'; 101], LIMITS).unwrap_err().is_too_large);
        let whole = format!("{}\r\n\r\n", "a".repeat(100));
        assert!(Scan::default().find(whole.as_bytes(), LIMITS).unwrap_err().is_too_large);
    }

    #[test]
    fn a_head_of_the_most_bytes_is_taken_and_no_longer_one() {
        let head = |len: usize| format!("{}\r\n\r\n", "a".repeat(len - 4));
        assert_eq!(Scan::default().find(head(100).as_bytes(), LIMITS), Ok(Some(100)));
        assert!(Scan::default().find(head(101).as_bytes(), LIMITS).unwrap_err().is_too_large);
        assert!(Scan::default().find((head(101) + "\n").as_bytes(), LIMITS).unwrap_err().is_too_large);
    }

    #[test]
    fn empty_lines_before_a_head_are_passed_over() {
        assert_eq!(Scan::default().leading(b"\r\nGET"), 2);
        assert_eq!(Scan::default().leading(b"\r\n\r\n\r\n"), 4);
        let mut scan = Scan::default();
        for (bytes, skipped) in [(&b"\r"[..], 0), (b"\r\n", 2), (b"\r", 0), (b"\r\n\r", 2), (b"\r\n", 0)] {
            assert_eq!(scan.leading(bytes), skipped, "{bytes:?}");
            assert_eq!(scan.find(&bytes[skipped..bytes.len().min(skipped + 1)], LIMITS), Ok(None));
        }
    }
}
