//! A request's body on two ways: to the service, and to a copy of the request. The copy is fed through a bounded buffer; when there is no
//! room, the copy is given up. Nothing here waits: a request never learns of its copy. Made by [`super::mirror`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::Frame;
use tokio::sync::Notify;

use crate::body::BodyError;

/// What the copies of one worker hold together: a fraction of what a machine that runs a mesh has.
const HELD_BYTES_MAX: usize = 64 << 20;
/// The largest piece that a copy's connection gets at once: what it holds is not counted here any more.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Why a copy is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It is too far behind its request.
    Behind,
    /// All copies together hold or are too many.
    Full,
    /// The request itself broke off, or was answered before its body was read.
    Cut,
}

impl Loss {
    /// The label's value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Full => "full",
            Self::Cut => "cut",
        }
    }
}

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Lost(Loss),
}

/// What was sent to the service and not yet to the copy.
#[derive(Default)]
struct Held {
    bytes: BytesMut,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    /// Nobody reads it any more.
    is_gone: bool,
    waker: Option<Waker>,
}

struct Shared {
    held: Mutex<Held>,
    behind_max: usize,
    /// What all copies of the worker hold.
    all: Arc<AtomicUsize>,
    lost: Notify,
}

/// The request's side: dropped before the end, it cuts the copy off.
pub(crate) struct Tee(Arc<Shared>);

/// The copy's side: its body.
pub(crate) struct TeedBody(Arc<Shared>);

/// Tells when the copy is given up.
pub(super) struct Losing(Arc<Shared>);

/// A body that may be `behind_max` bytes behind; `all` counts what the copies of the worker hold.
pub(super) fn tee(behind_max: usize, all: &Arc<AtomicUsize>) -> (Tee, TeedBody, Losing) {
    let shared = Arc::new(Shared { held: Mutex::default(), behind_max, all: Arc::clone(all), lost: Notify::new() });
    (Tee(Arc::clone(&shared)), TeedBody(Arc::clone(&shared)), Losing(shared))
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_room(&self, len: usize) -> bool {
        let fits = |all: usize| all.checked_add(len).filter(|all| *all <= HELD_BYTES_MAX);
        self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_room(&self, len: usize) {
        self.all.fetch_sub(len, Ordering::Relaxed);
    }

    fn clear(&self, held: &mut Held) {
        self.give_room(held.bytes.len());
        held.bytes = BytesMut::new();
        held.trailers = None;
    }

    fn end(&self, held: &mut Held, end: End) {
        if held.end.is_some() {
            return;
        }
        held.end = Some(end);
        if matches!(end, End::Lost(_)) {
            self.clear(held);
            self.lost.notify_one();
        }
        if let Some(waker) = held.waker.take() {
            waker.wake();
        }
    }
}

impl Tee {
    /// Copies what is sent on.
    pub(crate) fn frame(&self, frame: &Frame<Bytes>) {
        let shared = &self.0;
        let mut held = shared.held();
        if held.is_gone || held.end.is_some() {
            return;
        }
        if let Some(data) = frame.data_ref() {
            if held.bytes.len() + data.len() > shared.behind_max {
                return shared.end(&mut held, End::Lost(Loss::Behind));
            }
            if !shared.take_room(data.len()) {
                return shared.end(&mut held, End::Lost(Loss::Full));
            }
            held.bytes.extend_from_slice(data);
        } else {
            held.trailers = frame.trailers_ref().cloned();
        }
        if let Some(waker) = held.waker.take() {
            waker.wake();
        }
    }

    /// The body was sent on whole.
    pub(crate) fn end(&self) {
        self.0.end(&mut self.0.held(), End::Whole);
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.0.end(&mut self.0.held(), End::Lost(Loss::Cut));
    }
}

impl TeedBody {
    /// The next piece of the body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut held = self.0.held();
        if !held.bytes.is_empty() {
            let len = held.bytes.len().min(PIECE_BYTES_MAX);
            let piece = held.bytes.split_to(len).freeze();
            self.0.give_room(len);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        // Trailers come last.
        if held.end.is_some()
            && let Some(trailers) = held.trailers.take()
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match held.end {
            Some(End::Whole) => Poll::Ready(None),
            Some(End::Lost(_)) => Poll::Ready(Some(Err(BodyError::GivenUp))),
            None => {
                held.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether all of it was read.
    pub(crate) fn is_end_stream(&self) -> bool {
        let held = self.0.held();
        held.end == Some(End::Whole) && held.bytes.is_empty() && held.trailers.is_none()
    }
}

impl Drop for TeedBody {
    fn drop(&mut self) {
        let mut held = self.0.held();
        held.is_gone = true;
        self.0.clear(&mut held);
    }
}

impl Losing {
    /// Waits until the copy is given up; for ever when it is not.
    pub(super) async fn lost(&self) -> Loss {
        loop {
            if let Some(End::Lost(loss)) = self.0.held().end {
                return loss;
            }
            self.0.lost.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![7; len]))
    }

    fn read(body: &mut TeedBody) -> Poll<Option<Result<usize, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        body.poll_frame(&mut cx)
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.data_ref().map_or(0, Bytes::len))))
    }

    #[test]
    fn a_copy_gets_every_byte_and_the_end() {
        let all = Arc::default();
        let (tee, mut body, _losing) = tee(100, &all);
        assert!(read(&mut body).is_pending());
        tee.frame(&piece(60));
        tee.frame(&piece(40));
        assert_eq!(all.load(Ordering::Relaxed), 100);
        assert!(matches!(read(&mut body), Poll::Ready(Some(Ok(100)))));
        assert!(read(&mut body).is_pending());
        tee.frame(&piece(100));
        tee.end();
        drop(tee);
        assert!(matches!(read(&mut body), Poll::Ready(Some(Ok(100)))));
        assert!(matches!(read(&mut body), Poll::Ready(None)));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_copy_that_is_behind_is_given_up_and_holds_nothing() {
        let all = Arc::default();
        let (tee, mut body, losing) = tee(100, &all);
        tee.frame(&piece(100));
        tee.frame(&piece(1));
        assert_eq!((losing.lost().await, all.load(Ordering::Relaxed)), (Loss::Behind, 0));
        assert!(matches!(read(&mut body), Poll::Ready(Some(Err(BodyError::GivenUp)))));
        tee.frame(&piece(1));
        tee.end();
        assert_eq!(losing.lost().await, Loss::Behind);
    }

    #[tokio::test]
    async fn a_copy_of_what_broke_off_breaks_off_and_all_of_them_are_bounded() {
        let all = Arc::default();
        let (cut, _body, losing) = tee(100, &all);
        cut.frame(&piece(50));
        drop(cut);
        assert_eq!((losing.lost().await, all.load(Ordering::Relaxed)), (Loss::Cut, 0));
        let (large, _body, _losing) = tee(HELD_BYTES_MAX, &all);
        large.frame(&piece(HELD_BYTES_MAX));
        let (one, _second, losing) = tee(100, &all);
        one.frame(&piece(1));
        assert_eq!(losing.lost().await, Loss::Full);
    }

    #[test]
    fn a_copy_that_is_gone_costs_nothing() {
        let all = Arc::default();
        let (tee, body, _losing) = tee(100, &all);
        tee.frame(&piece(100));
        drop(body);
        tee.frame(&piece(100));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
