//! Where a request goes. Of all rules of a service the most specific that matches takes it; the order of precedence is that of the
//! Gateway API, extended to templates and regular expressions, and stands in `docs/reference/routing.md`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use weft_identity::ServiceName;

use super::authority::bare_host;
use super::compile::pace::Pace;
use super::condition::{HeaderCondition, MethodSet, QueryCondition, RequestView, Several, Test};
use super::index::{Asks, Crowded, Index, Query};
use super::path::Pattern;
use super::place::{Place, Step, note};
use super::raw::route::{RetryOn, Scheme};
use crate::strict::Percent;

/// What happens to requests that match; every value in it is valid.
#[derive(Debug, Clone)]
pub struct RouteRule {
    /// Where the rule stands.
    pub place: Place,
    /// Where requests go, by weight; empty: to the dialled service.
    pub to: Vec<Target>,
    /// Where copies go.
    pub mirror: Option<Mirror>,
    /// How long an answer may take to begin, over all tries.
    pub timeout: Option<Duration>,
    /// How long one try may take.
    pub try_timeout: Option<Duration>,
    /// When to try again.
    pub retries: Option<Retries>,
    /// Failures made on purpose.
    pub fault: Fault,
    /// Changes to the request's fields.
    pub request_headers: HeaderChanges,
    /// Changes to the response's fields.
    pub response_headers: HeaderChanges,
    /// A redirect in place of forwarding.
    pub redirect: Option<Redirect>,
    /// Changes before forwarding.
    pub rewrite: Rewrite,
}

/// One side of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service; none: the dialled one.
    pub service: Option<ServiceName>,
    /// Only replicas of this version.
    pub version: Option<String>,
    /// Only replicas with these labels.
    pub labels: BTreeMap<String, String>,
    /// Its share.
    pub weight: u32,
}

/// Where copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The service; none: the dialled one.
    pub service: Option<ServiceName>,
    /// Only replicas of this version.
    pub version: Option<String>,
    /// The share of requests that are copied.
    pub percent: Percent,
    /// How far the body of a copy may be behind its request.
    pub behind_bytes_max: usize,
}

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Most tries after the first.
    pub attempts: u32,
    /// After which failures; empty: those that are safe to repeat.
    pub on: Vec<RetryOn>,
}

/// Failures made on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// A pause before forwarding: for this share, this long.
    pub delay: Option<(Percent, Duration)>,
    /// An answer in place of forwarding: for this share, with this status.
    pub abort: Option<(Percent, StatusCode)>,
}

/// Changes to header fields, in the order remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Taken out.
    pub remove: Vec<HeaderName>,
    /// Get this one value.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Get this value, too.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme; none: the request's.
    pub scheme: Option<Scheme>,
    /// The host; none: the request's.
    pub host: Option<String>,
    /// The port; none: that of the scheme.
    pub port: Option<u16>,
    /// The path; none: the request's.
    pub path: Option<String>,
    /// The status.
    pub status: StatusCode,
}

/// Changes before forwarding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Of the path.
    pub path: Option<PathRewrite>,
    /// Of the host.
    pub host: Option<HeaderValue>,
}

/// A change of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Stands in place of the matched prefix.
    Prefix(String),
    /// Stands in place of the whole path.
    Whole(String),
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Every path: none was stated, or the prefix `/`.
    Every,
    /// The whole path.
    Exact(Pattern),
    /// A template.
    Template(Pattern),
    /// A path and what lies below it.
    Prefix(Pattern),
    /// A regular expression over the whole path.
    Regex(regex::bytes::Regex),
}

impl PathMatch {
    /// Whether it takes a path in normal form.
    fn takes(&self, path: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Exact(pattern) | Self::Template(pattern) | Self::Prefix(pattern) => pattern.takes(path),
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }

