//! Compiles the documents of a revision into one [`Policy`]: all of them or, if anything is wrong, none.
//!
//! [`compile`] starts from nothing; a [`Compiler`] takes one state after the other and shares with the policy before what did
//! not change. Both give the same policy.

mod compiler;
pub(crate) mod pace;
pub(crate) mod parsed;
mod size;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_identity::ServiceName;

use super::Policy;
use super::authorisation_parse::Concerns;
use super::limit::RateLimit;
use super::place::{DocumentId, Kind, Place};
use super::revocation::Revoked;
use super::source::Source;
use crate::strict::Mistake;
use pace::Pace;
use parsed::{Body, Parsed};
use size::Size;
use tables::{Stack, Tables};

pub use compiler::{Compiler, InForce};
pub use size::{ENTRIES_MAX, REGEXES_MAX, RULES_MAX};

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
    let mut gathered = Gathered::default();
    for (source, revision) in documents {
        gathered.take(prepare(source, *revision).map(Arc::new));
    }
    gathered.policy(&mut Tables::default(), &mut Pace::new(&mut || ()))
}

/// Parses a document; what it says of itself must be true.
fn prepare(source: &Source, revision: u64) -> Result<Parsed, Vec<Mistake>> {
    let document = parsed::parse(source, revision)?;
    let place = &document.place;
    let mut mistakes = Vec::new();
    if source.services != document.services() {
        let text = "the document declares other services than its text names".to_owned();
        mistakes.push(wrong(place, text));
    }
    let id = &place.document.id;
    if source.name != id.name || Kind::named(&source.kind) != Some(id.kind) {
        let text = format!("the document is called {}/{}, its text says {id}", source.kind, source.name);
        mistakes.push(wrong(place, text));
    }
    if mistakes.is_empty() { Ok(document) } else { Err(mistakes) }
}

/// What is wrong at a place.
fn wrong(place: &Place, text: String) -> Mistake {
    let line = usize::try_from(place.line).unwrap_or(1);
    Mistake { file: place.document.file.clone(), line, column: 1, text }
}

/// The documents of a revision, parsed, and what was wrong with the others.
#[derive(Default)]
struct Gathered {
    documents: Vec<Arc<Parsed>>,
    mistakes: Vec<Mistake>,
}

impl Gathered {
    fn take(&mut self, prepared: Result<Arc<Parsed>, Vec<Mistake>>) {
        match prepared {
            Ok(document) => self.documents.push(document),
            Err(mut mistakes) => self.mistakes.append(&mut mistakes),
        }
    }

    /// What they add up to. Tables of services whose documents are those of the last time are taken from there.
    fn policy(mut self, tables: &mut Tables, pace: &mut Pace<'_>) -> Result<Policy, Vec<Mistake>> {
        // Oldest first, and equally old ones by name.
        self.documents.sort_by(|a, b| a.age().cmp(&b.age()));
        self.mistakes.append(&mut named_twice(&self.documents));
        let size = self.documents.iter().fold(Size::default(), |sum, document| sum + document.size);
        let mut sum = Sum::default();
        for document in &self.documents {
            sum.add(document, &mut self.mistakes);
        }
        let mut over = size.mistakes();
        // A policy over a bound is refused anyway: it is not built.
        if over.is_empty() {
            tables.renew(sum.stacks, pace, &mut self.mistakes);
        }
        self.mistakes.append(&mut over);
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        let mut policy = sum.policy;
        policy.authorisation.services = tables.rules_of_services().collect();
        policy.authorisation.mesh = tables.rules_of_mesh();
        policy.routes = tables.routes().collect();
        policy.revision = self.documents.last().map_or(0, |newest| newest.age().0);
        Ok(policy)
    }
}

/// A name stands once among the documents of its kind.
fn named_twice(documents: &[Arc<Parsed>]) -> Vec<Mistake> {
    let mut known: HashMap<&DocumentId, &Place> = HashMap::with_capacity(documents.len());
    let mut mistakes = Vec::new();
    for document in documents {
        let (id, place) = (&document.place.document.id, &document.place);
        if let Some(other) = known.insert(id, place) {
            let at = format!("{}:{}", other.document.file, other.line);
            mistakes.push(wrong(place, format!("`{id}` stands already at {at}")));
        }
    }
    mistakes
}

/// What is one document's word, in the policy already; and the documents of each table that is to be built.
#[derive(Default)]
struct Sum {
    policy: Policy,
    stacks: Stacks,
}

/// The documents behind each table, oldest first.
#[derive(Default)]
struct Stacks {
    /// Rules of a service; under none those of the whole mesh.
    rules: BTreeMap<Option<ServiceName>, Stack>,
    routes: BTreeMap<ServiceName, Stack>,
}

impl Sum {
    fn add(&mut self, document: &Arc<Parsed>, mistakes: &mut Vec<Mistake>) {
        let (place, policy, stacks) = (&document.place, &mut self.policy, &mut self.stacks);
        match &document.body {
            Body::Mesh(default) => policy.authorisation.mesh_default.clone_from(default),
            Body::Authorisation(rules) => {
                let mut stack = |service| stacks.rules.entry(service).or_default().push(Arc::clone(document));
                match &rules.concerns {
                    Concerns::Mesh => stack(None),
                    Concerns::Services(services) => services.iter().cloned().map(Some).for_each(stack),
                }
            }
            Body::Route(route) => stacks.routes.entry(route.service.clone()).or_default().push(Arc::clone(document)),
            Body::Traffic(service, traffic) => {
                if let Some(other) = policy.traffic.insert(service.clone(), Arc::clone(traffic)) {
                    let name = other.place.as_ref().map_or("another document", |place| place.document.id.name.as_str());
                    mistakes.push(wrong(place, format!("{service} has a `[[traffic]]` already: {name}")));
                }
            }
            Body::RateLimit(service, limit) => {
                let limits = policy.limits.entry(service.clone()).or_default();
                mistakes.extend(add_limit(limits, limit));
            }
            Body::Revocation(subject, revoked) => {
                policy.revocations.insert(subject.clone(), Revoked { place: place.clone(), ..revoked.clone() });
            }
        }
    }
}

/// Adds a limit to those of its service, which stand in the order of their names.
fn add_limit(limits: &mut Vec<Arc<RateLimit>>, limit: &Arc<RateLimit>) -> Option<Mistake> {
    if limits.len() == LIMITS_MAX {
        return Some(wrong(&limit.place, format!("the service has more than {LIMITS_MAX} rate limits")));
    }
    let before = limits.partition_point(|other| other.place.document.id < limit.place.document.id);
    limits.insert(before, Arc::clone(limit));
    None
}
