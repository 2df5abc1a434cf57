//! What is kept on disk of ledger and journals: rows of bytes, which the store writes and brings back.

use weft_identity::MeshName;
use weft_identity::wire::{self, Kind};

use super::Ledger;
use super::batch::{Batch, Source};
use super::change_set::SignedChangeSet;
use super::document::Document;
use super::entry::Entry;
use super::hash::Hash;
use super::operators::Rules;
use super::refusal::{Quarantined, Refusal};

/// Longest row, in bytes: a signed message, or a document of 64 KiB, or a journal's entry with its enrolment.
pub const ROW_LEN_MAX: usize = 512 * 1024;

/// Which table of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Change sets, by revision (8 bytes, big endian) and hash.
    ChangeSets,
    /// Documents, by hash.
    Documents,
    /// Journals' entries, by writer, a zero byte and sequence (8 bytes, big endian).
    JournalEntries,
    /// Writers' enrolments and the proofs against them, by writer.
    JournalWriters,
}

/// One row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it belongs.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Row {
    pub(super) fn of_document(hash: Hash, document: &Document) -> Self {
        let value = wire::encode(Kind::Document, document).expect("what is within its limits is below the wire's");
        Self { table: Table::Documents, key: hash.0.to_vec(), value }
    }

    pub(super) fn of_change_set(entry: &Entry) -> Self {
        let key = [&entry.change_set.revision.to_be_bytes()[..], &entry.hash.0].concat();
        let value = wire::encode(Kind::ChangeSet, &entry.signed).expect("what came in a message fits one");
        Self { table: Table::ChangeSets, key, value }
    }
}

/// The ledger of these rows; what does not verify is left out and named.
pub(super) fn load(mesh: MeshName, rows: &[Row], rules: &Rules) -> (Ledger, Vec<Quarantined>) {
    let mut quarantined = Vec::new();
    let mut batch = Batch::default();
    for row in rows {
        let taken = match row.table {
            Table::Documents => document(row).map(|document| batch.documents.push(document)),
            Table::ChangeSets => wire::decode::<SignedChangeSet>(Kind::ChangeSet, &row.value, ROW_LEN_MAX)
                .map(|signed| batch.change_sets.push(signed))
                .map_err(|_| Refusal::Malformed),
            Table::JournalEntries | Table::JournalWriters => Ok(()),
        };
        if let Err(refusal) = taken {
            quarantined.push(Quarantined { hash: Hash::of(&row.value), operator: None, refusal });
        }
    }
    let mut ledger = Ledger::empty(mesh);
    let mut checked = ledger.check_from(Source::Disk, batch, rules);
    quarantined.append(&mut checked.refused);
    ledger.insert(checked);
    (ledger, quarantined)
}

fn document(row: &Row) -> Result<Document, Refusal> {
    let document: Document = wire::decode(Kind::Document, &row.value, ROW_LEN_MAX).map_err(|_| Refusal::Malformed)?;
    if document.hash().0 == *row.key { Ok(document) } else { Err(Refusal::Malformed) }
}
