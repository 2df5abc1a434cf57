//! The order and the time in which requests wait for a place: who goes next, who is refused, and when. Pure; [`crate::admission`] is the
//! shell around it.
//!
//! CoDel's target and interval (Nichols and Jacobson, "Controlling Queue Delay", 2012) as Facebook applies them to requests (Maurer, "Fail at
//! Scale", 2015): a queue that was empty a moment ago holds a burst, which may wait for an interval, first come first served. A queue that
//! stands is an overload, which no patience cures: who waits longer than the target is refused, and the newest is served first, because it
//! is the one whose caller still waits.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long a request waits in a standing overload. With it a refusal comes within 10 ms, timers and scheduling included.
pub(crate) const TARGET: Duration = Duration::from_millis(5);
/// How long a queue may hold somebody before it stands; how long it must be empty before it does not; how long a burst waits at most.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Who waits; the first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A request from another node: one that was admitted there, and on which work was spent.
    Admitted,
    /// A new one of an application of this machine.
    New,
}

/// How many classes there are.
const CLASSES: usize = 2;

/// What was waiting and waits no more.
struct Waiting<T> {
    number: u64,
    since: Instant,
    who: T,
}

/// Requests that wait.
pub(crate) struct Queue<T> {
    /// By class, each from the oldest to the newest.
    classes: [VecDeque<Waiting<T>>; CLASSES],
    len_max: usize,
    next_number: u64,
    phase: Phase,
    /// Since when somebody waits, or nobody does.
    changed: Option<Instant>,
}

/// What the queue is a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A burst, if anything.
    Passing,
    /// More work than can be done.
    Standing,
}

/// What became of one who came.
pub(crate) enum Joined<T> {
    /// It waits, under this number.
    Waits(u64),
    /// It waits, and another one is refused in its place.
    Displaced(u64, T),
    /// There is no room for it.
    Full,
}

impl<T> Queue<T> {
    /// An empty one in which at most so many wait.
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            classes: std::array::from_fn(|_| VecDeque::new()),
            len_max,
            next_number: 0,
            phase: Phase::Passing,
            changed: None,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    /// Takes somebody in.
    pub(crate) fn join(&mut self, now: Instant, class: Class, who: T) -> Joined<T> {
        self.look(now);
        if self.len() == 0 {
            self.changed = Some(now);
        }
        let displaced = if self.len() < self.len_max { None } else { self.displaced_by(class) };
        if self.len() >= self.len_max {
            return Joined::Full;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.classes[class as usize].push_back(Waiting { number, since: now, who });
        match displaced {
            Some(other) => Joined::Displaced(number, other),
            None => Joined::Waits(number),
        }
    }

    /// Who goes for one of this class when the queue is full: the oldest of a later class, and in an overload the oldest of its own.
    fn displaced_by(&mut self, class: Class) -> Option<T> {
        let own = class as usize;
        let last = if self.phase == Phase::Standing { own } else { own + 1 };
        (last..CLASSES).rev().find_map(|class| self.classes[class].pop_front()).map(|waiting| waiting.who)
    }

    /// The next to be served: of the first class in which somebody waits, the oldest in a burst and the newest in an overload.
    /// Nobody, where `has_place` says that there is none for it.
    pub(crate) fn next(&mut self, now: Instant, has_place: impl FnOnce(&T) -> bool) -> Option<T> {
        self.look(now);
        let phase = self.phase;
        let class = self.classes.iter_mut().find(|class| !class.is_empty())?;
        let first = if phase == Phase::Standing { class.back() } else { class.front() };
        if !first.is_some_and(|waiting| has_place(&waiting.who)) {
            return None;
        }
        let next = if phase == Phase::Standing { class.pop_back() } else { class.pop_front() };
        self.note_empty(now);
        next.map(|waiting| waiting.who)
    }

    /// When the one with this number has to be refused, or the answer may have become another; none when it does not wait.
    pub(crate) fn due(&self, number: u64) -> Option<Instant> {
        let since = self.classes.iter().flatten().find(|waiting| waiting.number == number)?.since;
        Some(match (self.phase, self.changed) {
            (Phase::Passing, Some(changed)) => (since + INTERVAL).min((changed + INTERVAL).max(since + TARGET)),
            _ => since + TARGET,
        })
    }

    /// Takes out one that has waited for too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<T> {
        self.look(now);
        let patience = if self.phase == Phase::Standing { TARGET } else { INTERVAL };
        let late = |class: &&mut VecDeque<Waiting<T>>| class.front().is_some_and(|first| first.since + patience <= now);
        let expired = self.classes.iter_mut().find(late).and_then(VecDeque::pop_front);
        self.note_empty(now);
        expired.map(|waiting| waiting.who)
    }

    /// Takes out one that waits no more; false where it was out already.
    pub(crate) fn give_up(&mut self, now: Instant, number: u64) -> bool {
        let before = self.len();
        self.classes.iter_mut().for_each(|class| class.retain(|waiting| waiting.number != number));
        let found = self.len() < before;
        if found {
            self.note_empty(now);
        }
        found
    }

    /// A queue that holds somebody for an interval stands, and one that is empty for an interval does not.
    fn look(&mut self, now: Instant) {
        if self.changed.is_some_and(|changed| changed + INTERVAL <= now) {
            self.phase = if self.len() > 0 { Phase::Standing } else { Phase::Passing };
        }
    }

