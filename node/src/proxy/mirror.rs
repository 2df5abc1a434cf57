//! Copies of requests, sent beside them to see what another version does. A copy never holds its request up: it is made from the head
//! alone, so that requests with a body are not copied; its answer is read and thrown away; and past a number in flight none is made.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use weft_actors::world::{Credential, World};
use weft_gateway::Subset;
use weft_gateway::endpoint::EndpointTable;

use super::attempt::Wire;
use super::message::{self, Copied};
use super::route::{self, Departure};
use super::{Carriage, Exchange, Matched, tries};
use crate::body::Body;
use crate::metrics::{Direction, Slot};
use crate::worker::Worker;

/// Copies in flight on one worker: enough for a service that answers in a tenth of a second at 2,500 copies a second.
const MIRRORS_MAX: u32 = 256;
/// What is read of a copy's answer; the connection of a longer one is not used again.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Sends a copy of a request on its way, if it has no body and there is room.
pub(super) fn send(
    worker: &Arc<Worker>,
    world: &Arc<World>,
    matched: &Matched<'_>,
    departure: Departure<'_>,
    request: &Request<Body>,
) {
    let Some(mirror) = departure.mirror else { return };
    let service = mirror.service.as_ref().unwrap_or(departure.dialled);
    let Ok(to) = route::matched_for(world, worker, matched, service, departure.rule) else { return };
    let copied = Copied::of(request, message::repeat_of(request));
    let (Some(wire), Some(copy)) = (Wire::of(to.table.protocol), copied) else { return };
    let Some(slot) = Slot::take(&worker.mirrors, MIRRORS_MAX) else { return };
    let Some(mut exchange) = Exchange::start(worker, Direction::Outbound) else { return };
    exchange.occupies(slot);
    let copy = CopiedCall {
        world: Arc::clone(world),
        credential: Arc::clone(matched.credential),
        table: Arc::clone(to.table),
        version: mirror.version.clone(),
        wire,
        request: copy.into_request(),
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
}

async fn carried(copy: CopiedCall, mut exchange: Box<Exchange>) {
    let CopiedCall { world, credential, table, version, wire, request } = copy;
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
    match tries::endpoints(&world, &mut exchange, (&matched, &carriage), wire, framed).await {
        Ok(response) => discard(response, &mut exchange).await,
        Err(refusal) => exchange.failed(refusal.code),
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
