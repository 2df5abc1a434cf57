//! One side of an exchange: the caller's or the service's, whatever version of HTTP or plain TCP it speaks. Bodies go from one side to the
//! other by [`crate::pump`] with nothing between: bytes are read where one side holds them and written to the other.

use std::io;
use std::task::{Context, Poll};

use weft_policy::fields::Fields;

use crate::head::Malformed;
use crate::http1::Connection;
use crate::http2;

/// What comes next of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes: [`Side::data`] has them.
    Data,
    /// It is over; [`Side::take_trailers`] has what came behind it.
    End,
}

/// Why a side cannot go on. It is the side's own: whoever pumps knows which side that was.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It broke a rule of its protocol.
    Malformed(Malformed),
    /// It ended before the message did.
    Truncated,
    /// The message to it is over or too long: our own fault.
    Overrun,
    /// The stream was reset with this code (RFC 9113, section 7).
    Reset(u32),
    /// The request was not processed and may be sent again (REFUSED_STREAM, or beyond a GOAWAY).
    Refused,
    /// The transport failed.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One side of an exchange.
pub(crate) enum Side {
    /// A connection that speaks HTTP/1, or a plain stream.
    Http1(Connection),
    /// A stream of an HTTP/2 connection.
    Http2(http2::Stream),
}

impl Side {
    /// Waits for more of the body that it sends.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_part(cx),
            Self::Http2(stream) => stream.poll_part(cx),
        }
    }

    /// What is at hand of its body, after [`Part::Data`].
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            Self::Http1(connection) => connection.data(),
            Self::Http2(stream) => stream.data(),
        }
    }

    /// So many bytes of it went on: it may send as many more.
    pub(crate) fn consume(&mut self, count: usize) {
        match self {
            Self::Http1(connection) => connection.consume(count),
            Self::Http2(stream) => stream.consume(count),
        }
    }

    /// The trailers, after [`Part::End`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        match self {
            Self::Http1(connection) => connection.take_trailers(),
            Self::Http2(stream) => stream.take_trailers(),
        }
    }

    /// Takes bytes of the body that goes to it, at least one where it is ready; they may wait for [`Side::poll_flush`].
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_send(cx, data),
            Self::Http2(stream) => stream.poll_send(cx, data),
        }
    }

    /// Ends the body that goes to it, and flushes. Called again after `Pending` with the same trailers.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_end(cx, trailers),
            Self::Http2(stream) => stream.poll_end(cx, trailers),
        }
    }

    /// Writes what it took.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
        }
    }
}
