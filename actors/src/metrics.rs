//! The names of this crate's metrics, with their help texts.

/// Restarts of an actor, by its name.
pub(crate) const RESTARTS_TOTAL: &str = "weft_actor_restarts_total";
/// Help of [`RESTARTS_TOTAL`].
pub(crate) const RESTARTS_TOTAL_HELP: &str = "Restarts of an actor after a crash, by actor";
