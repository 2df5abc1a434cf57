//! A bounded queue whose items become visible when their time comes. Behind each simulated socket and listener.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// Items that arrive at their times, in the order of those; ties in the order of pushing. One task receives.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    len_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: BTreeMap<(Instant, u64), T>,
    pushed: u64,
    receiver: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Inbox<T> {
    pub(super) fn new(len_max: usize) -> Self {
        let state = State { items: BTreeMap::new(), pushed: 0, receiver: None, timer: None };
        Self { state: Mutex::new(state), len_max }
    }

    /// Whether there was room.
    pub(super) fn push(&self, arrives: Instant, item: T) -> bool {
        let mut state = self.locked();
        if state.items.len() >= self.len_max {
            return false;
        }
        let key = (arrives, state.pushed);
        state.pushed += 1;
        state.items.insert(key, item);
        if let Some(receiver) = state.receiver.take() {
            receiver.wake();
        }
        true
    }

    /// The next item that has arrived.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.locked();
        loop {
            let Some(entry) = state.items.first_entry() else {
                state.receiver = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let arrives = entry.key().0;
            if arrives <= Instant::now() {
                return Poll::Ready(entry.remove());
            }
            state.receiver = Some(cx.waker().clone());
            if poll_timer(&mut state.timer, arrives, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls a timer that is kept between polls, moved to `until` if it stood elsewhere.
pub(super) fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    if sleep.deadline() != until {
        sleep.as_mut().reset(until);
    }
    sleep.as_mut().poll(cx)
}
