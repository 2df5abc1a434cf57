//! What an error of h2 means to an exchange.

use std::io;

use h2::Reason;

use crate::head::Malformed;
use crate::side::Broken;

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        if let Some(io) = error.get_io() {
            return Self::Io(io::Error::new(io.kind(), io.to_string()));
        }
        let code = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        match (error.is_reset(), error.is_remote(), error.is_library()) {
            (true, false, true) => Self::Malformed(broken_rule(code)),
            (true, _, _) => of_reset(code),
            // A stream of which a GOAWAY of the peer is the error is beyond the last that the peer looked at (RFC 9113, section 6.8).
            (false, true, _) => Self::Unread,
            // The connection ended by what another stream did.
            (false, false, _) => Self::Io(io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string())),
        }
    }
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// What a reset by the peer means.
pub(super) fn of_reset(code: Reason) -> Broken {
    if code == Reason::REFUSED_STREAM { Broken::Refused } else { Broken::Reset(code.into()) }
}

/// Which rule h2 found broken on a stream.
fn broken_rule(code: Reason) -> Malformed {
    Malformed::new(match code {
        Reason::FLOW_CONTROL_ERROR => "the stream overran its flow-control window",
        Reason::STREAM_CLOSED => "the stream had ended before",
        _ => "the stream broke a rule of HTTP/2",
    })
}
