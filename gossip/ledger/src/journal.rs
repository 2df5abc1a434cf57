//! The second family of the ledger: each writer appends to a log of its own, signed with its enrolled key, and the merged view is the
//! union of all. Verified, stored and carried like change sets.
//!
//! A writer that signs two entries of one number contradicts itself. Its journal is frozen before that number on every node that has seen
//! both, and the proof travels with the journal, so that all nodes freeze it at the same place.

mod entry;
mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_env::{Random, Timestamp};
use weft_identity::wire::{self, Kind, Signed};
use weft_identity::{Code, ENROLMENT_CONTEXT, Enrolment, Failure, NodeId, SignedEnrolment, SigningKey};

use super::hash::Hash;
use super::operators::{CLOCK_LEAD_MAX, Rules};
use super::refusal::{Quarantined, Refusal};
use super::row::{ROW_LEN_MAX, Row, Table};

pub use entry::{
    Audience, BODY_LEN_MAX, Body, Conflict, ENTRY_KIND_LEN_MAX, JOURNAL_CONTEXT, JournalEntry, Reader, SignedEntry,
    VerifiedEntry,
};
pub use log::More;
use log::{Log, Step, WriterRecord};

/// Most entries of one writer.
pub const ENTRIES_MAX: usize = 100_000;
/// Most bytes of one writer's entries.
pub const JOURNAL_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Most writers: as many as a cell has nodes at most.
pub const WRITERS_MAX: usize = 1_000;
/// Most bytes of all journals.
pub const JOURNALS_SIZE_MAX: usize = 256 * 1024 * 1024;

/// Where one journal ends on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHead {
    /// Whose.
    pub writer: NodeId,
    /// The number of the last entry.
    pub sequence: u64,
    /// Its hash.
    pub hash: Option<Hash>,
    /// How many of the first entries have their bodies here.
    pub complete: u64,
    /// Whether it ends there for good.
    pub frozen: bool,
}

/// What came of one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalBatch {
    /// The signer's word on the writer.
    pub enrolment: SignedEnrolment,
    /// Entries, in order.
    pub entries: Vec<SignedEntry>,
    /// The proof against the writer, if there is one.
    pub conflict: Option<Conflict>,
}

/// What was verified of one writer and may be written, then inserted; and what was refused.
#[derive(Debug)]
pub struct CheckedJournal {
    writer: Enrolment,
    standing: WriterRecord,
    /// What the journals hold of the writer; a row is written where the two differ.
    held: Option<WriterRecord>,
    frozen_at: Option<u64>,
    /// Verified entries that are new here or bring a body.
    pub accepted: Vec<Arc<VerifiedEntry>>,
    /// What was not accepted, and why.
    pub refused: Vec<Quarantined>,
}

/// What a writer writes.
#[derive(Debug, Clone)]
pub struct Posting {
    /// What sort of entry.
    pub kind: String,
    /// Who gets the body.
    pub audience: Audience,
    /// The content.
    pub body: Vec<u8>,
}

/// Whose journal is written, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// This node's enrolled key.
    pub key: &'a SigningKey,
    /// The signer's word on this node.
    pub enrolment: &'a SignedEnrolment,
    /// For the body's salt.
    pub random: &'a Random,
}

/// The journals of all writers. Cheap to clone: a clone shares every log that does not change.
#[derive(Debug, Clone, Default)]
pub struct Journals {
    logs: BTreeMap<NodeId, Arc<Log>>,
}

impl CheckedJournal {
    /// What must be on disk before it is inserted, in one write.
    pub fn rows(&self) -> Vec<Row> {
        let writer = &self.writer.node;
        let changed = Some(&self.standing).filter(|standing| Some(*standing) != self.held.as_ref());
        let standing = changed.map(|standing| Row {
            table: Table::JournalWriters,
            key: writer.as_str().as_bytes().to_vec(),
            value: wire::encode(Kind::State, standing).expect("what came in a message fits one"),
        });
        let entries = self.accepted.iter().map(|entry| Row {
            table: Table::JournalEntries,
            key: [writer.as_str().as_bytes(), &[0], &entry.entry.sequence.to_be_bytes()].concat(),
            value: wire::encode(Kind::JournalEntry, &entry.signed).expect("what came in a message fits one"),
        });
        standing.into_iter().chain(entries).collect()
    }
}

