//! W3C trace context: a request that comes with a valid `traceparent` keeps it, any other gets one.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// <https://www.w3.org/TR/trace-context/>
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LEN: usize = 55;

/// Carries or creates the trace context; returns the value that travels on. `random` gives 64 bits a call.
pub(crate) fn carry(headers: &mut HeaderMap, mut random: impl FnMut() -> u64) -> HeaderValue {
    if let Some(known) = headers.get(TRACEPARENT)
        && is_valid(known.as_bytes())
    {
        return known.clone();
    }
    let value = created(random(), random(), random());
    headers.insert(TRACEPARENT, value.clone());
    value
}

/// A new context: sampled is left to whoever records (flags 00).
pub(crate) fn created(high: u64, low: u64, span: u64) -> HeaderValue {
    let mut text = [b'-'; LEN];
    text[..2].copy_from_slice(b"00");
    // An id of zeros is invalid.
    hex(&mut text[3..19], high);
    hex(&mut text[19..35], low | 1);
    hex(&mut text[36..52], span | 1);
    text[53..].copy_from_slice(b"00");
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Writes 16 hexadecimal digits.
fn hex(into: &mut [u8], value: u64) {
    for (at, digit) in into.iter_mut().enumerate() {
        let nibble = (value >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

fn is_valid(text: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    text.len() == LEN
        && text.starts_with(b"00-")
        && text[35] == b'-'
        && text[52] == b'-'
        && is_hex(&text[3..35])
        && is_hex(&text[36..52])
        && is_hex(&text[53..])
        && !is_zero(&text[3..35])
        && !is_zero(&text[36..52])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_context_is_kept_and_any_other_replaced() {
        let mut headers = HeaderMap::new();
        let created = carry(&mut headers, || 0);
        assert!(is_valid(created.as_bytes()), "{created:?}");
        assert_eq!(carry(&mut headers, || 7), created);
        for bad in ["", "00-0-0-00", "00-00000000000000000000000000000000-0000000000000001-00"] {
            headers.insert(TRACEPARENT, HeaderValue::from_static(bad));
            assert!(is_valid(carry(&mut headers, || 7).as_bytes()));
        }
    }
}
