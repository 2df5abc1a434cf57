//! The phase route: what the documents do to a request before an endpoint is chosen. Redirects and failures made on purpose are
//! answered here; else the request is changed as the rule says and one side of its split is drawn.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, LOCATION};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;
use weft_identity::{Code, ServiceName};
use weft_policy::change::Asked;
use weft_policy::route::{Mirror, RouteRule, Target};
use weft_policy::{NormalPath, RequestView, Routed};
use weft_world::World;

use super::arrival::travels_as;
use super::{Exchange, Matched};
use crate::body::Body;
use crate::problem::{PROXY_STATUS, Refusal};
use crate::worker::Worker;

/// What becomes of a request.
pub(super) enum Outcome<'w> {
    /// It goes to the dialled service as it is.
    Unrouted,
    /// It goes where a rule says.
    Routed(Departure<'w>),
    /// It is answered here.
    Answered(Response<Body>),
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
    exchange: &mut Exchange,
    service: &'w ServiceName,
    request: &mut Request<Incoming>,
) -> Result<Outcome<'w>, Refusal> {
    exchange.judged.decided_by(world.policy.revision());
    exchange.judged.traced_if_asked(request.headers_mut());
    if !world.policy.routes_service(service) {
        return Ok(Outcome::Unrouted);
    }
    let worker = Arc::clone(exchange.worker());
    let (departure, path, own) = {
        let uri = request.uri();
        let path =
            NormalPath::of(uri.path()).map_err(|fault| Refusal::new(Code::RequestMalformed, fault.to_string()))?;
        let view =
            RequestView { method: request.method(), path: &path, query: uri.query(), headers: request.headers() };
        let authority = authority_of(uri, request.headers());
        let Some(routed) = world.policy.route(service, authority, &view) else {
            return Ok(Outcome::Unrouted);
        };
        let asked = Asked { scheme: uri.scheme_str().unwrap_or("http"), authority };
        let own = redirected(&routed, asked, &view);
        let path = routed.path(&view);
        let changed = (*path != *uri.path()).then(|| path.into_owned());
        (departure(routed.rule, service, &worker), changed, own)
    };
    exchange.judged.routed_by(&departure.rule.place);
    if let Some(delay) = departure.rule.fault.delay(worker.random()) {
        pause(world, exchange, departure, delay).await?;
    }
    if let Some(status) = departure.rule.fault.abort(worker.random()) {
        let mut reply = Response::new(Body::Empty);
        *reply.status_mut() = status;
        let line = format!("weft; details=\"fault of {}\"", departure.rule.place);
        if let Ok(value) = HeaderValue::from_str(&line) {
            reply.headers_mut().insert(PROXY_STATUS, value);
        }
        return Ok(Outcome::Answered(reply));
    }
    if let Some(own) = own {
        return Ok(Outcome::Answered(own));
    }
    departure.rule.request_headers.apply(request.headers_mut());
    if let Some(path) = path {
        travels_as(request, &path)?;
    }
    if let Some(host) = &departure.rule.rewrite.host {
        addressed_to(request, host)?;
    }
    Ok(Outcome::Routed(departure))
}

/// Waits on purpose. The pause is part of the time in which an answer must begin, and ends with it.
async fn pause(world: &World, exchange: &Exchange, departure: Departure<'_>, delay: Duration) -> Result<(), Refusal> {
    let rule = departure.rule;
    let called = departure.target.and_then(|target| target.service.as_ref()).unwrap_or(departure.dialled);
    let deadline = exchange.head_by(rule.timeout.or(world.policy.traffic(called).request_timeout));
    let over = Instant::now() + delay;
    tokio::time::sleep_until(over.min(deadline)).await;
    if over < deadline {
        return Ok(());
    }
    Err(Refusal::new(Code::RequestTimeout, format!("the pause that {} makes took all the time there was", rule.place)))
}

/// Draws the sides of a rule for one request.
fn departure<'w>(rule: &'w RouteRule, dialled: &'w ServiceName, worker: &Worker) -> Departure<'w> {
    Departure { rule, target: rule.target(worker.random()), mirror: rule.mirror(worker.random()), dialled }
}

fn redirected(routed: &Routed<'_>, asked: Asked<'_>, view: &RequestView<'_>) -> Option<Response<Body>> {
    let redirect = routed.rule.redirect.as_ref()?;
    let mut reply = Response::new(Body::Empty);
    *reply.status_mut() = redirect.status;
    let location = HeaderValue::from_str(&redirect.location(asked, view)).ok()?;
    reply.headers_mut().insert(LOCATION, location);
    Some(reply)
}

/// The text that names the host; checked before, so that the empty text never counts.
fn authority_of<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> &'r str {
    weft_policy::head::authority_of(uri, headers).unwrap_or_default()
}

/// Puts another host into a request, in the form that it has.
fn addressed_to(request: &mut Request<Incoming>, host: &HeaderValue) -> Result<(), Refusal> {
    let malformed = || Refusal::new(Code::Internal, "the host of a route's rewrite is no authority");
    if request.uri().authority().is_some() {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| malformed())?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| malformed())?;
    }
    request.headers_mut().insert(HOST, host.clone());
    Ok(())
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
