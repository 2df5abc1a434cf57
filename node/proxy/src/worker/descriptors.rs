//! File descriptors: how many the process may have, which errors mean that there are none, and when that is worth a line in the log.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

/// A shortage that comes again within this time is the same one: it is said once.
const EPISODE: Duration = Duration::from_secs(10);

/// Kept for files, listeners, gossip and the admin socket.
const RESERVE: usize = 64;

/// What the process may have open, and how many connections all of its listeners have taken in.
pub(crate) struct Descriptors {
    max: usize,
    accepted: AtomicUsize,
}

impl Descriptors {
    /// Those of this process; with a soft limit as high as it may be.
    pub(super) fn of_process() -> Self {
        Self::new(raised())
    }

    fn new(max: usize) -> Self {
        Self { max, accepted: AtomicUsize::new(0) }
    }

    /// Where nothing counts.
    pub(super) fn unbounded() -> Self {
        Self::new(usize::MAX)
    }

    /// Takes one for a connection that was accepted: half of all, over all listeners, because each may need another one to its service.
    pub(super) fn take(&self) -> bool {
        let is_room = self.accepted.fetch_add(1, Ordering::Relaxed) < self.max / 2;
        if !is_room {
            self.give_back();
        }
        is_room
    }

    /// An accepted connection is over.
    pub(super) fn give_back(&self) {
        self.accepted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests and streams that may be in flight, where so many are wanted: each may have a connection to its service.
    pub(super) fn in_flight_max(&self, wanted: usize) -> usize {
        (self.max / 2).saturating_sub(RESERVE).max(1).min(wanted)
    }

    /// Connections that one listener may have, where so many are wanted.
    pub(super) fn connections_max(&self, wanted: usize) -> usize {
        let half = self.max / 2;
        if half < wanted {
            tracing::info!(connections = half, "connections are limited by the process's file descriptors");
        }
        half.min(wanted)
    }
}

/// Raises what this process may have open to the most that it is allowed (setrlimit(2)), and tells that.
fn raised() -> usize {
    let mut limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limits.maximum, maximum: limits.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limits.current = limits.maximum,
        Err(error) => tracing::info!(%error, "the limit on file descriptors stays as it is"),
    }
    limits.current.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
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
    fn half_of_all_is_for_what_comes_in_and_half_for_what_goes_out() {
        let descriptors = Descriptors::new(1_024);
        assert_eq!((descriptors.in_flight_max(10_000), descriptors.in_flight_max(100)), (448, 100));
        assert_eq!(descriptors.connections_max(10_000), 512);
        assert!((0..512).all(|_| descriptors.take()) && !descriptors.take() && !descriptors.take());
        descriptors.give_back();
        assert!(descriptors.take() && !descriptors.take());
        assert_eq!(Descriptors::new(usize::MAX).in_flight_max(10_000), 10_000);
        assert_eq!(Descriptors::new(100).in_flight_max(10), 1);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let max = raised();
        assert_eq!(
            getrlimit(Resource::Nofile).current.map(|now| now as usize),
            Some(max).filter(|max| *max != usize::MAX)
        );
    }

    #[test]
    fn an_episode_begins_once_however_long_it_lasts() {
        let (start, episode) = (Instant::now(), Episode::default());
        assert!(episode.begins(start));
        assert!((1..30).all(|second| !episode.begins(start + Duration::from_secs(second))));
        assert!(episode.begins(start + Duration::from_secs(40)));
    }
}
