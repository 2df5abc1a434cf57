//! What lets connections of one listener in and sees them out: open, draining, closed.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use metrics::{Counter, Gauge};
use tokio::time::Instant;
use weft_world::opener::OpenHandle;

use super::descriptors::{Descriptors, Episode};
use crate::bell::Bell;
use crate::handshakes::{Handshake, Handshakes};
use crate::metrics::{self as names, SharedRecorder};

/// Where a listener stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Takes connections.
    Open,
    /// Takes none; what is open finishes.
    Draining,
    /// Everything ends.
    Closed,
}

/// The gate of one listener, shared by all workers.
pub(crate) struct Gate {
    phase: AtomicU8,
    /// What wakes those who serve its connections.
    bells: Vec<Arc<Bell>>,
    open: AtomicUsize,
    open_max: usize,
    descriptors: Arc<Descriptors>,
    open_gauge: Gauge,
    taken: Counter,
    refused: Counter,
    handshakes: Arc<Handshakes>,
    full: Episode,
    short: Episode,
}

impl Gate {
    pub(crate) fn new(
        recorder: &SharedRecorder,
        listener: &'static str,
        (open_max, descriptors): (usize, &Arc<Descriptors>),
        bells: Vec<Arc<Bell>>,
    ) -> Arc<Self> {
        let labels = [("listener", listener)];
        Arc::new(Self {
            phase: AtomicU8::new(Phase::Open as u8),
            bells,
            open: AtomicUsize::new(0),
            open_max,
            descriptors: Arc::clone(descriptors),
            open_gauge: names::gauge(recorder, names::CONNECTIONS_OPEN, &labels),
            taken: names::counter(recorder, names::CONNECTIONS_TOTAL, &labels),
            refused: names::counter(recorder, names::CONNECTIONS_REFUSED_TOTAL, &labels),
            handshakes: Handshakes::new(open_max),
            full: Episode::default(),
            short: Episode::default(),
        })
    }

    /// The gate of what came in by none.
    pub(crate) fn always_open() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(Phase::Open as u8),
            bells: Vec::new(),
            open: AtomicUsize::new(0),
            open_max: usize::MAX,
            descriptors: Arc::new(Descriptors::unbounded()),
            open_gauge: Gauge::noop(),
            taken: Counter::noop(),
            refused: Counter::noop(),
            handshakes: Handshakes::new(usize::MAX),
            full: Episode::default(),
            short: Episode::default(),
        })
    }

    /// The phase. Whoever waits for another listens to the bell of its worker.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Goes on to a phase, never back.
    fn advance(&self, phase: Phase) {
        if self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8 {
            self.bells.iter().for_each(|bell| bell.ring());
        }
    }

    /// Takes a connection in; none at the limit.
    pub(crate) fn pass(self: &Arc<Self>) -> Option<Pass> {
        if self.open.load(Ordering::Relaxed) >= self.open_max || !self.descriptors.take() {
            self.count_refused();
            if self.full.begins(Instant::now()) {
                let open = self.open.load(Ordering::Relaxed);
                tracing::warn!(
                    open,
                    "as many connections are open as the listener, or all of them, may have; others are refused"
                );
            }
            return None;
        }
        self.taken.increment(1);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.open_gauge.increment(1.0);
        Some(Pass(Arc::clone(self)))
    }

    /// Begins a handshake; none when the address has too many under way.
    pub(crate) fn handshake(&self, from: IpAddr) -> Option<Handshake> {
        self.handshakes.begin(from)
    }

    /// Says once that the machine is short of something that a connection needs.
    pub(super) fn say_short(&self, error: &io::Error) {
        if self.short.begins(Instant::now()) {
            tracing::warn!(%error, "accept failed, and is tried again; are there file descriptors left?");
        }
    }

    /// Counts a connection that was turned away.
    pub(crate) fn count_refused(&self) {
        self.refused.increment(1);
    }
}

/// One open connection; dropping it counts it out.
pub(crate) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.descriptors.give_back();
        self.0.open_gauge.decrement(1.0);
    }
}

/// The listener as its opener sees it.
pub(super) struct GateHandle(pub(super) Arc<Gate>);

impl OpenHandle for GateHandle {
    fn stop_accepting(&self) {
        self.0.advance(Phase::Draining);
    }

    fn in_flight(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }
}

impl Drop for GateHandle {
    fn drop(&mut self) {
        self.0.advance(Phase::Closed);
    }
}
