//! File descriptors: how many the process may have, which errors mean that there are none, and when that is worth a line in the log.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A shortage that comes again within this time is the same one: it is said once.
const EPISODE: Duration = Duration::from_secs(10);

/// The most that this process may have open (proc(5)); none where the system does not tell.
pub(super) fn descriptors_max() -> Option<usize> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether an accept failed because the machine is short of something, and not because of the connection that was to be accepted.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Says once what would be true thousands of times.
#[derive(Default)]
pub(super) struct Episode(Mutex<Option<Instant>>);

impl Episode {
    /// Notes that it is so; true when it was not so for a while.
    pub(super) fn begins(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(now).is_none_or(|last| last + EPISODE < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read_as_the_kernel_writes_it() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit("Max open files   unlimited  unlimited  files\n"), None);
    }

    #[test]
    fn an_episode_begins_once_however_long_it_lasts() {
        let (start, episode) = (Instant::now(), Episode::default());
        assert!(episode.begins(start));
        assert!((1..30).all(|second| !episode.begins(start + Duration::from_secs(second))));
        assert!(episode.begins(start + Duration::from_secs(40)));
    }
}
