//! What the documents say of one exchange: for the access log, for callers who ask which revisions decided, and of rate limits.

use weft_identity::ServiceName;
use weft_policy::Place;
use weft_policy::fields::{Fields, Known};

use super::allowances::Allowances;
use crate::metrics::ServiceStates;

/// What the documents say of one exchange.
#[derive(Default)]
pub(crate) struct Judged {
    /// The revision that decided.
    pub(super) revision: u64,
    /// The rule that routed it.
    pub(super) route: Option<Place>,
    /// The places of documents in shadow mode that would have refused it.
    pub(super) shadow: Option<String>,
    /// The id of its refusal.
    pub(super) refusal: Option<String>,
    /// What rate limits leave of the caller's allowance.
    pub(super) allowances: Allowances,
    is_traced: bool,
}

/// Where the called side's revision is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// There is no other side, or this is it.
    None,
    /// Both sides are this node.
    Same,
    /// The other node's answer says it.
    Answered,
}

impl Judged {
    /// Notes the revision of the policy that decides.
    pub(super) fn decided_by(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Notes the rule that routes it.
    pub(super) fn routed_by(&mut self, place: &Place) {
        self.route = Some(place.clone());
    }

    /// Notes the id under which its refusal is kept.
    pub(super) fn refused_as(&mut self, id: String) {
        self.refusal = Some(id);
    }

    /// Counts and notes that a document in shadow mode would have refused it.
    pub(super) fn shadowed(&mut self, states: &ServiceStates, called: &ServiceName, place: &Place) {
        states.count_shadow(called, &place.document.id.name);
        let places = self.shadow.get_or_insert_default();
        if !places.is_empty() {
            places.push_str(", ");
        }
        places.push_str(&place.to_string());
    }

    /// Notes whether the caller wants to be told which revisions decide; the field that says so travels to another node only.
    pub(super) fn traced_if_asked(&mut self, fields: &mut Fields) {
        if fields.first(Known::WeftTraceRevision) == Some(b"1") {
            self.is_traced = true;
        } else {
            fields.take_out(Known::WeftTraceRevision);
        }
    }

    /// Tells in an answer what rate limits leave, and which revisions decided, where that was asked; else nothing of that kind leaves
    /// this node.
    pub(super) fn tell(&self, fields: &mut Fields, other: Other) {
        self.allowances.tell(fields);
        let answered = fields.first(Known::WeftRevision).map(|value| String::from_utf8_lossy(value).into_owned());
        if answered.is_some() {
            fields.take_out(Known::WeftRevision);
        }
        if !self.is_traced {
            return;
        }
        let own = self.revision;
        let other = match other {
            Other::None => None,
            Other::Same => Some(own.to_string()),
            Other::Answered => answered,
        };
        let text = other.map_or_else(|| own.to_string(), |other| format!("{own},{other}"));
        fields.put(Known::WeftRevision, text.as_bytes());
    }
}
