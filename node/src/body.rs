//! The one body type of the data path, concrete so that nothing is boxed per chunk. It streams: a chunk is read from one side
//! when the other side has room for it, which is all the backpressure there is and all that is needed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use metrics::Counter;

use crate::proxy::{Deadline, Exchange};

/// A request's or a response's body.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// A reply of our own; `None` once sent.
    Full(Option<Bytes>),
    /// A request's body on its way to the service, until the exchange's deadline.
    Counted(Incoming, Counter, Deadline),
    /// A response's body on its way to the caller; the exchange is recorded when it ends or is dropped.
    Recorded(Incoming, Box<Exchange>),
}

/// Why a body broke off. Whoever sends it on cuts its connection, or resets its stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Where it comes from broke off.
    #[error(transparent)]
    Source(#[from] hyper::Error),
    /// The exchange's total timeout has passed.
    #[error("the total timeout has passed")]
    Late,
}

impl Body {
    /// A body of bytes in hand.
    pub(crate) fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Full(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Counted(incoming, bytes, deadline) => {
                if deadline.has_passed(cx) {
                    return Poll::Ready(Some(Err(BodyError::Late)));
                }
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    bytes.increment(frame.data_ref().map_or(0, |data| data.remaining() as u64));
                }
                frame
            }
            Self::Recorded(incoming, exchange) => {
                if exchange.is_late(cx) {
                    return Poll::Ready(Some(Err(BodyError::Late)));
                }
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => exchange.sent(frame.data_ref().map_or(0, |data| data.remaining() as u64)),
                    Some(Err(_)) => exchange.broken(),
                    None => exchange.complete(),
                }
                frame
            }
        };
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Counted(incoming, ..) | Self::Recorded(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Counted(incoming, ..) | Self::Recorded(incoming, _) => incoming.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A body of known length is dropped after its last byte without being asked for its end.
        if let Self::Recorded(incoming, exchange) = self
            && incoming.is_end_stream()
        {
            exchange.complete();
        }
    }
}
