//! What would become of a call, asked of one world: the same decisions that the data path makes, with the steps written down. Nothing
//! is counted and nothing sent.

use std::sync::Arc;

use http::Method;
use serde::Serialize;
use weft_identity::Protocol;
use weft_identity::ServiceName;
use weft_identity::{GrantedLabels, SpiffeId};
use weft_policy::change::Asked;
use weft_policy::endpoint::{Endpoint, EndpointTable};
use weft_policy::fields::{Fields, Known};
use weft_policy::limit::RateLimit;
use weft_policy::route::{RouteRule, Target};
use weft_policy::traffic::{Balancing, Preference, Traffic};
use weft_policy::{Call, Caller, NormalPath, PathFault, RequestView};
use weft_policy::{Choice, Subset, Way, choose};
use weft_world::World;
use weft_world::settings::Settings;

use super::{Step, settings};
use crate::proxy::name_host;

/// A call that somebody asks about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who calls; none: this node, as it usually calls.
    pub caller: Option<SpiffeId>,
    /// The labels that the caller's certificate is supposed to carry; none: those of this node where it calls itself, else no labels.
    pub labels: Option<Arc<GrantedLabels>>,
    /// The service that is dialled.
    pub service: ServiceName,
    /// The method; none: a TCP stream.
    pub method: Option<Method>,
    /// Path and query.
    pub path: String,
    /// Header fields, `host` among them if it matters.
    pub headers: Fields,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// As whom the call is made.
    pub caller: Option<String>,
    /// The labels of the caller's certificate, by name.
    pub labels: GrantedLabels,
    /// The service that it goes to, after a route's say.
    pub service: String,
    /// The revision that decided.
    pub revision: u64,
    /// Whether it may pass, by the documents of this node.
    pub is_allowed: bool,
    /// The decisions, in order.
    pub steps: Vec<Step>,
    /// The sides of the split; empty where there is none.
    pub shares: Vec<Share>,
    /// The endpoints of the service that it goes to.
    pub endpoints: Vec<EndpointState>,
}

/// One side of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The service.
    pub service: String,
    /// Only this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// The sum of all weights.
    pub of: u64,
}

/// How an endpoint stands to the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointState {
    /// The node.
    pub node: String,
    /// What the node calls the replica.
    pub replica: String,
    /// Its version.
    pub version: String,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Calls in flight from this node.
    pub in_flight: u32,
    /// Whether it would be chosen now. By power of two choices this is one draw of many.
    pub is_chosen: bool,
    /// Why it can not be chosen; none where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// Answers a question; `own` are the node's settings, `now_ns` is of the data path's clock, `random(n)` draws from `0..n`.
pub(crate) fn explain(
    world: &World,
    own: &Settings,
    question: &Question,
    now_ns: u64,
    random: &mut dyn FnMut(u64) -> u64,
) -> Explanation {
    let no_labels = Arc::default();
    let caller = caller_of(world, question, &no_labels);
    let mut told = Explanation {
        caller: caller.map(|caller| caller.identity.to_string()),
        labels: caller.map(|caller| GrantedLabels::clone(caller.labels)).unwrap_or_default(),
        service: question.service.to_string(),
        revision: world.policy.revision(),
        is_allowed: false,
        steps: Vec::new(),
        shares: Vec::new(),
        endpoints: Vec::new(),
    };
    match caller {
        Some(caller) => told.steps.push(Step::new("identity", made_as(caller, question))),
        None => told.steps.push(Step::new("identity", "this node has no certificate for its calls")),
    }
    let (path, query) = match question.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (question.path.as_str(), None),
    };
    let path = match NormalPath::of(path) {
        Ok(path) => path,
        Err(fault) => {
            told.steps.push(faulty(world, question, fault));
            return told;
        }
    };
    let headers = headers_as_seen(question);
    let view = question.method.as_ref().map(|method| RequestView { method, path: &path, query, headers: &headers });
    let rule = view.as_ref().and_then(|view| routed(world, question, view, &mut told));
    // Of a split, the side with the highest weight.
    let target = rule.and_then(|rule| rule.to.iter().max_by_key(|target| target.weight));
    let service = target.and_then(|target| target.service.as_ref()).unwrap_or(&question.service);
    told.service = service.to_string();
    let call = view.as_ref().map_or(Call::Tcp, Call::Http);
    if let Some(caller) = caller {
        judged(world, (caller, service), call, &mut told);
    }
    told.steps.extend(settings::of_carriage(rule, world.policy.traffic(service), own));
    chosen(world, (service, target), question, (now_ns, random), &mut told);
    told
}

