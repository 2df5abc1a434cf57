//! Admission: lets requests in up to the node's limit, and lets those beyond wait a short time for a place that becomes free. With room it
//! costs one atomic operation on a count of the worker's own. The limit is the node's, and so is the queue: nobody touches it unless the
//! node is at its limit.

mod queue;

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use metrics::{Counter, Gauge};
use tokio::time::Instant;
use weft_identity::Code;

use crate::memory::{Memory, Step};
use crate::metrics::{self as names, Direction, SharedRecorder};
use crate::problem::Refusal;
use crate::side::Side;
use crate::vigil::{Cut, Footing, Watch};
use queue::{Class, Joined, Queue};

/// Most that wait at once, below the limit itself: more than are served within an interval wait in vain.
const WAITING_MAX: usize = 1_024;

/// The places of a node.
pub(crate) struct Admission {
    /// Places that are free, by worker. Each takes of its own; one that has none left takes another's. What is given back stays where it was
    /// used, so that they go where the work is, and there are never more in all than the limit.
    free: Box<[Places]>,
    in_flight_max: usize,
    memory: Arc<Memory>,
    /// How many wait. Written only at the limit, so that reading it costs nothing.
    waiting: AtomicUsize,
    queue: Mutex<Queue<Arc<Place>>>,
    told: Told,
}

/// Places of one worker, on a cache line (two, as they are fetched) of their own.
#[repr(align(128))]
struct Places(AtomicUsize);

impl Places {
    /// Takes one, if there is one.
    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
    }
}

/// What operators see.
struct Told {
    waiting: Gauge,
    admitted: Counter,
    late: Counter,
    full: Counter,
    memory: Counter,
}

/// What one request waits for.
struct Place {
    worker: usize,
    class: Class,
    verdict: AtomicU8,
    waker: AtomicWaker,
}

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Verdict {
    Open,
    /// The place is counted.
    Admitted,
    Late,
    Displaced,
}

impl Place {
    fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Open,
            1 => Verdict::Admitted,
            2 => Verdict::Late,
            _ => Verdict::Displaced,
        }
    }

    fn settle(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Verdict> {
        self.waker.register(cx.waker());
        match self.verdict() {
            Verdict::Open => Poll::Pending,
            verdict => Poll::Ready(verdict),
        }
    }
}

/// One that waits; dropping it gives up, and gives back what it was given meanwhile.
struct Waiter<'a> {
    admission: &'a Admission,
    place: Arc<Place>,
    number: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut queue = self.admission.queue();
        if queue.give_up(Instant::now(), self.number) {
            return self.admission.tell(&queue);
        }
        drop(queue);
        if self.place.verdict() == Verdict::Admitted {
            self.admission.leave(self.place.worker);
        }
    }
}

/// Who goes first: what another node admitted goes before what is new here.
fn class_of(direction: Direction) -> Class {
    match direction {
        Direction::Inbound => Class::Admitted,
        Direction::Outbound => Class::New,
    }
}

