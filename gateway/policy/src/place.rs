//! Where a decision was written: document, file, line and revision, so that every refusal can name its reason.

use std::fmt;
use std::sync::Arc;

use crate::raw_words;

raw_words! {
    /// A kind of document.
    Kind {
        /// `[[mesh]]`: defaults of the whole mesh.
        Mesh = "mesh",
        /// `[[authorisation]]`: who may call what.
        Authorisation = "authorisation",
        /// `[[route]]`: where requests go.
        Route = "route",
        /// `[[traffic]]`: how calls are carried.
        Traffic = "traffic",
        /// `[[rate-limit]]`: how many requests a service takes.
        RateLimit = "rate-limit",
        /// `[[revocation]]`: what is no longer trusted.
        Revocation = "revocation",
    }
}

impl Kind {
    /// Every kind, in the order of the reference page.
    pub const ALL: [Self; 6] =
        [Self::Mesh, Self::Authorisation, Self::Route, Self::Traffic, Self::RateLimit, Self::Revocation];

    /// The kind of this name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Names a document: a name stands once among the documents of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.word(), self.name)
    }
}

/// A document and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPlace {
    /// Which document.
    pub id: DocumentId,
    /// The file it was applied from, as the operator named it.
    pub file: String,
    /// Its first line there, from 1.
    pub line: u32,
    /// The revision that brought it.
    pub revision: u64,
}

/// A place in a document: a rule, a default, or the document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document.
    pub document: Arc<DocumentPlace>,
    /// The line in the document's file, from 1.
    pub line: u32,
}

/// `policies/orders.toml:14 (revision 12)`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (revision {})", self.document.file, self.line, self.document.revision)
    }
}

/// One step of a decision, for `weft why` and `weft route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was asked: `deny rules`, `allow rules`, `service default`, …
    pub what: &'static str,
    /// What answered, if a document did.
    pub place: Option<Place>,
    /// The answer.
    pub outcome: String,
}

impl Step {
    /// A step.
    pub(crate) fn new(what: &'static str, place: Option<&Place>, outcome: impl Into<String>) -> Self {
        Self { what, place: place.cloned(), outcome: outcome.into() }
    }
}

/// Notes a step where somebody asked for them; the text is made only then.
pub(crate) fn note(steps: &mut Option<&mut Vec<Step>>, step: impl FnOnce() -> Step) {
    if let Some(steps) = steps {
        steps.push(step());
    }
}
