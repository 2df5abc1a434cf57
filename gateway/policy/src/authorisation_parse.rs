//! Turns the raw tables of `[[authorisation]]` into rules that are always valid, and notes every contradiction.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_identity::ServiceName;

use super::authority::canonical_host;
use super::condition::{HeaderCondition, MethodSet, Test};
use super::path::Pattern;
use super::place::Place;
use super::raw::{Action, Mode, RawAuthorisation, RawFrom, RawHeaderMatch, RawRule};
use super::rule::{Callers, Rule};
use crate::strict::{Mistakes, Spanned, Wrong};

/// Longest regular expression, in bytes: what a person can still read.
const REGEX_LEN_MAX: usize = 512;
/// Most bytes of a compiled expression, and of its lazily built automaton.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// The services of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concerns {
    Mesh,
    Services(BTreeSet<ServiceName>),
}

/// A document of rules, valid.
#[derive(Debug)]
pub(crate) struct AuthorisationDocument {
    pub(crate) place: Place,
    pub(crate) concerns: Concerns,
    pub(crate) default: Option<(Action, Place)>,
    pub(crate) mode: Mode,
    /// Shared with the tables of every policy that they are part of.
    pub(crate) rules: Vec<Arc<Rule>>,
}

/// Turns a raw document into a valid one.
pub(crate) fn parse(
    raw: RawAuthorisation,
    place: Place,
    at: &dyn Fn(usize) -> Place,
    mistakes: &mut Mistakes<'_>,
) -> Option<AuthorisationDocument> {
    let before = mistakes.len();
    let concerns = concerns_of(&raw, mistakes);
    if let (Some(Concerns::Mesh), Some(default)) = (&concerns, &raw.default) {
        mistakes.add(Some(default.span.clone()), "the default of the whole mesh is `authorisation` of `[[mesh]]`");
    }
    if raw.rule.is_empty() && raw.default.is_none() && raw.wrong.spares(&["rule", "default"]) {
        let text = "says nothing: it needs a `default` or an `[[authorisation.rule]]`";
        mistakes.add(Some(raw.name.span), text);
    }
    let mode = raw.mode.map_or(Mode::Enforce, |mode| mode.value);
    let default = raw.default.map(|default| (default.value, at(default.span.start)));
    let rules = raw.rule.into_iter().filter_map(|rule| rule_of(rule, at, mistakes)).map(Arc::new).collect();
    let concerns = concerns.filter(|_| mistakes.len() == before)?;
    Some(AuthorisationDocument { place, concerns, default, mode, rules })
}

fn concerns_of(raw: &RawAuthorisation, mistakes: &mut Mistakes<'_>) -> Option<Concerns> {
    let is_mesh = raw.mesh.as_ref().is_some_and(|mesh| mesh.value);
    let services = raw.services.iter().map(|service| service.value.clone()).collect::<BTreeSet<_>>();
    match (&raw.service, services.is_empty(), is_mesh) {
        (Some(service), true, false) => Some(Concerns::Services(BTreeSet::from([service.value.clone()]))),
        (None, false, false) => Some(Concerns::Services(services)),
        (None, true, true) => Some(Concerns::Mesh),
        _ => {
            if raw.wrong.spares(&["service", "services", "mesh"]) {
                let text = "needs exactly one of `service`, `services` and `mesh = true`";
                mistakes.add(Some(raw.name.span.clone()), text);
            }
            None
        }
    }
}

fn rule_of(raw: Spanned<RawRule>, at: &dyn Fn(usize) -> Place, mistakes: &mut Mistakes<'_>) -> Option<Rule> {
    let before = mistakes.len();
    let place = at(raw.span.start);
    let raw = raw.value;
    let callers = callers_of(raw.from, mistakes);
    let methods = MethodSet::of(raw.methods.into_iter().map(|method| method.value));
    let paths = raw.paths.into_iter().filter_map(|path| {
        let pattern = Pattern::template(&path.value).map(Pattern::without_end_slash);
        pattern.map_err(|text| mistakes.add(Some(path.span), format!("`paths`: {text}"))).ok()
    });
    let paths = paths.collect();
    let headers = raw.headers.into_iter().filter_map(|header| header_condition(header, mistakes)).collect();
    (mistakes.len() == before).then_some(Rule { place, action: raw.action.value, callers, methods, paths, headers })
}

