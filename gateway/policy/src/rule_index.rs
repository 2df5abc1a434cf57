//! The rules of one action, so that those which concern a call are found without a look at each: by caller, then by the labels that they
//! ask of it, then by path.

use std::collections::HashMap;
use std::collections::btree_map::Iter;
use std::sync::Arc;

use weft_identity::{GrantedLabels, NodeId, ServiceName, Subject};

use super::authorise::{Call, Caller};
use super::index::{Asks, Crowded, Index, Query};
use super::path::{Pattern, Reading};
use super::rule::Rule;

/// The rules of one action, by caller.
#[derive(Debug, Default)]
pub(crate) struct RuleIndex {
    any: Labelled,
    services: HashMap<ServiceName, Labelled>,
    nodes: HashMap<NodeId, Labelled>,
    gateways: HashMap<ServiceName, Labelled>,
    pub(crate) count: usize,
    /// Whether any of the rules asks for labels.
    pub(crate) labelled: bool,
    /// Whether any of the rules looks at method, path or header fields.
    pub(crate) conditional: bool,
}

impl RuleIndex {
    pub(crate) fn insert(&mut self, number: u32, rule: &Rule) -> Result<(), Crowded> {
        self.count += 1;
        self.conditional |= rule.is_conditional();
        self.labelled |= !rule.callers.labels.is_empty();
        if rule.callers.any {
            self.any.insert(number, rule)?;
        }
        for name in &rule.callers.services {
            self.services.entry(name.clone()).or_default().insert(number, rule)?;
        }
        for id in &rule.callers.nodes {
            self.nodes.entry(id.clone()).or_default().insert(number, rule)?;
        }
        for name in &rule.callers.gateways {
            self.gateways.entry(name.clone()).or_default().insert(number, rule)?;
        }
        Ok(())
    }

    /// The first of the rules that matches a call whose path is read so.
    pub(crate) fn first<'p>(
        &self,
        rules: &'p [Arc<Rule>],
        (caller, call): (Caller<'_>, Call<'_>),
        reading: Reading,
    ) -> Option<&'p Rule> {
        if self.count == 0 {
            return None;
        }
        let own = match &caller.identity.subject {
            Subject::Service(name) => self.services.get(name),
            Subject::Node(id) => self.nodes.get(id),
            Subject::Gateway(name) => self.gateways.get(name),
        };
        let sides = [Some(&self.any), own];
        let mut best = u32::MAX;
        for side in sides.into_iter().flatten() {
            side.visit(caller.labels, &mut |side| best = best.min(side.any_call.unwrap_or(u32::MAX)));
        }
        if let Call::Http(request) = call {
            let rule_of = |number: u32| usize::try_from(number).ok().and_then(|number| rules.get(number));
            let accepts = |number: u32| rule_of(number).is_some_and(|rule| rule.takes(request.method, request.headers));
            let mut query = Query { headers: request.headers, accepts: &accepts, best };
            let path = request.path.read(reading);
            let path = path.strip_suffix('/').unwrap_or(path);
            for side in sides.into_iter().flatten() {
                side.visit(caller.labels, &mut |side| side.paths.search(path, &mut query));
            }
            best = query.best;
        }
        usize::try_from(best).ok().and_then(|number| rules.get(number)).map(Arc::as_ref)
    }

    /// Its path indexes, to be freed.
    pub(crate) fn into_indexes(self) -> Vec<Index> {
        let own = self.services.into_values().chain(self.nodes.into_values()).chain(self.gateways.into_values());
        let mut indexes = Vec::new();
        own.chain([self.any]).for_each(|labelled| labelled.into_indexes(&mut indexes));
        indexes
    }
}

/// The rules that name one caller, by the labels that they ask for beside it: a trie over names and values, names in ascending order. A
/// call goes down every path whose labels its caller has.
#[derive(Debug, Default)]
struct Labelled {
    /// Those that ask for no further label.
    side: Side,
    /// Those that do, by its name and value.
    further: HashMap<Box<str>, HashMap<Box<str>, Labelled>>,
}

/// Rules that ask for the same caller and labels.
#[derive(Debug, Default)]
struct Side {
    /// The first rule that asks for nothing of HTTP.
    any_call: Option<u32>,
    paths: Index,
}

impl Labelled {
    /// Adds a rule; numbers come in ascending order.
    fn insert(&mut self, number: u32, rule: &Rule) -> Result<(), Crowded> {
        let mut at = self;
        for (name, value) in &rule.callers.labels {
            let values = at.further.entry(name.as_str().into()).or_default();
            at = values.entry(value.as_str().into()).or_default();
        }
        at.side.insert(number, rule)
    }

    fn into_indexes(self, indexes: &mut Vec<Index>) {
        indexes.push(self.side.paths);
        let further = self.further.into_values().flat_map(HashMap::into_values);
        further.for_each(|labelled| labelled.into_indexes(indexes));
    }

    /// Shows the rules of every set of labels that a caller has, the empty one first.
    fn visit(&self, labels: &GrantedLabels, each: &mut dyn FnMut(&Side)) {
        self.walk(labels.iter(), each);
    }

    /// `labels` are those after the ones that led here. The recursion is as deep as the labels are many.
    fn walk(&self, mut labels: Iter<'_, String, String>, each: &mut dyn FnMut(&Side)) {
        each(&self.side);
        if self.further.is_empty() {
            return;
        }
        while let Some((name, value)) = labels.next() {
            if let Some(child) = self.further.get(name.as_str()).and_then(|values| values.get(value.as_str())) {
                child.walk(labels.clone(), each);
            }
        }
    }
}

impl Side {
    fn insert(&mut self, number: u32, rule: &Rule) -> Result<(), Crowded> {
        let asks = rule.asks();
        if rule.paths.is_empty() && matches!(asks, Asks::Nothing) {
            self.any_call.get_or_insert(number);
            return Ok(());
        }
        if rule.paths.is_empty() {
            return self.paths.insert(&Pattern::everything(), number, &asks);
        }
        rule.paths.iter().try_for_each(|path| self.paths.insert(path, number, &asks))
    }
}
