//! What Policy is sent, and what it publishes to the other actors.

use weft_ledger::LedgerMark;

/// What Policy is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message {
    /// Compile what is in force now.
    Changed,
    /// What was being compiled is compiled.
    Compiled,
}

/// What became of the documents in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyReport {
    /// What the members are told.
    pub(crate) mark: LedgerMark,
    /// The mistakes for which the documents of the mark's head are not in force; empty if they are.
    pub(crate) mistakes: Vec<String>,
}
