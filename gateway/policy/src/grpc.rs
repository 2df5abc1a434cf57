//! What gRPC says of deadlines and failures in HTTP/2's head: `grpc-timeout` and `grpc-status` (gRPC over HTTP/2, *Requests* and *Responses*).
//! Pure; the data path reads and writes the fields.

use std::fmt::Write;
use std::time::Duration;

use weft_identity::Code;

use crate::outcome::Outcome;

/// Most digits of a `grpc-timeout`.
const DIGITS_MAX: usize = 8;
/// The least number that has too many digits.
const VALUE_END: u128 = 100_000_000;
/// The units of a `grpc-timeout`, the finest first, in nanoseconds.
const UNITS: [(char, u64); 6] =
    [('n', 1), ('u', 1_000), ('m', 1_000_000), ('S', 1_000_000_000), ('M', 60_000_000_000), ('H', 3_600_000_000_000)];

/// A `grpc-status` (gRPC, *Status codes and their use in gRPC*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It worked.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// Nothing is known of the failure.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// Not in time.
    DeadlineExceeded = 4,
    /// The caller may not do that.
    PermissionDenied = 7,
    /// A quota is used up.
    ResourceExhausted = 8,
    /// Nobody serves that.
    Unimplemented = 12,
    /// Something broke that should not.
    Internal = 13,
    /// Not now; a retry may do.
    Unavailable = 14,
    /// The caller did not say who it is.
    Unauthenticated = 16,
}

impl Status {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Of what this node, or another, says in place of an application. By the status of HTTP that goes with the code, and finer where gRPC
    /// has a word of its own.
    pub fn of(code: Code) -> Self {
        match code {
            Code::RequestTimeout => Self::DeadlineExceeded,
            Code::NotAllowed | Code::IdentityRefused => Self::PermissionDenied,
            // What is at its limit itself is not there now; a caller that is over a limit must slow down.
            Code::RateLimited => Self::ResourceExhausted,
            Code::ServiceUnknown | Code::ProtocolMismatch => Self::Unimplemented,
            Code::HeadTooLarge => Self::ResourceExhausted,
            _ => Self::of_http(code.entry().status),
        }
    }

    /// Of an answer of HTTP that says nothing of gRPC (gRPC, *HTTP to gRPC status code mapping*).
    pub fn of_http(status: u16) -> Self {
        match status {
            400 | 500 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// What became of a try that was answered with a `grpc-status`. That an application is unavailable is said by a status of
/// HTTP elsewhere, and is a gateway error; any other status is an answer.
pub fn outcome_of(grpc_status: u8) -> Outcome {
    match grpc_status {
        14 => Outcome::GatewayError { status: 503 },
        // Unknown, internal and data loss.
        2 | 13 | 15 => Outcome::Answered { status: 500 },
        // Resource exhausted.
        8 => Outcome::Answered { status: 429 },
        _ => Outcome::Answered { status: 200 },
    }
}

/// Reads a `grpc-timeout`: at most eight digits and a unit of `H`, `M`, `S`, `m`, `u`, `n`. None for anything else.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if is_number { digits.parse().ok()? } else { return None };
    let (_, unit_ns) = UNITS.iter().find(|(letter, _)| unit.starts_with(*letter))?;
    // 99,999,999 hours are more nanoseconds than 64 bits hold.
    let ns = u128::from(number) * u128::from(*unit_ns);
    Some(Duration::new(u64::try_from(ns / 1_000_000_000).ok()?, u32::try_from(ns % 1_000_000_000).ok()?))
}

/// Writes a `grpc-timeout`, in the finest unit in which it has eight digits, rounded down: the next hop must not wait longer than this one.
pub fn timeout_text(timeout: Duration) -> String {
    let ns = timeout.as_nanos();
    let (letter, unit_ns) =
        UNITS.into_iter().find(|(_, unit)| ns / u128::from(*unit) < VALUE_END).unwrap_or(('H', UNITS[5].1));
    let mut text = String::with_capacity(DIGITS_MAX + 1);
    let number = (ns / u128::from(unit_ns)).min(VALUE_END - 1);
    // Writing to a text does not fail.
    let _ = write!(text, "{number}{letter}");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        for (text, ns) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("250m", 250_000_000),
            ("7u", 7_000),
            ("99999999n", 99_999_999),
            ("00000001S", 1_000_000_000),
            ("0S", 0),
        ] {
            assert_eq!(parse_timeout(text), Some(Duration::from_nanos(ns)), "{text}");
        }
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789n", "1SS", "1é", "١S"] {
            assert_eq!(parse_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_timeout_is_written_as_fine_as_eight_digits_let() {
        assert_eq!(timeout_text(Duration::ZERO), "0n");
        assert_eq!(timeout_text(Duration::from_millis(50)), "50000000n");
        assert_eq!(timeout_text(Duration::from_millis(250)), "250000u");
        assert_eq!(timeout_text(Duration::from_secs(3_600)), "3600000m");
        assert_eq!(timeout_text(Duration::MAX), "99999999H");
    }

    #[test]
    fn a_code_has_its_status() {
        for (code, number) in [
            (Code::NoHealthyReplica, 14),
            (Code::ConnectRefused, 14),
            (Code::ConnectTimeout, 14),
            (Code::UpstreamReset, 14),
            (Code::IdentityMismatch, 14),
            (Code::Overloaded, 14),
            (Code::RequestTimeout, 4),
            (Code::NotAllowed, 7),
            (Code::IdentityRefused, 7),
            (Code::RateLimited, 8),
            (Code::HeadTooLarge, 8),
            (Code::ServiceUnknown, 12),
            (Code::ProtocolMismatch, 12),
            (Code::RequestMalformed, 13),
            (Code::HostMissing, 13),
            (Code::Internal, 13),
        ] {
            assert_eq!(Status::of(code).number(), number, "{code}");
        }
        assert_eq!((Status::of_http(401).number(), Status::of_http(418).number()), (16, 2));
    }

    #[test]
    fn an_unavailable_application_is_a_gateway_error() {
        assert_eq!(outcome_of(14), Outcome::GatewayError { status: 503 });
        assert_eq!(outcome_of(13), Outcome::Answered { status: 500 });
        assert_eq!(outcome_of(5), Outcome::Answered { status: 200 }, "not found is an answer");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_never_longer(seconds in 0..400_000_000_000_u64, ns in 0..1_000_000_000_u32) {
            let timeout = Duration::new(seconds, ns);
            let read = parse_timeout(&timeout_text(timeout)).unwrap();
            prop_assert!(read <= timeout);
            // Seven digits or more are kept.
            prop_assert!(timeout - read <= timeout / 1_000_000 || seconds >= 99_999_999 * 3_600);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,12}") {
            let _timeout = parse_timeout(&text);
        }
    }
}
