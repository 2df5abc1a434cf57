//! Deadlines in place of sleeps.

use std::time::{Duration, Instant};

/// How often a condition is looked at: often enough for measurements of tens of milliseconds, cheap on two cores.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Looks at `probe` until it yields a value and returns it with the time it took; panics with `what` after `limit`.
pub fn until_timed<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return (found, started.elapsed());
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Looks at `probe` until it yields a value; panics with `what` after `limit`.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    until_timed(what, limit, probe).0
}

/// Looks at `probe` until it holds; panics with `what` after `limit`.
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Duration {
    until_timed(what, limit, || probe().then_some(())).1
}

/// Lets `span` pass: for runs that measure over a span, never to wait for something.
pub fn let_pass(span: Duration) {
    std::thread::sleep(span);
}
