//! Serves the requests of one accepted connection, whatever version of HTTP it speaks, to whatever stands behind it: the outbound port or
//! the mesh port. Reads heads, keeps their times, and ends connections as they deserve.

use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use weft_identity::{Code, SpiffeId};
use weft_world::{World, WorldCell};

use crate::head::{Malformed, RequestHead};
use crate::http1::{Connection, Fitness, HeadFault, Received, Role};
use crate::http2::{Arrival, Pings, Server, ServerSettings, Trust};
use crate::metrics::Direction;
use crate::problem::Refusal;
use crate::proxy;
use crate::side::{Side, reset};
use crate::stock::Recycled;
use crate::transport::Transport;
use crate::vigil::{Cut, Footing, Watch};
use crate::worker::{Phase, Worker};

/// How long a caller that was answered before it had sent everything may take to see that, and to stop.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// What serves the requests of a listener.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Which way its requests go.
    const DIRECTION: Direction;
    /// Who calls.
    const TRUST: Trust;

    /// The worker that serves it.
    fn worker(&self) -> &Arc<Worker>;

    /// Read once a request.
    fn world(&self) -> &Arc<WorldCell>;

    /// As whom its requests call, as far as that is known before one is read.
    fn caller<'a>(&'a self, world: &'a World) -> Option<&'a SpiffeId>;

    /// Serves one request.
    fn request(&self, side: &mut Side, watch: &mut Watch, head: &mut RequestHead) -> impl Future<Output = ()> + Send;
}

/// Serves one connection that speaks HTTP/1, or HTTP/2 from its first byte on.
pub(crate) async fn serve<S: Serve>(entry: Arc<S>, connection: Box<Connection>, mut watch: Watch) {
    let mut side = Side::Http1(connection);
    let worker = Arc::clone(entry.worker());
    let settings = worker.settings();
    watch.ages_at(settings.connection_age.map(|age| worker.noted() + age));
    let mut quiet = settings.head_timeout;
    let mut is_first = true;
    loop {
        let began = entry.worker().noted();
        if rest(&mut side, &mut watch, began + quiet, is_first).await == Rest::Over {
            return;
        }
        let now = entry.worker().noted();
        // The first head's time runs from the start of the connection: a byte does not buy more.
        let due = if is_first { began } else { now } + settings.head_timeout;
        // What follows is as large as a request needs; a connection that rests holds none of it.
        match Box::pin(one(entry.as_ref(), &mut side, &mut watch, due)).await {
            Next::Request => {}
            Next::Http2 => break,
            Next::End => return,
        }
        let Side::Http1(connection) = &mut side else { return };
        match connection.fitness(Role::Server) {
            Fitness::Reusable => connection.renew(),
            Fitness::Spent | Fitness::Lingers => return Box::pin(linger(connection, &mut watch)).await,
            Fitness::Cut => return,
        }
        quiet = settings.idle_timeout;
        is_first = false;
    }
    let Side::Http1(connection) = side else { return };
    let (transport, received) = connection.into_transport();
    Box::pin(serve_http2(entry, transport, received.into(), watch)).await;
}

/// How a rest between two requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Bytes came.
    Begun,
    /// The connection is over.
    Over,
}

/// Waits for the first bytes of a request.
async fn rest(side: &mut Side, watch: &mut Watch, due: Instant, is_first: bool) -> Rest {
    let Side::Http1(connection) = side else { return Rest::Over };
    watch.due_at(Some(due));
    std::future::poll_fn(|cx| {
        match connection.poll_begun(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Rest::Begun),
            Poll::Ready(Err(_)) => return Poll::Ready(Rest::Over),
            Poll::Pending => {}
        }
        if watch.is_draining() && !is_first {
            return Poll::Ready(Rest::Over);
        }
        watch.poll_cut(cx, &Footing::default()).map(|cut| {
            if let Cut::Refused(refusal) = cut {
                tracing::info!(why = refusal.why, "connection of a revoked peer closed");
            }
            Rest::Over
        })
    })
    .await
}

/// What comes after a wait for a request.
enum Next {
    /// Perhaps another.
    Request,
    /// The connection speaks HTTP/2.
    Http2,
    /// Nothing.
    End,
}

/// Waits for the rest of a head and serves the request.
async fn one<S: Serve>(entry: &S, side: &mut Side, watch: &mut Watch, due: Instant) -> Next {
    let mut head = Recycled::<RequestHead>::default();
    match next_head(entry, side, watch, &mut head, due).await {
        Ok(Received::Request) => {
            entry.request(side, watch, &mut head).await;
            Next::Request
        }
        Ok(Received::Http2) => Next::Http2,
        Err(Some(refusal)) => {
            Box::pin(proxy::turn_away(entry, (side, watch), (&RequestHead::default(), &refusal))).await;
            let Side::Http1(connection) = side else { return Next::End };
            linger(connection, watch).await;
            Next::End
        }
        Err(None) => Next::End,
    }
}

