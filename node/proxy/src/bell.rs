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

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_listens_is_woken_and_who_left_is_not() {
        let bell = Arc::<Bell>::default();
        let woken: [Arc<Woken>; 3] = std::array::from_fn(|_| Arc::default());
        let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        let count = |at: usize| woken[at].0.load(Ordering::SeqCst);
        let (mut one, mut other) = (bell.sit(), bell.sit());
        bell.ring();
        assert_eq!(count(0), 0, "nobody has asked");
        assert!(one.has_rung(&Context::from_waker(&wakers[0])) && other.has_rung(&Context::from_waker(&wakers[1])));
        bell.ring();
        assert_eq!((count(0), count(1)), (1, 1));
        // Another task polls from now on, and one is gone.
        assert!(one.has_rung(&Context::from_waker(&wakers[2])));
        drop(other);
        bell.ring();
        assert_eq!((count(0), count(1), count(2)), (1, 1, 1));
    }

    #[test]
    fn a_seat_hears_what_rang_since_it_says() {
        let bell = Arc::<Bell>::default();
        let cx = Context::from_waker(Waker::noop());
        let mut seat = bell.sit();
        let heard = seat.heard();
        bell.ring();
        assert!(seat.has_rung(&cx) && !seat.has_rung(&cx));
        seat.listen_since(heard);
        assert!(seat.has_rung(&cx));
        seat.look_again();
        assert!(seat.has_rung(&cx) && !seat.has_rung(&cx));
        seat.listen_since(seat.heard());
        assert!(!seat.has_rung(&cx));
    }

    /// Wakes a thread that is parked.
    struct Parked(std::thread::Thread);

    impl std::task::Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Hears so many rings, each from a seat of its own: to sit down, to look and to sleep race with the ring.
    fn listen(bell: &Arc<Bell>, heard: &AtomicU64, rings: u64) {
        let waker = Waker::from(Arc::new(Parked(std::thread::current())));
        while heard.load(Ordering::SeqCst) < rings {
            let mut seat = bell.sit();
            seat.listen_since(heard.load(Ordering::SeqCst));
            while !seat.has_rung(&Context::from_waker(&waker)) {
                std::thread::park();
            }
            heard.store(seat.heard(), Ordering::SeqCst);
        }
    }

    #[test]
    fn no_ring_is_lost_between_a_look_and_a_sleep() {
        const RINGS: u64 = 2_000;
        let (bell, heard) = (Arc::<Bell>::default(), AtomicU64::new(0));
        // Each is heard before the next: one that was lost would not come again.
        let hears = |ring| {
            while heard.load(Ordering::SeqCst) < ring {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| listen(&bell, &heard, RINGS));
            (1..=RINGS).for_each(|ring| {
                bell.ring();
                hears(ring);
            });
        });
    }
}
