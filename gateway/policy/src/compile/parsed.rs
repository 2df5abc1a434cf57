//! One document's text, parsed into what is always valid.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml_edit::{Document, Item, Table};
use weft_identity::ServiceName;

use super::size::Size;
use crate::authorisation_parse::{self, AuthorisationDocument, Concerns};
use crate::limit::{self, RateLimit};
use crate::place::{DocumentId, DocumentPlace, Kind, Place};
use crate::raw::route::RawRoute;
use crate::raw::traffic::RawTraffic;
use crate::raw::{Action, RawAuthorisation, RawMesh, RawRateLimit, RawRevocation};
use crate::revocation::{self, Revoked, Subject};
use crate::route_parse::{self, RouteDocument};
use crate::source::Source;
use crate::strict::{Mistake, Mistakes, Node, Read, nearest};
use crate::traffic::{self, Traffic};

/// Longest text of a document, in bytes: ten thousand rules fit.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A document, parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) place: Place,
    pub(crate) body: Body,
    pub(crate) size: Size,
}

/// What it says.
#[derive(Debug)]
pub(crate) enum Body {
    Mesh(Option<(Action, Place)>),
    Authorisation(AuthorisationDocument),
    Route(RouteDocument),
    Traffic(ServiceName, Arc<Traffic>),
    RateLimit(ServiceName, Arc<RateLimit>),
    Revocation(Subject, Revoked),
}

impl Parsed {
    /// By what documents are ordered: the revision, then the name.
    pub(crate) fn age(&self) -> (u64, &DocumentId) {
        (self.place.document.revision, &self.place.document.id)
    }

    /// The services that the document names as concerned; none: the whole mesh.
    pub(crate) fn services(&self) -> Option<BTreeSet<ServiceName>> {
        match &self.body {
            Body::Mesh(_) | Body::Revocation(..) => None,
            Body::Authorisation(document) => match &document.concerns {
                Concerns::Mesh => None,
                Concerns::Services(services) => Some(services.clone()),
            },
            Body::Route(document) => Some(document.services.clone()),
            Body::Traffic(service, _) | Body::RateLimit(service, _) => Some(BTreeSet::from([service.clone()])),
        }
    }
}

/// The kind that a top-level key names, if it names one and is written as a list of tables.
pub(crate) fn kind_of(root: &Table, word: &str, item: &Item, mistakes: &mut Mistakes<'_>) -> Option<Kind> {
    let span = root.key(word).and_then(toml_edit::Key::span);
    let Some(kind) = Kind::named(word) else {
        let hint = nearest(word, Kind::ALL.into_iter().map(Kind::word));
        let hint = hint.map(|kind| format!("; did you mean `[[{kind}]]`?")).unwrap_or_default();
        mistakes.add(span, format!("unknown kind of document `{word}`{hint}"));
        return None;
    };
    if item.as_array_of_tables().is_none() {
        mistakes.add(span, format!("a document is written with double brackets: `[[{word}]]`"));
        return None;
    }
    Some(kind)
}

/// Parses a document's text.
///
/// # Errors
///
/// Every mistake in it, with places in its file.
pub(crate) fn parse(source: &Source, revision: u64) -> Result<Parsed, Vec<Mistake>> {
    let mut mistakes = Mistakes::starting_at(&source.text, &source.file, source.line);
    let parsed = read(source, revision, &mut mistakes);
    let found = mistakes.finish();
    match parsed {
        Some(parsed) if found.is_empty() => Ok(parsed),
        _ => Err(found),
    }
}

fn read(source: &Source, revision: u64, mistakes: &mut Mistakes<'_>) -> Option<Parsed> {
    if source.text.len() > DOCUMENT_BYTES_MAX {
        mistakes.add(None, "the document is larger than 4 MiB");
        return None;
    }
    let document = match Document::parse(source.text.as_str()) {
        Ok(document) => document,
        Err(error) => {
            mistakes.add(error.span(), error.message().trim().replace('\n', ", "));
            return None;
        }
    };
    let (kind, table) = only_table(document.as_table(), &source.kind, mistakes)?;
    let lines = Lines::of(&source.text, source.line);
    // Where the name is missing or no name, reading the table says so.
    let name = table.get("name").and_then(Item::as_str).unwrap_or_default().to_owned();
    let id = DocumentId { kind, name };
    let place = DocumentPlace { id, file: source.file.clone(), line: source.line, revision };
    let place = Place { document: Arc::new(place), line: source.line };
    let at = |byte: usize| Place { document: Arc::clone(&place.document), line: lines.at(byte) };
    let body = body(kind, Node::Table(table), &at, mistakes)?;
    Some(Parsed { place, size: Size::of(&body), body })
}

fn body(kind: Kind, table: Node<'_>, at: &dyn Fn(usize) -> Place, mistakes: &mut Mistakes<'_>) -> Option<Body> {
    let place = at(0);
    match kind {
        Kind::Mesh => {
            let raw = RawMesh::read(table, mistakes)?;
            Some(Body::Mesh(raw.authorisation.map(|action| (action.value, at(action.span.start)))))
        }
        Kind::Authorisation => {
            let raw = RawAuthorisation::read(table, mistakes)?;
            authorisation_parse::parse(raw, place, at, mistakes).map(Body::Authorisation)
        }
        Kind::Route => {
            let raw = RawRoute::read(table, mistakes)?;
            route_parse::parse(raw, at, mistakes).map(Body::Route)
        }
        Kind::Traffic => {
            let (service, traffic) = traffic::parse(RawTraffic::read(table, mistakes)?, place, mistakes);
            Some(Body::Traffic(service, Arc::new(traffic)))
        }
        Kind::RateLimit => {
            let (service, limit) = limit::parse(RawRateLimit::read(table, mistakes)?, place, mistakes);
            Some(Body::RateLimit(service, Arc::new(limit)))
        }
        Kind::Revocation => {
            let (subject, revoked) = revocation::parse(RawRevocation::read(table, mistakes)?, place, mistakes)?;
            Some(Body::Revocation(subject, revoked))
        }
    }
}

/// The one table of a document's text.
fn only_table<'t>(root: &'t Table, kind: &str, mistakes: &mut Mistakes<'_>) -> Option<(Kind, &'t Table)> {
    let before = mistakes.len();
    let mut found = None;
    for (word, item) in root {
        let span = root.key(word).and_then(toml_edit::Key::span);
        if word != kind && Kind::named(word).is_some() {
            mistakes.add(span, format!("a part of a `[[{word}]]` stands inside another document, a `[[{kind}]]`"));
            continue;
        }
        let Some(known) = kind_of(root, word, item, mistakes) else { continue };
        let mut tables = item.as_array_of_tables().into_iter().flatten();
        found = tables.next().map(|table| (known, table));
        if tables.next().is_some() {
            mistakes.add(span, format!("the text holds more than one `[[{word}]]`"));
        }
    }
    if found.is_none() && mistakes.len() == before {
        mistakes.add(None, format!("the text holds no `[[{kind}]]`"));
    }
    found.filter(|_| mistakes.len() == before)
}

/// The lines of a text, found by byte.
struct Lines {
    /// The byte at which each line but the first starts.
    starts: Vec<usize>,
    first: u32,
}

impl Lines {
    fn of(text: &str, first: u32) -> Self {
        Self { starts: text.match_indices('\n').map(|(at, _)| at + 1).collect(), first }
    }

    fn at(&self, byte: usize) -> u32 {
        let before = self.starts.partition_point(|start| *start <= byte);
        self.first.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }
}