/// Who calls: as the question supposes, or this node with its own certificate.
fn caller_of<'q>(world: &'q World, question: &'q Question, no_labels: &'q Arc<GrantedLabels>) -> Option<Caller<'q>> {
    let usual = world.credentials.usual.as_ref().map(|credential| credential.caller());
    let caller = match &question.caller {
        Some(identity) => Some(Caller { identity, labels: no_labels }),
        None => usual,
    };
    caller.map(|caller| Caller { labels: question.labels.as_ref().unwrap_or(caller.labels), ..caller })
}

fn made_as(caller: Caller<'_>, question: &Question) -> String {
    let identity = caller.identity;
    match &question.labels {
        Some(labels) => format!("the call is made as {identity}, supposing that its certificate carries {labels}"),
        None => format!("the call is made as {identity}"),
    }
}

fn faulty(world: &World, question: &Question, fault: PathFault) -> Step {
    let policy = &world.policy;
    if policy.reads_requests(&question.service) || policy.routes_service(&question.service) {
        Step::new("path", format!("refused as request-malformed: {fault}"))
    } else {
        Step::new("path", format!("{fault}; no document looks at paths of {}, so that it would pass", question.service))
    }
}

/// The host as it is dialled, if the question states one.
fn dialled_host(question: &Question) -> Option<&str> {
    question.headers.first(Known::Host).and_then(|host| std::str::from_utf8(host).ok())
}

/// The header fields as conditions see them.
fn headers_as_seen(question: &Question) -> Fields {
    let mut headers = question.headers.clone();
    if let Some(host) = dialled_host(question) {
        name_host(&mut headers, host);
    }
    headers
}

/// The route's say.
fn routed<'w>(
    world: &'w World,
    question: &Question,
    view: &RequestView<'_>,
    told: &mut Explanation,
) -> Option<&'w RouteRule> {
    let host = dialled_host(question).unwrap_or(question.service.as_str());
    let (routed, steps) = world.policy.explain_route(&question.service, host, view);
    told.steps.extend(steps.iter().map(Step::from));
    let routed = routed?;
    let rule = routed.rule;
    told.steps.extend(settings::of_rule(&routed, &question.service, Asked { scheme: "http", authority: host }, view));
    let of = rule.to.iter().map(|target| u64::from(target.weight)).sum();
    told.shares = rule.to.iter().map(|target| share(target, &question.service, of)).collect();
    Some(rule)
}

fn share(target: &Target, dialled: &ServiceName, of: u64) -> Share {
    let service = target.service.as_ref().unwrap_or(dialled).to_string();
    Share { service, version: target.version.clone(), weight: target.weight, of }
}

