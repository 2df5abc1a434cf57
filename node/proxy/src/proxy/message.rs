//! What happens to messages on their way: framing for the next hop, copies for a retry, answers and refusals on the way back.

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use weft_identity::{Code, SpiffeId};
use weft_policy::head::{self, Upgrade};
use weft_policy::retry::Repeat;
use weft_world::World;

use super::attempt::Wire;
use super::{Closing, Deadline, Exchange, Served, SharedGate};
use crate::body::Body;
use crate::metrics::Direction;
use crate::problem::{self, Delivery, REFUSAL, Refusal, UNDELIVERED};
use crate::tcp;
use crate::worker::Worker;

/// How a request is framed for the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Origin form and a Host header.
    Http1,
    /// Absolute form, no Host header.
    Http2,
}

impl Framing {
    pub(super) fn of(wire: Wire) -> Self {
        match wire {
            Wire::Http1 => Self::Http1,
            Wire::Http2 => Self::Http2,
        }
    }
}

/// Makes a request ready for the next hop: hop-by-hop fields out, target and host in the form of its version. Returns the
/// caller's side of an upgrade if one is asked for.
pub(super) fn prepared(
    mut request: Request<Incoming>,
    framing: Framing,
    exchange: &Exchange,
) -> Result<(Request<Body>, Option<OnUpgrade>), Refusal> {
    let mut upgrade = head::upgrade_of(request.headers());
    if framing == Framing::Http2 || request.version() == Version::HTTP_2 {
        // HTTP/2 has no 101 (RFC 9113, section 8.6); the request goes on without it.
        upgrade = Upgrade::None;
    }
    let caller = (upgrade == Upgrade::Asked).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    head::strip_hop_by_hop(&mut parts.headers, upgrade);
    parts.extensions.clear();
    let framed = match framing {
        Framing::Http1 => frame_http1(&mut parts),
        Framing::Http2 => frame_http2(&mut parts),
    };
    framed.map_err(|why| Refusal::new(Code::RequestMalformed, why))?;
    let body = match exchange.meter() {
        _ if incoming.is_end_stream() => Body::Empty,
        Some(meter) => Body::upload(incoming, meter.received.clone(), Deadline::at(exchange.deadline())),
        None => Body::upload(incoming, metrics::Counter::noop(), Deadline::at(exchange.deadline())),
    };
    Ok((Request::from_parts(parts, body), caller))
}

/// A request that was made ready for one version of HTTP, made ready for another.
pub(super) fn reframed(request: Request<Body>, wire: Wire) -> Result<Request<Body>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let framed = match Framing::of(wire) {
        Framing::Http1 => frame_http1(&mut parts),
        Framing::Http2 => frame_http2(&mut parts),
    };
    framed.map_err(|why| Refusal::new(Code::RequestMalformed, why))?;
    Ok(Request::from_parts(parts, body))
}

fn frame_http1(parts: &mut http::request::Parts) -> Result<(), &'static str> {
    parts.version = Version::HTTP_11;
    let Some(authority) = parts.uri.authority() else {
        return Ok(());
    };
    // The absolute form's authority replaces the Host header (RFC 9112, section 3.2.2).
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "the authority is not text")?;
    parts.headers.insert(HOST, host);
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    Ok(())
}

fn frame_http2(parts: &mut http::request::Parts) -> Result<(), &'static str> {
    parts.version = Version::HTTP_2;
    let host = parts.headers.remove(HOST);
    if parts.uri.authority().is_some() && parts.uri.scheme().is_some() {
        return Ok(());
    }
    let authority: Authority = match (parts.uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => host.as_bytes().try_into().map_err(|_| "the Host header is not an authority")?,
        (None, None) => return Err("there is no Host header"),
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority = Some(authority);
    uri.scheme = Some(Scheme::HTTP);
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).map_err(|_| "the target and the Host header do not fit together")?;
    Ok(())
}

/// What sending the request twice would mean.
pub(super) fn repeat_of(request: &Request<Body>) -> Repeat {
    let upgrade = request.headers().contains_key(CONNECTION);
    Repeat {
        idempotent: head::is_idempotent(request.method()) && !upgrade,
        replayable: matches!(request.body(), Body::Empty),
    }
}

/// The head of a request that can be sent again.
pub(crate) struct Copied {
    method: Method,
    uri: Uri,
    version: Version,
    headers: http::HeaderMap,
}

impl Copied {
    /// A copy, if the request may be sent twice.
    pub(super) fn of(request: &Request<Body>, repeat: Repeat) -> Option<Self> {
        repeat.replayable.then(|| Self::head(request))
    }

    /// A copy of the head, whatever the body.
    pub(super) fn head(request: &Request<Body>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        }
    }

    /// The request again.
    pub(crate) fn into_request(self) -> Request<Body> {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request
    }
}

