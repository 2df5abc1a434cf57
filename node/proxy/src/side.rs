//! One side of an exchange: the caller's or the service's, whatever version of HTTP or plain TCP it speaks. Bodies go from one side to the
//! other by [`crate::pump`] with nothing between: bytes are read where one side holds them and written to the other.

use std::io;
use std::task::{Context, Poll};

use weft_policy::fields::Fields;

use crate::head::{Malformed, ResponseHead};
use crate::http1::{Connection, Hangup, Persistence};
use crate::http2;
use crate::proxy::TeedBody;
use crate::proxy_protocol::Ends;

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
    /// The request was not processed and may be sent again (REFUSED_STREAM).
    Refused,
    /// The same, because its connection ends after it has taken others: the request is beyond a GOAWAY, or was never written.
    Unread,
    /// The transport failed.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Codes of a reset (RFC 9113, section 7).
pub(crate) mod reset {
    /// Graceful.
    pub(crate) const NO_ERROR: u32 = 0;
    /// This side failed.
    pub(crate) const INTERNAL_ERROR: u32 = 2;
    /// Nothing was processed.
    pub(crate) const REFUSED_STREAM: u32 = 7;
    /// Nobody wants it any more.
    pub(crate) const CANCEL: u32 = 8;
    /// A tunnel broke.
    pub(crate) const CONNECT_ERROR: u32 = 10;
}

/// One side of an exchange.
pub(crate) enum Side {
    /// A connection that speaks HTTP/1, or a plain stream.
    Http1(Box<Connection>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<http2::Stream>),
    /// The caller of a copied request: sends what the original sends, and throws the answer away.
    Copy(TeedBody),
}

/// Whether another head follows.
pub(crate) fn is_interim(head: &ResponseHead) -> bool {
    head.status < 200 && head.status != 101
}

impl Side {
    /// As the caller's: takes the head of an answer, or an interim one.
    pub(crate) fn send_response(&mut self, head: &ResponseHead, wanted: Persistence) -> Result<(), Broken> {
        match self {
            Self::Http1(connection) => {
                if is_interim(head) {
                    connection.send_informational(head);
                } else {
                    connection.send_response(head, wanted);
                }
                Ok(())
            }
            Self::Http2(stream) if is_interim(head) => stream.send_informational(head),
            Self::Http2(stream) => stream.send_response(head),
            Self::Copy(_) => Ok(()),
        }
    }

    /// As the caller's: takes the head of an answer after which both directions are bytes: 101, or 200 to CONNECT.
    pub(crate) fn send_switch(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        match self {
            Self::Http1(connection) => {
                connection.send_switch(head);
                Ok(())
            }
            Self::Http2(stream) => stream.send_response(head),
            Self::Copy(_) => Ok(()),
        }
    }

    /// As the caller's: takes an answer back of which not a byte was sent; whether it could. Another may be sent in its place.
    pub(crate) fn retract_response(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.retract_response(),
            _ => false,
        }
    }

    /// As the service's: waits for the head of the answer, or an interim one.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_response(cx, head),
            Self::Http2(stream) => stream.poll_response(cx).map_ok(|answer| *head = answer),
            Self::Copy(_) => Poll::Pending,
        }
    }

    /// As the caller's: waits until it goes away. Over HTTP/1 that shows once all that it sends was received; until then only
    /// [`Side::is_dead`] tells.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        match self {
            Self::Http1(connection) if !connection.is_received() => Poll::Pending,
            Self::Http1(connection) => connection.poll_hangup(cx),
            Self::Http2(stream) => stream.poll_reset(cx).map(|_| Hangup::Failed),
            // Whoever waits for the copy hears of its loss elsewhere.
            Self::Copy(_) => Poll::Pending,
        }
    }

    /// Whether not a byte of the message to it was written.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.is_untouched())
    }

    /// From here on both directions are bytes until each ends.
    pub(crate) fn becomes_tunnel(&mut self) {
        if let Self::Http1(connection) = self {
            connection.becomes_tunnel();
        }
    }

    /// Ends it so that nobody takes what went over for the whole.
    pub(crate) fn cut(&mut self, code: u32) {
        match self {
            Self::Http1(connection) => connection.cut(),
            Self::Http2(stream) => stream.reset(code),
            Self::Copy(_) => {}
        }
    }

    /// See [`crate::transport::Transport::ends`]. A stream of HTTP/2 has none of its own.
    pub(crate) fn ends(&self) -> Option<Ends> {
        match self {
            Self::Http1(connection) => connection.ends(),
            _ => None,
        }
    }

    /// Whether its connection was reset, however much of what came before is still to be read. Costs a system call.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.is_dead())
    }

    /// See [`weft_env::Stream::mind_window`]. Connections of HTTP/2 are read whatever their streams do.
    pub(crate) fn mind_window(&self) {
        if let Self::Http1(connection) = self {
            connection.mind_window();
        }
    }

    /// Waits for more of the body that it sends.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_part(cx),
            Self::Http2(stream) => stream.poll_part(cx),
            Self::Copy(copy) => copy.poll_part(cx),
        }
    }

    /// Reads what is at hand of what it sends, `most` bytes of it, and throws it away; whether that was all.
    pub(crate) fn throw_away(&mut self, cx: &mut Context<'_>, most: usize) -> bool {
        let mut left = most;
        loop {
            match self.poll_part(cx) {
                Poll::Ready(Ok(Part::Data)) if self.data().len() <= left => {
                    let count = self.data().len();
                    left -= count;
                    self.consume(count);
                }
                Poll::Ready(Ok(Part::End)) => return true,
                _ => return false,
            }
        }
    }

    /// What is at hand of its body, after [`Part::Data`].
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            Self::Http1(connection) => connection.data(),
            Self::Http2(stream) => stream.data(),
            Self::Copy(copy) => copy.data(),
        }
    }

    /// So many bytes of it went on: it may send as many more.
    pub(crate) fn consume(&mut self, count: usize) {
        match self {
            Self::Http1(connection) => connection.consume(count),
            Self::Http2(stream) => stream.consume(count),
            Self::Copy(copy) => copy.consume(count),
        }
    }

    /// The trailers, after [`Part::End`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        match self {
            Self::Http1(connection) => connection.take_trailers(),
            Self::Http2(stream) => stream.take_trailers(),
            Self::Copy(copy) => copy.take_trailers(),
        }
    }

    /// Takes bytes of the body that goes to it, at least one where it is ready; they may wait for [`Side::poll_flush`].
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_send(cx, data),
            Self::Http2(stream) => stream.poll_send(cx, data),
            Self::Copy(copy) => copy.poll_send(cx, data),
        }
    }

    /// Ends the body that goes to it, and flushes. Called again after `Pending` with the same trailers.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_end(cx, trailers),
            Self::Http2(stream) => stream.poll_end(cx, trailers),
            Self::Copy(copy) => copy.poll_end(cx, trailers),
        }
    }

    /// Writes what it took.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(connection) => connection.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
            Self::Copy(copy) => copy.poll_flush(cx),
        }
    }
}
