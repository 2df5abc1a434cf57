//! How the tries of one call are made: which endpoints, chosen how, in what time, how often again. From the documents on the called
//! service and the route that took the request, and where they say nothing from the node's own settings. Made by [`super`] and
//! [`crate::tcp`] once a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use weft_identity::Code;
use weft_policy::choose::hash_of;
use weft_policy::endpoint::{Endpoint, EndpointTable};
use weft_policy::raw::route::RetryOn;
use weft_policy::retry::{Cause, is_wanted};
use weft_policy::route::{RouteRule, Target};
use weft_policy::traffic::{Balancing, Traffic};
use weft_policy::{Choice, Place, RetryRates, Subset, Way, choose};
use weft_world::World;

use super::{Exchange, Matched};
use crate::metrics::{ServiceState, Slot};
use crate::problem::{PATIENCE, Refusal};
use crate::worker::Worker;

/// How the tries of one call are made.
pub(crate) struct Carriage<'w> {
    /// What the documents say of the called service.
    pub(crate) traffic: &'w Traffic,
    /// Which of its endpoints may be chosen.
    pub(crate) subset: Subset<'w>,
    /// How one is chosen.
    pub(crate) way: Way,
    /// Most tries after the first.
    pub(crate) attempts: usize,
    /// After which failures; empty: after those that are safe to repeat.
    pub(crate) on: &'w [RetryOn],
    /// What retries may cost.
    pub(crate) rates: RetryRates,
    /// How long a connect may take.
    pub(crate) connect: Duration,
    /// How long one try may take.
    pub(crate) try_timeout: Option<Duration>,
    /// When an answer must have begun, over all tries.
    pub(crate) deadline: Instant,
    /// How long that is, where documents say so.
    pub(crate) patience: Option<Duration>,
    /// Which document said so.
    timed_by: Option<&'w Place>,
    /// The rule that routed the call.
    routed_by: Option<&'w Place>,
}

impl<'w> Carriage<'w> {
    /// For a call of a service; `headers` are none for a stream.
    pub(crate) fn new(
        world: &'w World,
        exchange: &Exchange,
        matched: &Matched<'w>,
        headers: Option<&HeaderMap>,
    ) -> Self {
        let traffic = world.policy.traffic(&matched.table.service);
        let settings = exchange.worker().settings();
        Self {
            traffic,
            subset: Subset::ALL,
            way: way_of(traffic, &matched.state, headers),
            attempts: usize::try_from(traffic.retries.attempts).unwrap_or(usize::MAX),
            on: &traffic.retries.on,
            rates: RetryRates::of(&traffic.retries),
            connect: traffic.connect_timeout.unwrap_or(settings.connect_timeout),
            try_timeout: None,
            deadline: exchange.head_by(traffic.request_timeout),
            patience: traffic.request_timeout,
            timed_by: traffic.place.as_ref().filter(|_| traffic.request_timeout.is_some()),
            routed_by: None,
        }
    }

    /// The same, as a route wants it.
    pub(crate) fn routed(mut self, rule: &'w RouteRule, target: Option<&'w Target>, exchange: &Exchange) -> Self {
        if let Some(target) = target {
            self.subset = Subset { version: target.version.as_deref(), labels: &target.labels };
        }
        if let Some(retries) = &rule.retries {
            self.attempts = usize::try_from(retries.attempts).unwrap_or(usize::MAX);
            self.on = &retries.on;
        }
        if rule.timeout.is_some() {
            self.deadline = exchange.head_by(rule.timeout);
            self.patience = rule.timeout;
        }
        if rule.timeout.or(rule.try_timeout).is_some() {
            self.timed_by = Some(&rule.place);
        }
        self.routed_by = Some(&rule.place);
        self.try_timeout = rule.try_timeout;
        self
    }

    /// Tells the called node how long the answer is waited for; whatever an application says of that is taken out.
    pub(crate) fn tell_patience(&self, headers: &mut HeaderMap) {
        match self.patience {
            Some(span) => {
                let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                headers.insert(PATIENCE, HeaderValue::from(ms));
            }
            None => drop(headers.remove(PATIENCE)),
        }
    }

    /// When a try that begins now must have brought an answer.
    pub(crate) fn try_deadline(&self) -> Instant {
        self.try_timeout.map_or(self.deadline, |span| self.deadline.min(Instant::now() + span))
    }

