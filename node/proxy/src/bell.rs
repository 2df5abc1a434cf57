//! Wakes whoever waits on one worker when something changed that may end what is open: trust, documents, a listener. Between two changes it
//! costs one load a look: nobody takes a lock for a request, and workers share nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// The bell of one worker.
#[derive(Default)]
pub(crate) struct Bell {
    rings: AtomicU64,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// The place of one task that listens. Dropping it leaves.
pub(crate) struct Seat {
    bell: Arc<Bell>,
    number: usize,
    seen: u64,
    /// What the bell wakes.
    waker: Option<Waker>,
}

impl Bell {
    /// How often it rang.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everybody.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::AcqRel);
        let wakers: Vec<Waker> = self.seats().wakers.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes a place. What rang before is not heard.
    pub(crate) fn sit(self: &Arc<Self>) -> Seat {
        let mut seats = self.seats();
        let number = seats.free.pop().unwrap_or_else(|| {
            seats.wakers.push(None);
            seats.wakers.len() - 1
        });
        drop(seats);
        Seat { bell: Arc::clone(self), number, seen: self.rings.load(Ordering::Acquire), waker: None }
    }
}

impl Seat {
    /// Whether the bell rang since it was asked last. If not, the task is woken when it does.
    pub(crate) fn has_rung(&mut self, cx: &Context<'_>) -> bool {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.bell.seats().wakers[self.number] = Some(cx.waker().clone());
        }
        // After the waker is there: a ring in between is seen here or wakes.
        let rings = self.bell.rings.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, rings) != rings
    }

    /// What has been heard so far: [`Seat::listen_since`] takes it.
    pub(crate) fn heard(&self) -> u64 {
        self.bell.rings.load(Ordering::Acquire)
    }

    /// Lets the next look answer whether it rang since then.
    pub(crate) fn listen_since(&mut self, heard: u64) {
        self.seen = heard;
    }

    /// Lets the next look answer that it rang.
    pub(crate) fn look_again(&mut self) {
        self.seen = self.seen.wrapping_sub(1);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.bell.seats();
        seats.wakers[self.number] = None;
        seats.free.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_heard_once_by_each_who_sits() {
        let bell = Arc::<Bell>::default();
        let cx = Context::from_waker(Waker::noop());
        bell.ring();
        let (mut one, mut other) = (bell.sit(), bell.sit());
        assert!(!one.has_rung(&cx), "it rang before");
        bell.ring();
        assert!(one.has_rung(&cx) && !one.has_rung(&cx) && other.has_rung(&cx));
        drop(one);
        assert_eq!(bell.sit().number, 0, "the place is taken again");
    }
}
