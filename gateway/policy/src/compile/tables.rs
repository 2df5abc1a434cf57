//! The tables of a policy: what the documents of one service add up to. A table is built again only if other documents stand
//! behind it than the last time; every other is shared with the policy before.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_identity::ServiceName;

use super::pace::Pace;
use super::parsed::{Body, Parsed};
use super::{PATH_REGEXES_MAX, SHADOWS_MAX, Stacks, wrong};
use crate::authorisation_parse::AuthorisationDocument;
use crate::authorise::{RuleSet, ServiceRules, Shadow};
use crate::index::ALIKE_MAX;
use crate::place::Place;
use crate::raw::Mode;
use crate::route::{Candidate, PathMatch, RouteTable};
use crate::strict::Mistake;

/// The documents behind one table, oldest first.
pub(super) type Stack = Vec<Arc<Parsed>>;
/// Tables by what they are of.
type Shelf<K, T> = BTreeMap<K, Kept<T>>;
/// Builds a table from its documents.
type Build<T> = fn(&[Arc<Parsed>], &mut Pace<'_>) -> Result<T, Vec<Mistake>>;

/// A table and what it was built from.
#[derive(Debug)]
struct Kept<T> {
    stack: Stack,
    table: Arc<T>,
}

/// The tables of the last policy that was compiled.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Of a service; under none those of the whole mesh.
    rules: Shelf<Option<ServiceName>, ServiceRules>,
    routes: Shelf<ServiceName, RouteTable>,
}

impl Tables {
    /// Makes them the tables of these documents. Those with mistakes are not among them.
    pub(super) fn renew(&mut self, stacks: Stacks, pace: &mut Pace<'_>, mistakes: &mut Vec<Mistake>) {
        renew(&mut self.rules, stacks.rules, build_rules, (pace, mistakes));
        renew(&mut self.routes, stacks.routes, build_routes, (pace, mistakes));
    }

    pub(super) fn rules_of_mesh(&self) -> Arc<ServiceRules> {
        self.rules.get(&None).map(|kept| Arc::clone(&kept.table)).unwrap_or_default()
    }

    pub(super) fn rules_of_services(&self) -> impl Iterator<Item = (ServiceName, Arc<ServiceRules>)> {
        self.rules.iter().filter_map(|(service, kept)| Some((service.clone()?, Arc::clone(&kept.table))))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = (ServiceName, Arc<RouteTable>)> {
        self.routes.iter().map(|(service, kept)| (service.clone(), Arc::clone(&kept.table)))
    }
}

fn renew<K: Ord, T>(
    shelf: &mut Shelf<K, T>,
    stacks: BTreeMap<K, Stack>,
    build: Build<T>,
    (pace, mistakes): (&mut Pace<'_>, &mut Vec<Mistake>),
) {
    let mut old = std::mem::take(shelf);
    for (key, stack) in stacks {
        let same = old.remove(&key).filter(|kept| is_same(&kept.stack, &stack));
        match same.map_or_else(|| build(&stack, pace).map(|table| Kept { stack, table: Arc::new(table) }), Ok) {
            Ok(kept) => drop(shelf.insert(key, kept)),
            Err(mut found) => mistakes.append(&mut found),
        }
    }
}

fn is_same(one: &[Arc<Parsed>], other: &[Arc<Parsed>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

fn build_rules(stack: &[Arc<Parsed>], pace: &mut Pace<'_>) -> Result<ServiceRules, Vec<Mistake>> {
    let (mut rules, mut mistakes) = (ServiceRules::default(), Vec::new());
    for document in stack {
        let Body::Authorisation(document) = &document.body else { continue };
        if document.mode == Mode::Enforce {
            fill(document, &mut rules.enforced, (pace, &mut mistakes));
        } else if rules.shadows.len() == SHADOWS_MAX {
            let text = format!("more than {SHADOWS_MAX} documents in shadow mode concern one service");
            mistakes.push(wrong(&document.place, text));
        } else {
            let mut shadow = Shadow { place: document.place.clone(), rules: RuleSet::default() };
            fill(document, &mut shadow.rules, (pace, &mut mistakes));
            rules.shadows.push(shadow);
        }
    }
    if mistakes.is_empty() { Ok(rules) } else { Err(mistakes) }
}

fn fill(document: &AuthorisationDocument, rules: &mut RuleSet, (pace, mistakes): (&mut Pace<'_>, &mut Vec<Mistake>)) {
    for rule in &document.rules {
        if let Err(place) = rules.insert(rule) {
            mistakes.push(too_alike(&place));
        }
        pace.step();
    }
    if let Some((action, place)) = &document.default
        && let Err(other) = rules.set_default(*action, place.clone())
    {
        let at = format!("{}:{}", other.document.file, other.line);
        mistakes.push(wrong(place, format!("`default` contradicts the one at {at} for the same service")));
    }
}

fn build_routes(stack: &[Arc<Parsed>], pace: &mut Pace<'_>) -> Result<RouteTable, Vec<Mistake>> {
    let (mut rules, mut candidates, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    for document in stack {
        let Body::Route(document) = &document.body else { continue };
        for (rule, matches) in &document.rules {
            let number = u32::try_from(rules.len()).unwrap_or(u32::MAX);
            let hosts = document.hosts.as_slice();
            candidates.extend(matches.iter().map(|matched| Candidate { hosts, matched, rule: number }));
            rules.push(Arc::clone(rule));
        }
    }
    let is_regex = |candidate: &&Candidate<'_>| matches!(candidate.matched.path, PathMatch::Regex(_));
    let count = candidates.iter().filter(is_regex).count();
    if let Some(document) = stack.first().filter(|_| count > PATH_REGEXES_MAX)
        && let (Body::Route(route), Some(rule)) = (&document.body, rules.first())
    {
        let service = &route.service;
        let text = format!("{service} has {count} paths by `regex`; at most {PATH_REGEXES_MAX} are taken");
        mistakes.push(wrong(&rule.place, text));
    }
    let (table, crowded) = RouteTable::new(rules, candidates, pace);
    mistakes.extend(crowded.iter().map(too_alike));
    if mistakes.is_empty() { Ok(table) } else { Err(mistakes) }
}

fn too_alike(place: &Place) -> Mistake {
    let text = format!(
        "more than {ALIKE_MAX} rules have this path and caller and differ only by method, query or header conditions other than \
         `value`"
    );
    wrong(place, text)
}
