//! The answering end: what a node says of what it holds. Every answer is bounded and in an order that can be resumed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Ledger;
use super::super::document::Document;
use super::super::entry::Place;
use super::super::hash::Hash;
use super::super::journal::{Journals, More, Reader};
use super::super::operators::Rules;
use super::{ANSWER_FILL, Answer, HASHES_MAX, HAVE_MAX, HeadReport, Question, TIPS_MAX};

/// What a node answers from.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The ledger.
    pub ledger: &'a Ledger,
    /// By what it is judged here.
    pub rules: &'a Rules,
    /// The journals.
    pub journals: &'a Journals,
    /// In what role the asker asks, as its certificate or enrolment says.
    pub reader: Reader,
}

/// Answers one question.
pub fn answer(question: Question, view: &View<'_>) -> Answer {
    match question {
        Question::Head => Answer::Head(head(view)),
        Question::ChangeSets { have, .. } if have.len() > HAVE_MAX => too_many("hashes to compare with", HAVE_MAX),
        Question::ChangeSets { have, after } => change_sets(view, &have, after),
        Question::Documents { hashes } if hashes.len() > HASHES_MAX => too_many("documents", HASHES_MAX),
        Question::Documents { hashes } => Answer::Documents(documents(view.ledger, &hashes)),
        Question::Journal(place) => {
            let found = view.journals.since(&place, ANSWER_FILL, view.reader);
            Answer::Journal(found.map(|(batch, more)| (Box::new(batch), more)))
        }
    }
}

fn too_many(what: &str, limit: usize) -> Answer {
    Answer::Refused { label: "question-too-large".to_owned(), detail: format!("more than {limit} {what}") }
}

fn head(view: &View<'_>) -> HeadReport {
    let head = view.ledger.head(view.rules);
    let hash = head.hash();
    let mut tips = head.tips;
    if tips.len() > TIPS_MAX {
        let height = |tip: &Hash| view.ledger.entry(tip).map_or(0, |entry| entry.change_set.revision);
        tips.sort_by_key(|tip| std::cmp::Reverse((height(tip), *tip)));
        tips.truncate(TIPS_MAX);
    }
    HeadReport { epoch: view.rules.bundle.epoch, revision: head.revision, hash, tips, journals: view.journals.heads() }
}

fn documents(ledger: &Ledger, hashes: &[Hash]) -> Vec<Document> {
    let mut size = 0;
    let held = hashes.iter().filter_map(|hash| ledger.document(hash));
    let fitting = held.take_while(|document| {
        size += document.size();
        size <= ANSWER_FILL
    });
    fitting.map(|document| Document::clone(document)).collect()
}

fn change_sets(view: &View<'_>, have: &[Hash], after: Option<Place>) -> Answer {
    let wanted = view.ledger.not_below(have, view.rules);
    let (mut change_sets, mut size) = (Vec::new(), 0);
    for (_, hash) in wanted.into_iter().filter(|place| after.is_none_or(|after| *place > after)) {
        let Some(entry) = view.ledger.entry(&hash) else { continue };
        size += entry.signed.size();
        if size > ANSWER_FILL && !change_sets.is_empty() {
            return Answer::ChangeSets { change_sets, more: More::Yes };
        }
        change_sets.push(entry.signed.clone());
    }
    Answer::ChangeSets { change_sets, more: More::No }
}

/// Which side of the comparison a change set is on. What lies below both is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Wanted,
    Had,
}

impl Ledger {
    /// Change sets at or below the tips and not at or below any of `have`, in order. Walks down from the top by height, so that a node that
    /// is a little behind costs little.
    fn not_below(&self, have: &[Hash], rules: &Rules) -> BTreeSet<Place> {
        let outcome = self.outcome(rules);
        let place = |hash: &Hash| self.graph.entry(hash).map(|entry| entry.place());
        let mut open: BTreeMap<Place, Side> = BTreeMap::new();
        open.extend(outcome.tips.iter().filter_map(place).map(|place| (place, Side::Wanted)));
        open.extend(have.iter().filter_map(place).map(|place| (place, Side::Had)));
        let mut wanted_open = open.values().filter(|side| **side == Side::Wanted).count();
        let mut found = BTreeSet::new();
        // Parents are lower than their children, so when the highest is taken, everything above it has been seen.
        while let Some((highest, side)) = (wanted_open > 0).then(|| open.pop_last()).flatten() {
            if side == Side::Wanted {
                wanted_open -= 1;
                found.insert(highest);
            }
            for parent in self.graph.parents(&highest.1).unwrap_or_default().iter().filter_map(place) {
                let before = open.get(&parent).copied();
                let after = before.map_or(side, |before| before.max(side));
                open.insert(parent, after);
                wanted_open += usize::from(after == Side::Wanted);
                wanted_open -= usize::from(before == Some(Side::Wanted));
            }
        }
        found
    }

    /// Hashes that tell another node what is here: the highest tips, and change sets at growing distances below them.
    pub(super) fn sample(&self, rules: &Rules) -> Vec<Hash> {
        let outcome = self.outcome(rules);
        let mut tips: Vec<Place> =
            outcome.tips.iter().filter_map(|tip| self.graph.entry(tip)).map(|entry| entry.place()).collect();
        tips.sort_by(|one, two| two.cmp(one));
        tips.truncate(HAVE_MAX / 2);
        let mut sample: Vec<Hash> = tips.into_iter().map(|(_, hash)| hash).collect();
        let spread = self.graph.after(None).rev().enumerate().filter(|(distance, _)| distance.is_power_of_two());
        for (_, entry) in spread.filter(|(_, entry)| !outcome.stray.contains(&entry.hash)) {
            if sample.len() < HAVE_MAX && !sample.contains(&entry.hash) {
                sample.push(entry.hash);
            }
        }
        sample
    }
}
