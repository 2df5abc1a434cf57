//! The moment by which an exchange must be over, as its two bodies watch it. Most exchanges have none, which costs one comparison
//! a chunk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline with the timer that wakes who waits for it; the timer runs from the first look at it.
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// At a moment, or never.
    pub(crate) fn at(moment: Option<Instant>) -> Self {
        Self(moment.map(|moment| Box::pin(sleep_until(moment))))
    }

    /// The moment, if there is one.
    pub(crate) fn moment(&self) -> Option<Instant> {
        self.0.as_ref().map(|timer| timer.deadline())
    }

    /// Whether it has passed; if it has not, the task is woken when it does.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|timer| timer.as_mut().poll(cx) == Poll::Ready(()))
    }
}
