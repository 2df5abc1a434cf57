//! Watches over what stays open: a connection whose peer is no longer believed ends, and a stream or answer that the documents no longer
//! allow, or that was opened with a label which this node has lost. And it ends what is due, or closed with its listener. One [`Watch`] a
//! task; while nothing changes it costs a wait one load.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use weft_env::{Clock, Timestamp};
use weft_identity::GrantedLabels;
use weft_identity::Protocol;
use weft_identity::{Code, ServiceName};
use weft_policy::fields::Known;
use weft_policy::{Call, Caller, RequestView};
use weft_world::{World, WorldCell};

use crate::bell::Seat;
use crate::head::RequestHead;
use crate::problem::Refusal;
use crate::proxy::{Arrival, name_host, normal_path};
use crate::timer::Timer;
use crate::worker::{Gate, Phase, Worker};

/// The certificates that the other end of a connection proved itself with.
pub(crate) type Chain = Arc<[CertificateDer<'static>]>;

/// What something open rests on; it ends with the first that falls.
#[derive(Default)]
pub(crate) struct Footing<'a> {
    /// As what it was let pass, where it arrived.
    pub(crate) permit: Option<Permit<'a>>,
    /// What the node at its other end proved itself with.
    pub(crate) peer: Option<Chain>,
    /// The labels with which this node called.
    pub(crate) labels: Option<&'a Arc<GrantedLabels>>,
}

/// What was let pass, and may be asked again.
#[derive(Clone, Copy)]
pub(crate) struct Permit<'a> {
    pub(crate) caller: Caller<'a>,
    pub(crate) called: &'a ServiceName,
    pub(crate) subject: Subject<'a>,
}

/// What passed.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A stream to a service of this protocol.
    Stream(Protocol),
    /// A request.
    Request(&'a RequestHead),
}

/// Why something open ends before its end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// Its time is over.
    Due,
    /// Its listener is closed.
    Closed,
    /// It is no longer allowed, its peer no longer believed, or a label lost.
    Refused(Box<Refusal>),
}

/// What one task listens to beside its sockets.
pub(crate) struct Watch {
    world: Arc<WorldCell>,
    gate: Arc<Gate>,
    /// What the caller's end of the connection proved itself with.
    caller: Option<Chain>,
    clock: Clock,
    old_at: Option<Instant>,
    seat: Seat,
    timer: Timer,
}

impl Watch {
    /// Of a task that serves something which came in by this gate.
    pub(crate) fn new(worker: &Worker, world: &Arc<WorldCell>, gate: &Arc<Gate>, caller: Option<Chain>) -> Self {
        let mut seat = worker.bell().sit();
        // What happened between the handshake and now is looked at, too.
        seat.look_again();
        Self {
            world: Arc::clone(world),
            gate: Arc::clone(gate),
            caller,
            clock: worker.env.clock.clone(),
            old_at: None,
            seat,
            timer: Timer::default(),
        }
    }

    /// Another one, for a task of its own on the same connection.
    pub(crate) fn another(&self, worker: &Worker) -> Self {
        Self::new(worker, &self.world, &self.gate, self.caller.clone())
    }

    /// One for an upstream connection of this worker that outlives its first exchange.
    pub(crate) fn of_upstream(worker: &Worker, world: &Arc<WorldCell>) -> Self {
        Self::new(worker, world, &Gate::always_open(), None)
    }

    /// The time of day.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// What has been heard so far. What is decided after this rests on no less.
    pub(crate) fn heard(&self) -> u64 {
        self.seat.heard()
    }

    /// From here on something else is open, which was decided about then: what changed since is looked at again with its footing.
    pub(crate) fn rests_since(&mut self, heard: u64) {
        self.seat.listen_since(heard);
    }

    /// The world that is watched.
    pub(crate) fn world(&self) -> &Arc<WorldCell> {
        &self.world
    }