impl Journals {
    /// No journals.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The journals of these rows, in any order; what does not verify is left out and named. A writer's enrolment was verified before it
    /// was written, so a signer that has been revoked since takes nothing away.
    pub fn load(rows: &[Row], rules: &Rules) -> (Journals, Vec<Quarantined>) {
        let mut journals = Self::default();
        let mut quarantined = Vec::new();
        let mut lost = |row: &Row, refusal| {
            quarantined.push(Quarantined { hash: Hash::of(&row.value), operator: None, refusal });
        };
        for row in rows.iter().filter(|row| row.table == Table::JournalWriters) {
            match load_writer(row, rules) {
                Ok(log) => {
                    journals.logs.insert(log.writer.node.clone(), Arc::new(log));
                }
                Err(refusal) => lost(row, refusal),
            }
        }
        let mut entries: Vec<&Row> = rows.iter().filter(|row| row.table == Table::JournalEntries).collect();
        entries.sort_by(|one, two| one.key.cmp(&two.key));
        for row in entries {
            match journals.load_entry(row) {
                // Rows behind a conflict stay on disk and do not count.
                Ok(()) | Err(Refusal::Equivocation(_)) => {}
                Err(refusal) => lost(row, refusal),
            }
        }
        (journals, quarantined)
    }

    fn load_entry(&mut self, row: &Row) -> Result<(), Refusal> {
        let name = row.key.split(|byte| *byte == 0).next().unwrap_or_default();
        let log = std::str::from_utf8(name).ok().and_then(|name| self.logs.get_mut(name)).ok_or(Refusal::Malformed)?;
        let signed: SignedEntry =
            wire::decode(Kind::JournalEntry, &row.value, ROW_LEN_MAX).map_err(|_| Refusal::Malformed)?;
        let verified = Arc::new(signed.verify(&log.writer)?);
        log.judge(&verified)?;
        Arc::make_mut(log).take(&verified);
        Ok(())
    }

    /// Verifies what came of one writer and changes nothing. An error says that none of it was looked at.
    pub fn check(&self, batch: JournalBatch, rules: &Rules) -> Result<CheckedJournal, Refusal> {
        let writer = Enrolment::verify(&batch.enrolment, &rules.bundle)?;
        let mut log = self.log_for(writer, batch.enrolment)?;
        let (frozen_before, mut accepted, mut refused) = (log.frozen_at(), Vec::new(), Vec::new());
        if let Some(conflict) = batch.conflict {
            match conflict.verify(&log.writer) {
                Ok(at) => log.freeze(at, conflict),
                Err(refusal) => refused.push(quarantined(&conflict.one, refusal)),
            }
        }
        let mut size = self.size();
        for signed in batch.entries {
            let header = signed.signed.clone();
            match take(&mut log, signed, (size, rules.now)) {
                Ok(Some(verified)) => {
                    size += verified.signed.size();
                    accepted.push(verified);
                }
                Ok(None) => {}
                Err(refusal) => refused.push(quarantined(&header, refusal)),
            }
        }
        // What was taken and then contradicted is not written.
        accepted.retain(|entry| log.frozen_at().is_none_or(|at| entry.entry.sequence < at));
        let newly_frozen = log.frozen_at().filter(|at| Some(*at) != frozen_before);
        if let (Some(at), Some(conflict)) = (newly_frozen, &log.standing.conflict) {
            refused.push(quarantined(&conflict.two, Refusal::Equivocation(at)));
        }
        let held = self.logs.get(&log.writer.node).map(|held| held.standing.clone());
        let frozen_at = log.frozen_at();
        Ok(CheckedJournal { writer: log.writer, standing: log.standing, held, frozen_at, accepted, refused })
    }

