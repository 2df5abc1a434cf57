//! The journal of one writer: a chain without gaps, frozen where the writer contradicts itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_identity::{Enrolment, SignedEnrolment};

use super::super::hash::Hash;
use super::super::refusal::Refusal;
use super::entry::{Conflict, Reader, SignedEntry, VerifiedEntry};
use super::{ENTRIES_MAX, JOURNAL_SIZE_MAX, JournalHead};

/// One writer's entries.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// What it is verified with.
    pub(super) writer: Enrolment,
    pub(super) standing: WriterRecord,
    entries: Vec<Arc<VerifiedEntry>>,
    size: usize,
    /// How many of the first entries have their bodies.
    complete: usize,
    frozen_at: Option<u64>,
}

/// What is kept of a writer besides its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WriterRecord {
    pub(super) enrolment: SignedEnrolment,
    pub(super) conflict: Option<Conflict>,
}

/// What an entry does to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is there already.
    Nothing,
    /// It follows the last one.
    Follows,
    /// It brings the body of one that is there.
    Fills,
    /// It contradicts one that is there.
    Contradicts(Box<Conflict>),
}

impl Log {
    pub(super) fn new(writer: Enrolment, enrolment: SignedEnrolment) -> Self {
        Self {
            writer,
            standing: WriterRecord { enrolment, conflict: None },
            entries: Vec::new(),
            size: 0,
            complete: 0,
            frozen_at: None,
        }
    }

    pub(super) fn entries(&self) -> &[Arc<VerifiedEntry>] {
        &self.entries
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn frozen_at(&self) -> Option<u64> {
        self.frozen_at
    }

    /// The entry of this number.
    pub(super) fn at(&self, sequence: u64) -> Option<&Arc<VerifiedEntry>> {
        usize::try_from(sequence).ok()?.checked_sub(1).and_then(|index| self.entries.get(index))
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn head(&self) -> JournalHead {
        JournalHead {
            writer: self.writer.node.clone(),
            sequence: self.len(),
            hash: self.entries.last().map(|last| last.hash),
            complete: self.complete as u64,
            frozen: self.frozen_at.is_some(),
        }
    }

    /// What a verified entry would do.
    pub(super) fn judge(&self, found: &VerifiedEntry) -> Result<Step, Refusal> {
        let sequence = found.entry.sequence;
        if self.frozen_at.is_some_and(|at| sequence >= at) {
            return Err(Refusal::Equivocation(sequence));
        }
        if let Some(held) = self.at(sequence) {
            return Ok(match (&held.signed.body, &found.signed.body) {
                _ if held.hash != found.hash => {
                    let conflict = Conflict { one: held.signed.signed.clone(), two: found.signed.signed.clone() };
                    Step::Contradicts(Box::new(conflict))
                }
                (None, Some(_)) => Step::Fills,
                _ => Step::Nothing,
            });
        }
        let last = self.entries.last();
        let follows = sequence == self.len() + 1
            && found.entry.previous == last.map(|last| last.hash)
            && last.is_none_or(|last| last.entry.at <= found.entry.at);
        if !follows {
            return Err(Refusal::Sequence(sequence));
        }
        if self.entries.len() >= ENTRIES_MAX || self.size + found.signed.size() > JOURNAL_SIZE_MAX {
            return Err(Refusal::Full("a journal holds 100,000 entries and 64 MiB"));
        }
        Ok(Step::Follows)
    }

    /// Takes an entry in, if it follows or fills.
    pub(super) fn take(&mut self, entry: &Arc<VerifiedEntry>) {
        match self.judge(entry) {
            Ok(Step::Follows) => {
                self.size += entry.signed.size();
                self.entries.push(Arc::clone(entry));
            }
            Ok(Step::Fills) => {
                let index = usize::try_from(entry.entry.sequence).unwrap_or(usize::MAX).saturating_sub(1);
                if let Some(held) = self.entries.get_mut(index) {
                    self.size += entry.signed.size() - held.signed.size();
                    *held = Arc::clone(entry);
                }
            }
            _ => {}
        }
        self.count_complete();
    }

    /// Freezes the log before this number, for good.
    pub(super) fn freeze(&mut self, at: u64, conflict: Conflict) {
        if self.frozen_at.is_some_and(|frozen| frozen <= at) {
            return;
        }
        self.frozen_at = Some(at);
        self.standing.conflict = Some(conflict);
        let keep = usize::try_from(at).unwrap_or(usize::MAX).saturating_sub(1);
        self.entries.truncate(keep);
        self.size = self.entries.iter().map(|entry| entry.signed.size()).sum();
        self.complete = self.complete.min(self.entries.len());
    }

    fn count_complete(&mut self) {
        let more = self.entries[self.complete..].iter().take_while(|entry| entry.signed.body.is_some());
        self.complete += more.count();
    }

    /// Entries after a number as this reader may have them, at least one and then as many as fit; and whether there are more. Where the
    /// asker holds another entry of that number, it is sent along.
    pub(super) fn since(
        &self,
        after: u64,
        last: Option<Hash>,
        bytes_max: usize,
        reader: Reader,
    ) -> (Vec<SignedEntry>, More) {
        let contradicted = self.at(after).is_some_and(|held| Some(held.hash) != last);
        let from = if contradicted { after.saturating_sub(1) } else { after };
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.entries.len());
        let (mut sent, mut size) = (Vec::new(), 0);
        for held in &self.entries[from..] {
            let entry = held.signed.for_reader(held.entry.audience, reader);
            size += entry.size();
            if size > bytes_max && !sent.is_empty() {
                return (sent, More::Yes);
            }
            sent.push(entry);
        }
        (sent, More::No)
    }
}

/// Whether there is more than was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum More {
    /// There is.
    Yes,
    /// That was all.
    No,
}
