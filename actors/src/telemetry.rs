//! The Telemetry actor: the figures of the tree itself, and the upkeep of the recorder.
//!
//! - Owns: nothing; the recorder is given to the node, because parts outside the tree record, too.
//! - Receives: a tick.
//! - Publishes: gauges for certificates and peers.
//! - A crash loses: nothing.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;
use weft_identity::Failure;

use crate::core::Core;
use crate::metrics::{
    CERTIFICATE_EXPIRY, CERTIFICATE_EXPIRY_HELP, PEERS, PEERS_HELP, RESTARTS_TOTAL, RESTARTS_TOTAL_HELP,
};
use crate::shell::Role;

/// Space between two rounds of upkeep: histograms grow until they are drained.
const TICK: Duration = Duration::from_secs(5);
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

    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

/// What Telemetry is sent.
pub(crate) enum Message {
    /// Bring the gauges up to date.
    Tick,
}

/// Telemetry's state.
pub(crate) struct Figures {
    core: Arc<Core>,
    ticker: JoinHandle<()>,
}

impl Role for Figures {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let recorder = core.telemetry.recorder();
        recorder.describe_counter(RESTARTS_TOTAL.into(), None, RESTARTS_TOTAL_HELP.into());
        recorder.describe_gauge(CERTIFICATE_EXPIRY.into(), None, CERTIFICATE_EXPIRY_HELP.into());
        recorder.describe_gauge(PEERS.into(), None, PEERS_HELP.into());
        let ticker = core.telemetry_actor.tick(TICK, || Message::Tick);
        Ok(Self { core, ticker })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Tick => self.record(),
        }
        Ok(())
    }
}

impl Figures {
    fn record(&self) {
        let core = &self.core;
        core.telemetry.upkeep();
        let gauge = |name, labels: Vec<Label>, value: f64| gauge(core, name, labels).set(value);
        for certificate in core.certificates.load().iter() {
            let seconds = certificate.not_after.0 as f64 / 1000.0;
            gauge(CERTIFICATE_EXPIRY, vec![Label::new("identity", certificate.id.to_string())], seconds);
        }
        gauge(PEERS, Vec::new(), core.members.borrow().peers() as f64);
    }
}

impl Drop for Figures {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

/// A counter of this node.
pub(crate) fn counter(core: &Core, name: &'static str, labels: Vec<Label>) -> metrics::Counter {
    core.telemetry.recorder().register_counter(&Key::from_parts(name, labels), &METADATA)
}

/// A gauge of this node.
pub(crate) fn gauge(core: &Core, name: &'static str, labels: Vec<Label>) -> metrics::Gauge {
    core.telemetry.recorder().register_gauge(&Key::from_parts(name, labels), &METADATA)
}

static METADATA: Metadata<'static> = Metadata::new("weft", Level::INFO, None);
