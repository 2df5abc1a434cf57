//! The client's end of one connection, which many requests share. The pool asks it for room, and opens another where there is none.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::client::{Builder, Connection, SendRequest};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::backlog::{Backlog, Chunk};
use super::guard::Guard;
use super::observed::Observed;
use super::pulse::{Beat, Deadlines, Pulse, Use};
use super::response::Asked;
use super::stream::Terms;
use super::{
    Ended, HEADER_LIST_BYTES_MAX, Pings, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, Stream, Trust, connection_window,
    request,
};
use crate::head::{Length, Malformed, RequestHead};
use crate::side::Broken;
use crate::transport::Transport;

/// How a connection is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientSettings {
    /// Who is at the other end: how large its heads may be.
    pub(crate) trust: Trust,
    /// SETTINGS must come within it, and the rest of a header block after its first frame.
    pub(crate) head_timeout: Duration,
    /// Whether, and how, a silent peer is asked if it lives.
    pub(crate) pings: Option<Pings>,
}

/// Most streams of one connection, whatever the peer allows: as many as a node allows.
const STREAMS_MAX: u32 = 1_000;

/// One connection; clones share it. It ends when the last clone and the last stream are gone.
#[derive(Clone)]
pub(crate) struct Client {
    requests: SendRequest<Chunk>,
    terms: Terms,
    streams: Arc<Streams>,
}

/// The streams of one connection.
struct Streams {
    open: AtomicUsize,
    /// Heard by who waits for one to end.
    room: Arc<Notify>,
}

/// Counts a stream for as long as it is there.
pub(super) struct Lease(Arc<Streams>);

impl Lease {
    fn new(streams: &Arc<Streams>) -> Self {
        streams.open.fetch_add(1, Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.room.notify_one();
    }
}

impl Client {
    /// Exchanges prefaces and SETTINGS, so that the peer's limits are known before the first request. Then somebody must poll the driver.
    /// `room` is told of each stream that ends.
    pub(crate) async fn start(
        io: Transport,
        settings: ClientSettings,
        room: Arc<Notify>,
    ) -> Result<(Self, Driver), Ended> {
        let ClientSettings { trust, head_timeout, pings } = settings;
        let observed = Arc::new(Observed::default());
        let guard = Guard::client(io, Arc::clone(&observed));
        let greeting = timeout(head_timeout, greet(guard, &observed)).await;
        let Ok(greeted) = greeting else { return Err(Ended::Late("SETTINGS")) };
        let (requests, mut connection) = greeted?;
        let ping_pong = pings.and_then(|_| connection.ping_pong());
        let pulse = Pulse::new(Deadlines { head_timeout, idle_timeout: None, pings }, ping_pong);
        let backlog = Backlog::new(Trust::Proven);
        let terms = Terms { limits: trust.head_limits(), backlog, observed: Arc::clone(&observed) };
        let streams = Arc::new(Streams { open: AtomicUsize::new(0), room });
        Ok((Self { requests, terms, streams }, Driver { connection, observed, pulse }))
    }

    /// Opens a stream with this head; END_STREAM goes with it where the head says that no body follows. Waits only where more streams are
    /// open than the peer allows.
    ///
    /// # Errors
    ///
    /// [`Broken::Unread`] where the connection takes no more requests, or [`Broken::Refused`] where it never took any: nothing was sent. [`Broken::Malformed`] where the head cannot be
    /// said in HTTP/2, or asks for a tunnel of a protocol that the peer does not take.
    pub(crate) async fn send(&mut self, head: &RequestHead) -> Result<Stream, Broken> {
        let request = request::of(head)?;
        if poll_fn(|cx| self.requests.poll_ready(cx)).await.is_err() {
            return Err(self.refused());
        }
        let asked = Asked::by(head);
        let length = if asked == Asked::Tunnel { Length::Unknown } else { head.length };
        match self.requests.send_request(request, length == Length::None) {
            Ok(opened) => Ok(Stream::opened(opened, length, asked, Lease::new(&self.streams), &self.terms)),
            Err(error) if error.is_io() || error.reason().is_some() => Err(self.refused()),
            Err(_) => Err(Malformed::new("the head cannot be said in HTTP/2").into()),
        }
    }

    /// No more requests here; the next connection takes this one.
    fn refused(&self) -> Broken {
        self.terms.observed.goes_away();
        if self.terms.observed.has_taken_any() { Broken::Unread } else { Broken::Refused }
    }

    /// Whether another stream may be opened at once: the connection takes requests and has fewer streams than the peer allows.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_going_away() && self.streams_open() < self.streams_max()
    }

    /// Streams that are open.
    pub(crate) fn streams_open(&self) -> usize {
        self.streams.open.load(Relaxed)
    }

    /// Streams that may be open at once, by the peer's word and ours.
    pub(crate) fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams().min(STREAMS_MAX as usize)
    }

    /// Whether it takes no more requests: closed, or told so by GOAWAY.
    pub(crate) fn is_going_away(&self) -> bool {
        self.terms.observed.is_going_away()
    }

    #[cfg(test)]
    pub(super) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.terms.backlog)
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.terms.observed.is_closed()
    }
}

type Greeted = (SendRequest<Chunk>, Connection<Guard, Chunk>);

/// Exchanges prefaces, and waits until the peer's SETTINGS are in force.
async fn greet(guard: Guard, observed: &Observed) -> Result<Greeted, Ended> {
    let (requests, mut connection) = builder().handshake(guard).await?;
    poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        match ended {
            Poll::Ready(ended) => Poll::Ready(Err(why(observed, ended))),
            // h2 has used all that was read.
            Poll::Pending if observed.is_greeted() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok((requests, connection))
}

/// Why a connection ended before it was of use.
fn why(observed: &Observed, ended: Result<(), h2::Error>) -> Ended {
    let closed = || Ended::Io(std::io::ErrorKind::UnexpectedEof.into());
    observed.take_fault().unwrap_or_else(|| ended.map_or_else(Ended::from, |()| closed()))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window(STREAMS_MAX))
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_push(false)
        // Answers to requests that were given up count as errors, and the connection would end after a thousand.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(STREAMS_MAX as usize);
    builder
}

/// Moves the bytes of one connection; dropping it ends the connection and all of its streams.
pub(crate) struct Driver {
    connection: Connection<Guard, Chunk>,
    observed: Arc<Observed>,
    pulse: Pulse,
}

impl Future for Driver {
    type Output = Result<(), Ended>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.get_mut();
        if let Poll::Ready(ended) = Pin::new(&mut me.connection).poll(cx) {
            me.observed.close();
            let fault = me.observed.take_fault();
            return Poll::Ready(fault.map_or_else(|| ended.map_err(Ended::from), Err));
        }
        me.pulse.look(&me.observed, Use::Busy);
        match std::task::ready!(me.pulse.poll(cx, &me.observed)) {
            Beat::Late(what) => Poll::Ready(Err(Ended::Late(what))),
            Beat::Idle | Beat::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.observed.close();
    }
}