    /// The writer's log, with the newer of its enrolments.
    fn log_for(&self, writer: Enrolment, enrolment: SignedEnrolment) -> Result<Log, Refusal> {
        let Some(held) = self.logs.get(&writer.node) else {
            if self.logs.len() >= WRITERS_MAX {
                return Err(Refusal::Full("it holds 1,000 journals"));
            }
            return Ok(Log::new(writer, enrolment));
        };
        if held.writer.key != writer.key {
            return Err(Refusal::OtherWriter(writer.node));
        }
        let mut log = Log::clone(held);
        if writer.serial > held.writer.serial {
            log.standing.enrolment = enrolment;
            log.writer = writer;
        }
        Ok(log)
    }

    /// Takes in what was checked and is on disk.
    pub fn insert(&mut self, checked: CheckedJournal) {
        let CheckedJournal { writer, standing, frozen_at, accepted, .. } = checked;
        let log = self
            .logs
            .entry(writer.node.clone())
            .or_insert_with(|| Arc::new(Log::new(writer.clone(), standing.enrolment.clone())));
        let log = Arc::make_mut(log);
        if writer.serial > log.writer.serial {
            log.standing.enrolment = standing.enrolment;
            log.writer = writer;
        }
        if let (Some(at), Some(conflict)) = (frozen_at, standing.conflict) {
            log.freeze(at, conflict);
        }
        for entry in &accepted {
            log.take(entry);
        }
    }

    /// Makes this node's next entry; its rows must be on disk before it is inserted and before anyone is told of it. A node that was
    /// restored from an old copy of its disk must pull its own journal from the others first, or it contradicts itself.
    pub fn append(&self, posting: Posting, writing: &Writing<'_>, rules: &Rules) -> Result<CheckedJournal, Failure> {
        let claim = writing.enrolment.claim().map_err(|_| refused(&Refusal::Malformed))?;
        let log = self.logs.get(&claim.node);
        let last = log.and_then(|log| log.entries().last());
        let mut salt = [0; 16];
        writing.random.fill(&mut salt);
        let body = Body { salt, bytes: posting.body };
        let entry = JournalEntry {
            mesh: claim.mesh,
            writer: claim.node,
            sequence: log.map_or(0, |log| log.len()) + 1,
            previous: last.map(|last| last.hash),
            // A clock that was set back must not break the chain.
            at: last.map_or(rules.now, |last| last.entry.at.max(rules.now)),
            kind: posting.kind,
            audience: posting.audience,
            body: body.hash(),
        };
        let signed = Signed::sign(&entry, JOURNAL_CONTEXT, writing.key)
            .map_err(|error| Failure::new(Code::Internal, format!("encode a journal entry: {error}")))?;
        let batch = JournalBatch {
            enrolment: writing.enrolment.clone(),
            entries: vec![SignedEntry { signed, body: Some(body) }],
            conflict: None,
        };
        let checked = self.check(batch, rules).map_err(|refusal| refused(&refusal))?;
        match checked.refused.first() {
            Some(quarantined) => Err(refused(&quarantined.refusal)),
            None => Ok(checked),
        }
    }

    /// Where each journal ends here, in the order of the writers.
    pub fn heads(&self) -> Vec<JournalHead> {
        self.logs.values().map(|log| log.head()).collect()
    }

    /// Where this one ends here.
    pub fn head(&self, writer: &NodeId) -> Option<JournalHead> {
        self.logs.get(writer).map(|log| log.head())
    }

    /// The entry of this number.
    pub fn entry(&self, writer: &NodeId, sequence: u64) -> Option<&Arc<VerifiedEntry>> {
        self.logs.get(writer)?.at(sequence)
    }

