//! Compiles one state of the documents after the other. Kept by the node for as long as it lives; owns nothing that a policy
//! does not share.

use std::collections::HashMap;
use std::sync::Arc;

use weft_ledger::{Document, Hash};

use super::pace::Pace;
use super::parsed::Parsed;
use super::tables::Tables;
use super::{Gathered, prepare};
use crate::Policy;
use crate::source::Source;
use crate::strict::Mistake;

/// A document of the state that is compiled.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The document.
    pub document: Arc<Document>,
    /// Its content's address.
    pub hash: Hash,
    /// The revision that put it.
    pub revision: u64,
}

/// What a parsed document depends on: the content, and the revision that its places name.
type Key = (Hash, u64);

/// Parses only documents that were not in the last two states, and builds only the tables of services whose documents are
/// others than the last time. Two states, because what is planned is compiled in between, and then comes into force.
#[derive(Debug, Default)]
pub struct Compiler {
    last: HashMap<Key, Arc<Parsed>>,
    before: HashMap<Key, Arc<Parsed>>,
    tables: Tables,
}

impl Compiler {
    /// Compiles documents into what [`compile`](super::compile) makes of them. Calls `pause` after each document that is parsed
    /// and after some rules that are indexed, 0.1 ms of work or, for a document of a hundred rules, 1 ms.
    ///
    /// # Errors
    ///
    /// Every mistake in every document, and what they contradict each other in.
    pub fn compile(&mut self, documents: &[InForce], pause: &mut dyn FnMut()) -> Result<Policy, Vec<Mistake>> {
        let mut pace = Pace::new(pause);
        let mut gathered = Gathered::default();
        let mut seen = HashMap::with_capacity(documents.len());
        for held in documents {
            let key = (held.hash, held.revision);
            let known = self.last.get(&key).or_else(|| self.before.get(&key)).map(Arc::clone);
            let prepared = known.map_or_else(|| parse(held, &mut pace), Ok);
            if let Ok(document) = &prepared {
                seen.insert(key, Arc::clone(document));
            }
            gathered.take(prepared);
        }
        self.before = std::mem::replace(&mut self.last, seen);
        gathered.policy(&mut self.tables, &mut pace)
    }
}

fn parse(held: &InForce, pace: &mut Pace<'_>) -> Result<Arc<Parsed>, Vec<Mistake>> {
    let prepared = prepare(&Source::from(&*held.document), held.revision);
    pace.piece();
    prepared.map(Arc::new)
}