/// Waits for a head that has begun.
async fn next_head<S: Serve>(
    entry: &S,
    side: &mut Side,
    watch: &mut Watch,
    head: &mut RequestHead,
    due: Instant,
) -> Result<Received, Option<Refusal>> {
    let Side::Http1(connection) = side else { return Err(None) };
    watch.due_at(Some(due));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(received) = connection.poll_request(cx, head) {
            return Poll::Ready(match received {
                Ok(received) => Ok(received),
                Err(HeadFault::Ended) => Err(None),
                Err(HeadFault::Malformed(malformed)) => Err(Some(refusal_of(malformed))),
                Err(HeadFault::Broken(error)) => {
                    tracing::debug!(%error, "connection broke within a head");
                    Err(None)
                }
            });
        }
        watch.poll_cut(cx, &Footing::default()).map(|cut| match cut {
            Cut::Due => {
                let span = entry.worker().settings().head_timeout;
                let why = format!("the head of a request did not come within {span:?}");
                Err(Some(Refusal::new(Code::CallerTooSlow, why)))
            }
            Cut::Closed => Err(None),
            Cut::Refused(refusal) => {
                tracing::info!(why = refusal.why, "connection of a revoked peer closed");
                Err(None)
            }
        })
    })
    .await
}

fn refusal_of(malformed: Malformed) -> Refusal {
    let code = if malformed.is_too_large { Code::HeadTooLarge } else { Code::RequestMalformed };
    Refusal::new(code, malformed.why)
}

/// Ends the sending side and lets the other end see it before the connection goes: what it still sends would reset it otherwise, and the
/// answer with it (RFC 9112, section 9.6).
async fn linger(connection: &mut Connection, watch: &mut Watch) {
    let due = Instant::now() + LINGER_MAX;
    let _ended = watch
        .until(Some(due), &Footing::default(), |cx| {
            if connection.poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            connection.poll_discard(cx)
        })
        .await;
}

/// Sends the last bytes of a connection that is no more than that, and ends it so that they arrive.
pub(crate) async fn say_last(connection: &mut Connection, watch: &mut Watch, bytes: &[u8]) {
    let due = Instant::now() + LINGER_MAX;
    let mut left = bytes;
    let footing = Footing::default();
    let sent = watch.until(Some(due), &footing, |cx| {
        while !left.is_empty() {
            match ready!(connection.poll_send(cx, left)) {
                Ok(count) => left = &left[count..],
                Err(_) => return Poll::Ready(()),
            }
        }
        connection.poll_flush(cx).map(|_| ())
    });
    if sent.await.is_ok() {
        linger(connection, watch).await;
    }
}

/// Serves one connection of HTTP/2: a task for each stream, so that none waits for another.
pub(crate) async fn serve_http2<S: Serve>(entry: Arc<S>, transport: Transport, received: Bytes, mut watch: Watch) {
    let worker = Arc::clone(entry.worker());
    // What greets is large, and over before the first request.
    let greeted = Box::pin(greeted(entry.as_ref(), transport, received, &mut watch)).await;
    let Some(mut server) = greeted else { return };
    let age_over = worker.settings().connection_age.map(|age| Instant::now() + age);
    let mut drains = false;
    loop {
        let due = age_over.filter(|_| !drains);
        let gate = Arc::clone(watch.gate());
        let footing = Footing::default();
        let next = watch.until(due, &footing, |cx| {
            if !drains && gate.phase() != Phase::Open {
                drains = true;
                server.drain();
            }
            server.poll_next(cx)
        });
        match next.await {
            Ok(Ok(Some(arrival))) => {
                let (entry, watch) = (Arc::clone(&entry), watch.another(&worker));
                worker.spawn(Box::pin(stream(entry, arrival, watch)));
            }
            Ok(Ok(None)) => return,
            Ok(Err(ended)) => return tracing::debug!(%ended, "connection of HTTP/2 ended"),
            Err(Cut::Due) => {
                drains = true;
                server.drain();
            }
            Err(Cut::Closed) => return aborted(server).await,
            Err(Cut::Refused(refusal)) => {
                tracing::info!(why = refusal.why, "connection of a revoked peer closed");
                return aborted(server).await;
            }
        }
    }
}

/// Greets a client of HTTP/2; none where nothing comes of it.
async fn greeted<S: Serve>(entry: &S, transport: Transport, received: Bytes, watch: &mut Watch) -> Option<Server> {
    let settings = entry.worker().settings();
    let settings = ServerSettings {
        trust: S::TRUST,
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        pings: Some(Pings::default()),
    };
    let mut started = std::pin::pin!(Server::start(transport, received, settings));
    match watch.until(None, &Footing::default(), |cx| started.as_mut().poll(cx)).await {
        Ok(Ok(server)) => Some(server),
        Ok(Err(ended)) => {
            tracing::debug!(%ended, "HTTP/2 did not begin");
            None
        }
        Err(_) => None,
    }
}

/// Ends a connection and all of its streams, and lets the other end know.
async fn aborted(mut server: Server) {
    server.abort(reset::NO_ERROR);
    // It ends by itself within a second.
    while let Ok(Some(_late)) = std::future::poll_fn(|cx| server.poll_next(cx)).await {}
}

/// Serves one stream.
async fn stream<S: Serve>(entry: Arc<S>, arrival: Arrival, mut watch: Watch) {
    let mut side = Side::Http2(Box::new(arrival.stream));
    match arrival.head {
        Ok(mut head) => entry.request(&mut side, &mut watch, &mut head).await,
        Err(malformed) => {
            let refusal = refusal_of(malformed);
            proxy::turn_away(entry.as_ref(), (&mut side, &mut watch), (&RequestHead::default(), &refusal)).await;
        }
    }
}
