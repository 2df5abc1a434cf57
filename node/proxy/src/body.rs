//! The one body type of the data path, concrete so that nothing is boxed per chunk. It streams: a chunk is read from one side
//! when the other side has room for it, which is all the backpressure there is and all that is needed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use metrics::Counter;

use crate::proxy::{Deadline, Exchange, Tee, TeedBody};

/// A request's or a response's body.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// A reply of our own; `None` once sent.
    Full(Option<Bytes>),
    /// A request's body on its way to the service.
    Upload(Upload),
    /// The body of a copied request.
    Copied(TeedBody),
    /// A response's body on its way to the caller; the exchange is recorded when it ends or is dropped.
    Recorded(Incoming, Box<Exchange>),
}

/// A request's body, until the exchange's deadline.
pub(crate) struct Upload {
    incoming: Incoming,
    received: Counter,
    deadline: Deadline,
    /// Where a copy of it goes, too.
    tee: Option<Tee>,
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.deadline.has_passed(cx) {
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.received.increment(frame.data_ref().map_or(0, |data| data.remaining() as u64));
        }
        if let Some(tee) = &self.tee {
            match &frame {
                Some(Ok(frame)) => tee.frame(frame),
                Some(Err(_)) => {}
                None => tee.end(),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A body of known length is dropped after its last byte without being asked for its end.
        if let Some(tee) = &self.tee
            && self.incoming.is_end_stream()
        {
            tee.end();
        }
    }
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
    /// The documents no longer allow the call.
    #[error("the documents no longer allow it")]
    Disallowed,
    /// The copy of a request is not worth its while any more.
    #[error("the copy was given up")]
    GivenUp,
}

impl Body {
    /// A body of bytes in hand.
    pub(crate) fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// A request's body.
    pub(crate) fn upload(incoming: Incoming, received: Counter, deadline: Deadline) -> Self {
        Self::Upload(Upload { incoming, received, deadline, tee: None })
    }

    /// Lets a copy of a request's body go to `tee` as it is sent on.
    pub(crate) fn copied_to(&mut self, tee: Tee) {
        if let Self::Upload(upload) = self {
            upload.tee = Some(tee);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upload(upload) => upload.poll_frame(cx),
            Self::Copied(copy) => copy.poll_frame(cx),
            Self::Recorded(incoming, exchange) => poll_recorded(incoming, exchange, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upload(upload) => upload.incoming.is_end_stream(),
            Self::Copied(copy) => copy.is_end_stream(),
            Self::Recorded(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upload(upload) => upload.incoming.size_hint(),
            Self::Copied(_) => SizeHint::default(),
            Self::Recorded(incoming, _) => incoming.size_hint(),
        }
    }
}

/// The next part of an answer.
fn poll_recorded(
    incoming: &mut Incoming,
    exchange: &mut Exchange,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    if exchange.is_late(cx) {
        return Poll::Ready(Some(Err(BodyError::Late)));
    }
    let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
        let is_over = exchange.is_disallowed(cx);
        return if is_over { Poll::Ready(Some(Err(BodyError::Disallowed))) } else { Poll::Pending };
    };
    match &frame {
        Some(Ok(frame)) => exchange.sent(frame.data_ref().map_or(0, |data| data.remaining() as u64)),
        Some(Err(_)) => exchange.broken(),
        None => exchange.complete(),
    }
    Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
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
