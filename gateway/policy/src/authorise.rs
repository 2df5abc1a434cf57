//! Who may call what. The order: `deny` rules; then `allow` rules; then, where any `allow` rule exists for the service, the
//! service's default or a refusal; where none exists, the service's default, the mesh's, or a pass. The rules of documents with
//! `mesh = true` count as rules of every service. Documents in shadow mode never decide.
//!
//! Asked by the data path for every request and every stream, and again for open connections when rules change.

use std::collections::HashMap;
use std::sync::Arc;

use weft_identity::{GrantedLabels, ServiceName, SpiffeId};

use super::condition::RequestView;
use super::index::{Crowded, Index};
use super::path::Reading;
use super::place::{Place, Step, note};
use super::raw::Action;
use super::rule::Rule;
use super::rule_index::RuleIndex;

/// Who calls: what the certificate of a connection proves, read once a connection.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'c> {
    /// Whom it names.
    pub identity: &'c SpiffeId,
    /// The labels that a signer granted to the node that holds it.
    pub labels: &'c Arc<GrantedLabels>,
}

/// What is being called.
#[derive(Debug, Clone, Copy)]
pub enum Call<'c> {
    /// A stream of which nothing but its two ends is known.
    Tcp,
    /// A request.
    Http(&'c RequestView<'c>),
}

/// A decision.
#[derive(Debug, Clone)]
pub struct Verdict<'p> {
    /// Whether the call may pass.
    pub action: Action,
    /// By what.
    pub reason: Reason<'p>,
    /// Documents in shadow mode that would have refused it; empty where it was refused anyway. Allocates only if there are some.
    pub shadow: Vec<ShadowRefusal<'p>>,
}

impl Verdict<'_> {
    /// Whether the call may pass.
    pub fn is_allowed(&self) -> bool {
        self.action == Action::Allow
    }
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'p> {
    /// A rule.
    Rule(&'p Place),
    /// The default that a document states for the service.
    ServiceDefault(&'p Place),
    /// `allow` rules exist for the service and none matches.
    NoAllowRule,
    /// The mesh's default.
    MeshDefault(&'p Place),
    /// No document says anything.
    NothingStated,
}

impl<'p> Reason<'p> {
    /// Where it was written, if it was.
    pub fn place(self) -> Option<&'p Place> {
        match self {
            Self::Rule(place) | Self::ServiceDefault(place) | Self::MeshDefault(place) => Some(place),
            Self::NoAllowRule | Self::NothingStated => None,
        }
    }
}

/// What a document in shadow mode would have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowRefusal<'p> {
    /// Its `deny` rule, or the document whose `allow` rules or default would have refused the call.
    pub place: &'p Place,
}

/// Some documents' rules and default, indexed.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    rules: Vec<Arc<Rule>>,
    deny: RuleIndex,
    allow: RuleIndex,
    default: Option<(Action, Place)>,
}

impl RuleSet {
    /// Adds a rule after the others; the place of one that does not fit comes back.
    pub(crate) fn insert(&mut self, rule: &Arc<Rule>) -> Result<(), Place> {
        let number = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        let index = if rule.action == Action::Deny { &mut self.deny } else { &mut self.allow };
        let outcome = index.insert(number, rule);
        self.rules.push(Arc::clone(rule));
        outcome.map_err(|Crowded| rule.place.clone())
    }

    /// States the default; the place of another that says otherwise comes back.
    pub(crate) fn set_default(&mut self, action: Action, place: Place) -> Result<(), Place> {
        match &self.default {
            Some((other, at)) if *other != action => Err(at.clone()),
            Some(_) => Ok(()),
            None => {
                self.default = Some((action, place));
                Ok(())
            }
        }
    }

    fn index(&self, action: Action) -> &RuleIndex {
        match action {
            Action::Deny => &self.deny,
            Action::Allow => &self.allow,
        }
    }
}

