//! Rate limits: how many requests a service takes from this node. Counted by the generic cell rate algorithm (GCRA, ITU-T I.371), which
//! keeps one time a key: the *theoretical arrival time*, at which the key's allowance is whole again.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderName;
use weft_identity::{ServiceName, SpiffeId};

use super::authorise::Call;
use super::place::Place;
use super::raw::{CountBy, RawRateLimit};
use super::route::RequestMatch;
use super::route_parse;
use crate::strict::{Either, Mistakes};

/// Shards of a limiter: more than any machine has workers by far, so that two rarely meet at one.
const SHARDS: usize = 64;
const SECOND_NS: u128 = 1_000_000_000;
/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u128 = 999_999_999_999_999;

/// A rate limit, valid.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Where it was written.
    pub place: Place,
    /// Time between two requests at the stated rate, in nanoseconds.
    interval_ns: u64,
    /// How far ahead of its rate a key may be, in nanoseconds.
    tolerance_ns: u64,
    /// What is counted for itself.
    by: By,
    /// The limit as `RateLimit-Policy` tells it.
    policy_item: Arc<str>,
    /// Only requests that match any of these; empty: all calls.
    pub(crate) matches: Vec<RequestMatch>,
}

/// What is counted for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Identity,
    Service,
    Header(HeaderName),
}

/// What the time of a key is kept under; made anew per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey(u64);

impl RateLimit {
    /// Whether the limit counts this call.
    pub fn counts(&self, call: Call<'_>) -> bool {
        match call {
            _ if self.matches.is_empty() => true,
            Call::Tcp => false,
            Call::Http(request) => self.matches.iter().any(|matched| matched.holds(request)),
        }
    }

    /// The field by which this call is counted, where it comes in several lines: an added one would choose another allowance, and nobody knows
    /// which of them the application takes. Such a call is refused with 400 before it is counted anywhere.
    pub fn doubt(&self, call: Call<'_>) -> Option<&HeaderName> {
        match (&self.by, call) {
            (By::Header(name), Call::Http(request)) if self.counts(call) => {
                request.headers.all(name.as_str()).nth(1).map(|_| name)
            }
            _ => None,
        }
    }

    /// The most requests that can pass at once.
    pub fn burst(&self) -> u64 {
        self.tolerance_ns.checked_div(self.interval_ns).unwrap_or(0).saturating_add(1)
    }

    /// What is counted for itself, in words.
    pub fn counted_by(&self) -> String {
        match &self.by {
            By::Identity => "caller".to_owned(),
            By::Service => "service".to_owned(),
            By::Header(name) => format!("the header field {name}"),
        }
    }

    /// The limit as an item of the field `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11, section 3.1).
    pub fn policy_item(&self) -> &Arc<str> {
        &self.policy_item
    }

    /// What a key that is so far ahead of its rate may still do.
    fn allowance(&self, ahead_ns: u64) -> Allowance {
        let room = self.tolerance_ns.checked_sub(ahead_ns);
        let left = room.map_or(0, |room| room.checked_div(self.interval_ns).unwrap_or(0).saturating_add(1));
        let needed = ahead_ns.saturating_add(left.saturating_mul(self.interval_ns));
        Allowance { left, more_in: Duration::from_nanos(needed.saturating_sub(self.tolerance_ns)) }
    }
}

/// What may still pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// So many requests at once.
    pub left: u64,
    /// And one more after this span.
    pub more_in: Duration,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It passes and is counted, and leaves this.
    Pass(Allowance),
    /// It is over the limit; the next passes after this span.
    Over(Duration),
}

impl Admission {
    /// Whether it passes.
    pub fn passes(self) -> bool {
        matches!(self, Self::Pass(_))
    }
}

/// The counts of a node, shared by its workers. Holds at most the stated number of keys; a key is needed while its allowance is not
/// whole, and when there is no room, the key with the most allowance is forgotten and counted.
#[derive(Debug)]
pub struct Limiter {
    shards: Box<[Mutex<HashMap<LimitKey, u64>>]>,
    keys_max: usize,
    seed: u64,
    evictions: AtomicU64,
}

impl Limiter {
    /// Room for `keys_max` keys in all (16 bytes each and the map's own), spread over shards. `seed` is random, so that nobody outside
    /// can choose header values that fall together.
    pub fn new(keys_max: usize, seed: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect();
        Self { shards, keys_max: keys_max.div_ceil(SHARDS).max(1), seed, evictions: AtomicU64::new(0) }
    }

