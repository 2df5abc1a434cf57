//! What the guard of a connection has seen of it, for those above h2 that cannot ask the guard.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::ended::Ended;

/// Facts of one connection. Written by its guard and its owner, read by everybody who holds the connection.
#[derive(Debug, Default)]
pub(super) struct Observed {
    greeted: AtomicBool,
    heads: AtomicU64,
    in_head: AtomicBool,
    going_away: AtomicBool,
    barren: AtomicBool,
    closed: AtomicBool,
    reads: AtomicU64,
    newest_sent: AtomicU32,
    fault: Mutex<Option<Ended>>,
}

impl Observed {
    /// The peer's first SETTINGS have come.
    pub(super) fn greet(&self) {
        self.greeted.store(true, Relaxed);
    }

    /// Whether the peer's first SETTINGS have come.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted.load(Relaxed)
    }

    /// A header block has begun.
    pub(super) fn begin_head(&self) {
        self.heads.fetch_add(1, Relaxed);
        self.in_head.store(true, Relaxed);
    }

    /// It has ended.
    pub(super) fn end_head(&self) {
        self.in_head.store(false, Relaxed);
    }

    /// The number of the header block that has begun and not ended; none between two.
    pub(super) fn open_head(&self) -> Option<u64> {
        self.in_head.load(Relaxed).then(|| self.heads.load(Relaxed))
    }

    /// The peer has sent GOAWAY.
    pub(super) fn goes_away(&self) {
        self.going_away.store(true, Relaxed);
    }

    /// The peer has sent GOAWAY, and takes none of the requests that it was sent.
    pub(super) fn takes_none(&self) {
        self.barren.store(true, Relaxed);
    }

    /// Whether the peer, as far as it has said, took any request of this connection.
    pub(super) fn has_taken_any(&self) -> bool {
        /// A client's first (RFC 9113, section 5.1.1).
        const FIRST_STREAM: u32 = 1;
        self.has_sent(FIRST_STREAM) && !self.barren.load(Relaxed)
    }

    /// Whether the connection takes no more requests.
    pub(super) fn is_going_away(&self) -> bool {
        self.going_away.load(Relaxed)
    }

    /// The connection is over.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.goes_away();
    }

    /// Whether the connection is over.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Bytes have come.
    pub(super) fn hear(&self) {
        self.reads.fetch_add(1, Relaxed);
    }

    /// How often bytes have come.
    pub(super) fn heard(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// The head of a message on this stream was written.
    pub(super) fn sent_head(&self, stream: u32) {
        self.newest_sent.fetch_max(stream, Relaxed);
    }

    /// Whether the head of a request on this stream was written: streams are opened in order.
    pub(super) fn has_sent(&self, stream: u32) -> bool {
        stream <= self.newest_sent.load(Relaxed)
    }

    /// Nothing more is read from the peer, because of this.
    pub(super) fn set_fault(&self, why: Ended) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Why nothing more was read from the peer.
    pub(super) fn take_fault(&self) -> Option<Ended> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
