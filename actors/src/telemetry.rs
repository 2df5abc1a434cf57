//! The metrics of one node: a recorder that its parts share and the text that is read. The global recorder is never used, because several
//! nodes may share a process.

use std::sync::Arc;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::metrics::RESTARTS_TOTAL;

/// Bounds of the latency histograms, in seconds: from a call in memory to the total timeout.
const LATENCY_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The metrics of one node. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Telemetry {
    /// Empty metrics.
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // The bounds are a constant that is not empty, which is all that is checked.
        let builder = builder.set_buckets(LATENCY_BOUNDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = Arc::new(builder.build_recorder());
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// What handles are made from.
    pub fn recorder(&self) -> Arc<PrometheusRecorder> {
        Arc::clone(&self.recorder)
    }

    /// The same, to keep.
    pub fn shared_recorder(&self) -> Arc<PrometheusRecorder> {
        Arc::clone(&self.recorder)
    }

    /// The Prometheus text.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// The restarts of one actor.
    pub(crate) fn restarts(&self, actor: &'static str) -> Counter {
        let key = Key::from_parts(RESTARTS_TOTAL, vec![Label::new("actor", actor)]);
        self.recorder.register_counter(&key, &METADATA)
    }

    /// A counter of this node.
    pub(crate) fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    /// A gauge of this node.
    pub(crate) fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }

    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

static METADATA: Metadata<'static> = Metadata::new("weft", Level::INFO, None);
