//! Copies of requests, sent beside them to see what another version does. A copy never holds its request up: its body follows through a
//! bounded buffer and is given up where it is too far behind; its answer is read and thrown away; and past a number in flight none is made.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use weft_identity::Code;
use weft_policy::Subset;
use weft_policy::endpoint::EndpointTable;
use weft_world::{Credential, World};

use super::attempt::Wire;
use super::message::{self, Copied};
use super::route::{self, Departure};
use super::tee::{Losing, Loss, tee};
use super::{Carriage, Exchange, Matched, tries};
use crate::body::Body;
use crate::metrics::{Direction, Slot};
use crate::worker::Worker;

/// Copies in flight on one worker: enough for a service that answers in a tenth of a second at 2,500 copies a second.
const MIRRORS_MAX: u32 = 256;
/// What is read of a copy's answer; the connection of a longer one is not used again.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Sends a copy of a request on its way, if there is room.
pub(super) fn send(
    worker: &Arc<Worker>,
    world: &Arc<World>,
    matched: &Matched<'_>,
    departure: Departure<'_>,
    request: &mut Request<Body>,
) {
    let Some(mirror) = departure.mirror else { return };
    let service = mirror.service.as_ref().unwrap_or(departure.dialled);
    let Ok(to) = route::matched_for(world, worker, matched, service, departure.rule) else { return };
    let Some(wire) = Wire::of(to.table.protocol) else { return };
    let has_body = !matches!(request.body(), Body::Empty);
    if has_body && mirror.behind_bytes_max == 0 {
        return;
    }
    let slot = Slot::take(&worker.mirrors, MIRRORS_MAX);
    let room = slot.and_then(|slot| Some((slot, Exchange::start(worker, Direction::Outbound)?)));
    let Some((slot, mut exchange)) = room else {
        return worker.states.count_lost_copy(service, Loss::Full.as_str());
    };
    exchange.occupies(slot);
    let mut copied = Copied::head(request).into_request();
    let losing = has_body.then(|| {
        let (tee, body, losing) = tee(mirror.behind_bytes_max, &worker.mirrored_bytes);
        request.body_mut().copied_to(tee);
        *copied.body_mut() = Body::Copied(body);
        losing
    });
    let copy = CopiedCall {
        world: Arc::clone(world),
        credential: Arc::clone(matched.credential),
        table: Arc::clone(to.table),
        version: mirror.version.clone(),
        wire,
        request: copied,
        losing,
    };
    worker.spawn(carried(copy, exchange));
}

/// A copy and all that its way needs.
struct CopiedCall {
    world: Arc<World>,
    credential: Arc<Credential>,
    table: Arc<EndpointTable>,
    version: Option<String>,
    wire: Wire,
    request: Request<Body>,
    /// Of a request with a body.
    losing: Option<Losing>,
}

async fn carried(copy: CopiedCall, mut exchange: Box<Exchange>) {
    let CopiedCall { world, credential, table, version, wire, request, losing } = copy;
    let worker = Arc::clone(exchange.worker());
    let matched = Matched::of(&world, &worker, &credential, &table);
    exchange.counted_by(Arc::clone(&matched.meter));
    let mut carriage = Carriage::new(&world, &exchange, &matched, Some(request.headers()));
    carriage.subset = Subset { version: version.as_deref(), ..Subset::ALL };
    // A copy that fails is not worth another.
    carriage.attempts = 0;
    let framed = match message::reframed(request, wire) {
        Ok(request) => request,
        Err(refusal) => return exchange.failed(refusal.code),
    };
    let answered = async {
        match tries::endpoints(&world, &mut exchange, (&matched, &carriage), wire, framed).await {
            Ok(response) => discard(response, &mut exchange).await,
            Err(refusal) => exchange.failed(refusal.code),
        }
    };
    let given_up = async {
        match &losing {
            Some(losing) => losing.lost().await,
            None => std::future::pending().await,
        }
    };
    // Leaving the exchange closes its connection.
    let loss = tokio::select! {
        () = answered => return,
        loss = given_up => loss,
    };
    worker.states.count_lost_copy(&table.service, loss.as_str());
    if loss != Loss::Cut {
        exchange.failed(Code::Overloaded);
    }
}

/// Reads an answer to its end, within a bound.
async fn discard(response: Response<Incoming>, exchange: &mut Exchange) {
    exchange.status(response.status().as_u16());
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
    exchange.complete();
}
