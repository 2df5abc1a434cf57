//! What Upstreams is sent.

/// What Upstreams is sent.
pub(crate) enum Message {
    /// Members or local replicas changed.
    Changed,
}
