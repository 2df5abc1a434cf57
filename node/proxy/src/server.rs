//! Serves the requests of one accepted connection, whatever version of HTTP it speaks, to whatever stands behind it: the outbound port or
//! the mesh port. Reads heads, keeps their times, and ends connections as they deserve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use weft_identity::Code;
use weft_world::WorldCell;

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

    /// Serves one request.
    fn request(
        &self,
        side: &mut Side,
        watch: &mut Watch,
        head: &mut RequestHead,
    ) -> impl Future<Output = ()> + Send;
}

/// Serves one connection that speaks HTTP/1, or HTTP/2 from its first byte on.
pub(crate) async fn serve<S: Serve>(entry: Arc<S>, connection: Box<Connection>, mut watch: Watch) {
    let mut side = Side::Http1(connection);
    let settings = entry.worker().settings();
    let age_over = settings.connection_age.map(|age| Instant::now() + age);
    let mut quiet = settings.head_timeout;
    let mut is_first = true;
    loop {
        // What follows is as large as a request needs; a connection that rests holds none of it.
        match Box::pin(one(entry.as_ref(), &mut side, &mut watch, quiet, is_first)).await {
            Next::Request => {}
            Next::Http2 => break,
            Next::End => return,
        }
        let Side::Http1(connection) = &mut side else { return };
        match connection.fitness(Role::Server) {
            Fitness::Reusable if age_over.is_none_or(|over| Instant::now() < over) => connection.renew(),
            Fitness::Reusable | Fitness::Spent => return close(connection, &mut watch).await,
            Fitness::Lingers => return linger(connection, &mut watch).await,
        }
        quiet = entry.worker().settings().idle_timeout;
        is_first = false;
    }
    let Side::Http1(connection) = side else { return };
    let (transport, received) = connection.into_transport();
    serve_http2(entry, transport, received.into(), watch).await;
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

/// Waits for one request and serves it.
async fn one<S: Serve>(entry: &S, side: &mut Side, watch: &mut Watch, quiet: Duration, is_first: bool) -> Next {
    let mut head = Recycled::<RequestHead>::default();
    match next_head(entry, side, watch, &mut head, (quiet, is_first)).await {
        Ok(Received::Request) => {
            entry.request(side, watch, &mut head).await;
            Next::Request
        }
        Ok(Received::Http2) if is_first => Next::Http2,
        Ok(Received::Http2) => Next::End,
        Err(Some(refusal)) => {
            let world = entry.world().load();
            proxy::turn_away(entry.worker(), &world, S::DIRECTION, (side, watch), &refusal).await;
            let Side::Http1(connection) = side else { return Next::End };
            linger(connection, watch).await;
            Next::End
        }
        Err(None) => Next::End,
    }
}

/// Waits for the next head: as long as the connection may rest, and from the first byte on as long as a head may take.
async fn next_head<S: Serve>(
    entry: &S,
    side: &mut Side,
    watch: &mut Watch,
    head: &mut RequestHead,
    (quiet, is_first): (Duration, bool),
) -> Result<Received, Option<Refusal>> {
    let Side::Http1(connection) = side else { return Err(None) };
    let head_timeout = entry.worker().settings().head_timeout;
    let began = Instant::now();
    let mut head_due: Option<Instant> = None;
    let footing = Footing::default();
    watch.due_at(Some(began + quiet));
    std::future::poll_fn(|cx| {
        let received = connection.poll_request(cx, head);
        if let std::task::Poll::Ready(received) = received {
            return std::task::Poll::Ready(match received {
                Ok(received) => Ok(received),
                Err(HeadFault::Ended) => Err(None),
                Err(HeadFault::Malformed(malformed)) => Err(Some(refusal_of(malformed))),
                Err(HeadFault::Broken(error)) => {
                    tracing::debug!(%error, "connection broke within a head");
                    Err(None)
                }
            });
        }
        if head_due.is_none() && connection.has_begun() {
            // The first connection's time runs from its start: a byte does not buy more.
            let due = if is_first { began + head_timeout } else { Instant::now() + head_timeout };
            head_due = Some(due);
            watch.due_at(head_due);
        }
        if head_due.is_none() && watch.is_draining() && !is_first {
            return std::task::Poll::Ready(Err(None));
        }
        watch.poll_cut(cx, &footing).map(|cut| match cut {
            Cut::Due if head_due.is_some() => {
                let why = format!("the head of a request did not come within {head_timeout:?}");
                Err(Some(Refusal::new(Code::CallerTooSlow, why)))
            }
            Cut::Due | Cut::Closed => Err(None),
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

/// Ends a connection after what was sent.
async fn close(connection: &mut Connection, watch: &mut Watch) {
    let due = Instant::now() + LINGER_MAX;
    let _ended = watch.until(Some(due), &Footing::default(), |cx| connection.poll_shutdown(cx)).await;
}

/// Ends the sending side and lets the other end see it before the connection goes: what it still sends would reset it otherwise, and the
/// answer with it (RFC 9112, section 9.6).
async fn linger(connection: &mut Connection, watch: &mut Watch) {
    let due = Instant::now() + LINGER_MAX;
    let _ended = watch
        .until(Some(due), &Footing::default(), |cx| {
            if connection.poll_shutdown(cx).is_pending() {
                return std::task::Poll::Pending;
            }
            connection.poll_discard(cx)
        })
        .await;
}

/// Serves one connection of HTTP/2: a task for each stream, so that none waits for another.
pub(crate) async fn serve_http2<S: Serve>(entry: Arc<S>, transport: Transport, received: Bytes, mut watch: Watch) {
    let worker = Arc::clone(entry.worker());
    let settings = worker.settings();
    let settings = ServerSettings {
        trust: S::TRUST,
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        pings: Some(Pings::default()),
    };
    let started = Server::start(transport, received, settings);
    let mut started = std::pin::pin!(started);
    let mut server = match watch.until(None, &Footing::default(), |cx| started.as_mut().poll(cx)).await {
        Ok(Ok(server)) => server,
        Ok(Err(ended)) => return tracing::debug!(%ended, "HTTP/2 did not begin"),
        Err(_) => return,
    };
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
                worker.spawn(stream(entry, arrival, watch));
            }
            Ok(Ok(None)) => return,
            Ok(Err(ended)) => return tracing::debug!(%ended, "connection of HTTP/2 ended"),
            Err(Cut::Due) => {
                drains = true;
                server.drain();
            }
            Err(Cut::Closed) => return server.abort(reset::NO_ERROR),
            Err(Cut::Refused(refusal)) => {
                tracing::info!(why = refusal.why, "connection of a revoked peer closed");
                return server.abort(reset::NO_ERROR);
            }
        }
    }
}

/// Serves one stream.
async fn stream<S: Serve>(entry: Arc<S>, arrival: Arrival, mut watch: Watch) {
    let mut side = Side::Http2(Box::new(arrival.stream));
    match arrival.head {
        Ok(mut head) => entry.request(&mut side, &mut watch, &mut head).await,
        Err(malformed) => {
            let world = entry.world().load();
            let refusal = refusal_of(malformed);
            proxy::turn_away(entry.worker(), &world, S::DIRECTION, (&mut side, &mut watch), &refusal).await;
        }
    }
}
