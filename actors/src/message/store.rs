//! What the Store is sent, and the rows that it keeps.

use weft_identity::Failure;
use weft_ledger::Row;

use crate::address::Reply;

/// The rows, each written by one actor.
pub(crate) mod key {
    /// The last generation of the membership.
    pub(crate) const GENERATION: &str = "generation";
    /// The last view of the membership.
    pub(crate) const RECORDS: &str = "records";
    /// The services that this node offers.
    pub(crate) const EXPOSED: &str = "exposed";
    /// The local ports that lead to services.
    pub(crate) const BINDINGS: &str = "bindings";
    /// Those of the first whose streams begin with a PROXY header.
    pub(crate) const EXPOSED_PROXIED: &str = "exposed-proxied";
    /// The local ports that lead to services by server name.
    pub(crate) const BINDINGS_BY_NAME: &str = "bindings-by-name";
    /// Those of both whose streams begin with a PROXY header.
    pub(crate) const BINDINGS_PROXIED: &str = "bindings-proxied";
    /// The documents that could be compiled last.
    pub(crate) const POLICY: &str = "policy";
    /// What the signer knows of tokens and nodes.
    pub(crate) const SIGNER: &str = "signer";
}

/// What the Store is sent.
pub(crate) enum Message {
    /// Write a row, durably, then answer.
    Write(&'static str, Vec<u8>, Reply<Result<(), Failure>>),
    /// Write rows of the ledger in one transaction, durably, then answer.
    Append(Vec<Row>, Reply<Result<(), Failure>>),
    /// Read every row of the ledger.
    Rows(Reply<Result<Vec<Row>, Failure>>),
    /// Read a row.
    Read(&'static str, Reply<Result<Option<Vec<u8>>, Failure>>),
}
