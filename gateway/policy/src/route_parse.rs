//! Turns the raw tables of `[[route]]` into rules that are always valid, and notes every contradiction.

use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_identity::ServiceName;

use super::authorisation_parse::{Tests, header_condition, regex_of, test_of};
use super::condition::{MethodSet, QueryCondition};
use super::path::{NormalPath, Pattern};
use super::place::Place;
use super::raw::route::{
    RawFault, RawHeaderChanges, RawMatch, RawPath, RawQueryMatch, RawRedirect, RawRewrite, RawRoute, RawRouteRule,
    RawTarget,
};
use super::route::{
    Fault, HeaderChanges, Host, Mirror, PathMatch, PathRewrite, Redirect, RequestMatch, Retries, Rewrite, RouteRule,
    Target,
};
use crate::strict::{Mistakes, Percent, Spanned, TextMap};

/// Fields that frame or name the message: a rule that changed them would break it or send it elsewhere.
const FIXED_FIELDS: &[&str] =
    &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"];

/// How far the body of a copy may be behind its request, where nothing is said: most bodies fit whole.
const BEHIND_BYTES_MAX: usize = 1 << 20;

/// A route document, valid.
#[derive(Debug)]
pub(crate) struct RouteDocument {
    pub(crate) service: ServiceName,
    /// The dialled service and every target.
    pub(crate) services: BTreeSet<ServiceName>,
    pub(crate) hosts: Vec<Host>,
    /// Shared with the tables of every policy that they are part of.
    pub(crate) rules: Vec<(Arc<RouteRule>, Vec<Arc<RequestMatch>>)>,
}

/// Turns a raw document into a valid one.
pub(crate) fn parse(raw: RawRoute, at: &dyn Fn(usize) -> Place, mistakes: &mut Mistakes<'_>) -> Option<RouteDocument> {
    let before = mistakes.len();
    if raw.rule.is_empty() && raw.wrong.spares(&["rule"]) {
        mistakes.add(Some(raw.name.span), "says nothing: it needs a `[[route.rule]]`");
    }
    let hosts: Vec<Host> = raw.hosts.into_iter().filter_map(|host| host_of(host, mistakes)).collect();
    let rules: Vec<_> = raw.rule.into_iter().filter_map(|rule| rule_of(rule, at, mistakes)).collect();
    let service = raw.service.value;
    let mut services = BTreeSet::from([service.clone()]);
    for (rule, _) in &rules {
        services.extend(rule.to.iter().filter_map(|target| target.service.clone()));
        services.extend(rule.mirror.iter().filter_map(|mirror| mirror.service.clone()));
    }
    let hosts = if hosts.is_empty() { vec![Host::Every] } else { hosts };
    (mistakes.len() == before).then_some(RouteDocument { service, services, hosts, rules })
}

fn host_of(raw: Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<Host> {
    let text = raw.value.to_ascii_lowercase();
    let (name, is_below) = text.strip_prefix("*.").map_or((text.as_str(), false), |name| (name, true));
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        let text = format!("`hosts`: {:?} is neither a host name nor `*.` and one; it has no port", raw.value);
        mistakes.add(Some(raw.span), text);
        return None;
    }
    Some(if is_below { Host::Below(format!(".{name}").into()) } else { Host::Exact(name.into()) })
}