/// The first rule of some sets that decides a call so. Nobody knows how the application reads a path with parameters: a `deny` rule decides
/// if it matches any reading, `allow` rules if each has one.
fn ruling<'p>(sets: &[Option<&'p RuleSet>], action: Action, caller: Caller<'_>, call: Call<'_>) -> Option<&'p Rule> {
    let first = |reading| {
        let mut sets = sets.iter().copied().flatten();
        sets.find_map(|set| set.index(action).first(&set.rules, (caller, call), reading))
    };
    let whole = first(Reading::Whole);
    let has_two = matches!(call, Call::Http(request) if request.path.has_parameters());
    match (action, whole) {
        _ if !has_two => whole,
        (Action::Deny, None) => first(Reading::Bare),
        (Action::Allow, Some(_)) => whole.filter(|_| first(Reading::Bare).is_some()),
        _ => whole,
    }
}

/// A document in shadow mode.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) place: Place,
    pub(crate) rules: RuleSet,
}

/// What concerns one service, or every service.
#[derive(Debug, Default)]
pub(crate) struct ServiceRules {
    pub(crate) enforced: RuleSet,
    pub(crate) shadows: Vec<Shadow>,
}

/// Every authorisation document of a policy.
#[derive(Debug, Default)]
pub(crate) struct Authorisation {
    pub(crate) services: HashMap<ServiceName, Arc<ServiceRules>>,
    pub(crate) mesh: Arc<ServiceRules>,
    pub(crate) mesh_default: Option<(Action, Place)>,
}

impl ServiceRules {
    /// Its indexes, to be freed.
    pub(crate) fn into_indexes(self) -> impl Iterator<Item = Index> {
        let sets = self.shadows.into_iter().map(|shadow| shadow.rules).chain([self.enforced]);
        sets.flat_map(|set| set.deny.into_indexes().into_iter().chain(set.allow.into_indexes()))
    }

    fn is_conditional(&self) -> bool {
        self.any_index(|index| index.conditional)
    }

    fn any_index(&self, is_so: impl Fn(&RuleIndex) -> bool) -> bool {
        let mut sets = self.shadows.iter().map(|shadow| &shadow.rules).chain([&self.enforced]);
        sets.any(|set| is_so(&set.allow) || is_so(&set.deny))
    }
}

/// Where rules ask for labels, a step says which the caller has and where from.
fn note_labels<'r>(
    mut rules: impl Iterator<Item = &'r ServiceRules>,
    caller: Caller<'_>,
    steps: &mut Option<&mut Vec<Step>>,
) {
    if steps.is_none() || !rules.any(|rules| rules.any_index(|index| index.labelled)) {
        return;
    }
    note(steps, || match caller.labels.is_empty() {
        true => Step::new("labels", None, "the caller's certificate carries none"),
        false => Step::new("labels", None, format!("the caller's certificate carries {}", caller.labels)),
    });
}

impl Authorisation {
    /// Whether no document says anything.
    pub(crate) fn is_empty(&self) -> bool {
        let mesh = &self.mesh;
        let is_mesh_empty =
            mesh.enforced.rules.is_empty() && mesh.enforced.default.is_none() && mesh.shadows.is_empty();
        self.services.is_empty() && self.mesh_default.is_none() && is_mesh_empty
    }

    /// Whether any rule for this service looks at method, path or header fields.
    pub(crate) fn is_conditional(&self, called: &ServiceName) -> bool {
        self.mesh.is_conditional() || self.services.get(called).is_some_and(|rules| rules.is_conditional())
    }

    /// Whether a `deny` rule in force for this service looks at method, path or header fields.
    pub(crate) fn denies_conditionally(&self, called: &ServiceName) -> bool {
        let own = self.services.get(called).is_some_and(|rules| rules.enforced.deny.conditional);
        own || self.mesh.enforced.deny.conditional
    }

