//! What happened in a simulation: the thing that two runs of one seed must agree on. Written by scenarios.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A run that says more than this is broken; what comes after is counted only.
const EVENTS_MAX: usize = 1_000_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Virtual time since the start.
    pub at: Duration,
    /// To which node.
    pub node: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} {} {}", self.at.as_secs_f64(), self.node, self.what)
    }
}

/// The events of one run, in order. Clones are the same log.
#[derive(Debug, Clone)]
pub struct EventLog {
    start: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    left_out: u64,
}

impl EventLog {
    /// An empty log whose time starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), state: Arc::default() }
    }

    /// Adds what happened now.
    pub fn record(&self, node: impl fmt::Display, what: impl fmt::Display) {
        let event = Event { at: self.start.elapsed(), node: node.to_string(), what: what.to_string() };
        let mut state = self.locked();
        if state.events.len() < EVENTS_MAX {
            state.events.push(event);
        } else {
            state.left_out += 1;
        }
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        self.locked().events.clone()
    }

    /// How many events found no room.
    pub fn left_out(&self) -> u64 {
        self.locked().left_out
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
