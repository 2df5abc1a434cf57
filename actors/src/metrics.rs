//! The names of this crate's metrics, with their help texts.

/// Restarts of an actor, by its name.
pub const RESTARTS_TOTAL: &str = "weft_actor_restarts_total";
/// Help of [`RESTARTS_TOTAL`].
pub const RESTARTS_TOTAL_HELP: &str = "Restarts of an actor after a crash, by actor";
/// When a certificate ends.
pub const CERTIFICATE_EXPIRY: &str = "weft_certificate_expiry_timestamp_seconds";
/// Help of [`CERTIFICATE_EXPIRY`].
pub const CERTIFICATE_EXPIRY_HELP: &str =
    "When a certificate of this node ends, in seconds since the epoch, by identity";
/// Members but this node.
pub const PEERS: &str = "weft_gossip_peers";
/// Help of [`PEERS`].
pub const PEERS_HELP: &str = "Members of the cell that this node knows, itself not counted";
/// What was refused of the ledger, by reason.
pub const LEDGER_REFUSED: &str = "weft_ledger_refused_total";
/// Help of [`LEDGER_REFUSED`].
pub const LEDGER_REFUSED_HELP: &str = "Change sets and journal entries that were refused, by reason";
/// The highest revision that this node holds.
pub const LEDGER_REVISION: &str = "weft_ledger_revision";
/// Help of [`LEDGER_REVISION`].
pub const LEDGER_REVISION_HELP: &str = "The highest revision of the ledger that this node holds";
/// Whether the documents in force could not be compiled.
pub const POLICY_REFUSED: &str = "weft_policy_refused";
/// Help of [`POLICY_REFUSED`].
pub const POLICY_REFUSED_HELP: &str =
    "1 while the documents of the newest revision cannot be compiled here and older ones are in force";