    /// Counts a call against a limit that [counts](RateLimit::counts) it. A call that is over the limit costs nothing.
    pub fn admit(&self, limit: &RateLimit, caller: &SpiffeId, call: Call<'_>, now_ns: u64) -> Admission {
        let key = self.key(limit, caller, call);
        let mut times = self.shard(key);
        let allowed_at = times.get(&key).copied().unwrap_or(0).max(now_ns);
        let ahead_ns = allowed_at - now_ns;
        if ahead_ns > limit.tolerance_ns {
            return Admission::Over(Duration::from_nanos(ahead_ns - limit.tolerance_ns));
        }
        if times.len() >= self.keys_max && !times.contains_key(&key) {
            self.make_room(&mut times, now_ns);
        }
        times.insert(key, allowed_at.saturating_add(limit.interval_ns));
        Admission::Pass(limit.allowance(ahead_ns.saturating_add(limit.interval_ns)))
    }

    /// Counts a call against all limits that count it. When it is over one, nothing is counted and that one alone comes back.
    pub fn admit_all<'p>(
        &self,
        limits: &'p [Arc<RateLimit>],
        caller: &SpiffeId,
        call: Call<'_>,
        now_ns: u64,
    ) -> Vec<(&'p RateLimit, Admission)> {
        let mut admitted: Vec<(&RateLimit, Admission)> = Vec::new();
        for limit in limits.iter().map(Arc::as_ref).filter(|limit| limit.counts(call)) {
            let admission = self.admit(limit, caller, call, now_ns);
            if !admission.passes() {
                admitted.iter().for_each(|(earlier, _)| self.give_back(earlier, caller, call));
                return vec![(limit, admission)];
            }
            admitted.push((limit, admission));
        }
        admitted
    }

    /// Takes back that a call was counted.
    fn give_back(&self, limit: &RateLimit, caller: &SpiffeId, call: Call<'_>) {
        let key = self.key(limit, caller, call);
        if let Some(time) = self.shard(key).get_mut(&key) {
            *time = time.saturating_sub(limit.interval_ns);
        }
    }

    fn shard(&self, key: LimitKey) -> MutexGuard<'_, HashMap<LimitKey, u64>> {
        let shard = &self.shards[usize::try_from(key.0 % SHARDS as u64).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that were forgotten while they were needed.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Keys that are held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn make_room(&self, times: &mut HashMap<LimitKey, u64>, now_ns: u64) {
        times.retain(|_, time| *time > now_ns);
        if times.len() < self.keys_max {
            return;
        }
        if let Some(least) = times.iter().map(|(key, time)| (*time, *key)).min() {
            times.remove(&least.1);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The limit is named by its document, so that its counts outlive a new revision.
    fn key(&self, limit: &RateLimit, caller: &SpiffeId, call: Call<'_>) -> LimitKey {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        limit.place.document.id.name.hash(&mut hasher);
        match (&limit.by, call) {
            (By::Identity, _) => caller.hash(&mut hasher),
            (By::Header(name), Call::Http(request)) => {
                // Of several lines none comes here: see [`RateLimit::doubt`].
                let value = request.headers.get(name.as_str()).unwrap_or_default().trim_ascii();
                value.iter().for_each(|byte| byte.to_ascii_lowercase().hash(&mut hasher));
            }
            (By::Service | By::Header(_), _) => {}
        }
        LimitKey(hasher.finish())
    }
}

/// The document of a service, and the service.
pub(crate) fn parse(raw: RawRateLimit, place: Place, mistakes: &mut Mistakes<'_>) -> (ServiceName, RateLimit) {
    let requests = raw.requests.value.0;
    let per_ns = u64::try_from(raw.per.value.as_nanos()).unwrap_or(u64::MAX);
    let interval_ns = per_ns.checked_div(requests).unwrap_or(0);
    if interval_ns == 0 {
        mistakes.add(Some(raw.requests.span), "`requests` is more than one a nanosecond");
    }
    let burst = raw.burst.map_or(requests, |burst| burst.value.0);
    let by = match raw.by.map(|by| by.value) {
        None | Some(Either::Word(CountBy::Identity)) => By::Identity,
        Some(Either::Word(CountBy::Service)) => By::Service,
        Some(Either::Table(by)) => By::Header(by.header.value),
    };
    let matches =
        raw.r#match.into_iter().filter_map(|matched| route_parse::request_match(matched.value, mistakes)).collect();
    let tolerance_ns = interval_ns.saturating_mul(burst - 1);
    let mut policy_item = policy_item(&place.document.id.name, requests, per_ns);
    if burst != requests {
        policy_item.push_str(&format!(";weft-burst={burst}"));
    }
    let policy_item = policy_item.into();
    (raw.service.value, RateLimit { place, interval_ns, tolerance_ns, by, policy_item, matches })
}

/// Name, quota and window. The window is whole seconds there: a shorter or broken one is told by the quota of the next whole one.
fn policy_item(name: &str, requests: u64, per_ns: u64) -> String {
    let seconds = u128::from(per_ns).div_ceil(SECOND_NS).max(1);
    let quota = u128::from(requests) * seconds * SECOND_NS / u128::from(per_ns.max(1));
    format!("\"{name}\";q={};w={seconds}", quota.min(INTEGER_MAX))
}
