//! What Telemetry is sent.

/// What Telemetry is sent.
pub(crate) enum Message {
    /// Bring the gauges up to date.
    Tick,
}