/// Authorisation and limits, as they would be decided where the call arrives.
fn judged(world: &World, ends: (Caller<'_>, &ServiceName), call: Call<'_>, told: &mut Explanation) {
    let (caller, called) = ends;
    let (verdict, steps) = world.policy.explain_authorise(caller, called, call);
    told.steps.extend(steps.iter().map(Step::from));
    told.is_allowed = verdict.is_allowed();
    let protocol = world.services.get(called).map(|table| table.protocol);
    let hides = matches!(call, Call::Tcp) && protocol.is_some_and(|protocol| protocol != Protocol::Tcp);
    if hides && world.policy.denies_requests(called) {
        told.is_allowed = false;
        told.steps
            .push(Step::new("stream", "`deny` rules look at requests: ask with METHOD and PATH; a stream is refused"));
    }
    let limits = world.policy.limits(called);
    told.is_allowed &= limits.iter().all(|limit| limit.doubt(call).is_none());
    told.steps.extend(limits.iter().filter(|limit| limit.counts(call)).map(|limit| counted(limit, call)));
}

fn counted(limit: &RateLimit, call: Call<'_>) -> Step {
    let text = match limit.doubt(call) {
        Some(name) => format!("counts by {name}, which comes in several lines: refused as request-malformed"),
        None => {
            format!("counts this call by {}; {} may pass at once, on each node", limit.counted_by(), limit.burst())
        }
    };
    Step::at("rate limit", &limit.place, text)
}

/// The endpoints, and which of them would be chosen now.
fn chosen(
    world: &World,
    to: (&ServiceName, Option<&Target>),
    question: &Question,
    chance: (u64, &mut dyn FnMut(u64) -> u64),
    told: &mut Explanation,
) {
    let ((service, target), (now_ns, random)) = (to, chance);
    let Some(table) = world.services.get(service) else {
        told.steps.push(Step::new("service", format!("no node of the mesh offers {service}")));
        return;
    };
    let traffic = world.policy.traffic(service);
    told.steps.push(carried(traffic, table));
    let subset =
        target.map_or(Subset::ALL, |target| Subset { version: target.version.as_deref(), labels: &target.labels });
    let headers = question.method.as_ref().map(|_| &question.headers);
    let way = crate::proxy::hash_way(traffic, headers).unwrap_or(match traffic.balancing {
        Balancing::RoundRobin => Way::Turn(random(u64::from(u32::MAX))),
        _ => Way::PowerOfTwo,
    });
    let choice = Choice { subset, ..Choice::new(now_ns, world.facts.zone.as_ref(), traffic, way) };
    let winner = choose(table, &choice, random);
    let is_winner = |endpoint: &Arc<Endpoint>| winner.is_ok_and(|winner| Arc::ptr_eq(winner, endpoint));
    told.endpoints = table
        .endpoints
        .iter()
        .map(|endpoint| EndpointState {
            node: endpoint.node.to_string(),
            replica: endpoint.replica.to_string(),
            version: endpoint.version.clone(),
            zone: endpoint.zone.as_ref().map(ToString::to_string),
            in_flight: endpoint.load.in_flight(),
            is_chosen: is_winner(endpoint),
            why_not: if is_winner(endpoint) { None } else { why_not(endpoint, &choice) },
        })
        .collect();
}

fn carried(traffic: &Traffic, table: &EndpointTable) -> Step {
    let how = match &traffic.balancing {
        Balancing::PowerOfTwo => "the less loaded of two".to_owned(),
        Balancing::RoundRobin => "in turn".to_owned(),
        Balancing::HashOfHeader(name) => format!("by the hash of the header field {name}"),
        Balancing::HashOfCookie(name) => format!("by the hash of the cookie {name}"),
    };
    let zone = if traffic.zone.preference == Preference::Near { ", the own zone first" } else { "" };
    let offer = match table.endpoints.len() {
        1 => "has 1 replica".to_owned(),
        count => format!("has {count} replicas"),
    };
    let text = format!("{} {offer}; one is chosen: {how}{zone}", table.service);
    match &traffic.place {
        Some(place) => Step::at("traffic", place, text),
        None => Step::new("traffic", text),
    }
}

fn why_not(endpoint: &Endpoint, choice: &Choice<'_>) -> Option<String> {
    if !endpoint.is_of(choice.subset.version, choice.subset.labels) {
        return Some("it has another version or other labels than the route wants".to_owned());
    }
    if !endpoint.healthy {
        return Some("it is not healthy, or its weight is 0".to_owned());
    }
    if endpoint.load.is_ejected(choice.now_ns) {
        return Some("it is ejected after failures".to_owned());
    }
    let is_far = choice.zone.is_some_and(|zone| endpoint.zone.as_ref() != Some(zone));
    is_far.then(|| "it is in another zone; it takes its part when too few of the own zone can serve".to_owned())
}
