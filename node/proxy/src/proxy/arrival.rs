//! The phases authorise and limit, where a call arrives at its service: on the called node, and on the calling one when the
//! replica is on the same machine. Called by [`super`] and by [`crate::tcp`] once a call, and again for open streams when the
//! documents change.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use weft_identity::{Code, Protocol, ServiceName};
use weft_policy::head::{self, Upgrade};
use weft_policy::limit::Admission;
use weft_policy::{Call, Caller, NormalPath, Policy, Reason, RequestView, Verdict};
use weft_world::World;

use super::Exchange;
use crate::problem::{PATIENCE, Refusal, TRACE_REVISION};
use crate::vigil::Permit;

/// A call at its service.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// The documents.
    pub(crate) policy: &'a Policy,
    /// Who calls.
    pub(crate) caller: Caller<'a>,
    /// Whom.
    pub(crate) called: &'a ServiceName,
}

/// A call that may last for hours although it has a body.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = || request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.version() == Version::HTTP_2 && kind().is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

impl<'a> Arrival<'a> {
    /// A call in a world.
    pub(crate) fn new(world: &'a World, caller: Caller<'a>, called: &'a ServiceName) -> Self {
        Self { policy: &world.policy, caller, called }
    }

    /// Lets a request pass or refuses it. Where rules look at the path, it goes on in normal form: the application sees what was
    /// decided about.
    pub(crate) fn request<B>(&self, exchange: &mut Exchange, request: &mut Request<B>) -> Result<(), Refusal> {
        exchange.judged.decided_by(self.policy.revision());
        exchange.judged.traced_if_asked(request.headers_mut());
        // What nodes tell each other is not for the application.
        request.headers_mut().remove(TRACE_REVISION);
        if let Some(patience) = request.headers_mut().remove(PATIENCE) {
            exchange.waited_for(&patience);
        }
        if head::upgrade_of(request.headers()) == Upgrade::Asked || is_grpc(request) {
            exchange.permitted(Permit::request(self, request));
        }
        if self.policy.is_empty() {
            return Ok(());
        }
        if !self.policy.reads_requests(self.called) {
            return self.judged(exchange, Call::Tcp);
        }
        let uri = request.uri();
        let path =
            NormalPath::of(uri.path()).map_err(|fault| Refusal::new(Code::RequestMalformed, fault.to_string()))?;
        let view =
            RequestView { method: request.method(), path: &path, query: uri.query(), headers: request.headers() };
        self.judged(exchange, Call::Http(&view))?;
        let normal = (path.forward() != uri.path() && !uri.path().is_empty()).then(|| path.forward().to_owned());
        match normal {
            Some(path) => travels_as(request, &path),
            None => Ok(()),
        }
    }

    /// Lets a stream pass or refuses it.
    pub(crate) fn stream(&self, exchange: &mut Exchange, protocol: Protocol) -> Result<(), Refusal> {
        exchange.judged.decided_by(self.policy.revision());
        exchange.permitted(Permit::stream(self, protocol));
        if self.policy.is_empty() {
            return Ok(());
        }
        self.transparent(protocol)?;
        self.judged(exchange, Call::Tcp)
    }

    /// Whether a stream that was let pass still may; nothing is counted.
    pub(crate) fn stream_goes_on(&self, protocol: Protocol) -> Result<(), Refusal> {
        self.transparent(protocol)?;
        self.goes_on(Call::Tcp)
    }

    /// Whether a call that was let pass still may; nothing is counted.
    pub(crate) fn goes_on(&self, call: Call<'_>) -> Result<(), Refusal> {
        let verdict = self.policy.authorise(self.caller, self.called, call);
        if verdict.is_allowed() { Ok(()) } else { Err(self.refusal(&verdict, call)) }
    }

    /// A stream to an HTTP service would carry requests past the rules that forbid them.
    fn transparent(&self, protocol: Protocol) -> Result<(), Refusal> {
        if protocol == Protocol::Tcp || !self.policy.denies_requests(self.called) {
            return Ok(());
        }
        let why = format!(
            "`deny` rules for {} look at requests, and a stream hides them; call it over HTTP, at the outbound port",
            self.called
        );
        Err(Refusal::new(Code::NotAllowed, why))
    }

    fn judged(&self, exchange: &mut Exchange, call: Call<'_>) -> Result<(), Refusal> {
        let verdict = self.policy.authorise(self.caller, self.called, call);
        for refusal in &verdict.shadow {
            let worker = std::sync::Arc::clone(exchange.worker());
            exchange.judged.shadowed(&worker.states, self.called, refusal.place);
        }
        if !verdict.is_allowed() {
            return Err(self.refusal(&verdict, call));
        }
        self.limited(exchange, call)
    }

    fn limited(&self, exchange: &mut Exchange, call: Call<'_>) -> Result<(), Refusal> {
        let limits = self.policy.limits(self.called);
        if limits.is_empty() {
            return Ok(());
        }
        let worker = exchange.worker();
        let admitted = worker.limiter().admit_all(limits, self.caller.identity, call, worker.now_ns());
        exchange.judged.allowances.note(&admitted);
        let over = admitted.iter().find_map(|(limit, admission)| match admission {
            Admission::Over(span) => Some((limit, *span)),
            Admission::Pass(_) => None,
        });
        let Some((limit, span)) = over else { return Ok(()) };
        let why = format!("{} is over the limit of {}", self.caller.identity, limit.place);
        Err(Refusal { retry_after: Some(span), ..Refusal::new(Code::RateLimited, why) })
    }

    fn refusal(&self, verdict: &Verdict<'_>, call: Call<'_>) -> Refusal {
        let (_, steps) = self.policy.explain_authorise(self.caller, self.called, call);
        let (caller, called) = (self.caller.identity, self.called);
        let why = match verdict.reason {
            Reason::Rule(place) => format!("{place} denies {caller} this call of {called}"),
            Reason::ServiceDefault(place) => {
                format!("no rule allows {caller} this call of {called}; the default at {place} is deny")
            }
            Reason::MeshDefault(place) => {
                format!("no document speaks of {called}; the mesh's default at {place} is deny")
            }
            Reason::NoAllowRule | Reason::NothingStated => {
                let revision = self.policy.revision();
                format!(
                    "`allow` rules exist for {called}, and none of them (revision {revision}) allows {caller} this call"
                )
            }
        };
        Refusal { steps, ..Refusal::new(Code::NotAllowed, why) }
    }
}

/// Puts another path into a request's target; the query stays.
pub(super) fn travels_as<B>(request: &mut Request<B>, path: &str) -> Result<(), Refusal> {
    let malformed = || Refusal::new(Code::RequestMalformed, format!("the path {path:?} cannot travel on"));
    let target = match request.uri().query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target.map_err(|_| malformed())?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| malformed())?;
    Ok(())
}
