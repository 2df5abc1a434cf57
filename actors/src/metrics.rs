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
