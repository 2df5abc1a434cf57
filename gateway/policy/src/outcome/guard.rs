//! The guard of a try: made when it begins, told its outcome once, dropped when the exchange is over.

use std::sync::Arc;

use super::{Change, Outcome, Taken, Terms};
use crate::endpoint::Endpoint;

/// Who has the time for tries, and hears what becomes of endpoints by them. Cloned once a try, so that it should be cheap to clone.
pub trait Witness {
    /// Nanoseconds of the data path's clock, the same for all workers.
    fn now_ns(&self) -> u64;

    /// An endpoint was ejected, or came back: to be counted and logged.
    fn changed(&self, endpoint: &Endpoint, change: Change);
}

/// One try at an endpoint. Counts as waiting there until its outcome is reported, and as in flight until it is dropped: hold it until the
/// last byte of the answer, or the end of the stream. Dropped without an outcome it was cancelled by its caller.
#[derive(Debug)]
pub struct Try<W: Witness> {
    endpoint: Arc<Endpoint>,
    witness: W,
    terms: Terms,
    began_ns: u64,
    /// When the whole request was with a connection; none while it is being sent.
    asked_ns: Option<u64>,
    is_probe: bool,
    progress: Progress,
}

/// How far a try is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Reported,
}

impl<W: Witness> Try<W> {
    /// Begins a try at an endpoint, which counts at once. Where the endpoint was ejected and that time is over, this try finds out whether
    /// it is back.
    pub fn begin(endpoint: &Arc<Endpoint>, terms: Terms, witness: W) -> Self {
        let began_ns = witness.now_ns();
        endpoint.load.begin(began_ns);
        let is_probe = endpoint.load.is_probe(began_ns);
        let endpoint = Arc::clone(endpoint);
        Self { endpoint, witness, terms, began_ns, asked_ns: Some(began_ns), is_probe, progress: Progress::Waiting }
    }

    /// Where it is made.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether it finds out if an ejected endpoint is back: the call would not be here otherwise, so that its failure is retried more freely
    /// ([`next_step`](crate::retry::next_step)).
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The request is given to a connection. Until [`Try::asked`] its endpoint is not waited for, however long the caller takes to send.
    pub fn sends(&mut self) {
        self.asked_ns = None;
    }

    /// The whole request was sent: its latency counts from here. May be called again for another connection.
    pub fn asked(&mut self) {
        self.asked_ns = Some(self.witness.now_ns());
    }

    /// Reports what became of the try; the first report counts.
    pub fn report(&mut self, outcome: Outcome) {
        if self.progress == Progress::Reported {
            return;
        }
        self.progress = Progress::Reported;
        self.endpoint.load.settle();
        let taken = self.taken();
        if let Some(change) = self.endpoint.load.learn(outcome, &taken, &self.terms) {
            self.witness.changed(&self.endpoint, change);
        }
    }

    /// Reports that the endpoint broke its answer off after the head. Not for a TCP stream, which may end as it likes.
    pub fn broke(&mut self) {
        self.endpoint.load.broke(&self.taken());
    }

    fn taken(&self) -> Taken {
        let ended_ns = self.witness.now_ns();
        Taken { began_ns: self.began_ns, asked_ns: self.asked_ns.unwrap_or(ended_ns), ended_ns }
    }
}

impl<W: Witness> Drop for Try<W> {
    fn drop(&mut self) {
        self.report(Outcome::Cancelled);
        self.endpoint.load.leave();
    }
}
