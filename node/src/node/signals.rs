//! What signals mean to `weft run`: two end it in order, three that would end it by default do not.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the node listens for. They stay caught until the process ends.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    first_user: Signal,
    second_user: Signal,
}

impl Signals {
    /// Catches them from now on; one that comes before it is asked for is not lost.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            first_user: signal(SignalKind::user_defined1())?,
            second_user: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that ends the node, and names it. Service managers and log rotation send the others out of habit: a node that they
    /// ended would cut off its callers.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => "SIGHUP",
                _ = self.first_user.recv() => "SIGUSR1",
                _ = self.second_user.recv() => "SIGUSR2",
            };
            tracing::info!(signal = ignored, "a signal is ignored; node.toml is read when the node starts");
        }
    }
}