    /// The order of precedence: the lower, the more specific.
    fn rank(&self) -> (u8, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>) {
        let plain = |class| (class, Reverse(0), false, Reverse(0), Reverse(0));
        match self {
            Self::Exact(_) => plain(0),
            Self::Template(pattern) => (
                1,
                Reverse(pattern.literal_count()),
                pattern.below() == super::path::Below::Everything,
                Reverse(pattern.segments().len()),
                Reverse(pattern.text().len()),
            ),
            Self::Prefix(pattern) => {
                (2, Reverse(pattern.text().trim_end_matches('/').len()), false, Reverse(0), Reverse(0))
            }
            Self::Regex(_) => plain(3),
            Self::Every => plain(4),
        }
    }
}

/// One match of a rule.
#[derive(Debug, Clone)]
pub struct RequestMatch {
    /// The path.
    pub path: PathMatch,
    /// The methods.
    pub methods: MethodSet,
    /// All of these.
    pub headers: Vec<HeaderCondition>,
    /// All of these.
    pub query: Vec<QueryCondition>,
}

impl RequestMatch {
    /// Matches every request.
    pub fn every() -> Self {
        Self { path: PathMatch::Every, methods: MethodSet::default(), headers: Vec::new(), query: Vec::new() }
    }

    /// Whether all but the path matches.
    fn takes(&self, request: &RequestView<'_>) -> bool {
        self.methods.takes(request.method)
            && self.headers.iter().all(|condition| condition.holds(request.headers, Several::Any))
            && self.query.iter().all(|condition| condition.holds(request.query))
    }

    /// Whether everything matches, the path in any of its readings; looks at each segment of it.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        request.path.readings().any(|path| self.path.takes(path)) && self.takes(request)
    }

    fn asks(&self) -> Asks<'_> {
        let exact = self.headers.iter().find_map(|condition| match &condition.test {
            Test::Exact(value) => Some(Asks::Header(&condition.name, value)),
            _ => None,
        });
        let is_free = self.methods.is_every() && self.headers.is_empty() && self.query.is_empty();
        exact.unwrap_or(if is_free { Asks::Nothing } else { Asks::Other })
    }
}

/// The rule that takes a request, and by which of its matches.
#[derive(Debug, Clone, Copy)]
pub struct Routed<'p> {
    /// The rule.
    pub rule: &'p RouteRule,
    /// The match.
    pub matched: &'p RequestMatch,
}

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Host {
    Every,
    /// In lower case.
    Exact(Box<str>),
    /// Any labels before this suffix, which starts with a dot.
    Below(Box<str>),
}

/// The matches of one host.
#[derive(Debug, Default)]
struct HostIndex {
    paths: Index,
    regexes: Vec<u32>,
}

/// A match that is not indexed yet.
pub(crate) struct Candidate<'d> {
    pub(crate) hosts: &'d [Host],
    pub(crate) matched: &'d Arc<RequestMatch>,
    /// The rule's position in the table.
    pub(crate) rule: u32,
}

/// Every route of one service.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    rules: Vec<Arc<RouteRule>>,
    /// In the order of precedence.
    matches: Vec<(Arc<RequestMatch>, u32)>,
    exact: HashMap<Box<str>, HostIndex>,
    below: HashMap<Box<str>, HostIndex>,
    every: HostIndex,
}

