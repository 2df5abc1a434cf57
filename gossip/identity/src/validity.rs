//! When a certificate is valid, read from its DER (RFC 5280, section 4.1). Reads a certificate that is already trusted.

use rustls_pki_types::CertificateDer;
use time::{Date, Month, OffsetDateTime, Time};
use weft_env::Timestamp;

use super::der::{SEQUENCE, element, expect};

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when a certificate is valid; none if it does not parse.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (outer, _) = expect(SEQUENCE, certificate)?;
    let (body, _) = expect(SEQUENCE, outer)?;
    // Version is optional; then serial number, signature algorithm, issuer.
    let (tag, _, after_first) = element(body)?;
    let mut rest = if tag == VERSION { element(after_first)?.2 } else { after_first };
    for _ in 0..2 {
        rest = element(rest)?.2;
    }
    let (span, _) = expect(SEQUENCE, rest)?;
    let (tag, text, rest) = element(span)?;
    let not_before = moment(tag, text)?;
    let (tag, text, _) = element(rest)?;
    Some((not_before, moment(tag, text)?))
}

fn moment(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i32 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    let seconds = OffsetDateTime::new_utc(date, time).unix_timestamp();
    Some(Timestamp(u64::try_from(seconds).ok()?.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(moment(UTC_TIME, b"700101000001Z"), Some(Timestamp(1000)));
        assert_eq!(moment(GENERALIZED_TIME, b"20500101000000Z"), Some(Timestamp(2_524_608_000_000)));
        assert_eq!(moment(UTC_TIME, b"701301000001Z"), None);
        assert_eq!(moment(UTC_TIME, b"70010100000Z"), None);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = validity(&CertificateDer::from(bytes.clone()));
            let _ = moment(UTC_TIME, &bytes);
        }
    }
}