/// The code of an answer by which another node says that its application never saw the request.
pub(super) fn undelivered_code(response: &Response<Incoming>) -> Option<Code> {
    if response.status().as_u16() < 400 {
        return None;
    }
    let value = response.headers().get(UNDELIVERED)?;
    Code::find(value.to_str().ok()?)
}

/// The answer for the caller.
pub(super) fn forwarded(
    served: Served,
    exchange: Box<Exchange>,
    gate: &SharedGate,
    closing: Closing,
) -> Response<Body> {
    match served {
        Served::Own(response) => {
            let mut exchange = exchange;
            let mut response = response;
            exchange.status(response.status().as_u16());
            exchange.complete();
            exchange.tell_judged(response.headers_mut());
            response
        }
        Served::Answer(response, caller) => answer(response, caller, exchange, gate, closing),
        Served::Tunnel(stream, caller) => {
            let mut exchange = exchange;
            exchange.status(200);
            let worker = exchange.worker().clone();
            let gate = gate.clone();
            worker.spawn(async move {
                if let Ok(upgraded) = caller.await {
                    tcp::splice(TokioIo::new(upgraded), stream, exchange, &gate).await;
                }
            });
            Response::new(Body::Empty)
        }
    }
}

fn answer(
    mut response: Response<Incoming>,
    caller: Option<OnUpgrade>,
    mut exchange: Box<Exchange>,
    gate: &SharedGate,
    closing: Closing,
) -> Response<Body> {
    let status = response.status();
    exchange.status(status.as_u16());
    exchange.tell_judged(response.headers_mut());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(caller)) = (status, caller) {
        return switched(response, caller, exchange, gate);
    }
    *response.version_mut() = Version::HTTP_11;
    head::strip_hop_by_hop(response.headers_mut(), Upgrade::None);
    response.headers_mut().remove(UNDELIVERED);
    if exchange.is_from_application() {
        // Weft's own word, which an application does not give.
        response.headers_mut().remove(REFUSAL);
    }
    if closing == Closing::Yes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (parts, incoming) = response.into_parts();
    let body = if incoming.is_end_stream() {
        exchange.complete();
        Body::Empty
    } else {
        Body::Recorded(incoming, exchange)
    };
    Response::from_parts(parts, body)
}

/// Tunnels both sides of an upgrade after a 101.
fn switched(
    mut response: Response<Incoming>,
    caller: OnUpgrade,
    mut exchange: Box<Exchange>,
    gate: &SharedGate,
) -> Response<Body> {
    // A tunnel lasts as long as its two ends want it.
    exchange.ends_by(None);
    let service = hyper::upgrade::on(&mut response);
    head::strip_hop_by_hop(response.headers_mut(), Upgrade::Asked);
    let worker = exchange.worker().clone();
    let gate = gate.clone();
    worker.spawn(async move {
        match tokio::try_join!(caller, service) {
            Ok((caller, service)) => {
                tcp::splice(TokioIo::new(caller), TokioIo::new(service), exchange, &gate).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade did not come about"),
        }
    });
    response.map(|_| Body::Empty)
}

/// The reply to a request that is not served.
pub(super) fn refused(
    refusal: &Refusal,
    mut exchange: Box<Exchange>,
    world: &World,
    caller: Option<&SpiffeId>,
) -> Response<Body> {
    let id = exchange.refused(refusal, world, caller);
    exchange.complete();
    let mut reply = reply(refusal, world, exchange.direction(), &id);
    exchange.tell_judged(reply.headers_mut());
    reply
}

/// The reply when the worker is at its limit; no exchange was begun.
pub(super) fn overloaded(worker: &Worker, world: &World, direction: Direction) -> Response<Body> {
    let refusal = Refusal::new(Code::Overloaded, "as many requests are in flight as `limits.in_flight` allows");
    // Not kept: a node that is at its limit has better things to do, and there is nothing to tell of it.
    reply(&refusal, world, direction, &worker.refusal_id(&world.facts.node))
}

fn reply(refusal: &Refusal, world: &World, direction: Direction, id: &str) -> Response<Body> {
    let place = format!("node {}, {}", world.facts.node, direction.as_str());
    let mut reply = problem::reply(refusal, &place, id);
    if direction == Direction::Inbound && refusal.delivery == Delivery::None && is_elsewhere(refusal.code) {
        let name: HeaderName = UNDELIVERED;
        reply.headers_mut().insert(name, HeaderValue::from_static(refusal.code.as_str()));
    }
    reply
}

/// Whether another node may serve what this one refused.
fn is_elsewhere(code: Code) -> bool {
    !problem::is_final(code)
        && !matches!(code, Code::RequestMalformed | Code::HeadTooLarge | Code::ProtocolMismatch | Code::HostMissing)
}
