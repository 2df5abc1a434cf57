//! Policies: documents as operators write them, their strict reader, and the compiled form that the data path asks.
//!
//! `weft plan` reads files ([`read_files`]); every node compiles the documents of a revision ([`Compiler`]) into one immutable
//! [`Policy`] and asks it per call. All of it is pure.
//!
//! - [`raw`]: the documents as they are written
//! - [`source`]: files into documents
//! - [`compile`](mod@compile): documents into a policy
//! - [`path`]: the normal form of paths, and patterns over it
//! - [`condition`]: conditions on a request's head
//! - [`authorise`](mod@authorise): who may call what
//! - [`route`](mod@route): where a request goes
//! - [`change`]: redirects, rewrites and header changes
//! - [`traffic`]: how calls are carried
//! - [`limit`]: rate limits
//! - [`revocation`]: what is no longer trusted

mod authorisation_parse;
pub mod authorise;
pub mod change;
pub mod compile;
pub mod condition;
mod index;
pub mod limit;
pub mod path;
mod place;
pub mod raw;
pub mod reference;
pub mod revocation;
pub mod route;
mod route_parse;
mod rule;
mod rule_index;
pub mod source;
pub mod traffic;

use std::collections::HashMap;
use std::sync::Arc;

use weft_gossip::ServiceName;

pub use authorise::{Call, Caller, Reason, ShadowRefusal, Verdict};
pub use compile::{Compiler, InForce, compile};
pub use condition::RequestView;
pub use limit::{Limiter, RateLimit};
pub use path::{NormalPath, PathFault};
pub use place::{DocumentId, DocumentPlace, Kind, Place, Step};
pub use raw::Action;
pub use reference::{policy_page, schema};
pub use revocation::Revocations;
pub use route::{RouteRule, Routed};
pub use source::{Source, read_all, read_file, read_files};
pub use traffic::Traffic;

/// Everything that the documents of one revision say, indexed. Immutable; replaced whole, and the tables that are the same in both are
/// shared between two.
#[derive(Debug, Default)]
pub struct Policy {
    revision: u64,
    authorisation: authorise::Authorisation,
    routes: HashMap<ServiceName, Arc<route::RouteTable>>,
    traffic: HashMap<ServiceName, Arc<Traffic>>,
    default_traffic: Traffic,
    limits: HashMap<ServiceName, Vec<Arc<RateLimit>>>,
    revocations: Revocations,
}

impl Policy {
    /// The highest revision of its documents; 0 without any.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Frees what no other policy shares, in pieces, with a pause after each. To drop a policy does the same in one piece.
    pub fn free(self, pause: &mut dyn FnMut()) {
        let mut pace = compile::pace::Pace::new(pause);
        let authorise::Authorisation { services, mesh, .. } = self.authorisation;
        let rules = services.into_values().chain([mesh]).filter_map(Arc::into_inner);
        rules.flat_map(authorise::ServiceRules::into_indexes).for_each(|index| index.free(&mut pace));
        let routes = self.routes.into_values().filter_map(Arc::into_inner);
        routes.flat_map(route::RouteTable::into_indexes).for_each(|index| index.free(&mut pace));
    }

    /// Whether no document says anything of calls, so that every decision is the default.
    pub fn is_empty(&self) -> bool {
        self.authorisation.is_empty() && self.routes.is_empty() && self.traffic.is_empty() && self.limits.is_empty()
    }

    /// Whether a decision where a call arrives at this service may depend on the request: on its method, path or header fields. Where it
    /// does not, [`Call::Tcp`] gives the same answers as any request, and the path needs no normal form.
    pub fn reads_requests(&self, service: &ServiceName) -> bool {
        self.authorisation.is_conditional(service) || self.limits.contains_key(service)
    }

    /// Whether a `deny` rule in force for this service depends on the request. A stream to an HTTP service hides its requests from
    /// such a rule, so that it must not pass.
    pub fn denies_requests(&self, service: &ServiceName) -> bool {
        self.authorisation.denies_conditionally(service)
    }

    /// Whether any route is for this service.
    pub fn routes_service(&self, service: &ServiceName) -> bool {
        self.routes.contains_key(service)
    }

    /// Whether this caller may make this call, and by what.
    pub fn authorise(&self, caller: Caller<'_>, called: &ServiceName, call: Call<'_>) -> Verdict<'_> {
        self.authorisation.decide(caller, called, call, None)
    }

    /// As [`Policy::authorise`], with the chain of decisions.
    pub fn explain_authorise(
        &self,
        caller: Caller<'_>,
        called: &ServiceName,
        call: Call<'_>,
    ) -> (Verdict<'_>, Vec<Step>) {
        let mut steps = Vec::new();
        let verdict = self.authorisation.decide(caller, called, call, Some(&mut steps));
        (verdict, steps)
    }

    /// The most specific route rule that matches a request for this service; none when it goes to the service as it is.
    /// `host` is the request's authority as it was dialled; a port in it is not looked at.
    pub fn route(&self, service: &ServiceName, host: &str, request: &RequestView<'_>) -> Option<Routed<'_>> {
        self.routes.get(service)?.find(host, request, None)
    }

    /// As [`Policy::route`], with the chain of decisions.
    pub fn explain_route(
        &self,
        service: &ServiceName,
        host: &str,
        request: &RequestView<'_>,
    ) -> (Option<Routed<'_>>, Vec<Step>) {
        let mut steps = Vec::new();
        let routed = match self.routes.get(service) {
            Some(table) => table.find(host, request, Some(&mut steps)),
            None => {
                steps.push(Step::new("route", None, format!("no document routes {service}: it goes there as it is")));
                None
            }
        };
        (routed, steps)
    }

    /// How the calls of a service are carried.
    pub fn traffic(&self, service: &ServiceName) -> &Traffic {
        self.traffic.get(service).map_or(&self.default_traffic, Arc::as_ref)
    }

    /// The rate limits of a service, in the order of their names.
    pub fn limits(&self, service: &ServiceName) -> &[Arc<RateLimit>] {
        self.limits.get(service).map_or(&[], Vec::as_slice)
    }

    /// What is no longer trusted.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

#[cfg(test)]
mod tests;