    /// What a reader lacks of one journal after an entry that it has: at least one entry and then as many as fit `bytes_max`. Bodies for
    /// gateways go to gateways.
    pub fn since(&self, from: &JournalPlace, bytes_max: usize, reader: Reader) -> Option<(JournalBatch, More)> {
        let log = self.logs.get(&from.writer)?;
        let (entries, more) = log.since(from.after, from.last, bytes_max, reader);
        let WriterRecord { enrolment, conflict } = log.standing.clone();
        Some((JournalBatch { enrolment, entries, conflict }, more))
    }

    /// All entries of all writers, by time, then writer, then number.
    pub fn merged(&self) -> impl Iterator<Item = &Arc<VerifiedEntry>> {
        let mut all: Vec<&Arc<VerifiedEntry>> = self.logs.values().flat_map(|log| log.entries()).collect();
        all.sort_by_key(|held| (held.entry.at, &held.entry.writer, held.entry.sequence));
        all.into_iter()
    }

    /// Bytes of all journals.
    pub fn size(&self) -> usize {
        self.logs.values().map(|log| log.size()).sum()
    }
}

/// How far a reader has one journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPlace {
    /// Whose.
    pub writer: NodeId,
    /// The number of the last entry that the reader has; 0 for none.
    pub after: u64,
    /// Its hash.
    pub last: Option<Hash>,
}

/// Verifies one entry and takes it into the log. None if it is there already.
fn take(log: &mut Log, signed: SignedEntry, held: (usize, Timestamp)) -> Result<Option<Arc<VerifiedEntry>>, Refusal> {
    let (size, now) = held;
    let verified = Arc::new(signed.verify(&log.writer)?);
    let ahead = verified.entry.at.since(now);
    if ahead > CLOCK_LEAD_MAX {
        return Err(Refusal::Ahead(ahead.as_secs()));
    }
    match log.judge(&verified)? {
        Step::Nothing => Ok(None),
        Step::Contradicts(conflict) => {
            log.freeze(verified.entry.sequence, *conflict);
            Ok(None)
        }
        Step::Follows | Step::Fills if size + verified.signed.size() > JOURNALS_SIZE_MAX => {
            Err(Refusal::Full("all journals hold 256 MiB"))
        }
        Step::Follows | Step::Fills => {
            log.take(&verified);
            Ok(Some(verified))
        }
    }
}

fn load_writer(row: &Row, rules: &Rules) -> Result<Log, Refusal> {
    let record: WriterRecord = wire::decode(Kind::State, &row.value, ROW_LEN_MAX).map_err(|_| Refusal::Malformed)?;
    let writer = record.enrolment.claim().map_err(|_| Refusal::Malformed)?;
    if writer.mesh != rules.bundle.mesh {
        return Err(Refusal::OtherMesh(writer.mesh));
    }
    if writer.node.as_str().as_bytes() != row.key {
        return Err(Refusal::OtherWriter(writer.node));
    }
    // A signer that was revoked or removed since takes nothing away, but what its key did not sign was not written here.
    let signer = rules.bundle.signers.iter().find(|signer| signer.node == writer.signer);
    if signer.is_some_and(|signer| record.enrolment.verify(ENROLMENT_CONTEXT, &signer.key).is_err()) {
        return Err(Refusal::Signature);
    }
    let mut log = Log::new(writer, record.enrolment);
    if let Some(conflict) = record.conflict {
        log.freeze(conflict.verify(&log.writer)?, conflict);
    }
    Ok(log)
}

fn quarantined(signed: &Signed<JournalEntry>, refusal: Refusal) -> Quarantined {
    Quarantined { hash: Hash::of(signed.bytes()), operator: None, refusal }
}

fn refused(refusal: &Refusal) -> Failure {
    let code = if matches!(refusal, Refusal::Full(_)) { Code::LedgerFull } else { Code::JournalRefused };
    Failure::new(code, format!("write to this node's journal: {refusal}"))
}

#[cfg(test)]
mod tests;
