//! How much a document adds to a policy, and how much a policy may hold.

use std::ops::Add;

use super::parsed::Body;
use crate::authorisation_parse::{AuthorisationDocument, Concerns};
use crate::condition::Test;
use crate::route::{PathMatch, RequestMatch};
use crate::route_parse::RouteDocument;
use crate::strict::Mistake;

/// Most rules of a policy, of authorisation and routes together: ten times what a large fleet needs.
pub const RULES_MAX: usize = 200_000;
/// Most entries of the index: an authorisation rule has one per called service, caller, and path or label. About 100 bytes each.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most regular expressions of a policy: each may take 256 KiB.
pub const REGEXES_MAX: usize = 512;

/// What is bounded of a policy.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Size {
    rules: usize,
    entries: usize,
    regexes: usize,
}

impl Size {
    /// Of one document.
    pub(crate) fn of(body: &Body) -> Self {
        match body {
            Body::Authorisation(document) => of_authorisation(document),
            Body::Route(document) => of_route(document),
            Body::RateLimit(_, limit) => {
                Self { regexes: limit.matches.iter().map(regexes_of).sum(), ..Self::default() }
            }
            Body::Mesh(_) | Body::Traffic(..) | Body::Revocation(..) => Self::default(),
        }
    }

    /// The bounds that it is over.
    pub(crate) fn mistakes(self) -> Vec<Mistake> {
        let bounds = [
            (self.rules, RULES_MAX, "rules"),
            (self.entries, ENTRIES_MAX, "pairs of service, caller and path in all rules"),
            (self.regexes, REGEXES_MAX, "regular expressions"),
        ];
        let over = bounds.into_iter().filter(|(count, max, _)| count > max);
        over.map(|(count, max, what)| {
            let text = format!("the documents together hold {count} {what}; at most {max} are taken");
            Mistake { file: "policy".to_owned(), line: 1, column: 1, text }
        })
        .collect()
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rules: self.rules + other.rules,
            entries: self.entries.saturating_add(other.entries),
            regexes: self.regexes + other.regexes,
        }
    }
}

fn of_authorisation(document: &AuthorisationDocument) -> Size {
    let services = match &document.concerns {
        Concerns::Mesh => 1,
        Concerns::Services(services) => services.len(),
    };
    let mut size = Size { rules: document.rules.len(), ..Size::default() };
    for rule in &document.rules {
        let callers = &rule.callers;
        let callers = usize::from(callers.any) + callers.services.len() + callers.nodes.len() + callers.gateways.len();
        let places = rule.paths.len().max(1) + rule.callers.labels.len();
        size.entries = size.entries.saturating_add(services * callers * places);
        let tests = rule.headers.iter().map(|condition| &condition.test);
        size.regexes += tests.filter(|test| matches!(test, Test::Regex(_))).count();
    }
    size
}

fn of_route(document: &RouteDocument) -> Size {
    let matches = || document.rules.iter().flat_map(|(_, matches)| matches);
    Size {
        rules: document.rules.len(),
        entries: matches().count() * document.hosts.len(),
        regexes: matches().map(|matched| regexes_of(matched)).sum(),
    }
}

fn regexes_of(matched: &RequestMatch) -> usize {
    let headers = matched.headers.iter().map(|condition| &condition.test);
    let query = matched.query.iter().map(|condition| &condition.test);
    let tests = headers.chain(query).filter(|test| matches!(test, Test::Regex(_))).count();
    tests + usize::from(matches!(matched.path, PathMatch::Regex(_)))
}