impl Admission {
    pub(crate) fn new(recorder: &SharedRecorder, workers: usize, in_flight_max: usize, memory: Arc<Memory>) -> Self {
        let counter = |outcome| names::counter(recorder, names::ADMISSION_WAITS_TOTAL, &[("outcome", outcome)]);
        Self {
            free: (0..workers.max(1))
                .map(|worker| Places(AtomicUsize::new(share(in_flight_max, workers, worker))))
                .collect(),
            in_flight_max,
            memory,
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue::new(in_flight_max.min(WAITING_MAX))),
            told: Told {
                waiting: names::gauge(recorder, names::ADMISSION_WAITING, &[]),
                admitted: counter("admitted"),
                late: counter("late"),
                full: counter("full"),
                memory: counter("memory"),
            },
        }
    }

    /// Exchanges in flight on all workers.
    pub(crate) fn in_flight(&self) -> usize {
        let free: usize = self.free.iter().map(|places| places.0.load(Ordering::SeqCst)).sum();
        self.in_flight_max.saturating_sub(free)
    }

    /// Counts one exchange in; false at the limit.
    pub(crate) fn enter(&self, worker: usize, direction: Direction) -> bool {
        self.takes(worker, class_of(direction))
    }

    fn takes(&self, worker: usize, class: Class) -> bool {
        self.is_welcome(class) && (self.free[worker].take() || self.takes_of_another())
    }

    #[cold]
    fn takes_of_another(&self) -> bool {
        self.free.iter().any(Places::take)
    }

    fn is_welcome(&self, class: Class) -> bool {
        class == Class::Admitted || self.memory.step() < Step::Scarce
    }

    /// Counts one exchange out.
    pub(crate) fn leave(&self, worker: usize) {
        self.free[worker].0.fetch_add(1, Ordering::SeqCst);
        // Whoever joins the queue looks for a place after it: one of the two sees the other.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.hand_on();
        }
    }

    /// Waits for a place, which is counted when it is there. A caller that is refused has waited 5 ms in a standing overload, at most 100.
    pub(crate) async fn wait(
        &self,
        worker: usize,
        direction: Direction,
        watch: &mut Watch,
        mut side: Option<&mut Side>,
    ) -> Result<(), Refusal> {
        let class = class_of(direction);
        if !self.is_welcome(class) {
            self.told.memory.increment(1);
            return Err(Refusal::new(Code::Overloaded, "the node's memory is nearly used up; see `limits.memory`"));
        }
        let Some(waiter) = self.join(worker, class) else {
            self.told.full.increment(1);
            return Err(at_limit());
        };
        self.hand_on();
        loop {
            let due = self.queue().due(waiter.number).unwrap_or_else(Instant::now);
            let footing = Footing::default();
            let placed = watch.until(Some(due), &footing, |cx| {
                // What comes of a body meanwhile is taken in; that its caller is gone shows soon enough.
                let _gone = side.as_mut().map(|side| side.poll_gone(cx));
                waiter.place.poll(cx)
            });
            match placed.await {
                Ok(Verdict::Admitted) => {
                    self.told.admitted.increment(1);
                    // Settled, so that dropping it would count the place out.
                    waiter.place.verdict.store(Verdict::Open as u8, Ordering::Release);
                    return Ok(());
                }
                Ok(Verdict::Displaced) => self.told.full.increment(1),
                Ok(Verdict::Late | Verdict::Open) => self.told.late.increment(1),
                Err(Cut::Due) => {
                    self.refuse_late();
                    continue;
                }
                Err(Cut::Closed | Cut::Refused(_)) => {}
            }
            return Err(at_limit());
        }
    }

    fn join(&self, worker: usize, class: Class) -> Option<Waiter<'_>> {
        let (verdict, waker) = (AtomicU8::new(Verdict::Open as u8), AtomicWaker::new());
        let place = Arc::new(Place { worker, class, verdict, waker });
        let mut queue = self.queue();
        let number = match queue.join(Instant::now(), class, Arc::clone(&place)) {
            Joined::Waits(number) => number,
            Joined::Displaced(number, other) => {
                other.settle(Verdict::Displaced);
                number
            }
            Joined::Full => return None,
        };
        self.tell(&queue);
        Some(Waiter { admission: self, place, number })
    }

    /// Gives a place that became free to whoever waits for it.
    #[cold]
    fn hand_on(&self) {
        let now = Instant::now();
        let mut queue = self.queue();
        expire(&mut queue, now);
        if let Some(place) = queue.next(now, |place| self.takes(place.worker, place.class)) {
            place.settle(Verdict::Admitted);
        }
        self.tell(&queue);
    }

    fn refuse_late(&self) {
        let mut queue = self.queue();
        expire(&mut queue, Instant::now());
        self.tell(&queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Arc<Place>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, queue: &Queue<Arc<Place>>) {
        let len = queue.len();
        self.waiting.store(len, Ordering::SeqCst);
        #[allow(clippy::cast_precision_loss, reason = "at most WAITING_MAX")]
        self.told.waiting.set(len as f64);
    }
}

fn expire(queue: &mut Queue<Arc<Place>>, now: Instant) {
    while let Some(place) = queue.expired(now) {
        place.settle(Verdict::Late);
    }
}

/// What one of so many workers begins with.
fn share(in_flight_max: usize, workers: usize, worker: usize) -> usize {
    let workers = workers.max(1);
    in_flight_max / workers + usize::from(worker < in_flight_max % workers)
}

/// The refusal of a node that is at its limit.
fn at_limit() -> Refusal {
    Refusal::new(Code::Overloaded, "as many requests are in flight as `limits.in_flight` allows")
}

#[cfg(test)]
mod tests;
