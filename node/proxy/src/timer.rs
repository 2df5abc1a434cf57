//! One timer a task, set anew for each wait at no cost: the runtime's timer is only touched when it would fire too late, or fires too early.
//! Nearly every wait on the way of a request ends long before its time, so that the runtime hears of a timer once in many requests.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of one task.
#[derive(Default)]
pub(crate) struct Timer {
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the runtime wakes; none since the timer was set anew there.
    waker: Option<Waker>,
}

impl Timer {
    /// Sets the moment, or none.
    pub(crate) fn set(&mut self, due: Option<Instant>) {
        self.due = due;
    }

    /// Whether the moment has passed. If not, the task is woken when it has, perhaps earlier.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(due) = self.due else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due || (sleep.is_elapsed() && self.waker.is_some()) {
            if sleep.is_elapsed() && Instant::now() >= due {
                return true;
            }
            sleep.as_mut().reset(due);
            self.waker = None;
        }
        let is_known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known {
            return false;
        }
        // A task that has used up its turn would not be heard of again: the runtime lets a timer be pending then without noting whom to wake.
        match pin!(unconstrained(sleep.as_mut())).poll(cx) {
            Poll::Ready(()) => {
                self.waker = Some(cx.waker().clone());
                if Instant::now() >= due { true } else { self.is_due(cx) }
            }
            Poll::Pending => {
                self.waker = Some(cx.waker().clone());
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::coop::consume_budget;

    use super::*;

    async fn due(timer: &mut Timer) -> Instant {
        std::future::poll_fn(|cx| if timer.is_due(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        Instant::now()
    }

    fn use_up_turn() {
        while pin!(consume_budget()).poll(&mut Context::from_waker(Waker::noop())).is_ready() {}
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_set_in_a_turn_that_is_used_up() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        let fired = tokio::spawn(async move {
            timer.set(Some(start + Duration::from_millis(50)));
            // Whatever the turn did before: it is used up when the timer is set.
            use_up_turn();
            due(&mut timer).await
        });
        let fired = tokio::time::timeout(Duration::from_secs(1), fired).await.expect("it fires").unwrap();
        assert_eq!((fired - start).as_millis(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_its_moment_however_it_is_set_anew() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        let at = |ms| Some(start + Duration::from_millis(ms));
        timer.set(at(100));
        assert!(!timer.is_due(&mut Context::from_waker(Waker::noop())));
        timer.set(at(50));
        assert_eq!((due(&mut timer).await - start).as_millis(), 50, "earlier");
        timer.set(at(80));
        assert_eq!((due(&mut timer).await - start).as_millis(), 80, "again");
        timer.set(at(200));
        let never = tokio::time::timeout(Duration::from_millis(20), due(&mut timer)).await;
        assert!(never.is_err());
        timer.set(at(300));
        assert_eq!((due(&mut timer).await - start).as_millis(), 300, "later, while it ran");
        timer.set(at(250));
        assert_eq!(due(&mut timer).await, start + Duration::from_millis(300), "in the past");
        timer.set(None);
        assert!(!timer.is_due(&mut Context::from_waker(Waker::noop())));
    }
}
