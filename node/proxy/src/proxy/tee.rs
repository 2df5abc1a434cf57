//! A request's body on two ways: to the service, and to a copy of the request. The copy is fed through a bounded buffer; when there is no
//! room, the copy is given up. Nothing here waits: a request never learns of its copy. Made by [`super::mirror`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::Notify;
use weft_policy::fields::Fields;

use crate::side::{Broken, Part};

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
    trailers: Option<Fields>,
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

/// The copy's side: the caller of the copied request. It sends the body and throws the answer away.
pub(crate) struct TeedBody {
    shared: Arc<Shared>,
    /// What is being sent on.
    piece: Bytes,
    /// How much of the answer may still come.
    answer_left: usize,
}

/// Tells when the copy is given up.
pub(super) struct Losing(Arc<Shared>);

/// Most that is read of the answer to a copy: more costs more than another connection.
const ANSWER_MAX: usize = 64 * 1024;

/// A body that may be `behind_max` bytes behind; `all` counts what the copies of the worker hold.
pub(super) fn tee(behind_max: usize, all: &Arc<AtomicUsize>) -> (Tee, TeedBody, Losing) {
    let shared = Arc::new(Shared { held: Mutex::default(), behind_max, all: Arc::clone(all), lost: Notify::new() });
    let body = TeedBody { shared: Arc::clone(&shared), piece: Bytes::new(), answer_left: ANSWER_MAX };
    (Tee(Arc::clone(&shared)), body, Losing(shared))
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
    pub(crate) fn data(&self, data: &[u8]) {
        let shared = &self.0;
        let mut held = shared.held();
        if held.is_gone || held.end.is_some() {
            return;
        }
        if held.bytes.len() + data.len() > shared.behind_max {
            return shared.end(&mut held, End::Lost(Loss::Behind));
        }
        if !shared.take_room(data.len()) {
            return shared.end(&mut held, End::Lost(Loss::Full));
        }
        held.bytes.extend_from_slice(data);
        if let Some(waker) = held.waker.take() {
            waker.wake();
        }
    }

    /// The body was sent on whole.
    pub(crate) fn end(&self, trailers: Option<&Fields>) {
        let mut held = self.0.held();
        if held.end.is_none() {
            held.trailers = trailers.cloned();
        }
        self.0.end(&mut held, End::Whole);
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.0.end(&mut self.0.held(), End::Lost(Loss::Cut));
    }
}

impl TeedBody {
    /// Of a request without a body.
    pub(super) fn none() -> Self {
        let (tee, body, _losing) = tee(0, &Arc::default());
        tee.end(None);
        body
    }

