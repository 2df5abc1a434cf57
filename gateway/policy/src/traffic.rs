//! How the calls of a service are carried: timeouts, retries, ejection, limits, balancing, zones. What is not stated is `None`,
//! and the calling node's own setting holds.

use std::time::Duration;

use http::HeaderName;
use weft_identity::ServiceName;

use super::place::Place;
use super::raw::route::RetryOn;
use super::raw::traffic::{
    BalancingWord, RawHashOf, RawOutlier, RawRingHash, RawSuccessRate, RawTraffic, SuccessRateWord,
};
use crate::strict::{Either, Mistakes, Percent, Spanned};

/// How the calls of one service are carried; the default states nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Where it was written; none for a service without a document.
    pub place: Option<Place>,
    /// How long a connection may take to be made.
    pub connect_timeout: Option<Duration>,
    /// How long an answer may take to begin.
    pub request_timeout: Option<Duration>,
    /// When to try again.
    pub retries: ServiceRetries,
    /// When a replica is left out.
    pub outlier: Outlier,
    /// Most requests and streams under way.
    pub in_flight_max: Option<u32>,
    /// Most connections.
    pub connections_max: Option<u32>,
    /// Most requests that wait for one replica.
    pub replica_limit: ReplicaLimit,
    /// For how long a replica that is new or comes back gets less than its share.
    pub slow_start: Option<Duration>,
    /// How a replica is chosen.
    pub balancing: Balancing,
    /// Preference for the caller's zone.
    pub zone: Zone,
}

/// When a service's requests are tried again, and what that may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRetries {
    /// Most tries after the first.
    pub attempts: u32,
    /// After which failures; empty: those that are safe to repeat.
    pub on: Vec<RetryOn>,
    /// Share of the requests that may be retries.
    pub budget: Percent,
    /// Retries a second beyond that.
    pub budget_per_second: u32,
}

impl Default for ServiceRetries {
    fn default() -> Self {
        Self { attempts: 2, on: Vec::new(), budget: Percent::whole(20), budget_per_second: 3 }
    }
}

/// When a replica is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    /// After so many failures in a row: no connection, no answer.
    pub consecutive_failures: u32,
    /// After so many answers of 502, 503 or 504 in a row.
    pub consecutive_gateway_errors: u32,
    /// For this long the first time.
    pub ejection: Duration,
    /// Never longer.
    pub ejection_max: Duration,
    /// When more would be left out, none is.
    pub ejected_max: Percent,
    /// When its successes are fewer than those of the others; none where they are not compared.
    pub success_rate: Option<SuccessRate>,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 1,
            consecutive_gateway_errors: 5,
            ejection: crate::endpoint::EJECTION_BASE,
            ejection_max: crate::endpoint::EJECTION_MAX,
            ejected_max: Percent::whole(50),
            success_rate: Some(SuccessRate::default()),
        }
    }
}

/// When a replica succeeds so much less often than the others that it is left out. The defaults are those of Envoy's outlier detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Only where so many replicas can be compared.
    pub replicas_min: u32,
    /// Only replicas with so many results in ten seconds are compared.
    pub requests_min: u32,
    /// So many standard deviations below the mean, in thousandths.
    pub deviations_thousandths: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { replicas_min: 5, requests_min: 100, deviations_thousandths: 1_900 }
    }
}

/// Most requests that wait for the answer of one replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReplicaLimit {
    /// Any number.
    #[default]
    None,
    /// As many as its latency bears.
    Adaptive,
}

/// How a replica is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Balancing {
    /// The less loaded of two.
    #[default]
    PowerOfTwo,
    /// One after the other.
    RoundRobin,
    /// By the hash of a header field's value.
    HashOfHeader(HeaderName),
    /// By the hash of a cookie's value.
    HashOfCookie(String),
}

/// Preference for the caller's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Whether it is preferred.
    pub preference: Preference,
    /// The caller's zone is used alone while at least this share of its replicas can serve.
    pub overflow: Percent,
}

/// Whether the caller's zone is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// It is.
    Near,
    /// Every zone is alike.
    None,
}

impl Default for Zone {
    fn default() -> Self {
        Self { preference: Preference::Near, overflow: Percent::whole(50) }
    }
}

