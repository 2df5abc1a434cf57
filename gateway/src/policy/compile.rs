//! Compiles the documents of a revision into one [`Policy`]: all of them or, if anything is wrong, none.

pub(crate) mod parsed;

use std::collections::{BTreeMap, HashMap};

use weft_gossip::ServiceName;

use super::Policy;
use super::authorisation_parse::{AuthorisationDocument, Concerns};
use super::authorise::{RuleSet, ServiceRules, Shadow};
use super::condition::Test;
use super::index::ALIKE_MAX;
use super::place::{DocumentId, Kind, Place};
use super::raw::Mode;
use super::revocation::Revoked;
use super::route::{Candidate, PathMatch, RequestMatch, RouteRule, RouteTable};
use super::route_parse::RouteDocument;
use super::source::Source;
use crate::strict::Mistake;
use parsed::{Body, Parsed};

/// Most rules of a policy, of authorisation and routes together: ten times what a large fleet needs.
pub const RULES_MAX: usize = 200_000;
/// Most entries of the index: an authorisation rule has one per called service, caller, and path or label. About 100 bytes each.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most regular expressions of a policy: each may take 256 KiB.
pub const REGEXES_MAX: usize = 512;
/// Most regular expressions over the path among the routes of one service: they are tried one by one.
pub const PATH_REGEXES_MAX: usize = 32;
/// Most rate limits of one service: each is asked for each call.
pub const LIMITS_MAX: usize = 32;
/// Most documents in shadow mode that concern one service: each is asked for each call.
pub const SHADOWS_MAX: usize = 16;

/// Compiles documents, each with the revision that brought it.
///
/// # Errors
///
/// Every mistake in every document, and what they contradict each other in.
pub fn compile(documents: &[(Source, u64)]) -> Result<Policy, Vec<Mistake>> {
    let mut compiler = Compiler::default();
    let mut parsed: Vec<Parsed> = Vec::with_capacity(documents.len());
    for (source, revision) in documents {
        match parsed::parse(source, *revision) {
            Ok(document) => {
                compiler.check(source, &document);
                parsed.push(document);
            }
            Err(mut mistakes) => compiler.mistakes.append(&mut mistakes),
        }
    }
    parsed.sort_by(|a, b| {
        let key = |parsed: &Parsed| (parsed.place.document.revision, parsed.place.document.id.clone());
        key(a).cmp(&key(b))
    });
    for document in parsed {
        compiler.add(document);
    }
    compiler.finish()
}

/// What is wrong at a place.
fn wrong(place: &Place, text: String) -> Mistake {
    let line = usize::try_from(place.line).unwrap_or(1);
    Mistake { file: place.document.file.clone(), line, column: 1, text }
}

#[derive(Default)]
struct Compiler {
    policy: Policy,
    ids: BTreeMap<DocumentId, Place>,
    routes: BTreeMap<ServiceName, (Vec<RouteRule>, Vec<Candidate>)>,
    rules: usize,
    entries: usize,
    regexes: usize,
    mistakes: Vec<Mistake>,
}

impl Compiler {
    /// What a document says of itself must be true, and its name its own.
    fn check(&mut self, source: &Source, document: &Parsed) {
        let place = &document.place;
        if source.services != document.services() {
            let text = "the document declares other services than its text names".to_owned();
            self.mistakes.push(wrong(place, text));
        }
        let id = &place.document.id;
        if source.name != id.name || Kind::named(&source.kind) != Some(id.kind) {
            let text = format!("the document is called {}/{}, its text says {id}", source.kind, source.name);
            self.mistakes.push(wrong(place, text));
        }
        if let Some(other) = self.ids.insert(id.clone(), place.clone()) {
            let at = format!("{}:{}", other.document.file, other.line);
            self.mistakes.push(wrong(place, format!("`{id}` stands already at {at}")));
        }
        self.policy.revision = self.policy.revision.max(place.document.revision);
    }

    fn add(&mut self, document: Parsed) {
        let place = document.place;
        match document.body {
            Body::Mesh(default) => self.policy.authorisation.mesh_default = default,
            Body::Authorisation(document) => self.add_authorisation(document),
            Body::Route(document) => self.add_route(document),
            Body::Traffic(service, traffic) => {
                if let Some(other) = self.policy.traffic.get(&service).and_then(|other| other.place.clone()) {
                    let text = format!("{service} has a `[[traffic]]` already: {}", other.document.id.name);
                    self.mistakes.push(wrong(&place, text));
                }
                self.policy.traffic.insert(service, *traffic);
            }
            Body::RateLimit(service, limit) => {
                self.regexes += limit.matches.iter().map(regexes_of).sum::<usize>();
                let limits = self.policy.limits.entry(service).or_default();
                if limits.len() == LIMITS_MAX {
                    let text = format!("the service has more than {LIMITS_MAX} rate limits");
                    self.mistakes.push(wrong(&place, text));
                    return;
                }
                let before = limits.partition_point(|other| other.place.document.id < limit.place.document.id);
                limits.insert(before, *limit);
            }
            Body::Revocation(subject, revoked) => {
                self.policy.revocations.insert(subject, Revoked { place, ..revoked });
            }
        }
    }

