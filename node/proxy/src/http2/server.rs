//! The server's end of one connection: driven inside the task of whoever accepted it, it hands out one [`Arrival`] a request.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::time::timeout;

use super::backlog::{Backlog, Chunk};
use super::guard::Guard;
use super::observed::Observed;
use super::pulse::{Beat, Deadlines, Pulse, Use};
use super::request::{self, Rest};
use super::stream::Terms;
use super::{
    Ended, HEADER_LIST_BYTES_MAX, Pings, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, Stream, Trust, connection_window,
};
use crate::head::{Malformed, RequestHead};
use crate::transport::Transport;

/// What one connection is served by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerSettings {
    /// Who is at the other end: how many streams and frames it may send.
    pub(crate) trust: Trust,
    /// Preface and SETTINGS must come within it, and the rest of a header block after its first frame.
    pub(crate) head_timeout: Duration,
    /// A connection without streams ends after it.
    pub(crate) idle_timeout: Duration,
    /// Whether, and how, a silent peer is asked if it lives.
    pub(crate) pings: Option<Pings>,
}

/// A request that came.
pub(crate) struct Arrival {
    /// Its head; malformed, the stream is there to be answered.
    pub(crate) head: Result<RequestHead, Malformed>,
    /// Where its body comes from and the answer goes to.
    pub(crate) stream: Stream,
}

/// Streams of a stranger that it may reset before they were looked at: all that it may have open, and as many again. Only what comes in one
/// turn waits to be looked at; over time the budget counts.
const STRANGER_UNSEEN_RESETS_MAX: usize = 200;
/// Those of another node: more than fit into one turn, so that no burst of its callers ends the connection of all.
const PROVEN_UNSEEN_RESETS_MAX: usize = 8 * 1024;
/// Time for the last GOAWAY, and for what h2 still has to write.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection.
pub(crate) struct Server {
    connection: Connection<Guard, Chunk>,
    terms: Terms,
    pulse: Pulse,
    /// As of the last look.
    usage: Use,
    /// Why it is being ended.
    ending: Option<Ended>,
}

impl Server {
    /// Exchanges prefaces. `received` is what was read of the connection already, to find out what it speaks.
    pub(crate) async fn start(io: Transport, received: Bytes, settings: ServerSettings) -> Result<Self, Ended> {
        let ServerSettings { trust, head_timeout, idle_timeout, pings } = settings;
        let observed = Arc::new(Observed::default());
        let guard = Guard::server(io, received, trust, Arc::clone(&observed));
        let greeting = timeout(head_timeout, builder(trust).handshake(guard)).await;
        let Ok(greeted) = greeting else { return Err(Ended::Late("the preface and SETTINGS")) };
        let mut connection = greeted?;
        let deadlines = Deadlines { head_timeout, idle_timeout: Some(idle_timeout), pings };
        let ping_pong = pings.and_then(|_| connection.ping_pong());
        let pulse = Pulse::new(deadlines, ping_pong);
        let backlog = Backlog::new(trust);
        let terms = Terms { limits: trust.head_limits(), backlog, observed: Arc::clone(&observed) };
        Ok(Self { connection, terms, pulse, usage: Use::Idle, ending: None })
    }

    /// Waits for the next request and drives the connection meanwhile: all streams stand still while nobody polls this. None when the
    /// connection is over.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Arrival>, Ended>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => match self.arrival(cx, request, respond) {
                    None => {}
                    arrival => return Poll::Ready(Ok(arrival)),
                },
                Poll::Ready(Some(Err(error))) => match (self.terms.observed.take_fault(), &self.ending) {
                    // h2 has read an error and would go without a word.
                    (Some(fault), None) => self.end(fault),
                    // Without streams, an abrupt end loses as little as a clean one.
                    (None, None) if error.is_io() && self.usage == Use::Idle => return Poll::Ready(Ok(None)),
                    _ => return Poll::Ready(Err(self.ending.take().unwrap_or_else(|| error.into()))),
                },
                Poll::Ready(None) => return Poll::Ready(self.ending.take().map_or(Ok(None), Err)),
                Poll::Pending => return self.poll_pulse(cx).map_ok(|()| None),
            }
        }
    }

    /// Looks at the deadlines; ready where the connection is given up.
    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.usage = if self.connection.has_streams() { Use::Busy } else { Use::Idle };
        self.pulse.look(&self.terms.observed, self.usage);
        match std::task::ready!(self.pulse.poll(cx, &self.terms.observed)) {
            Beat::Closed => return Poll::Ready(self.ending.take().map_or(Ok(()), Err)),
            Beat::Idle => {
                self.drain();
                self.pulse.closes_idle_within(CLOSE_TIMEOUT);
            }
            Beat::Late(what) => self.end(Ended::Late(what)),
        }
        // h2 has something to write.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A request; none that was reset before anybody looked at it.
    fn arrival(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Chunk>,
    ) -> Option<Arrival> {
        if respond.poll_reset(cx).is_ready() {
            return None;
        }
        self.usage = Use::Busy;
        let (parts, body) = request.into_parts();
        let rest = if body.is_end_stream() { Rest::None } else { Rest::Follows };
        let head = request::head_of(parts, rest, self.terms.limits);
        Some(Arrival { head, stream: Stream::accepted(respond, body, &self.terms) })
    }

    /// Asks the peer to open no more streams (GOAWAY); [`Server::poll_next`] ends when those that are open have ended.
    pub(crate) fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends the connection and all its streams, with this code in a GOAWAY, which goes out while [`Server::poll_next`] is polled to its
    /// end, a second at most.
    pub(crate) fn abort(&mut self, code: u32) {
        self.connection.abrupt_shutdown(Reason::from(code));
        self.pulse.closes_within(CLOSE_TIMEOUT);
    }

    fn end(&mut self, why: Ended) {
        self.abort(why.code().into());
        self.ending = Some(why);
    }
}

fn builder(trust: Trust) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window(trust.streams_max()))
        .max_concurrent_streams(trust.streams_max())
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol()
        // A count over the life of a connection that honest clients reach after weeks; the budget counts our resets over time.
        .max_local_error_reset_streams(None)
        // Of which h2 still ignores what was under way.
        .max_concurrent_reset_streams(trust.streams_max() as usize)
        .max_pending_accept_reset_streams(match trust {
            Trust::Stranger => STRANGER_UNSEEN_RESETS_MAX,
            Trust::Proven => PROVEN_UNSEEN_RESETS_MAX,
        });
    builder
}
