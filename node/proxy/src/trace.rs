//! W3C trace context: a request that comes with one valid `traceparent` keeps it, any other gets one.

use weft_policy::fields::{Fields, Known};

/// `00-<32 hex>-<16 hex>-<2 hex>` (<https://www.w3.org/TR/trace-context/>).
const LEN: usize = 55;

/// A trace context, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace([u8; LEN]);

impl Trace {
    /// A new one from random numbers: sampled is left to whoever records (flags 00).
    pub(crate) fn created(high: u64, low: u64, span: u64) -> Self {
        let mut text = [b'-'; LEN];
        text[..2].copy_from_slice(b"00");
        // An id of zeros is invalid.
        hex(&mut text[3..19], high);
        hex(&mut text[19..35], low | 1);
        hex(&mut text[36..52], span | 1);
        text[53..].copy_from_slice(b"00");
        Self(text)
    }

    /// The one that a text states, if it is valid.
    pub(crate) fn stated(text: &[u8]) -> Option<Self> {
        let text: [u8; LEN] = text.try_into().ok()?;
        is_valid(&text).then_some(Self(text))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Carries or creates the trace context; returns the one that travels on. A request with several has none (W3C Trace Context, section
/// 3.2.2): whoever comes next may read another of them than is logged here. `tracestate` belongs to the context that it came with, and goes
/// where that does not travel. `random` gives 64 bits a call.
pub(crate) fn carry(fields: &mut Fields, mut random: impl FnMut() -> u64) -> Trace {
    if let Some(known) = only(fields).and_then(Trace::stated) {
        return known;
    }
    let created = Trace::created(random(), random(), random());
    fields.put(Known::Traceparent, &created.0);
    fields.take_out(Known::Tracestate);
    created
}

/// The one `traceparent`, if there is one.
fn only(fields: &Fields) -> Option<&[u8]> {
    let mut stated = fields.each(Known::Traceparent);
    stated.next().filter(|_| stated.next().is_none())
}

/// Writes 16 hexadecimal digits.
fn hex(into: &mut [u8], value: u64) {
    for (at, digit) in into.iter_mut().enumerate() {
        let nibble = (value >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

fn is_valid(text: &[u8; LEN]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    text.starts_with(b"00-")
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
        let mut fields = Fields::new();
        let created = carry(&mut fields, || 0);
        assert_eq!(Trace::stated(created.as_str().as_bytes()), Some(created));
        assert_eq!(carry(&mut fields, || 7), created);
        for bad in ["", "00-0-0-00", "00-00000000000000000000000000000000-0000000000000001-00"] {
            fields.put(Known::Traceparent, bad.as_bytes());
            let other = carry(&mut fields, || 7);
            assert_eq!(fields.each(Known::Traceparent).collect::<Vec<_>>(), [other.as_str().as_bytes()]);
        }
    }

    #[test]
    fn of_two_contexts_none_travels_on_and_no_state_without_its_context() {
        let stated = Trace::created(1, 2, 3);
        let fields = |contexts: usize| {
            let mut fields = Fields::new();
            (0..contexts).for_each(|_| fields.add(Known::Traceparent, stated.as_str().as_bytes()));
            fields.push(b"tracestate", b"a=1");
            fields
        };
        let mut one = fields(1);
        assert_eq!(carry(&mut one, || 7), stated);
        assert!(one.get("tracestate").is_some());
        for contexts in [0, 2, 3] {
            let mut asked = fields(contexts);
            let own = carry(&mut asked, || 7);
            assert_ne!(own, stated);
            assert_eq!(asked.each(Known::Traceparent).collect::<Vec<_>>(), [own.as_str().as_bytes()], "{contexts}");
            assert!(asked.get("tracestate").is_none(), "{contexts}");
        }
    }
}
