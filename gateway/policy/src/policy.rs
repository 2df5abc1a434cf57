//! The compiled form of the documents of one revision, which the data path asks.

use std::collections::HashMap;
use std::sync::Arc;

use weft_identity::ServiceName;

use crate::authorise::{self, Call, Caller, Verdict};
use crate::compile;
use crate::condition::RequestView;
use crate::limit::RateLimit;
use crate::place::Step;
use crate::revocation::Revocations;
use crate::route::{self, Routed};
use crate::traffic::Traffic;

/// Everything that the documents of one revision say, indexed. Immutable; replaced whole, and the tables that are the same in both are
/// shared between two.
#[derive(Debug, Default)]
pub struct Policy {
    pub(crate) revision: u64,
    pub(crate) authorisation: authorise::Authorisation,
    pub(crate) routes: HashMap<ServiceName, Arc<route::RouteTable>>,
    pub(crate) traffic: HashMap<ServiceName, Arc<Traffic>>,
    pub(crate) default_traffic: Traffic,
    pub(crate) limits: HashMap<ServiceName, Vec<Arc<RateLimit>>>,
    pub(crate) revocations: Revocations,
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

    /// Whether a `deny` rule in force for this service depends on the request: whoever has none at hand cannot say that a call
    /// passes.
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
