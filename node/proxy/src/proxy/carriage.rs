//! How the tries of one call are made: which endpoints, chosen how, in what time, how often again. From the documents on the called
//! service and the route that took the request, and where they say nothing from the node's own settings. Made by [`super`] and
//! [`crate::tcp`] once a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use weft_identity::Code;
use weft_policy::Place;
use weft_policy::choose::{Again, Nowhere, hash_of};
use weft_policy::endpoint::{Endpoint, EndpointTable};
use weft_policy::fields::{Fields, Known};
use weft_policy::outcome::Terms;
use weft_policy::raw::route::RetryOn;
use weft_policy::route::{RouteRule, Target};
use weft_policy::traffic::{Balancing, Traffic};
use weft_policy::{Choice, RetryRates, Subset, Way, choose};
use weft_world::World;

use super::attempt::Times;
use super::exchange::Exchange;
use super::{Matched, Record};
use crate::metrics::{ServiceState, Slot};
use crate::problem::Refusal;
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
    /// How long an answer may take to begin since the request was sent, over all tries.
    pub(crate) answer: Duration,
    /// The same, where documents or the caller say so: the called node waits as long.
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
        exchange: (&Worker, Option<Duration>),
        matched: &Matched<'w>,
        headers: Option<&Fields>,
    ) -> Self {
        let traffic = world.policy.traffic(&matched.table.service);
        let (worker, patience) = exchange;
        let settings = worker.settings();
        Self {
            traffic,
            subset: Subset::ALL,
            way: way_of(traffic, &matched.state, headers),
            attempts: usize::try_from(traffic.retries.attempts).unwrap_or(usize::MAX),
            on: &traffic.retries.on,
            rates: RetryRates::of(&traffic.retries),
            connect: traffic.connect_timeout.unwrap_or(settings.connect_timeout),
            try_timeout: None,
            answer: traffic.request_timeout.or(patience).unwrap_or(settings.request_timeout),
            patience: traffic.request_timeout.or(patience),
            timed_by: traffic.place.as_ref().filter(|_| traffic.request_timeout.is_some()),
            routed_by: None,
        }
    }

    /// The same, as a route wants it.
    pub(crate) fn routed(mut self, rule: &'w RouteRule, target: Option<&'w Target>) -> Self {
        if let Some(target) = target {
            self.subset = Subset { version: target.version.as_deref(), labels: &target.labels };
        }
        if let Some(retries) = &rule.retries {
            self.attempts = usize::try_from(retries.attempts).unwrap_or(usize::MAX);
            self.on = &retries.on;
        }
        if let Some(timeout) = rule.timeout {
            self.answer = timeout;
            self.patience = rule.timeout;
        }
        if rule.timeout.or(rule.try_timeout).is_some() {
            self.timed_by = Some(&rule.place);
        }
        self.routed_by = Some(&rule.place);
        self.try_timeout = rule.try_timeout;
        self
    }

    /// How much time the next try has.
    pub(crate) fn times(&self, exchange: &Exchange<'_>, answer_by: Option<Instant>) -> Times {
        Times {
            answer: self.try_timeout.unwrap_or(self.answer).min(self.left(exchange)),
            answer_by,
            total: exchange.total,
            upload: exchange.record.worker().settings().upload_timeout,
        }
    }

    /// What a pause on purpose left of the time in which an answer must begin.
    pub(crate) fn left(&self, exchange: &Exchange<'_>) -> Duration {
        self.answer.saturating_sub(exchange.paused)
    }

    /// How outcomes are judged.
    pub(crate) fn terms(&self) -> Terms {
        Terms::of(self.traffic)
    }

    /// Chooses an endpoint.
    pub(crate) fn pick<'t>(
        &self,
        worker: &Worker,
        world: &World,
        table: &'t EndpointTable,
        (tried, again): (&[Arc<Endpoint>], Again),
    ) -> Result<&'t Arc<Endpoint>, Nowhere> {
        let zone = world.facts.zone.as_ref();
        let choice = Choice::new(worker.noted_ns(), zone, self.traffic, self.way);
        let choice = Choice { tried, again, subset: self.subset, ..choice };
        choose(table, &choice, &mut |bound| worker.random_below(bound))
    }

    /// Why none could be chosen.
    pub(crate) fn nowhere_to_go(&self, table: &EndpointTable, nowhere: Nowhere) -> Refusal {
        if nowhere == Nowhere::Full {
            let why = format!("as many calls wait at each replica of {} as its latency bears", table.service);
            return Refusal::new(Code::Overloaded, why);
        }
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
    pub(crate) fn enter(&self, record: &mut Record, state: &ServiceState) -> Result<(), Refusal> {
        let Some(max) = self.traffic.in_flight_max else { return Ok(()) };
        let slot = Slot::take(&state.in_flight, max).ok_or_else(|| self.at_limit(max, "requests and streams"))?;
        record.occupies(slot);
        Ok(())
    }

    /// A refusal because the documents allow no more.
    pub(crate) fn at_limit(&self, max: u32, what: &str) -> Refusal {
        let place = self.traffic.place.as_ref().map(ToString::to_string).unwrap_or_default();
        Refusal::new(Code::Overloaded, format!("{max} {what} are under way already, which is the limit of {place}"))
    }
}

fn way_of(traffic: &Traffic, state: &ServiceState, headers: Option<&Fields>) -> Way {
    match traffic.balancing {
        Balancing::PowerOfTwo => Way::PowerOfTwo,
        Balancing::RoundRobin => Way::Turn(state.turn.fetch_add(1, Ordering::Relaxed)),
        _ => hash_way(traffic, headers).unwrap_or(Way::PowerOfTwo),
    }
}

/// The choice by hash, where the documents want it and the request has what is hashed.
pub(crate) fn hash_way(traffic: &Traffic, headers: Option<&Fields>) -> Option<Way> {
    let hash = match (&traffic.balancing, headers) {
        (Balancing::PowerOfTwo | Balancing::RoundRobin, _) => None,
        (Balancing::HashOfHeader(name), Some(headers)) => headers.get(name.as_str()).map(hash_of),
        (Balancing::HashOfCookie(name), Some(headers)) => cookie(headers, name).map(hash_of),
        (Balancing::HashOfHeader(_) | Balancing::HashOfCookie(_), None) => None,
    };
    hash.map(Way::Hash)
}

fn cookie<'h>(headers: &'h Fields, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.each(Known::Cookie).flat_map(|field| field.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let mut named = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    named.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = Fields::new();
        headers.push(b"cookie", b"a=1; cart=x=7;b");
        headers.push(b"cookie", b"user=u2");
        assert_eq!((cookie(&headers, "cart"), cookie(&headers, "user")), (Some(&b"x=7"[..]), Some(&b"u2"[..])));
        assert_eq!(cookie(&headers, "b"), None);
    }
}
