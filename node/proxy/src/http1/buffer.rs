//! Bytes that were received and not yet used. The room comes from a small stock of the worker's thread and goes back there when nothing is
//! held, so that an idle connection holds none.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use crate::transport::Transport;

/// Room for a head, or for small bodies.
const SMALL: usize = 16 * 1024;
/// Room for the largest head, and for bodies that come faster than they are read: fewer system calls a megabyte.
const LARGE: usize = 64 * 1024;
/// Pieces of each size in stock of a thread: three megabytes at the most.
const STOCK_MAX: usize = 40;

thread_local! {
    static STOCK: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

fn taken(size: usize) -> Box<[u8]> {
    let stocked = STOCK.with_borrow_mut(|stock| stock[usize::from(size == LARGE)].pop());
    stocked.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn given_back(room: Box<[u8]>) {
    if room.is_empty() {
        return;
    }
    // At the end of a thread there is no stock any more.
    let _gone = STOCK.try_with(|stock| {
        let stock = &mut stock.borrow_mut()[usize::from(room.len() == LARGE)];
        if stock.len() < STOCK_MAX {
            stock.push(room);
        }
    });
}

/// Received bytes.
#[derive(Default)]
pub(crate) struct Buffer {
    room: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read filled all the room: more is likely to wait.
    was_filled: bool,
}

impl Buffer {
    /// What is held.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the room back if nothing is held.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            given_back(std::mem::take(&mut self.room));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once behind what is held; 0 is the end of the stream, and also that there is no room left.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<io::Result<usize>> {
        self.make_room();
        let read = io.poll_read(cx, &mut self.room[self.end..]);
        match read {
            Poll::Ready(Ok(count)) => {
                self.end += count;
                self.was_filled = self.end == self.room.len();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.was_filled = false;
                self.rest();
            }
        }
        read
    }

    /// Whether there is no room left, however it is arranged.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start == LARGE
    }

    fn make_room(&mut self) {
        if self.is_empty() && self.was_filled && self.room.len() == SMALL {
            given_back(std::mem::take(&mut self.room));
            self.room = taken(LARGE);
        }
        if self.room.is_empty() {
            self.room = taken(SMALL);
        }
        if self.end < self.room.len() {
            return;
        }
        if self.start > 0 {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.room.len() == SMALL {
            let mut larger = taken(LARGE);
            larger[..SMALL].copy_from_slice(&self.room);
            given_back(std::mem::replace(&mut self.room, larger));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        given_back(std::mem::take(&mut self.room));
    }
}
