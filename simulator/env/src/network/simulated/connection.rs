//! A simulated stream: two pipes of bytes that take time, wait while the network is cut, and end when it stays so.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::inbox::poll_timer;
use super::{RETRANSMIT_AFTER, SimNetwork};

/// Bytes under way in one direction; about what the kernel's default send and receive buffers hold.
const PIPE_BYTES_MAX: usize = 256 * 1024;
/// A write takes at most so much at once, as a kernel would.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;
/// A stream that could not deliver for so long ends, as the machine's side is set to (TCP_USER_TIMEOUT),
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// and this is the time of an end that gives up early.
const UNACKNOWLEDGED_SHORT_MAX: Duration = Duration::from_secs(12);

/// One end of a simulated stream. Dropping it closes both directions.
#[derive(Debug)]
pub struct SimStream {
    connection: Arc<Connection>,
    end: usize,
}

#[derive(Debug)]
struct Connection {
    network: SimNetwork,
    /// The host and address of each end.
    ends: [(IpAddr, SocketAddr); 2],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The pipe that each end writes to.
    pipes: [Pipe; 2],
    broken: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    segments: VecDeque<(Instant, Bytes)>,
    buffered: usize,
    /// No segment overtakes another.
    last_arrives: Option<Instant>,
    closed_from: Option<Instant>,
    /// Its end is a reset.
    is_reset: bool,
    gives_up_early: bool,
    reader_gone: bool,
    stalled_since: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
}

enum Step {
    Deliver,
    BreakOff,
    Wait,
    WaitUntil(Instant),
}

impl SimStream {
    /// Both ends of a new stream.
    pub(super) fn pair(network: &SimNetwork, ends: [(IpAddr, SocketAddr); 2]) -> (Self, Self) {
        let state = State { pipes: [Pipe::default(), Pipe::default()], broken: false };
        let connection = Arc::new(Connection { network: network.clone(), ends, state: Mutex::new(state) });
        (Self { connection: Arc::clone(&connection), end: 0 }, Self { connection, end: 1 })
    }

    /// Where the other end is.
    pub fn peer_addr(&self) -> SocketAddr {
        self.connection.ends[1 - self.end].1
    }

    /// See [`crate::Stream::reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        self.connection.locked().pipes[self.end].is_reset = true;
    }

    /// See [`crate::Stream::gives_up_early`].
    pub(crate) fn gives_up_early(&self) {
        self.connection.locked().pipes[self.end].gives_up_early = true;
    }

    /// Where this end is.
    pub fn local_addr(&self) -> SocketAddr {
        self.connection.ends[self.end].1
    }
}

impl Connection {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self, from_end: usize) -> (IpAddr, IpAddr) {
        (self.ends[from_end].0, self.ends[1 - from_end].0)
    }

    fn is_cut(&self) -> bool {
        let (from, to) = self.hosts(0);
        self.network.locked().is_cut(from, to)
    }

    /// What the reader of a pipe does now.
    fn next_step(&self, pipe: &mut Pipe) -> Step {
        let now = Instant::now();
        let Some(arrives) = pipe.next_arrival() else { return Step::Wait };
        if arrives > now {
            return Step::WaitUntil(arrives);
        }
        if !self.is_cut() {
            pipe.stalled_since = None;
            return Step::Deliver;
        }
        let stalled_since = *pipe.stalled_since.get_or_insert(now);
        let patience = if pipe.gives_up_early { UNACKNOWLEDGED_SHORT_MAX } else { UNACKNOWLEDGED_MAX };
        if now.duration_since(stalled_since) >= patience {
            return Step::BreakOff;
        }
        Step::WaitUntil(now + RETRANSMIT_AFTER)
    }

    fn arrives(&self, from_end: usize, after: Option<Instant>) -> Instant {
        let (from, to) = self.hosts(from_end);
        let arrives = Instant::now() + self.network.locked().stream_delay(from, to);
        after.map_or(arrives, |after| after.max(arrives))
    }
}

impl State {
    fn break_off(&mut self) {
        self.broken = true;
        for pipe in &mut self.pipes {
            pipe.wake_both();
        }
    }
}

impl Pipe {
    fn wake_both(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// When the reader has something to see next: bytes, or the end.
    fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|(arrives, _)| *arrives).or(self.closed_from)
    }

    /// Moves what has arrived into `buf`; nothing at the end of the stream.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        while let Some((arrives, bytes)) = self.segments.front_mut() {
            if *arrives > Instant::now() || buf.remaining() == 0 {
                break;
            }
            let len = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..len]);
            bytes.advance(len);
            self.buffered -= len;
            if bytes.is_empty() {
                self.segments.pop_front();
            }
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the network was cut for too long")
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.connection.locked();
        loop {
            if state.broken {
                return Poll::Ready(Err(timed_out()));
            }
            let pipe = &mut state.pipes[1 - self.end];
            pipe.reader = Some(cx.waker().clone());
            match self.connection.next_step(pipe) {
                Step::Deliver if pipe.segments.is_empty() && pipe.is_reset => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
                }
                Step::Deliver => {
                    pipe.deliver(buf);
                    return Poll::Ready(Ok(()));
                }
                Step::BreakOff => state.break_off(),
                Step::Wait => return Poll::Pending,
                Step::WaitUntil(arrives) => ready!(poll_timer(&mut pipe.timer, arrives, cx)),
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.connection.locked();
        if state.broken {
            return Poll::Ready(Err(timed_out()));
        }
        let pipe = &mut state.pipes[self.end];
        if pipe.reader_gone || pipe.closed_from.is_some() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
        }
        let len = bytes.len().min(SEGMENT_BYTES_MAX).min(PIPE_BYTES_MAX.saturating_sub(pipe.buffered));
        if len == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let arrives = self.connection.arrives(self.end, pipe.last_arrives);
        pipe.last_arrives = Some(arrives);
        pipe.segments.push_back((arrives, Bytes::copy_from_slice(&bytes[..len])));
        pipe.buffered += len;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl SimStream {
    fn close(&self) {
        let mut state = self.connection.locked();
        let pipe = &mut state.pipes[self.end];
        if pipe.closed_from.is_none() {
            pipe.closed_from = Some(self.connection.arrives(self.end, pipe.last_arrives));
            pipe.wake_both();
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.close();
        let mut state = self.connection.locked();
        let pipe = &mut state.pipes[1 - self.end];
        pipe.reader_gone = true;
        pipe.segments.clear();
        pipe.buffered = 0;
        pipe.wake_both();
    }
}