    fn note_empty(&mut self, now: Instant) {
        if self.len() == 0 {
            self.changed = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn waits(queue: &mut Queue<u32>, now: Instant, class: Class, who: u32) -> u64 {
        match queue.join(now, class, who) {
            Joined::Waits(number) => number,
            Joined::Displaced(..) | Joined::Full => panic!("there is room"),
        }
    }

    fn next(queue: &mut Queue<u32>, now: Instant) -> Option<u32> {
        assert_eq!(queue.next(now, |_| false), None, "without a place nobody goes");
        queue.next(now, |_| true)
    }

    /// A queue of sixteen in which somebody has waited for an interval.
    fn standing(start: Instant) -> (Queue<u32>, Instant) {
        let mut queue = Queue::new(16);
        waits(&mut queue, start, Class::New, 0);
        let now = start + INTERVAL;
        assert_eq!(queue.expired(now), Some(0));
        assert_eq!(queue.len(), 0);
        (queue, now)
    }

    #[test]
    fn a_burst_is_served_in_its_order_and_waits_for_an_interval() {
        let (start, mut queue) = (Instant::now(), Queue::new(16));
        let numbers: Vec<u64> = (0..3).map(|who| waits(&mut queue, start + who * MS, Class::New, who)).collect();
        assert_eq!(next(&mut queue, start + 50 * MS), Some(0));
        assert_eq!(queue.due(numbers[1]), Some(start + INTERVAL), "then the queue stands");
        assert_eq!(queue.expired(start + 99 * MS), None);
        assert_eq!(next(&mut queue, start + 99 * MS), Some(1));
    }

    #[test]
    fn a_standing_queue_serves_the_newest_and_refuses_after_the_target() {
        let (mut queue, now) = standing(Instant::now());
        let numbers: Vec<u64> = (1..4).map(|who| waits(&mut queue, now + who * MS, Class::New, who)).collect();
        assert_eq!(queue.due(numbers[0]), Some(now + MS + TARGET));
        assert_eq!(next(&mut queue, now + 4 * MS), Some(3), "the newest");
        assert_eq!(queue.expired(now + 6 * MS), Some(1));
        assert_eq!(queue.expired(now + 6 * MS), None);
    }

    #[test]
    fn it_stands_until_it_was_empty_for_an_interval() {
        let (mut queue, now) = standing(Instant::now());
        // Empty for a moment again and again, as between arrivals.
        let number = waits(&mut queue, now + 50 * MS, Class::New, 1);
        assert_eq!(queue.due(number), Some(now + 55 * MS));
        assert_eq!(next(&mut queue, now + 51 * MS), Some(1));
        let number = waits(&mut queue, now + 151 * MS, Class::New, 2);
        assert_eq!(queue.due(number), Some(now + 251 * MS), "a burst again");
    }

    #[test]
    fn what_was_admitted_elsewhere_goes_first_and_displaces_what_is_new() {
        let (start, mut queue) = (Instant::now(), Queue::new(2));
        let gone = waits(&mut queue, start, Class::New, 1);
        waits(&mut queue, start, Class::New, 2);
        assert!(matches!(queue.join(start, Class::New, 3), Joined::Full));
        assert!(matches!(queue.join(start, Class::Admitted, 4), Joined::Displaced(_, 1)));
        assert_eq!((queue.due(gone), queue.len()), (None, 2));
        assert_eq!(
            (next(&mut queue, start), next(&mut queue, start), next(&mut queue, start)),
            (Some(4), Some(2), None)
        );
    }

    #[test]
    fn a_full_queue_that_stands_makes_room_for_the_newest() {
        let (mut queue, now) = standing(Instant::now());
        for who in 0..16 {
            waits(&mut queue, now, Class::Admitted, who);
        }
        assert!(matches!(queue.join(now, Class::New, 16), Joined::Full), "not at the cost of an earlier class");
        assert!(matches!(queue.join(now, Class::Admitted, 16), Joined::Displaced(_, 0)));
        assert_eq!(queue.len(), 16);
    }

    #[test]
    fn who_gives_up_is_out() {
        let (start, mut queue) = (Instant::now(), Queue::new(2));
        let number = waits(&mut queue, start, Class::New, 1);
        assert!(queue.give_up(start, number) && !queue.give_up(start, number));
        assert_eq!((next(&mut queue, start), queue.len(), queue.due(number)), (None, 0, None));
    }

    proptest::proptest! {
        #[test]
        fn nobody_waits_beyond_an_interval_and_the_queue_is_bounded(
            steps in proptest::collection::vec((0_u8..4, 0_u32..30), 1..200),
        ) {
            let mut queue = Queue::new(8);
            let mut now = Instant::now();
            for (what, wait) in steps {
                now += wait * MS;
                while queue.expired(now).is_some() {}
                match what {
                    0 => {
                        queue.next(now, |_| true);
                    }
                    1 => {
                        queue.join(now, Class::Admitted, now);
                    }
                    _ => {
                        queue.join(now, Class::New, now);
                    }
                }
                proptest::prop_assert!(queue.len() <= 8);
                let oldest = queue.classes.iter().flatten().map(|waiting| waiting.since).min();
                proptest::prop_assert!(oldest.is_none_or(|oldest| now < oldest + INTERVAL));
            }
        }
    }
}
