//! A call that nobody made: how this node would decide it, step by step. Asked by the admin API for `weft why FROM TO` and `weft route`;
//! nothing is counted and nobody is called.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use weft_actors::world::World;
use weft_gateway::policy::{Call, NormalPath, RequestView, RouteRule};
use weft_gossip::identity::{SpiffeId, Subject};
use weft_gossip::ids::SERVICE_DOMAIN;
use weft_gossip::{Code, Failure, ServiceName};

use crate::explain::Step;

/// A call, as an operator describes it. The body of `POST /v1/why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// Who calls: a service, `node/NAME` or `gw/NAME`; none is as whom this node calls usually.
    #[serde(default)]
    pub from: Option<String>,
    /// Whom.
    pub to: ServiceName,
    /// The method; without it, the call is a stream of which only its ends are known.
    #[serde(default)]
    pub method: Option<String>,
    /// The path, and its query after a `?`.
    #[serde(default)]
    pub path: Option<String>,
    /// Header fields, each `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
}

/// How it would be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Who calls.
    pub caller: String,
    /// Whom.
    pub called: ServiceName,
    /// Whether every service that it may be routed to lets it in, and a route does not answer in its place.
    pub allowed: bool,
    /// The revision of the documents.
    pub revision: u64,
    /// The decisions in their order.
    pub steps: Vec<Step>,
}

impl Hypothesis {
    /// How this node would decide the call now.
    pub fn decide(&self, world: &World) -> Result<Decision, Failure> {
        let caller = self.caller(world)?;
        let target = self.path.as_deref().unwrap_or("/");
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = NormalPath::of(path).map_err(|fault| invalid(format!("the path {target:?}: {fault}")))?;
        let method = self.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| invalid(format!("the method {method:?}")))?;
        let headers = self.header_map()?;
        let request = RequestView { method: &method, path: &path, query, headers: &headers };
        let mut steps = Vec::new();
        let called = match self.method {
            Some(_) => self.routed(world, &request, &mut steps),
            None => BTreeSet::from([self.to.clone()]),
        };
        let call = || if self.method.is_some() { Call::Http(&request) } else { Call::Tcp };
        let mut allowed = true;
        for service in &called {
            let (verdict, decided) = world.policy.explain_authorise(&caller, service, call());
            steps.extend(decided.iter().map(Step::from));
            allowed &= verdict.is_allowed();
            let outcome = if verdict.is_allowed() { "allowed" } else { "refused" };
            let outcome = format!("{outcome} for {caller}");
            steps.push(match verdict.reason.place() {
                Some(place) => Step::at(&format!("authorise {service}"), place, outcome),
                None => Step::new(&format!("authorise {service}"), outcome),
            });
            steps.push(endpoints(world, service));
        }
        Ok(Decision {
            caller: caller.to_string(),
            called: self.to.clone(),
            allowed,
            revision: world.policy.revision(),
            steps,
        })
    }

    fn caller(&self, world: &World) -> Result<SpiffeId, Failure> {
        let mesh = &world.facts.mesh;
        let wrong = |error: weft_gossip::ids::NameError| invalid(error.to_string());
        let subject = match self.from.as_deref().map(|from| (from, from.split_once('/'))) {
            None => {
                let usual = world.credentials.usual.as_ref().map(|usual| usual.identity.clone());
                return Ok(usual.unwrap_or_else(|| SpiffeId::node(mesh, &world.facts.node)));
            }
            Some((service, None)) => Subject::Service(service.parse().map_err(wrong)?),
            Some((_, Some(("node", name)))) => Subject::Node(name.parse().map_err(wrong)?),
            Some((_, Some(("gw", name)))) => Subject::Gateway(name.parse().map_err(wrong)?),
            Some((from, Some(_))) => return Err(invalid(format!("{from:?} is no service, node/NAME or gw/NAME"))),
        };
        Ok(SpiffeId { mesh: mesh.clone(), subject })
    }

    fn header_map(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for line in &self.headers {
            let wrong = || invalid(format!("the header {line:?} is not `name: value`"));
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
            headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?);
        }
        Ok(headers)
    }

    /// The services that a request may go to.
    fn routed(&self, world: &World, request: &RequestView<'_>, steps: &mut Vec<Step>) -> BTreeSet<ServiceName> {
        let host = format!("{}.{SERVICE_DOMAIN}", self.to);
        let (routed, decided) = world.policy.explain_route(&self.to, &host, request);
        steps.extend(decided.iter().map(Step::from));
        let Some(routed) = routed else { return BTreeSet::from([self.to.clone()]) };
        let rule = routed.rule;
        if rule.redirect.is_some() {
            steps.push(Step::at("redirect", &rule.place, "answered with a redirect; no service is called"));
            return BTreeSet::new();
        }
        steps.push(Step::at("target", &rule.place, targets(rule, &self.to)));
        let services = rule.to.iter().map(|target| target.service.clone().unwrap_or_else(|| self.to.clone()));
        let services: BTreeSet<ServiceName> = services.collect();
        if services.is_empty() { BTreeSet::from([self.to.clone()]) } else { services }
    }
}

/// `orders version 1 (95 of 100), orders version 2 (5 of 100)`.
fn targets(rule: &RouteRule, dialled: &ServiceName) -> String {
    let all: u64 = rule.to.iter().map(|target| u64::from(target.weight)).sum();
    let named = rule.to.iter().map(|target| {
        let service = target.service.as_ref().unwrap_or(dialled);
        let version = target.version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
        format!("{service}{version} ({} of {all})", target.weight)
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { dialled.to_string() } else { named.join(", ") }
}

fn endpoints(world: &World, service: &ServiceName) -> Step {
    let what = format!("endpoints of {service}");
    let Some(table) = world.services.get(service) else {
        return Step::new(&what, "no node offers it");
    };
    let named: Vec<String> = table
        .endpoints
        .iter()
        .map(|endpoint| format!("{}{}", endpoint.node, if endpoint.healthy { "" } else { " (unhealthy)" }))
        .collect();
    Step::new(&what, if named.is_empty() { "none".to_owned() } else { named.join(", ") })
}

fn invalid(detail: String) -> Failure {
    Failure::new(Code::UsageInvalid, detail)
}
