//! The signed ledger: what operators changed, from any node, also while the mesh was split. A graph of signed change sets, of which
//! every node computes the same state (decision 8); and the journals, the signed logs of single nodes. Pure: the Ledger actor keeps
//! it, the store writes its rows, [`sync`] says how nodes ask each other.
//!
//! - [`Document`], [`Change`], [`ChangeSet`]: what is signed
//! - [`Rules`]: by what is judged who may sign, the bundle and the time
//! - [`Ledger::check`], [`Checked::rows`], [`Ledger::insert`]: verify, write, count, in this order
//! - [`Ledger::state`], [`Ledger::history`]: what it adds up to
//! - [`Ledger::draft`], [`Draft::sign`]: making the next one
//! - [`journal`]: the second family

mod batch;
mod change_set;
mod document;
mod draft;
mod entry;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hash;
mod history;
pub mod journal;
mod ledger;
mod mark;
mod operators;
mod refusal;
mod row;
mod state;
pub mod sync;
#[cfg(test)]
mod testing;

pub use batch::{Batch, Checked};
pub use change_set::{
    CHANGE_SET_CONTEXT, CHANGES_MAX, CONFIRM_SPAN_MAX, Change, ChangeSet, MESSAGE_LEN_MAX, PARENTS_MAX, SignedChangeSet,
};
pub use document::{
    Document, DocumentError, DocumentId, DocumentParts, FILE_LEN_MAX, KIND_LEN_MAX, SERVICES_MAX, TEXT_LEN_MAX,
};
pub use draft::{Difference, DifferenceKind, Draft, Prune, SignedDraft, Signing};
pub use entry::Entry;
pub use hash::{Hash, HashError};
pub use history::{HistoryRow, RevisionName};
pub use ledger::{CHANGE_SETS_MAX, DOCUMENTS_SIZE_MAX, Head, Ledger};
pub use mark::{LedgerMark, MARK_REASON_LEN_MAX, MARK_TIPS_MAX};
pub use operators::{CLOCK_LEAD_MAX, Rules, Vouched};
pub use refusal::{Quarantined, REFUSAL_LABELS, Refusal};
pub use row::{ROW_LEN_MAX, Row, Table};
pub use state::{Standing, State, StateEntry};
