//! Heads of answers between the form of h2 and ours.

use http::{Method, Response, StatusCode, response};

use super::field::{self, Received};
use super::request::Rest;
use crate::head::{HttpVersion, Length, Malformed, RequestHead, ResponseHead};
use crate::http1::HeadLimits;

/// What of a request decides about its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// For the head of an answer alone.
    Head,
    /// For a tunnel: CONNECT, with a protocol or without.
    Tunnel,
    /// For anything else.
    Content,
}

impl Asked {
    pub(super) fn by(head: &RequestHead) -> Self {
        match head.method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Content,
        }
    }
}

/// Reads the head of an answer, interim ones included.
pub(super) fn head_of(
    parts: &response::Parts,
    rest: Rest,
    asked: Asked,
    limits: HeadLimits,
) -> Result<ResponseHead, Malformed> {
    let Received { fields, host: _, length } = field::received(&parts.headers, limits)?;
    if fields.wire_len() > limits.bytes {
        return Err(Malformed::too_large("the head is too large"));
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::new("HTTP/2 has no 101"));
    }
    let is_tunnel = asked == Asked::Tunnel && parts.status.is_success();
    let (length, stated) = match (parts.status.as_u16(), rest, length) {
        (100..200 | 204, _, _) => (Length::None, None),
        (304, _, length) => (Length::None, length),
        (_, _, length) if asked == Asked::Head => (Length::None, length),
        // Whatever it states (RFC 9110, section 9.3.6).
        (_, Rest::Follows, _) if is_tunnel => (Length::Unknown, None),
        (_, Rest::None, _) => (Length::None, None),
        (_, Rest::Follows, Some(length)) => (Length::Exact(length), None),
        (_, Rest::Follows, None) => (Length::Unknown, None),
    };
    Ok(ResponseHead { version: HttpVersion::Http2, status: parts.status.as_u16(), fields, length, stated })
}

/// The head in the form of h2.
///
/// # Errors
///
/// HTTP/2 has no such status.
pub(super) fn of(head: &ResponseHead) -> Result<Response<()>, Malformed> {
    let status = StatusCode::from_u16(head.status).map_err(|_| Malformed::new("the status has not three digits"))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed::new("HTTP/2 has no 101"));
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = field::map_of(&head.fields);
    let length = match head.length {
        Length::Exact(length) => Some(length),
        Length::None => head.stated,
        Length::Unknown => None,
    };
    field::state_length(response.headers_mut(), length);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(status: u16, stated: Option<u64>, rest: Rest, asked: Asked) -> (Length, Option<u64>) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        field::state_length(response.headers_mut(), stated);
        let head = head_of(&response.into_parts().0, rest, asked, HeadLimits::APPLICATION).unwrap();
        (head.length, head.stated)
    }

    #[test]
    fn the_length_of_an_answer_follows_its_request_and_status() {
        use Rest::{Follows, None as Nothing};
        for (status, stated, rest, asked, expected) in [
            (200, Some(3), Follows, Asked::Content, (Length::Exact(3), None)),
            (200, None, Follows, Asked::Content, (Length::Unknown, None)),
            (200, Some(0), Nothing, Asked::Content, (Length::None, None)),
            (200, Some(3), Nothing, Asked::Head, (Length::None, Some(3))),
            (304, Some(3), Nothing, Asked::Content, (Length::None, Some(3))),
            (204, None, Nothing, Asked::Content, (Length::None, None)),
            (200, Some(3), Follows, Asked::Tunnel, (Length::Unknown, None)),
            (502, Some(3), Follows, Asked::Tunnel, (Length::Exact(3), None)),
        ] {
            assert_eq!(length(status, stated, rest, asked), expected, "{status} {stated:?} {rest:?} {asked:?}");
        }
    }
}
