//! The phase route: what the documents do to a request before an endpoint is chosen. Redirects and failures made on purpose are
//! answered here; else the request is changed as the rule says and one side of its split is drawn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::{Code, ServiceName};
use weft_policy::change::Asked;
use weft_policy::route::{Mirror, RouteRule, Target};
use weft_policy::{RequestView, Routed};
use weft_world::World;

use super::arrival::{name_host, normal_path, with_query};
use super::attempt::Ending;
use super::exchange::Exchange;
use super::{Failure, Matched, Own};
use crate::head::RequestHead;
use crate::http1::Hangup;
use crate::problem::Refusal;
use crate::vigil::{Cut, Footing};
use crate::worker::Worker;

/// What becomes of a request.
pub(super) enum Outcome<'w> {
    /// It goes to the dialled service as it is.
    Unrouted,
    /// It goes where a rule says.
    Routed(Departure<'w>),
    /// It is answered here.
    Answered(Own),
}

/// Where a rule sends a request.
#[derive(Clone, Copy)]
pub(super) struct Departure<'w> {
    pub(super) rule: &'w RouteRule,
    /// None: to the dialled service, any replica.
    pub(super) target: Option<&'w Target>,
    /// Where a copy goes, if one is made.
    pub(super) mirror: Option<&'w Mirror>,
    /// The service that was dialled.
    pub(super) dialled: &'w ServiceName,
}

/// Finds the rule of a request and does what it says; waits where the rule says so.
pub(super) async fn route<'w>(
    world: &'w World,
    exchange: &mut Exchange<'_>,
    service: &'w ServiceName,
    head: &mut RequestHead,
) -> Result<Outcome<'w>, Failure> {
    name_host(&mut head.fields, &head.authority);
    let worker = Arc::clone(exchange.record.worker());
    let (departure, path, own) = {
        let path = normal_path(head)?;
        let view = RequestView { method: &head.method, path: &path, query: head.query(), headers: &head.fields };
        let Some(routed) = world.policy.route(service, &head.authority, &view) else {
            return Ok(Outcome::Unrouted);
        };
        let asked = Asked { scheme: "http", authority: &head.authority };
        let own = redirected(&routed, asked, &view);
        let path = routed.path(&view);
        let changed = (*path != *head.path_only()).then(|| path.into_owned());
        (departure(routed.rule, service, &worker), changed, own)
    };
    exchange.record.judged.routed_by(&departure.rule.place);
    if let Some(delay) = departure.rule.fault.delay(worker.random()) {
        pause(world, exchange, departure, delay).await?;
    }
    if let Some(status) = departure.rule.fault.abort(worker.random()) {
        let mut own = Own::empty(status.as_u16());
        let line = format!("weft; details=\"fault of {}\"", departure.rule.place);
        own.head.fields.push(b"proxy-status", line.as_bytes());
        return Ok(Outcome::Answered(own));
    }
    if let Some(own) = own {
        return Ok(Outcome::Answered(own));
    }
    departure.rule.request_headers.apply(&mut head.fields);
    if let Some(path) = path {
        head.path = with_query(&path, head);
    }
    if let Some(host) = &departure.rule.rewrite.host {
        head.authority = host.to_str().unwrap_or_default().to_owned();
    }
    Ok(Outcome::Routed(departure))
}

/// Waits on purpose. The pause is part of the time in which an answer must begin, and ends with it.
async fn pause(
    world: &World,
    exchange: &mut Exchange<'_>,
    departure: Departure<'_>,
    delay: Duration,
) -> Result<(), Failure> {
    let rule = departure.rule;
    let called = departure.target.and_then(|target| target.service.as_ref()).unwrap_or(departure.dialled);
    let patience = rule.timeout.or(world.policy.traffic(called).request_timeout).or(exchange.patience);
    let within = patience.unwrap_or(exchange.record.worker().settings().request_timeout);
    let started = exchange.record.started();
    let (over, deadline) = (Instant::now() + delay, started + within);
    let side = &mut *exchange.side;
    let footing = Footing::default();
    let waited = exchange.watch.until(Some(over.min(deadline)), &footing, |cx| match side.poll_gone(cx) {
        std::task::Poll::Ready(Hangup::Failed) => std::task::Poll::Ready(()),
        _ => std::task::Poll::Pending,
    });
    match waited.await {
        Err(Cut::Due) if over < deadline => {
            exchange.paused = delay;
            Ok(())
        }
        Err(Cut::Due) => {
            let why = format!("the pause that {} makes took all the time there was", rule.place);
            Err(Refusal::new(Code::RequestTimeout, why).into())
        }
        Err(cut) => Err(Failure::Ending(Ending::Cut(cut))),
        Ok(()) => Err(Failure::Ending(Ending::Gone)),
    }
}

/// Draws the sides of a rule for one request.
fn departure<'w>(rule: &'w RouteRule, dialled: &'w ServiceName, worker: &Worker) -> Departure<'w> {
    Departure { rule, target: rule.target(worker.random()), mirror: rule.mirror(worker.random()), dialled }
}

fn redirected(routed: &Routed<'_>, asked: Asked<'_>, view: &RequestView<'_>) -> Option<Own> {
    let redirect = routed.rule.redirect.as_ref()?;
    let mut own = Own::empty(redirect.status.as_u16());
    own.head.fields.push(b"location", redirect.location(asked, view).as_bytes());
    Some(own)
}

/// The service that a target or mirror names, as it can be called from here.
pub(super) fn matched_for<'w>(
    world: &'w World,
    worker: &Worker,
    matched: &Matched<'w>,
    service: &ServiceName,
    rule: &RouteRule,
) -> Result<Matched<'w>, Refusal> {
    let table = world.services.get(service).ok_or_else(|| {
        let why = format!("the route of {} sends it to {service}, which no node offers", rule.place);
        Refusal::new(Code::ServiceUnknown, why)
    })?;
    Ok(Matched::of(world, worker, matched.credential, table))
}