fn callers_of(raw: Spanned<RawFrom>, mistakes: &mut Mistakes<'_>) -> Callers {
    let from = raw.value;
    let mut callers = Callers {
        any: from.any.as_ref().is_some_and(|any| any.value),
        services: from.services.into_iter().map(|name| name.value).collect(),
        nodes: from.nodes.into_iter().map(|id| id.value).collect(),
        gateways: from.gateways.into_iter().map(|name| name.value).collect(),
        labels: from.labels.map(|labels| labels.value).unwrap_or_default(),
    };
    let is_listed = !(callers.services.is_empty() && callers.nodes.is_empty() && callers.gateways.is_empty());
    if callers.any && is_listed {
        mistakes.add(Some(raw.span), "`from`: `any = true` and a list contradict each other");
    } else if !callers.any
        && !is_listed
        && callers.labels.is_empty()
        && from.wrong.spares(&["any", "services", "nodes", "gateways", "labels"])
    {
        let text = "`from` names nobody: write `any = true`, `services`, `nodes`, `gateways` or `labels`";
        mistakes.add(Some(raw.span), text);
    }
    callers.any |= !is_listed;
    callers
}

/// A condition on a header field.
pub(crate) fn header_condition(raw: Spanned<RawHeaderMatch>, mistakes: &mut Mistakes<'_>) -> Option<HeaderCondition> {
    let RawHeaderMatch { name, value, prefix, regex, present, wrong } = raw.value;
    let test = test_of(Tests { span: raw.span, value, prefix, regex, present, wrong }, mistakes)?;
    let test = if name.value == http::header::HOST { host_test(test) } else { test };
    Some(HeaderCondition { name: name.value, test })
}

/// A test of a host in the form in which hosts are compared: the one that the documents state may be another.
fn host_test(test: Test) -> Test {
    match test {
        Test::Exact(host) => Test::Exact(canonical_host(&host).into()),
        Test::Prefix(start) => Test::Prefix(start.to_ascii_lowercase().into()),
        test => test,
    }
}

/// What can be asked of a value: exactly one.
pub(crate) struct Tests {
    pub(crate) span: std::ops::Range<usize>,
    pub(crate) value: Option<Spanned<String>>,
    pub(crate) prefix: Option<Spanned<String>>,
    pub(crate) regex: Option<Spanned<String>>,
    pub(crate) present: Option<Spanned<bool>>,
    pub(crate) wrong: Wrong,
}

/// The one test.
pub(crate) fn test_of(tests: Tests, mistakes: &mut Mistakes<'_>) -> Option<Test> {
    match (tests.value, tests.prefix, tests.regex, tests.present) {
        (Some(value), None, None, None) => Some(Test::Exact(value.value.into())),
        (None, Some(prefix), None, None) => Some(Test::Prefix(prefix.value.into())),
        (None, None, Some(regex), None) => regex_of(&regex, mistakes).map(Test::Regex),
        (None, None, None, Some(present)) => Some(if present.value { Test::Present } else { Test::Absent }),
        _ => {
            if tests.wrong.spares(&["value", "prefix", "regex", "present"]) {
                mistakes.add(Some(tests.span), "needs exactly one of `value`, `prefix`, `regex` and `present`");
            }
            None
        }
    }
}

/// A regular expression that a whole value must match.
pub(crate) fn regex_of(text: &Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<regex::bytes::Regex> {
    if text.value.len() > REGEX_LEN_MAX {
        mistakes.add(Some(text.span.clone()), format!("`regex` is longer than {REGEX_LEN_MAX} bytes"));
        return None;
    }
    // Checked alone first: `a)(b` must not become valid inside the group.
    let built = compiled(&text.value).and_then(|_| compiled(&format!("^(?:{})$", text.value)));
    built.map_err(|error| mistakes.add(Some(text.span.clone()), format!("`regex`: {}", regex_error(&error)))).ok()
}

fn compiled(pattern: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

/// The last line of the library's message, which says what is wrong; the rest draws the place.
fn regex_error(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
