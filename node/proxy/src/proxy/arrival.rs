//! The phases authorise and limit, where a call arrives at its service: on the called node, and on the calling one when the
//! replica is on the same machine. Called by [`super`] and by [`crate::tcp`] once a call, and again for open streams when the
//! documents change.

use weft_identity::Protocol;
use weft_identity::{Code, ServiceName};
use weft_policy::authority::canonical_host;
use weft_policy::fields::{Fields, Known};
use weft_policy::limit::Admission;
use weft_policy::{Call, Caller, NormalPath, Policy, Reason, RequestView, Verdict};
use weft_world::World;

use super::Record;
use crate::head::{Form, RequestHead};
use crate::problem::Refusal;

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

impl<'a> Arrival<'a> {
    /// A call in a world.
    pub(crate) fn new(world: &'a World, caller: Caller<'a>, called: &'a ServiceName) -> Self {
        Self { policy: &world.policy, caller, called }
    }

    /// Lets a request pass or refuses it. Where rules look at the path, it goes on in normal form, which comes back where it is another: the
    /// application sees what was decided about.
    pub(crate) fn request(&self, record: &mut Record, head: &RequestHead) -> Result<Option<String>, Refusal> {
        record.judged.decided_by(self.policy.revision());
        if self.policy.is_empty() {
            return Ok(None);
        }
        if !self.policy.reads_requests(self.called) {
            return self.judged(record, Call::Tcp).map(|()| None);
        }
        let path = normal_path(head)?;
        let view = RequestView { method: &head.method, path: &path, query: head.query(), headers: &head.fields };
        self.judged(record, Call::Http(&view))?;
        let is_same = path.forward() == head.path_only() || head.form == Form::Asterisk || head.path.is_empty();
        Ok((!is_same).then(|| with_query(path.forward(), head)))
    }

    /// Lets a stream pass or refuses it.
    pub(crate) fn stream(&self, record: &mut Record, protocol: Protocol) -> Result<(), Refusal> {
        record.judged.decided_by(self.policy.revision());
        transparent(self.called, protocol)?;
        if self.policy.is_empty() {
            return Ok(());
        }
        self.judged(record, Call::Tcp)
    }

    /// Whether a stream that was let pass still may; nothing is counted.
    pub(crate) fn stream_goes_on(&self, protocol: Protocol) -> Result<(), Refusal> {
        transparent(self.called, protocol)?;
        self.goes_on(Call::Tcp)
    }

    /// Whether a call that was let pass still may; nothing is counted.
    pub(crate) fn goes_on(&self, call: Call<'_>) -> Result<(), Refusal> {
        let verdict = self.policy.authorise(self.caller, self.called, call);
        if verdict.is_allowed() { Ok(()) } else { Err(self.refusal(&verdict, call)) }
    }

    fn judged(&self, record: &mut Record, call: Call<'_>) -> Result<(), Refusal> {
        let verdict = self.policy.authorise(self.caller, self.called, call);
        for refusal in &verdict.shadow {
            let worker = std::sync::Arc::clone(record.worker());
            record.judged.shadowed(&worker.states, self.called, refusal.place);
        }
        if !verdict.is_allowed() {
            return Err(self.refusal(&verdict, call));
        }
        self.limited(record, call)
    }

    fn limited(&self, record: &mut Record, call: Call<'_>) -> Result<(), Refusal> {
        let limits = self.policy.limits(self.called);
        if limits.is_empty() {
            return Ok(());
        }
        if let Some((limit, name)) = limits.iter().find_map(|limit| Some((limit, limit.doubt(call)?))) {
            let why = format!("the field {name} comes in several lines, and {} counts by it", limit.place);
            return Err(Refusal::new(Code::RequestMalformed, why));
        }
        let worker = record.worker();
        let admitted = worker.limiter().admit_all(limits, self.caller.identity, call, worker.now_ns());
        record.judged.allowances.note(&admitted);
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

/// A stream to an HTTP service would carry requests past rules and limits, and claims of its caller past those who take them out.
pub(crate) fn transparent(called: &ServiceName, protocol: Protocol) -> Result<(), Refusal> {
    if protocol == Protocol::Tcp {
        return Ok(());
    }
    let why = format!("{called} is an HTTP service, and a stream would hide its requests");
    Err(Refusal::new(Code::ProtocolMismatch, why))
}

/// The path as rules look at it.
pub(crate) fn normal_path(head: &RequestHead) -> Result<NormalPath<'_>, Refusal> {
    NormalPath::of(head.path_only()).map_err(|fault| Refusal::new(Code::RequestMalformed, fault.to_string()))
}

/// Puts the host among the fields, for rules that look there, in the one form in which they compare it. Whoever writes the head names the
/// authority all the same, as it came.
pub(crate) fn name_host(fields: &mut Fields, authority: &str) {
    fields.put(Known::Host, canonical_host(authority).as_bytes());
}

/// Another path with the query of a request.
pub(super) fn with_query(path: &str, head: &RequestHead) -> String {
    match head.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}