fn rule_of(
    raw: Spanned<RawRouteRule>,
    at: &dyn Fn(usize) -> Place,
    mistakes: &mut Mistakes<'_>,
) -> Option<(Arc<RouteRule>, Vec<Arc<RequestMatch>>)> {
    let before = mistakes.len();
    let place = at(raw.span.start);
    contradictions(&raw, mistakes);
    let raw = raw.value;
    let matches: Vec<_> = raw.r#match.into_iter().filter_map(|raw| request_match(raw.value, mistakes)).collect();
    let matches = if matches.is_empty() { vec![RequestMatch::every()] } else { matches };
    let rewrite = raw.rewrite.map(|raw| rewrite_of(raw, &matches, mistakes)).unwrap_or_default();
    let rule = RouteRule {
        place,
        to: targets_of(raw.to, mistakes),
        mirror: raw.mirror.map(|mirror| Mirror {
            service: mirror.value.service.map(|name| name.value),
            version: mirror.value.version.map(|version| version.value),
            percent: mirror.value.percent.map_or(Percent::ALL, |percent| percent.value),
            behind_bytes_max: mirror
                .value
                .behind_kib_max
                .map_or(BEHIND_BYTES_MAX, |kib| usize::try_from(kib.value.0 << 10).unwrap_or(usize::MAX)),
        }),
        timeout: raw.timeout.map(|span| span.value),
        try_timeout: raw.try_timeout.map(|span| span.value),
        retries: raw.retries.map(|retries| Retries {
            attempts: retries.value.attempts.value.u32(),
            on: retries.value.on.into_iter().map(|on| on.value).collect(),
        }),
        fault: raw.fault.map(|raw| fault_of(raw, mistakes)).unwrap_or_default(),
        request_headers: raw.request_headers.map(|raw| changes_of(raw, mistakes)).unwrap_or_default(),
        response_headers: raw.response_headers.map(|raw| changes_of(raw, mistakes)).unwrap_or_default(),
        redirect: raw.redirect.and_then(|raw| redirect_of(raw, mistakes)),
        rewrite,
    };
    (mistakes.len() == before).then(|| (Arc::new(rule), matches.into_iter().map(Arc::new).collect()))
}

/// What cannot stand together in a rule.
fn contradictions(raw: &Spanned<RawRouteRule>, mistakes: &mut Mistakes<'_>) {
    let rule = &raw.value;
    if let Some(redirect) = &rule.redirect {
        let others = [
            ("to", !rule.to.is_empty()),
            ("mirror", rule.mirror.is_some()),
            ("rewrite", rule.rewrite.is_some()),
            ("retries", rule.retries.is_some()),
            ("timeout", rule.timeout.is_some()),
            ("try_timeout", rule.try_timeout.is_some()),
        ];
        for (name, _) in others.into_iter().filter(|(_, stands)| *stands) {
            mistakes.add(Some(redirect.span.clone()), format!("`redirect` and `{name}` contradict each other"));
        }
    }
    if let (Some(timeout), Some(try_timeout)) = (&rule.timeout, &rule.try_timeout)
        && try_timeout.value > timeout.value
    {
        mistakes.add(Some(try_timeout.span.clone()), "`try_timeout` is longer than `timeout`");
    }
}

/// One match.
pub(crate) fn request_match(raw: RawMatch, mistakes: &mut Mistakes<'_>) -> Option<RequestMatch> {
    let before = mistakes.len();
    let path = raw.path.map_or(Some(PathMatch::Every), |path| path_of(path, mistakes));
    let headers = raw.headers.into_iter().filter_map(|header| header_condition(header, mistakes)).collect();
    let query = raw.query.into_iter().filter_map(|query| query_condition(query, mistakes)).collect();
    let methods = MethodSet::of(raw.methods.into_iter().map(|method| method.value));
    path.filter(|_| mistakes.len() == before).map(|path| RequestMatch { path, methods, headers, query })
}

fn query_condition(raw: Spanned<RawQueryMatch>, mistakes: &mut Mistakes<'_>) -> Option<QueryCondition> {
    let RawQueryMatch { name, value, prefix, regex, present, wrong } = raw.value;
    let test = test_of(Tests { span: raw.span, value, prefix, regex, present, wrong }, mistakes)?;
    Some(QueryCondition { name: name.value.into(), test })
}