    /// Decides, and notes each step where somebody asks.
    pub(crate) fn decide(
        &self,
        caller: Caller<'_>,
        called: &ServiceName,
        call: Call<'_>,
        mut steps: Option<&mut Vec<Step>>,
    ) -> Verdict<'_> {
        let own = self.services.get(called).map(Arc::as_ref);
        note_labels(own.into_iter().chain([self.mesh.as_ref()]), caller, &mut steps);
        let sets = [own.map(|own| &own.enforced), Some(&self.mesh.enforced)];
        let (action, reason) = self.enforced(sets, caller, call, &mut steps);
        let mut verdict = Verdict { action, reason, shadow: Vec::new() };
        if action == Action::Deny {
            return verdict;
        }
        let shadows = own.into_iter().chain([self.mesh.as_ref()]).flat_map(|rules| &rules.shadows);
        for shadow in shadows {
            if let Some(place) = shadow.refusal(reason, sets, caller, call) {
                note(&mut steps, || Step::new("shadow", Some(place), "would have refused it"));
                verdict.shadow.push(ShadowRefusal { place });
            }
        }
        verdict
    }

    fn enforced<'p>(
        &'p self,
        sets: [Option<&'p RuleSet>; 2],
        caller: Caller<'_>,
        call: Call<'_>,
        steps: &mut Option<&mut Vec<Step>>,
    ) -> (Action, Reason<'p>) {
        for (action, what) in [(Action::Deny, "deny rules"), (Action::Allow, "allow rules")] {
            if let Some(rule) = ruling(&sets, action, caller, call) {
                note(steps, || Step::new(what, Some(&rule.place), format!("this rule matches: {}", action.word())));
                return (action, Reason::Rule(&rule.place));
            }
            note(steps, || {
                let count: usize = sets.iter().flatten().map(|set| set.index(action).count).sum();
                Step::new(what, None, format!("none of {count} matches"))
            });
        }
        let (action, reason) = self.fallback(sets);
        note(steps, || {
            let what = match reason {
                Reason::ServiceDefault(_) => "service default",
                Reason::MeshDefault(_) => "mesh default",
                Reason::NoAllowRule => "no allow rule matches",
                Reason::Rule(_) | Reason::NothingStated => "nothing stated",
            };
            // Of the rules that would have allowed it none is to blame more than another: the first is where to look.
            let allows = || sets.iter().flatten().flat_map(|set| &set.rules).find(|rule| rule.action == Action::Allow);
            let first = || allows().map(|rule| &rule.place).filter(|_| reason == Reason::NoAllowRule);
            Step::new(what, reason.place().or_else(first), action.word())
        });
        (action, reason)
    }

    /// What holds when no rule matches.
    fn fallback<'p>(&'p self, sets: [Option<&'p RuleSet>; 2]) -> (Action, Reason<'p>) {
        if let Some((action, place)) = sets[0].and_then(|set| set.default.as_ref()) {
            return (*action, Reason::ServiceDefault(place));
        }
        if sets.iter().flatten().any(|set| set.allow.count > 0) {
            return (Action::Deny, Reason::NoAllowRule);
        }
        match &self.mesh_default {
            Some((action, place)) => (*action, Reason::MeshDefault(place)),
            None => (Action::Allow, Reason::NothingStated),
        }
    }
}

impl Shadow {
    /// Where this document would have refused a call that the others let pass for `reason`; `sets` are theirs, the service's own first.
    fn refusal<'p>(
        &'p self,
        reason: Reason<'_>,
        sets: [Option<&'p RuleSet>; 2],
        caller: Caller<'_>,
        call: Call<'_>,
    ) -> Option<&'p Place> {
        if let Some(rule) = ruling(&[Some(&self.rules)], Action::Deny, caller, call) {
            return Some(&rule.place);
        }
        let is_allowed_by_rule = matches!(reason, Reason::Rule(_));
        if is_allowed_by_rule || ruling(&[sets[0], sets[1], Some(&self.rules)], Action::Allow, caller, call).is_some() {
            return None;
        }
        let default = sets[0].and_then(|set| set.default.as_ref()).map(|(action, _)| *action);
        match (&self.rules.default, default) {
            (Some((Action::Deny, place)), _) => Some(place),
            (Some((Action::Allow, _)), _) | (None, Some(_)) => None,
            (None, None) => (self.rules.allow.count > 0).then_some(&self.place),
        }
    }
}