    fn add_authorisation(&mut self, document: AuthorisationDocument) {
        self.rules += document.rules.len();
        let services = match &document.concerns {
            Concerns::Mesh => 1,
            Concerns::Services(services) => services.len(),
        };
        for rule in &document.rules {
            let callers = &rule.callers;
            let callers =
                usize::from(callers.any) + callers.services.len() + callers.nodes.len() + callers.gateways.len();
            let places = rule.paths.len().max(1) + rule.callers.labels.len();
            self.entries = self.entries.saturating_add(services * callers * places);
            let tests = rule.headers.iter().map(|condition| &condition.test);
            self.regexes += tests.filter(|test| matches!(test, Test::Regex(_))).count();
        }
        // A policy over the bound is refused anyway: it is not built.
        if self.entries > ENTRIES_MAX {
            return;
        }
        let Compiler { policy: Policy { authorisation, .. }, mistakes, .. } = self;
        match &document.concerns {
            Concerns::Mesh => place_rules(&document, &mut authorisation.mesh, mistakes),
            Concerns::Services(services) => {
                for service in services {
                    let rules = authorisation.services.entry(service.clone()).or_default();
                    place_rules(&document, rules, mistakes);
                }
            }
        }
    }

    fn add_route(&mut self, document: RouteDocument) {
        let (rules, candidates) = self.routes.entry(document.service).or_default();
        for (rule, matches) in document.rules {
            let number = u32::try_from(rules.len()).unwrap_or(u32::MAX);
            self.rules += 1;
            for matched in matches {
                self.entries += document.hosts.len();
                self.regexes += regexes_of(&matched);
                candidates.push(Candidate { hosts: document.hosts.clone(), matched, rule: number });
            }
            rules.push(rule);
        }
    }

    fn finish(mut self) -> Result<Policy, Vec<Mistake>> {
        let bounds = [
            (self.rules, RULES_MAX, "rules"),
            (self.entries, ENTRIES_MAX, "pairs of service, caller and path in all rules"),
            (self.regexes, REGEXES_MAX, "regular expressions"),
        ];
        for (count, max, what) in bounds.into_iter().filter(|(count, max, _)| count > max) {
            let text = format!("the documents together hold {count} {what}; at most {max} are taken");
            self.mistakes.push(Mistake { file: "policy".to_owned(), line: 1, column: 1, text });
        }
        if self.mistakes.is_empty() {
            self.build_routes();
        }
        if self.mistakes.is_empty() { Ok(self.policy) } else { Err(self.mistakes) }
    }

    fn build_routes(&mut self) {
        let mut routes = HashMap::new();
        for (service, (rules, candidates)) in std::mem::take(&mut self.routes) {
            let is_regex = |candidate: &&Candidate| matches!(candidate.matched.path, PathMatch::Regex(_));
            let count = candidates.iter().filter(is_regex).count();
            if let Some(rule) = rules.first().filter(|_| count > PATH_REGEXES_MAX) {
                let text = format!("{service} has {count} paths by `regex`; at most {PATH_REGEXES_MAX} are taken");
                self.mistakes.push(wrong(&rule.place, text));
            }
            let (table, crowded) = RouteTable::new(rules, candidates);
            self.mistakes.extend(crowded.iter().map(too_alike));
            routes.insert(service, table);
        }
        self.policy.routes = routes;
    }
}

fn regexes_of(matched: &RequestMatch) -> usize {
    let headers = matched.headers.iter().map(|condition| &condition.test);
    let query = matched.query.iter().map(|condition| &condition.test);
    let tests = headers.chain(query).filter(|test| matches!(test, Test::Regex(_))).count();
    tests + usize::from(matches!(matched.path, PathMatch::Regex(_)))
}

fn too_alike(place: &Place) -> Mistake {
    let text = format!(
        "more than {ALIKE_MAX} rules have this path and caller and differ only by method, query or header conditions other than \
         `value`"
    );
    wrong(place, text)
}

/// Adds a document's rules to those of a service, or of the mesh.
fn place_rules(document: &AuthorisationDocument, service: &mut ServiceRules, mistakes: &mut Vec<Mistake>) {
    if document.mode == Mode::Shadow {
        if service.shadows.len() == SHADOWS_MAX {
            let text = format!("more than {SHADOWS_MAX} documents in shadow mode concern one service");
            mistakes.push(wrong(&document.place, text));
            return;
        }
        let mut rules = RuleSet::default();
        fill(document, &mut rules, mistakes);
        service.shadows.push(Shadow { place: document.place.clone(), rules });
        return;
    }
    fill(document, &mut service.enforced, mistakes);
}

fn fill(document: &AuthorisationDocument, rules: &mut RuleSet, mistakes: &mut Vec<Mistake>) {
    for rule in &document.rules {
        if let Err(place) = rules.insert(rule.clone()) {
            mistakes.push(too_alike(&place));
        }
    }
    if let Some((action, place)) = &document.default
        && let Err(other) = rules.set_default(*action, place.clone())
    {
        let at = format!("{}:{}", other.document.file, other.line);
        mistakes.push(wrong(place, format!("`default` contradicts the one at {at} for the same service")));
    }
}