fn path_of(raw: Spanned<RawPath>, mistakes: &mut Mistakes<'_>) -> Option<PathMatch> {
    let RawPath { exact, prefix, template, regex, wrong } = raw.value;
    let (text, made) = match (exact, prefix, template, regex) {
        (Some(text), None, None, None) => (text.span, Pattern::exact(&text.value).map(PathMatch::Exact)),
        (None, Some(text), None, None) if text.value == "/" => return Some(PathMatch::Every),
        (None, Some(text), None, None) => (text.span, Pattern::prefix(&text.value).map(PathMatch::Prefix)),
        (None, None, Some(text), None) => (text.span, Pattern::template(&text.value).map(PathMatch::Template)),
        (None, None, None, Some(text)) => return regex_of(&text, mistakes).map(PathMatch::Regex),
        _ => {
            if wrong.spares(&["exact", "prefix", "template", "regex"]) {
                let text = "`path`: needs exactly one of `exact`, `prefix`, `template` and `regex`";
                mistakes.add(Some(raw.span), text);
            }
            return None;
        }
    };
    made.map_err(|error| mistakes.add(Some(text), format!("`path`: {error}"))).ok()
}

fn targets_of(raw: Vec<Spanned<RawTarget>>, mistakes: &mut Mistakes<'_>) -> Vec<Target> {
    let first = raw.first().map(|target| target.span.clone());
    let are_weighed = raw.iter().all(|target| target.value.wrong.spares(&["weight"]));
    let target = |raw: RawTarget| Target {
        service: raw.service.map(|name| name.value),
        version: raw.version.map(|version| version.value),
        labels: raw.labels.map(|labels| labels.value.0).unwrap_or_default(),
        weight: raw.weight.map_or(1, |weight| weight.value.u32()),
    };
    let targets: Vec<Target> = raw.into_iter().map(|raw| target(raw.value)).collect();
    if !targets.is_empty() && are_weighed && targets.iter().all(|target| target.weight == 0) {
        mistakes.add(first, "`to`: every weight is 0, so nothing could go anywhere");
    }
    targets
}

fn fault_of(raw: Spanned<RawFault>, mistakes: &mut Mistakes<'_>) -> Fault {
    let share = |percent: Option<Spanned<Percent>>| percent.map_or(Percent::ALL, |percent| percent.value);
    if raw.value.delay.is_none() && raw.value.abort.is_none() && raw.value.wrong.spares(&["delay", "abort"]) {
        mistakes.add(Some(raw.span), "`fault` needs `delay` or `abort`");
    }
    let delay = raw.value.delay.map(|delay| (share(delay.value.percent), delay.value.span.value));
    let abort = raw.value.abort.and_then(|abort| {
        let status = u16::try_from(abort.value.status.value.0).ok().and_then(|code| StatusCode::from_u16(code).ok())?;
        Some((share(abort.value.percent), status))
    });
    Fault { delay, abort }
}

fn changes_of(raw: Spanned<RawHeaderChanges>, mistakes: &mut Mistakes<'_>) -> HeaderChanges {
    let remove = raw.value.remove.into_iter().filter_map(|name| {
        let is_free = is_free_field(&name.value, &name.span, mistakes);
        is_free.then_some(name.value)
    });
    let remove = remove.collect();
    let set = raw.value.set.map(|set| fields_of(set, mistakes)).unwrap_or_default();
    let add = raw.value.add.map(|add| fields_of(add, mistakes)).unwrap_or_default();
    HeaderChanges { remove, set, add }
}

fn is_free_field(name: &HeaderName, span: &std::ops::Range<usize>, mistakes: &mut Mistakes<'_>) -> bool {
    let is_fixed = FIXED_FIELDS.contains(&name.as_str());
    if is_fixed {
        mistakes
            .add(Some(span.clone()), format!("`{name}` cannot be changed here: it frames or addresses the message"));
    }
    !is_fixed
}

