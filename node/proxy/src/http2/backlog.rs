//! What one connection holds to be written: bounded for all of its streams together, whatever their windows would let them send. A peer that
//! opens its windows and does not read its socket gets no more of our memory than this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::Trust;

/// The backlog of one connection.
#[derive(Debug)]
pub(super) struct Backlog {
    most: usize,
    held: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Who waits for room, by the round of waiting they are in.
#[derive(Debug, Default)]
struct Waiting {
    round: u64,
    wakers: Vec<Option<Waker>>,
}

/// A place among those who wait; the next round makes it void. The first round is 1.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Place {
    round: u64,
    at: usize,
}

impl Backlog {
    pub(super) fn new(trust: Trust) -> Arc<Self> {
        let most = match trust {
            Trust::Stranger => 256 * 1024,
            // Many callers share the connection.
            Trust::Proven => 1024 * 1024,
        };
        let waiting = Mutex::new(Waiting { round: 1, wakers: Vec::new() });
        Arc::new(Self { most, held: AtomicUsize::new(0), waiting })
    }

    /// Waits for room. Whoever is woken finds it, or waits again.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, place: &mut Place) -> Poll<()> {
        if self.held.load(Ordering::Acquire) < self.most {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting();
        // Between the look above and the lock, room may have come.
        if self.held.load(Ordering::Acquire) < self.most {
            return Poll::Ready(());
        }
        if place.round == waiting.round {
            waiting.wakers[place.at] = Some(cx.waker().clone());
        } else {
            *place = Place { round: waiting.round, at: waiting.wakers.len() };
            waiting.wakers.push(Some(cx.waker().clone()));
        }
        Poll::Pending
    }

    /// Who had this place waits no longer: its task is kept by nobody here.
    pub(super) fn leave(&self, place: Place) {
        if place.round == 0 {
            return;
        }
        let mut waiting = self.waiting();
        if place.round == waiting.round
            && let Some(waker) = waiting.wakers.get_mut(place.at)
        {
            *waker = None;
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn release(&self, count: usize) {
        let before = self.held.fetch_sub(count, Ordering::AcqRel);
        // At half, so that those who wait are not woken for each piece, and the writer has something to go on with.
        let (half, after) = (self.most / 2, before - count);
        if before > half && after <= half {
            let mut waiting = self.waiting();
            waiting.round += 1;
            waiting.wakers.drain(..).flatten().for_each(Waker::wake);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes in the hands of h2, counted until they were written or dropped with their stream.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Bytes,
    counted: usize,
    backlog: Arc<Backlog>,
}

impl Chunk {
    pub(super) fn new(bytes: Bytes, backlog: &Arc<Backlog>) -> Self {
        let counted = bytes.len();
        backlog.held.fetch_add(counted, Ordering::AcqRel);
        Self { bytes, counted, backlog: Arc::clone(backlog) }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.backlog.release(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_when_chunks_go_and_wakes_those_who_wait() {
        let backlog = Backlog::new(Trust::Stranger);
        let mut cx = Context::from_waker(Waker::noop());
        let mut place = Place::default();
        let chunks: Vec<_> = (0..16).map(|_| Chunk::new(Bytes::from(vec![0; 16 * 1024]), &backlog)).collect();
        assert!(backlog.poll_room(&mut cx, &mut place).is_pending());
        assert!(backlog.poll_room(&mut cx, &mut place).is_pending());
        assert_eq!(backlog.waiting().wakers.len(), 1);
        let mut gone = Place::default();
        assert!(backlog.poll_room(&mut cx, &mut gone).is_pending());
        backlog.leave(gone);
        assert_eq!(backlog.waiting().wakers.iter().flatten().count(), 1);
        drop(chunks);
        assert!(backlog.waiting().wakers.is_empty());
        assert!(backlog.poll_room(&mut cx, &mut place).is_ready());
        assert_eq!(backlog.held(), 0);
    }
}
