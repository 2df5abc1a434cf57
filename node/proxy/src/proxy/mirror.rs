//! Copies of requests, sent beside them to see what another version does. A copy never holds its request up: its body follows through a
//! bounded buffer and is given up where it is too far behind; its answer is read and thrown away; and past a number in flight none is made.

use std::sync::Arc;

use tokio::time::Instant;
use weft_policy::Subset;
use weft_policy::endpoint::EndpointTable;
use weft_policy::head::{Sender, Upgrade};
use weft_world::{Credential, World};

use super::exchange::Exchange;
use super::forward;
use super::request::RequestTries;
use super::route::{self, Departure};
use super::tee::{Losing, Loss, TeedBody, tee};
use super::tries::{self, Call};
use super::{Carriage, Failure, Matched, Record};
use crate::head::RequestHead;
use crate::http1::Persistence;
use crate::metrics::{Direction, Slot};
use crate::side::Side;
use crate::vigil::{Footing, Watch};

/// Copies in flight on one worker: enough for a service that answers in a tenth of a second at 2,500 copies a second.
const MIRRORS_MAX: u32 = 256;

/// Sends a copy of a request on its way, if there is room.
pub(super) fn send(
    world: &Arc<World>,
    exchange: &mut Exchange<'_>,
    matched: &Matched<'_>,
    departure: Departure<'_>,
    head: &RequestHead,
) {
    let Some(mirror) = departure.mirror else { return };
    let worker = Arc::clone(exchange.record.worker());
    let service = mirror.service.as_ref().unwrap_or(departure.dialled);
    let Ok(to) = route::matched_for(world, &worker, matched, service, departure.rule) else { return };
    let has_body = head.length.is_some();
    if has_body && mirror.behind_bytes_max == 0 {
        return;
    }
    let slot = Slot::take(&worker.mirrors, MIRRORS_MAX);
    let started = Instant::now();
    let room = slot.and_then(|slot| Some((slot, Record::start(&worker, Direction::Outbound, started)?)));
    let Some((slot, mut record)) = room else {
        return worker.states.count_lost_copy(service, Loss::Full.as_str());
    };
    record.occupies(slot);
    let (body, losing) = if has_body {
        let (tee, body, losing) = tee(mirror.behind_bytes_max, &worker.mirrored_bytes);
        exchange.upload.copied_to(tee);
        (body, Some(losing))
    } else {
        (TeedBody::none(), None)
    };
    let copy = CopiedCall {
        world: Arc::clone(world),
        credential: Arc::clone(matched.credential),
        table: Arc::clone(to.table),
        version: mirror.version.clone(),
        head: head.clone(),
        side: Side::Copy(body),
        watch: exchange.watch.another(&worker),
        losing,
    };
    worker.spawn(Box::pin(carried(copy, record)));
}

/// A copy and all that its way needs.
struct CopiedCall {
    world: Arc<World>,
    credential: Arc<Credential>,
    table: Arc<EndpointTable>,
    version: Option<String>,
    head: RequestHead,
    side: Side,
    watch: Watch,
    /// Of a request with a body.
    losing: Option<Losing>,
}

async fn carried(copy: CopiedCall, mut record: Record) {
    let CopiedCall { world, credential, table, version, head, mut side, mut watch, losing } = copy;
    let worker = Arc::clone(record.worker());
    let matched = Matched::of(&world, &worker, &credential, &table);
    record.counted_by(Arc::clone(&matched.meter));
    let mut carriage = Carriage::new(&world, (&worker, None), &matched, Some(&head.fields));
    carriage.subset = Subset { version: version.as_deref(), ..Subset::ALL };
    // A copy that fails is not worth another.
    carriage.attempts = 0;
    let mut exchange = Exchange::new(&mut side, &mut watch, record, Sender::Application);
    // Nobody waits for its answer, so that nobody else would end it.
    exchange.ends_within(worker.settings().request_timeout);
    let answered = async {
        let call = Call { world: &world, matched: &matched, carriage: &carriage };
        let mut attempt = RequestTries::new(call, &head, Upgrade::None);
        match tries::endpoints(&mut exchange, call, &mut attempt).await {
            Ok(lease) => {
                let response = std::mem::take(&mut attempt.response);
                let footing = Footing::default();
                // The caller of a copy can be told nothing.
                let _refused = forward::answer(&mut exchange, lease, &footing, &response, Persistence::Keep).await;
            }
            Err(Failure::Refusal(refusal)) => exchange.record.failed(refusal.code),
            Err(Failure::Ending(_)) => {}
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
        // First: a copy that is given up ends its call, too.
        biased;
        loss = given_up => loss,
        () = answered => return,
    };
    worker.states.count_lost_copy(&table.service, loss.as_str());
}