fn fields_of(raw: Spanned<TextMap>, mistakes: &mut Mistakes<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for (name, value) in raw.value.0 {
        let field = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
        match field {
            Some((name, value)) if is_free_field(&name, &raw.span, mistakes) => fields.push((name, value)),
            Some(_) => {}
            None => mistakes.add(Some(raw.span.clone()), format!("`{name}: {value}` is not a header field")),
        }
    }
    fields
}

fn redirect_of(raw: Spanned<RawRedirect>, mistakes: &mut Mistakes<'_>) -> Option<Redirect> {
    let before = mistakes.len();
    let span = raw.span;
    let raw = raw.value;
    let is_bare = raw.scheme.is_none() && raw.host.is_none() && raw.port.is_none() && raw.path.is_none();
    if is_bare && raw.wrong.spares(&["scheme", "host", "port", "path"]) {
        let text = "`redirect` leads back to the same place: it needs `scheme`, `host`, `port` or `path`";
        mistakes.add(Some(span), text);
    }
    let status = raw.status.map_or(Some(StatusCode::FOUND), |status| {
        let code = u16::try_from(status.value.0).ok().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308));
        if code.is_none() {
            mistakes.add(Some(status.span), "`status` of a redirect is 301, 302, 303, 307 or 308");
        }
        code.and_then(|code| StatusCode::from_u16(code).ok())
    });
    let host = raw.host.and_then(|host| plain_host(host, mistakes));
    let path = raw.path.and_then(|path| sent_path(path, mistakes));
    let port = raw.port.and_then(|port| u16::try_from(port.value.0).ok());
    let redirect = Redirect { scheme: raw.scheme.map(|scheme| scheme.value), host, port, path, status: status? };
    (mistakes.len() == before).then_some(redirect)
}

fn plain_host(raw: Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    match host_of(raw.clone(), mistakes)? {
        Host::Exact(name) => Some(name.into()),
        Host::Every | Host::Below(_) => {
            mistakes.add(Some(raw.span), "`host` is one host, without `*`");
            None
        }
    }
}

/// A path that is sent; it must be in the form in which it would be matched.
fn sent_path(raw: Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let is_normal =
        raw.value.starts_with('/') && NormalPath::of(&raw.value).is_ok_and(|normal| normal.forward() == raw.value);
    if !is_normal {
        mistakes.add(Some(raw.span), format!("{:?} is not a path in normal form that starts with /", raw.value));
    }
    is_normal.then_some(raw.value)
}

fn rewrite_of(raw: Spanned<RawRewrite>, matches: &[RequestMatch], mistakes: &mut Mistakes<'_>) -> Rewrite {
    let span = raw.span;
    let raw = raw.value;
    if let (Some(prefix), Some(_)) = (&raw.prefix, &raw.path) {
        mistakes.add(Some(prefix.span.clone()), "`prefix` and `path` of a rewrite contradict each other");
    }
    let is_bare = raw.prefix.is_none() && raw.path.is_none() && raw.host.is_none();
    if is_bare && raw.wrong.spares(&["prefix", "path", "host"]) {
        mistakes.add(Some(span), "`rewrite` changes nothing: it needs `prefix`, `path` or `host`");
    }
    let has_prefix = |matched: &RequestMatch| matches!(matched.path, PathMatch::Prefix(_) | PathMatch::Every);
    if let Some(prefix) = &raw.prefix
        && !matches.iter().all(has_prefix)
    {
        mistakes.add(Some(prefix.span.clone()), "`prefix` of a rewrite needs matches of `path = { prefix = … }`");
    }
    let host = raw.host.and_then(|host| plain_host(host, mistakes));
    let path = match (raw.prefix, raw.path) {
        (Some(prefix), None) => sent_path(prefix, mistakes).map(PathRewrite::Prefix),
        (None, Some(path)) => sent_path(path, mistakes).map(PathRewrite::Whole),
        _ => None,
    };
    Rewrite { path, host: host.and_then(|host| HeaderValue::try_from(host).ok()) }
}
