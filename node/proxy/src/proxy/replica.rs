//! The last stretch of a call that came over the mesh: to the application on this machine, once more on a new connection when a pooled one
//! turned out to be dead, and on the next one whenever a shared one ended before it took the request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::{Code, ServiceName};
use weft_policy::fields::Known;
use weft_policy::head::{self, Upgrade};
use weft_policy::retry::{Repeat, is_safe};
use weft_world::{LocalService, World};

use super::attempt::{self, Awaited, Failed, Times, Unanswered};
use super::connect::{self, Destination, Source, Way, Wire};
use super::exchange::Exchange;
use super::lease::{Held, Lease, ReplicaFlight};
use super::request::{is_switch_wanted, is_unswitched, unswitched};
use super::{Failure, local, not_http};
use crate::head::{Overlay, RequestHead, ResponseHead};
use crate::inbound::Caller;
use crate::metrics::Meter;
use crate::pool::Host;
use crate::problem::{Delivery, Refusal};
use crate::stock::Recycled;
use crate::vigil::Footing;
use crate::worker::Worker;

/// Longest that a called node waits for its application because the caller does.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How long the calling node waits, as it says in milliseconds. Longer than this node waits by itself only where a document speaks of the
/// service: a member's word alone holds nothing here.
pub(super) fn patience_of(
    ms: &[u8],
    exchange: &Exchange<'_>,
    world: &World,
    service: &ServiceName,
) -> Option<Duration> {
    let ms: u64 = std::str::from_utf8(ms).ok()?.parse().ok()?;
    let is_documented = world.policy.routes_service(service) || world.policy.traffic(service).request_timeout.is_some();
    let most = if is_documented { PATIENCE_MAX } else { exchange.record.worker().settings().request_timeout };
    Some(Duration::from_millis(ms).min(most))
}

/// Where a call goes on this machine.
pub(super) struct To<'a> {
    pub(super) local: &'a LocalService,
    /// The replica that the caller chose.
    pub(super) named: Option<Vec<u8>>,
    pub(super) meter: &'a Meter,
    /// The path in normal form, where it is another than the request's.
    pub(super) path: Option<String>,
}

/// The answer of the application.
pub(super) async fn answer(
    exchange: &mut Exchange<'_>,
    to: To<'_>,
    caller: &Caller,
    head: &RequestHead,
    upgrade: Upgrade,
) -> Result<(Lease, Recycled<ResponseHead>), Failure> {
    let To { local, named, meter, path } = to;
    let worker = Arc::clone(exchange.record.worker());
    let wire = Wire::of(local.protocol).ok_or_else(|| not_http(&local.service))?;
    let upgrade = super::carried_by(wire, upgrade, head)?;
    let replica = local.for_call(named.as_deref()).ok_or_else(|| {
        Refusal::new(Code::NoHealthyReplica, format!("no application is exposed as {}, or not as asked", local.service))
    })?;
    let overlay = overlay_of(head, path, caller, wire, &worker);
    let way = Way {
        host: Host::App(Arc::clone(replica)),
        wire,
        to: Destination::App(replica.app),
        connects: &meter.connects,
        connect: worker.settings().connect_timeout,
        limit: None,
    };
    let times = Times {
        answer: exchange.patience.unwrap_or(worker.settings().request_timeout),
        answer_by: None,
        total: exchange.total,
        upload: worker.settings().upload_timeout,
    };
    let idempotent = head::is_idempotent(&head.method) && upgrade == Upgrade::None;
    let mut source = Source::Pooled;
    let until = Instant::now() + times.answer;
    loop {
        let mut response = Recycled::<ResponseHead>::default();
        let flight = ReplicaFlight::enter(replica);
        let tried = async {
            let mut lease =
                connect::begin(&worker, exchange, &way, source, ((head, &overlay, upgrade), &times)).await?;
            let awaited = Awaited { times: &times, asked: &mut || {} };
            attempt::answer(exchange, &mut lease, &Footing::default(), awaited, &mut response).await?;
            Ok(lease)
        };
        match tried.await {
            Ok(_) if response.status == 101 && !is_switch_wanted(head, upgrade, &response) => {
                let why = "the application switches to a protocol that nobody asked for";
                return Err(Refusal::new(Code::AnswerMalformed, why).delivered(Delivery::Possible).into());
            }
            Ok(_) if is_unswitched(head, &response) => {
                return Err(unswitched().delivered(Delivery::Possible).into());
            }
            Ok(mut lease) => {
                lease.held = Some(Held::Replica(flight));
                return Ok((lease, response));
            }
            Err(Unanswered::Ending(ending)) => return Err(Failure::Ending(ending)),
            Err(Unanswered::Failed(failed)) => {
                let repeat = Repeat { idempotent, repeatable: exchange.upload.can_restart() };
                let next = next_source(&failed, source, until).filter(|_| is_safe(failed.stage, repeat));
                let Some(next) = next else {
                    return Err(Refusal::new(failed.code, failed.why).delivered(Delivery::after(failed.stage)).into());
                };
                exchange.upload.restart();
                source = next;
            }
        }
    }
}

/// Over which connection a request may go once more; none where its application failed it.
fn next_source(failed: &Failed, source: Source, until: Instant) -> Option<Source> {
    let now = Instant::now();
    // Each such connection has taken at least one other request, so that this comes to an end.
    if failed.is_unread && now < until {
        return Some(source);
    }
    (failed.reused && source == Source::Pooled).then_some(Source::Fresh(now))
}

/// What is changed of a head on its way to the application.
fn overlay_of(
    head: &RequestHead,
    path: Option<String>,
    caller: &Caller,
    wire: Wire,
    worker: &Worker,
) -> Recycled<Overlay> {
    let mut overlay = Recycled::<Overlay>::default();
    overlay.path = path;
    for known in [Known::WeftTraceRevision, Known::WeftPatience, Known::WeftReplica] {
        overlay.without.insert(known);
    }
    local::introduce(&mut overlay, head, &caller.introduced);
    if wire == Wire::Http1 {
        local::as_http1(&mut overlay, head, || worker.random());
    }
    overlay
}