impl RouteTable {
    /// Indexes rules, which come oldest document first, and their matches. The places of those that do not fit come back.
    pub(crate) fn new(
        rules: Vec<Arc<RouteRule>>,
        mut candidates: Vec<Candidate<'_>>,
        pace: &mut Pace<'_>,
    ) -> (Self, Vec<Place>) {
        // A stable sort: ties stay in the order of revision, name and rule.
        candidates.sort_by_cached_key(|candidate| {
            let matched = candidate.matched;
            let counts = (Reverse(matched.headers.len()), Reverse(matched.query.len()));
            (matched.path.rank(), matched.methods.is_every(), counts)
        });
        let mut table = Self { rules, ..Self::default() };
        let mut crowded = Vec::new();
        for (number, candidate) in candidates.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let fits = candidate.hosts.iter().all(|host| table.index(host).insert(number, candidate.matched).is_ok());
            if !fits {
                crowded.extend(table.rule(candidate.rule).map(|rule| rule.place.clone()));
            }
            table.matches.push((Arc::clone(candidate.matched), candidate.rule));
            pace.step();
        }
        (table, crowded)
    }

    /// Its indexes, to be freed.
    pub(crate) fn into_indexes(self) -> impl Iterator<Item = Index> {
        let of_hosts = self.exact.into_values().chain(self.below.into_values());
        of_hosts.chain([self.every]).map(|index| index.paths)
    }

    fn index(&mut self, host: &Host) -> &mut HostIndex {
        match host {
            Host::Every => &mut self.every,
            Host::Exact(name) => self.exact.entry(name.clone()).or_default(),
            Host::Below(suffix) => self.below.entry(suffix.clone()).or_default(),
        }
    }

    fn rule(&self, number: u32) -> Option<&RouteRule> {
        usize::try_from(number).ok().and_then(|number| self.rules.get(number)).map(Arc::as_ref)
    }

    /// The first match in the order of precedence: hosts from the most specific on, then the rest.
    pub(crate) fn find(
        &self,
        host: &str,
        request: &RequestView<'_>,
        mut steps: Option<&mut Vec<Step>>,
    ) -> Option<Routed<'_>> {
        let of_host = self.find_by_host(host, request);
        if let Some(routed) = of_host {
            note(&mut steps, || {
                Step::new("route", Some(&routed.rule.place), "the most specific match of the most specific host")
            });
            return of_host;
        }
        let routed = self.find_in(&self.every, request);
        note(&mut steps, || match routed {
            Some(routed) => Step::new("route", Some(&routed.rule.place), "the most specific match"),
            None => Step::new("route", None, format!("none of {} matches takes it", self.matches.len())),
        });
        routed
    }

    fn find_by_host(&self, host: &str, request: &RequestView<'_>) -> Option<Routed<'_>> {
        if self.exact.is_empty() && self.below.is_empty() {
            return None;
        }
        let host = bare_host(host);
        let host = host.as_ref();
        // From the longest domain on.
        let domains = host.match_indices('.').filter_map(|(at, _)| self.below.get(&host[at..]));
        self.exact.get(host).into_iter().chain(domains).find_map(|index| self.find_in(index, request))
    }

    fn find_in(&self, index: &HostIndex, request: &RequestView<'_>) -> Option<Routed<'_>> {
        let match_of = |number: u32| usize::try_from(number).ok().and_then(|number| self.matches.get(number));
        let accepts = |number: u32| match_of(number).is_some_and(|(matched, _)| matched.takes(request));
        let mut query = Query { headers: request.headers, accepts: &accepts, best: u32::MAX };
        request.path.readings().for_each(|path| index.paths.search(path, &mut query));
        for &number in index.regexes.iter().take_while(|number| **number < query.best) {
            if match_of(number).is_some_and(|(matched, _)| matched.holds(request)) {
                query.best = number;
                break;
            }
        }
        let (matched, rule) = match_of(query.best)?;
        Some(Routed { rule: self.rule(*rule)?, matched })
    }
}

impl HostIndex {
    fn insert(&mut self, number: u32, matched: &RequestMatch) -> Result<(), Crowded> {
        let asks = matched.asks();
        match &matched.path {
            PathMatch::Every => self.paths.insert(&Pattern::everything(), number, &asks),
            PathMatch::Exact(pattern) | PathMatch::Template(pattern) | PathMatch::Prefix(pattern) => {
                self.paths.insert(pattern, number, &asks)
            }
            PathMatch::Regex(_) => {
                self.regexes.push(number);
                Ok(())
            }
        }
    }
}