    /// The listener.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The connection is asked to end from this moment on, after its requests.
    pub(crate) fn ages_at(&mut self, moment: Option<Instant>) {
        self.old_at = moment;
    }

    /// Whether what is served should come to its end: the listener drains, or the connection is old.
    pub(crate) fn is_draining(&self) -> bool {
        self.gate.phase() != Phase::Open || self.old_at.is_some_and(|moment| moment <= Instant::now())
    }

    /// Waits for `poll`, until `due`, or until what is open has to end.
    pub(crate) async fn until<T>(
        &mut self,
        due: Option<Instant>,
        footing: &Footing<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Cut> {
        self.timer.set(due);
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_cut(cx, footing).map(Err),
        })
        .await
    }

    /// Waits for what may take so long, or until what is open has to end.
    pub(crate) async fn within<T>(&mut self, span: Duration, waited: impl Future<Output = T>) -> Result<T, Cut> {
        let mut waited = std::pin::pin!(waited);
        self.until(Some(Instant::now() + span), &Footing::default(), |cx| waited.as_mut().poll(cx)).await
    }

    /// Sets the moment for [`Watch::poll_cut`].
    pub(crate) fn due_at(&mut self, due: Option<Instant>) {
        self.timer.set(due);
    }

    /// Ready when what is open has to end.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>, footing: &Footing<'_>) -> Poll<Cut> {
        if self.seat.has_rung(cx)
            && let Some(cut) = self.look(footing)
        {
            self.seat.look_again();
            return Poll::Ready(cut);
        }
        if self.timer.is_due(cx) { Poll::Ready(Cut::Due) } else { Poll::Pending }
    }

    fn look(&self, footing: &Footing<'_>) -> Option<Cut> {
        if self.gate.phase() == Phase::Closed {
            return Some(Cut::Closed);
        }
        let world = self.world.load();
        let refused = |refusal| Some(Cut::Refused(Box::new(refusal)));
        for chain in self.caller.iter().chain(&footing.peer) {
            if let Err(refusal) = believed(&world, chain) {
                return refused(refusal);
            }
        }
        if let Some(labels) = footing.labels
            && world.credentials.labels().is_some_and(|own| !own.includes(labels))
        {
            let why =
                format!("it was opened with the granted labels {labels}, and this node no longer has all of them");
            return refused(Refusal::new(Code::NotAllowed, why));
        }
        match footing.permit.as_ref().map(|permit| permit.holds(&world)) {
            Some(Err(refusal)) => refused(refusal),
            _ => None,
        }
    }
}

/// Whether the peer of a connection is believed in this world.
pub(crate) fn believed(world: &World, chain: &Chain) -> Result<(), Refusal> {
    world.trust.recheck(chain).map_err(|refusal| Refusal::new(Code::IdentityRefused, refusal.to_string()))
}

impl Permit<'_> {
    /// Whether it would pass in this world.
    fn holds(&self, world: &World) -> Result<(), Refusal> {
        let arrival = Arrival::new(world, self.caller, self.called);
        let head = match self.subject {
            Subject::Stream(protocol) => return arrival.stream_goes_on(protocol),
            Subject::Request(head) => head,
        };
        if !world.policy.reads_requests(self.called) {
            return arrival.goes_on(Call::Tcp);
        }
        let path = normal_path(head)?;
        let named;
        let headers = if head.fields.has(Known::Host) {
            &head.fields
        } else {
            // Nobody looked at requests when it was decided about.
            let mut fields = head.fields.clone();
            name_host(&mut fields, &head.authority);
            named = fields;
            &named
        };
        let view = RequestView { method: &head.method, path: &path, query: head.query(), headers };
        arrival.goes_on(Call::Http(&view))
    }
}

/// What the other end of a TLS connection proved itself with.
pub(crate) fn chain_of(tls: &rustls::CommonState) -> Option<Chain> {
    tls.peer_certificates().map(|chain| chain.iter().map(|part| part.clone().into_owned()).collect())
}

#[cfg(test)]
mod tests;
