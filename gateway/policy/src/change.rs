//! What a route rule does to a request, as pure functions: the choice of a target, faults, redirects, rewrites, header changes.
//! Where chance decides, `random` is any of the 2^64 numbers, each as likely.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::condition::RequestView;
use super::path::parts;
use super::route::{Fault, HeaderChanges, Mirror, PathMatch, PathRewrite, Redirect, RouteRule, Routed, Target};
use crate::fields::Fields;

impl RouteRule {
    /// The target of a request, by weight; none: the dialled service, any replica.
    pub fn target(&self, random: u64) -> Option<&Target> {
        let total: u64 = self.to.iter().map(|target| u64::from(target.weight)).sum();
        let mut left = random.checked_rem(total)?;
        self.to.iter().find(|target| {
            let weight = u64::from(target.weight);
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        })
    }

    /// Where a copy of this request goes, if one is made.
    pub fn mirror(&self, random: u64) -> Option<&Mirror> {
        self.mirror.as_ref().filter(|mirror| mirror.percent.hits(random))
    }
}

impl Fault {
    /// How long this request waits, if it does.
    pub fn delay(&self, random: u64) -> Option<Duration> {
        self.delay.filter(|(percent, _)| percent.hits(random)).map(|(_, span)| span)
    }

    /// With what this request is answered, if it is.
    pub fn abort(&self, random: u64) -> Option<StatusCode> {
        self.abort.filter(|(percent, _)| percent.hits(random)).map(|(_, status)| status)
    }
}

impl HeaderChanges {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Makes the changes.
    pub fn apply(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name.as_str());
        }
        for (name, value) in &self.set {
            fields.set(name.as_str(), value.as_bytes());
        }
        for (name, value) in &self.add {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// What a redirect needs to know of the request beside its view.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The scheme of the request.
    pub scheme: &'r str,
    /// Its authority, with the port if it has one.
    pub authority: &'r str,
}

impl Redirect {
    /// The value of `Location` (Gateway API, HTTPRequestRedirectFilter): the request's port is kept unless scheme, host or port is stated.
    pub fn location(&self, asked: Asked<'_>, request: &RequestView<'_>) -> String {
        let scheme = self.scheme.map_or(asked.scheme, |scheme| scheme.word());
        let (asked_host, asked_port) = match asked.authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse().ok())
            }
            _ => (asked.authority, None),
        };
        let host = self.host.as_deref().unwrap_or(asked_host);
        let is_moved = self.scheme.is_some() || self.host.is_some();
        let port = self.port.or(asked_port.filter(|_| !is_moved));
        let is_usual = |port: u16| matches!((scheme, port), ("http", 80) | ("https", 443));
        let port = port.filter(|port| !is_usual(*port)).map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.path.as_deref().unwrap_or(request.path.forward());
        let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

impl Routed<'_> {
    /// The path that is sent on, without the query.
    pub fn path<'r>(&self, request: &RequestView<'r>) -> Cow<'r, str> {
        let asked = request.path.forward();
        match (&self.rule.rewrite.path, &self.matched.path) {
            (None, _) => Cow::Borrowed(asked),
            (Some(PathRewrite::Whole(path)), _) => Cow::Owned(path.clone()),
            (Some(PathRewrite::Prefix(new)), PathMatch::Prefix(pattern)) => {
                let rest: Vec<&str> = parts(asked).skip(pattern.segments().len()).collect();
                Cow::Owned(joined(new, &rest))
            }
            // Every path matches the prefix `/`.
            (Some(PathRewrite::Prefix(new)), _) => Cow::Owned(joined(new, &parts(asked).collect::<Vec<_>>())),
        }
    }
}

fn joined(prefix: &str, rest: &[&str]) -> String {
    if rest.is_empty() {
        return prefix.to_owned();
    }
    format!("{}/{}", prefix.strip_suffix('/').unwrap_or(prefix), rest.join("/"))
}