/// The document of a service, and the service.
pub(crate) fn parse(raw: RawTraffic, place: Place, mistakes: &mut Mistakes<'_>) -> (ServiceName, Traffic) {
    let mut traffic = Traffic {
        place: Some(place),
        connect_timeout: raw.connect_timeout.map(|span| span.value),
        request_timeout: raw.request_timeout.map(|span| span.value),
        ..Traffic::default()
    };
    if let Some(retries) = raw.retries {
        let defaults = ServiceRetries::default();
        traffic.retries = ServiceRetries {
            attempts: retries.value.attempts.map_or(defaults.attempts, |attempts| attempts.value.u32()),
            on: retries.value.on.into_iter().map(|on| on.value).collect(),
            budget: retries.value.budget_percent.map_or(defaults.budget, |budget| budget.value),
            budget_per_second: retries.value.budget_per_second.map_or(defaults.budget_per_second, |n| n.value.u32()),
        };
    }
    traffic.slow_start = raw.slow_start.map(|span| span.value);
    traffic.outlier = raw.outlier.map(|outlier| outlier_of(outlier, mistakes)).unwrap_or_default();
    if let Some(limits) = raw.limits {
        traffic.in_flight_max = limits.value.in_flight.map(|limit| limit.value.u32());
        traffic.connections_max = limits.value.connections.map(|limit| limit.value.u32());
        let is_adaptive = limits.value.adaptive.is_some_and(|adaptive| adaptive.value);
        traffic.replica_limit = if is_adaptive { ReplicaLimit::Adaptive } else { ReplicaLimit::None };
    }
    traffic.balancing = raw.balancing.and_then(|balancing| balancing_of(balancing, mistakes)).unwrap_or_default();
    if let Some(zone) = raw.zone {
        let is_preferred = zone.value.prefer.is_none_or(|prefer| prefer.value);
        traffic.zone = Zone {
            preference: if is_preferred { Preference::Near } else { Preference::None },
            overflow: zone.value.overflow_percent.map_or(Zone::default().overflow, |percent| percent.value),
        };
    }
    (raw.service.value, traffic)
}

fn outlier_of(raw: Spanned<RawOutlier>, mistakes: &mut Mistakes<'_>) -> Outlier {
    let defaults = Outlier::default();
    let (ejection_max, wrong) = (raw.value.ejection_max, raw.value.wrong);
    let gateway_errors = raw.value.consecutive_gateway_errors;
    let outlier = Outlier {
        consecutive_failures: raw
            .value
            .consecutive_failures
            .map_or(defaults.consecutive_failures, |count| count.value.u32()),
        consecutive_gateway_errors: gateway_errors
            .map_or(defaults.consecutive_gateway_errors, |count| count.value.u32()),
        ejection: raw.value.ejection.map_or(defaults.ejection, |span| span.value),
        ejection_max: ejection_max.as_ref().map_or(defaults.ejection_max, |span| span.value),
        ejected_max: raw.value.ejected_percent_max.map_or(defaults.ejected_max, |percent| percent.value),
        success_rate: raw.value.success_rate.map_or(defaults.success_rate, |rate| success_rate_of(rate.value)),
    };
    if wrong.spares(&["ejection", "ejection_max"]) && outlier.ejection_max < outlier.ejection {
        let span = ejection_max.map_or(raw.span, |span| span.span);
        mistakes.add(Some(span), "`ejection_max` is shorter than `ejection`");
    }
    outlier
}

fn success_rate_of(raw: Either<SuccessRateWord, RawSuccessRate>) -> Option<SuccessRate> {
    let Either::Table(raw) = raw else { return None };
    let defaults = SuccessRate::default();
    let deviations = raw.deviations_thousandths;
    Some(SuccessRate {
        replicas_min: raw.replicas_min.map_or(defaults.replicas_min, |count| count.value.u32()),
        requests_min: raw.requests_min.map_or(defaults.requests_min, |count| count.value.u32()),
        deviations_thousandths: deviations.map_or(defaults.deviations_thousandths, |count| count.value.u32()),
    })
}

fn balancing_of(raw: Spanned<Either<BalancingWord, RawRingHash>>, mistakes: &mut Mistakes<'_>) -> Option<Balancing> {
    match raw.value {
        Either::Word(BalancingWord::PowerOfTwo) => Some(Balancing::PowerOfTwo),
        Either::Word(BalancingWord::RoundRobin) => Some(Balancing::RoundRobin),
        Either::Table(RawRingHash { ring_hash, .. }) => match ring_hash.value {
            RawHashOf { header: Some(header), cookie: None, .. } => Some(Balancing::HashOfHeader(header.value)),
            RawHashOf { header: None, cookie: Some(cookie), .. } => Some(Balancing::HashOfCookie(cookie.value)),
            RawHashOf { wrong, .. } => {
                if wrong.spares(&["header", "cookie"]) {
                    mistakes.add(Some(ring_hash.span), "`ring-hash` needs exactly one of `header` and `cookie`");
                }
                None
            }
        },
    }
}