    /// Whether the documents want another try after this failure, were it safe.
    pub(crate) fn wants(&self, cause: Cause, tried: usize) -> bool {
        tried < self.attempts && is_wanted(self.on, cause) && Instant::now() < self.deadline
    }

    /// Chooses an endpoint.
    pub(crate) fn pick<'t>(
        &self,
        worker: &Worker,
        world: &World,
        table: &'t EndpointTable,
        tried: &[Arc<Endpoint>],
    ) -> Option<&'t Arc<Endpoint>> {
        let zone = world.facts.zone.as_ref();
        let choice =
            Choice { tried, subset: self.subset, ..Choice::new(worker.now_ns(), zone, self.traffic, self.way) };
        choose(table, &choice, &mut |bound| worker.random_below(bound))
    }

    /// Why none could be chosen.
    pub(crate) fn nowhere_to_go(&self, table: &EndpointTable) -> Refusal {
        let of_subset = |endpoint: &&Arc<Endpoint>| endpoint.is_of(self.subset.version, self.subset.labels);
        let service = &table.service;
        let why = match (table.endpoints.len(), table.endpoints.iter().filter(of_subset).count()) {
            (0, _) => format!("no node offers {service} any more"),
            (count, 0) => {
                let rule = self.routed_by.map(|place| format!(" at {place}")).unwrap_or_default();
                format!("none of the {count} replicas of {service} has the version or labels of the route{rule}")
            }
            (_, count) => format!("none of the {count} replicas of {service} is healthy"),
        };
        Refusal::new(Code::NoHealthyReplica, why)
    }

    /// Why a try failed, with the document whose time was over if one said how long.
    pub(crate) fn because(&self, code: Code, why: String) -> String {
        match self.timed_by.filter(|_| code == Code::RequestTimeout) {
            Some(place) => format!("{why}; the timeout is that of {place}"),
            None => why,
        }
    }

    /// Counts the call at its service, where the documents limit how many may be under way.
    pub(crate) fn enter(&self, exchange: &mut Exchange, state: &ServiceState) -> Result<(), Refusal> {
        let Some(max) = self.traffic.in_flight_max else { return Ok(()) };
        let slot = Slot::take(&state.in_flight, max).ok_or_else(|| self.at_limit(max, "requests and streams"))?;
        exchange.occupies(slot);
        Ok(())
    }

    /// A refusal because the documents allow no more.
    pub(crate) fn at_limit(&self, max: u32, what: &str) -> Refusal {
        let place = self.traffic.place.as_ref().map(ToString::to_string).unwrap_or_default();
        Refusal::new(Code::Overloaded, format!("{max} {what} are under way already, which is the limit of {place}"))
    }
}

fn way_of(traffic: &Traffic, state: &ServiceState, headers: Option<&HeaderMap>) -> Way {
    match traffic.balancing {
        Balancing::PowerOfTwo => Way::PowerOfTwo,
        Balancing::RoundRobin => Way::Turn(state.turn.fetch_add(1, Ordering::Relaxed)),
        _ => hash_way(traffic, headers).unwrap_or(Way::PowerOfTwo),
    }
}

/// The choice by hash, where the documents want it and the request has what is hashed.
pub(crate) fn hash_way(traffic: &Traffic, headers: Option<&HeaderMap>) -> Option<Way> {
    let hash = match (&traffic.balancing, headers) {
        (Balancing::PowerOfTwo | Balancing::RoundRobin, _) => None,
        (Balancing::HashOfHeader(name), Some(headers)) => headers.get(name).map(|value| hash_of(value.as_bytes())),
        (Balancing::HashOfCookie(name), Some(headers)) => cookie(headers, name).map(|value| hash_of(value.as_bytes())),
        (Balancing::HashOfHeader(_) | Balancing::HashOfCookie(_), None) => None,
    };
    hash.map(Way::Hash)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; cart=x=7;b"));
        headers.append(COOKIE, HeaderValue::from_static("user=u2"));
        assert_eq!((cookie(&headers, "cart"), cookie(&headers, "user")), (Some("x=7"), Some("u2")));
        assert_eq!(cookie(&headers, "b"), None);
    }
}
