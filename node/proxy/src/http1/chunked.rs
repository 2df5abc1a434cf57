//! The chunked coding as it arrives (RFC 9112, section 7.1), taken strictly: CRLF alone ends a line, a size is one to sixteen hexadecimal
//! digits, extensions are passed over and bounded. It looks at bytes and says how many of them are what; it holds none.

use crate::head::Malformed;

/// Most bytes of one size with its extensions.
const LINE_MAX: usize = 256;
/// Most bytes of extensions in one body for each of its chunks, on average, beyond a first allowance: they cost the receiver, not the sender.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Where the decoding of one body stands.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    extension_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a size.
    #[default]
    Size,
    /// So many bytes of the chunk are left.
    Data(u64),
    /// Behind the data of a chunk: CRLF.
    DataEnd,
    /// Behind the last chunk: trailers, if any, and the empty line.
    Trailers,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are needed to tell.
    More,
    /// So many bytes are framing: to be passed over.
    Skip(usize),
    /// At most so many bytes from the first on are of the body.
    Data(u64),
    /// The trailers begin here: lines up to an empty one.
    Trailers,
}

impl Chunked {
    /// What the first of `bytes`, at least one, are.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        match self.state {
            State::Data(left) => Ok(Step::Data(left)),
            State::Trailers => Ok(Step::Trailers),
            State::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Step::Skip(2))
                }
                [b'\r'] | [] => Ok(Step::More),
                _ => Err(Malformed::new("a chunk is longer than its size")),
            },
            State::Size => self.size(bytes),
        }
    }

    /// So many bytes of the data were used.
    pub(super) fn used(&mut self, count: u64) {
        if let State::Data(left) = &mut self.state {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.state = State::DataEnd;
            }
        }
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let window = &bytes[..bytes.len().min(LINE_MAX)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            return match bytes.len() {
                LINE_MAX.. => Err(Malformed::new("the size of a chunk is too long")),
                // Refused as soon as it cannot become a size: nobody waits for a line that is wrong already.
                _ if !window.is_empty() && !window[0].is_ascii_hexdigit() => Err(Malformed::new("a chunk has no size")),
                _ => Ok(Step::More),
            };
        };
        let Some(line) = window[..end].strip_suffix(b"\r") else {
            return Err(Malformed::new("the size of a chunk ends in LF without CR"));
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = parse_size(&line[..digits])?;
        self.extension(&line[digits..])?;
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        Ok(Step::Skip(end + 1))
    }

    /// What stands behind a size: nothing, or `;` and text.
    fn extension(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if text.is_empty() {
            return Ok(());
        }
        let trimmed = text.trim_ascii_start();
        let is_text = text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        if !trimmed.starts_with(b";") || !is_text {
            return Err(Malformed::new("something other than an extension stands behind the size of a chunk"));
        }
        self.extension_bytes += text.len();
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Malformed::new("the chunks of a body have too many extensions"));
        }
        Ok(())
    }
}

fn parse_size(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || digits.len() > 16 {
        return Err(Malformed::new("the size of a chunk is not a number of up to 16 hexadecimal digits"));
    }
    let value = |digit: &u8| u64::from(char::from(*digit).to_digit(16).unwrap_or(0));
    let size = digits.iter().fold(0_u64, |size, digit| (size << 4) | value(digit));
    // Half of what fits: sums of it never wrap.
    if size > u64::MAX / 2 { Err(Malformed::new("the size of a chunk is beyond all measure")) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `bytes`, given in pieces of `piece` bytes; the body, and what is left when the trailers begin.
    fn decoded(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Malformed> {
        let (mut chunked, mut body, mut at, mut have) = (Chunked::default(), Vec::new(), 0, 0);
        loop {
            match chunked.step(&bytes[at..have])? {
                Step::More if have == bytes.len() => return Err(Malformed::new("cut")),
                Step::More => have = (have + piece).min(bytes.len()),
                Step::Skip(count) => at += count,
                Step::Trailers => return Ok((body, bytes.len() - at)),
                Step::Data(_) if at == bytes.len() => return Err(Malformed::new("cut")),
                Step::Data(_) if at == have => have = (have + piece).min(bytes.len()),
                Step::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(have - at);
                    body.extend_from_slice(&bytes[at..at + count]);
                    chunked.used(count as u64);
                    at += count;
                }
            }
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_comes() {
        let bytes = b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n";
        for piece in 1..=bytes.len() {
            assert_eq!(decoded(bytes, piece), Ok((b"abc0123456789".to_vec(), 2)), "{piece}");
        }
    }

    #[test]
    fn anything_but_the_one_form_is_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n",
            "-1\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3\r\nab\r\n0\r\n",
            "11111111111111111\r\n",
            "ffffffffffffffff\r\n",
            "3;\u{1}\r\nabc\r\n",
            "3,\r\nabc\r\n",
            "3\r\nabc0\r\n",
        ] {
            assert!(decoded(bad.as_bytes(), 1).is_err(), "{bad:?}");
            assert!(decoded(bad.as_bytes(), 100).is_err(), "{bad:?}");
        }
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(300));
        assert!(decoded(long.as_bytes(), 1_000).is_err());
        let many = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(100);
        assert!(decoded(many.as_bytes(), 1_000).is_err());
    }
}
