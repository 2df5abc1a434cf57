//! The Telemetry actor: the figures of the tree itself, and the upkeep of the recorder.
//!
//! - Owns: nothing; the recorder is given to the node, because parts outside the tree record, too.
//! - Receives: a tick.
//! - Publishes: gauges for certificates and peers.
//! - A crash loses: nothing.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, Recorder};
use tokio::task::JoinHandle;
use weft_identity::Failure;

use crate::core::Core;
use crate::message::telemetry::Message;
use crate::metrics::{
    CERTIFICATE_EXPIRY, CERTIFICATE_EXPIRY_HELP, PEERS, PEERS_HELP, RESTARTS_TOTAL, RESTARTS_TOTAL_HELP,
};
use crate::shell::Role;

/// Space between two rounds of upkeep: histograms grow until they are drained.
const TICK: Duration = Duration::from_secs(5);

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
        let gauge = |name, labels: Vec<Label>, value: f64| core.telemetry.gauge(name, labels).set(value);
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