    /// See [`crate::side::Side::poll_part`].
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(Part::Data));
        }
        let mut held = self.shared.held();
        if !held.bytes.is_empty() {
            let len = held.bytes.len().min(PIECE_BYTES_MAX);
            self.piece = held.bytes.split_to(len).freeze();
            self.shared.give_room(len);
            return Poll::Ready(Ok(Part::Data));
        }
        match held.end {
            Some(End::Whole) => {
                drop(held);
                Poll::Ready(Ok(Part::End))
            }
            Some(End::Lost(_)) => Poll::Ready(Err(Broken::Truncated)),
            None => {
                held.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// See [`crate::side::Side::data`].
    pub(crate) fn data(&self) -> &[u8] {
        &self.piece
    }

    /// See [`crate::side::Side::consume`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.piece.advance(count.min(self.piece.len()));
    }

    /// See [`crate::side::Side::take_trailers`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        self.shared.held().trailers.take()
    }

    /// Takes the answer and throws it away; of a long one only so much that its connection can be used again if it was all.
    pub(crate) fn poll_send(&mut self, _cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.answer_left = match self.answer_left.checked_sub(data.len()) {
            Some(left) => left,
            None => return Poll::Ready(Err(Broken::Overrun)),
        };
        Poll::Ready(Ok(data.len()))
    }

    /// See [`TeedBody::poll_send`].
    #[allow(clippy::unused_self, reason = "as every side does")]
    pub(crate) fn poll_end(&mut self, _cx: &mut Context<'_>, _trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    /// See [`TeedBody::poll_send`].
    #[allow(clippy::unused_self, reason = "as every side does")]
    pub(crate) fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for TeedBody {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        held.is_gone = true;
        self.shared.clear(&mut held);
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
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::http1::Connection;
    use crate::pump::Flow;
    use crate::side::Side;
    use crate::transport::Transport;

    fn piece(len: usize) -> Vec<u8> {
        vec![7; len]
    }

    fn read(body: &mut TeedBody) -> Poll<Result<usize, Broken>> {
        let mut cx = Context::from_waker(Waker::noop());
        body.poll_part(&mut cx).map_ok(|_| {
            let len = body.data().len();
            body.consume(len);
            len
        })
    }

    #[test]
    fn a_copy_gets_every_byte_and_the_end() {
        let all = Arc::default();
        let (tee, mut body, _losing) = tee(100, &all);
        assert!(read(&mut body).is_pending());
        tee.data(&piece(60));
        tee.data(&piece(40));
        assert_eq!(all.load(Ordering::Relaxed), 100);
        assert!(matches!(read(&mut body), Poll::Ready(Ok(100))));
        assert!(read(&mut body).is_pending());
        tee.data(&piece(100));
        tee.end(None);
        drop(tee);
        assert!(matches!(read(&mut body), Poll::Ready(Ok(100))));
        assert!(matches!(read(&mut body), Poll::Ready(Ok(0))));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_copy_that_is_behind_is_given_up_and_holds_nothing() {
        let all = Arc::default();
        let (tee, mut body, losing) = tee(100, &all);
        tee.data(&piece(100));
        tee.data(&piece(1));
        assert_eq!((losing.lost().await, all.load(Ordering::Relaxed)), (Loss::Behind, 0));
        assert!(matches!(read(&mut body), Poll::Ready(Err(Broken::Truncated))));
        tee.data(&piece(1));
        tee.end(None);
        assert_eq!(losing.lost().await, Loss::Behind);
    }

    #[tokio::test]
    async fn a_copy_of_what_broke_off_breaks_off_and_all_of_them_are_bounded() {
        let all = Arc::default();
        let (cut, _body, losing) = tee(100, &all);
        cut.data(&piece(50));
        drop(cut);
        assert_eq!((losing.lost().await, all.load(Ordering::Relaxed)), (Loss::Cut, 0));
        let (large, _body, _losing) = tee(HELD_BYTES_MAX, &all);
        large.data(&piece(HELD_BYTES_MAX));
        let (one, _second, losing) = tee(100, &all);
        one.data(&piece(1));
        assert_eq!(losing.lost().await, Loss::Full);
    }

    #[test]
    fn a_copy_that_is_gone_costs_nothing() {
        let all = Arc::default();
        let (tee, body, _losing) = tee(100, &all);
        tee.data(&piece(100));
        drop(body);
        tee.data(&piece(100));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    /// A flow from a stream to one that takes so many bytes, with a copy; and the other ends of both.
    fn copied(width: usize) -> (Flow, [Side; 2], [tokio::io::DuplexStream; 2], Side) {
        let stream = |width| {
            let (near, far) = tokio::io::duplex(width);
            (Side::Http1(Connection::tunnel(Transport::Memory(near))), far)
        };
        let ((from, source), (to, sink)) = (stream(1 << 20), stream(width));
        let (tee, body, _losing) = tee(1 << 20, &Arc::default());
        let mut flow = Flow::default();
        flow.copied_to(tee);
        (flow, [from, to], [source, sink], Side::Copy(body))
    }

    fn all(copy: &mut Side) -> (usize, Poll<Result<Part, Broken>>) {
        let (mut len, mut cx) = (0, Context::from_waker(Waker::noop()));
        loop {
            match copy.poll_part(&mut cx) {
                Poll::Ready(Ok(Part::Data)) => {
                    len += copy.data().len();
                    copy.consume(copy.data().len());
                }
                other => return (len, other),
            }
        }
    }

    #[tokio::test]
    async fn a_copy_gets_what_went_over_and_no_more() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut flow, [mut from, mut to], [mut source, sink], mut copy) = copied(8);
        source.write_all(&piece(100_000)).await.unwrap();
        assert!(flow.poll(&mut cx, &mut from, &mut to).is_pending());
        let (len, more) = all(&mut copy);
        assert!(len as u64 == flow.bytes && len < 100_000 && more.is_pending());
        drop(sink);
        assert!(flow.poll(&mut cx, &mut from, &mut to).is_ready());
        drop(flow);
        assert!(matches!(all(&mut copy).1, Poll::Ready(Err(Broken::Truncated))), "it broke off there, too");

        let (mut flow, [mut from, mut to], [mut source, _sink], mut copy) = copied(1 << 20);
        source.write_all(&piece(100_000)).await.unwrap();
        source.shutdown().await.unwrap();
        assert!(flow.poll(&mut cx, &mut from, &mut to).is_ready());
        assert!(matches!(all(&mut copy), (100_000, Poll::Ready(Ok(Part::End)))));
    }
}
