//! A rule of an authorisation document, always valid: whom it is for, and at what of a request it looks.

use weft_identity::GrantedLabels;
use weft_identity::{NodeId, ServiceName};

use super::condition::{HeaderCondition, MethodSet, Several, Test};
use super::index::Asks;
use super::path::Pattern;
use super::place::Place;
use super::raw::Action;
use crate::fields::Fields;

/// Callers of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Callers {
    pub(crate) any: bool,
    pub(crate) services: Vec<ServiceName>,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) gateways: Vec<ServiceName>,
    /// What each of them must have, too.
    pub(crate) labels: GrantedLabels,
}

/// A rule, valid.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) place: Place,
    pub(crate) action: Action,
    pub(crate) callers: Callers,
    pub(crate) methods: MethodSet,
    pub(crate) paths: Vec<Pattern>,
    pub(crate) headers: Vec<HeaderCondition>,
}

impl Rule {
    fn several(&self) -> Several {
        if self.action == Action::Deny { Several::Any } else { Several::All }
    }

    /// Whether method and header fields match.
    pub(crate) fn takes(&self, method: &http::Method, headers: &Fields) -> bool {
        self.methods.takes(method) && self.headers.iter().all(|condition| condition.holds(headers, self.several()))
    }

    /// Whether it looks at anything of a request.
    pub(crate) fn is_conditional(&self) -> bool {
        !self.paths.is_empty() || !self.methods.is_every() || !self.headers.is_empty()
    }

    pub(crate) fn asks(&self) -> Asks<'_> {
        let exact = self.headers.iter().find_map(|condition| match &condition.test {
            Test::Exact(value) => Some(Asks::Header(&condition.name, value)),
            _ => None,
        });
        let is_free = self.methods.is_every() && self.headers.is_empty();
        exact.unwrap_or(if is_free { Asks::Nothing } else { Asks::Other })
    }
}
