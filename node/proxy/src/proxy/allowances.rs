//! What rate limits leave of a caller's allowance, told in the answer: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-11). Written by [`super::Arrival`], where the limits are counted.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use weft_policy::RateLimit;
use weft_policy::fields::Fields;
use weft_policy::limit::Admission;

use crate::problem::whole_seconds;

/// The limits that counted a request.
const RATELIMIT_POLICY: &[u8] = b"ratelimit-policy";
/// What they leave.
const RATELIMIT: &[u8] = b"ratelimit";
/// Limits that one answer tells of; of more, those that leave least.
const TOLD_MAX: usize = 8;

/// What the limits of one request leave.
#[derive(Default)]
pub(crate) struct Allowances(Vec<Left>);

/// What one limit leaves.
struct Left {
    name: String,
    policy_item: Arc<str>,
    left: u64,
    more_in: Duration,
}

impl Allowances {
    /// Notes what the limits decided.
    pub(super) fn note(&mut self, admitted: &[(&RateLimit, Admission)]) {
        let left = |(limit, admission): &(&RateLimit, Admission)| {
            let (left, more_in) = match admission {
                Admission::Pass(allowance) => (allowance.left, allowance.more_in),
                Admission::Over(span) => (0, *span),
            };
            Left {
                name: limit.place.document.id.name.clone(),
                policy_item: Arc::clone(limit.policy_item()),
                left,
                more_in,
            }
        };
        self.0 = admitted.iter().map(left).collect();
        if self.0.len() > TOLD_MAX {
            self.0.sort_by_key(|limit| limit.left);
            self.0.truncate(TOLD_MAX);
        }
    }

    /// Forgets them: another node answers, and tells of its own.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Adds the two fields to an answer; what an application says of limits of its own stays beside.
    pub(super) fn tell(&self, fields: &mut Fields) {
        if self.0.is_empty() {
            return;
        }
        let (mut policies, mut limits) = (String::new(), String::new());
        for limit in &self.0 {
            let comma = if policies.is_empty() { "" } else { ", " };
            // Writing to a text cannot fail.
            let _ = write!(policies, "{comma}{}", limit.policy_item);
            let _ = write!(limits, "{comma}\"{}\";r={};t={}", limit.name, limit.left, whole_seconds(limit.more_in));
        }
        for (name, text) in [(RATELIMIT_POLICY, policies), (RATELIMIT, limits)] {
            fields.push(name, text.as_bytes());
        }
    }
}
