//! Decisions as they are shown: one step after the other, each with the document, file and line that it was made by. Kept with
//! refusals by [`crate::refusals`], and made for questions of the admin API: what would become of this call?

mod question;
mod settings;

use serde::Serialize;

pub(crate) use question::explain;
pub use question::{EndpointState, Explanation, Question, Share};

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was asked: `deny rules`, `route`, `endpoint`, …
    pub what: String,
    /// The answer.
    pub outcome: String,
    /// Where it is written, if a document decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<StepPlace>,
}

/// A place in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepPlace {
    /// The document: `route/orders-canary`.
    pub document: String,
    /// The file that it was applied from.
    pub file: String,
    /// The line there, from 1.
    pub line: u32,
    /// The revision that brought the document.
    pub revision: u64,
}

impl Step {
    /// A step that no document decided.
    pub(crate) fn new(what: &str, outcome: impl Into<String>) -> Self {
        Self { what: what.to_owned(), outcome: outcome.into(), place: None }
    }

    /// A step that a document decided.
    pub(crate) fn at(what: &str, place: &weft_policy::Place, outcome: impl Into<String>) -> Self {
        Self { place: Some(StepPlace::from(place)), ..Self::new(what, outcome) }
    }
}

impl From<&weft_policy::Step> for Step {
    fn from(step: &weft_policy::Step) -> Self {
        let place = step.place.as_ref().map(StepPlace::from);
        Self { what: step.what.to_owned(), outcome: step.outcome.clone(), place }
    }
}

impl From<&weft_policy::Place> for StepPlace {
    fn from(place: &weft_policy::Place) -> Self {
        let document = &place.document;
        Self {
            document: document.id.to_string(),
            file: document.file.clone(),
            line: place.line,
            revision: document.revision,
        }
    }
}
