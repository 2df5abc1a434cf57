//! One exchange from its head to its end: what it holds while it lasts, and what is recorded when it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request};
use tokio::time::Instant;
use weft_identity::{Code, SpiffeId};
use weft_policy::endpoint::Endpoint;
use weft_world::{Credential, LocalReplica, World, WorldCell};

use super::held::Held;
use super::judged::{Judged, Other};
use super::{Arrival, Copied, Deadline};
use crate::access_log::Line;
use crate::explain;
use crate::http1::Http1;
use crate::metrics::{Direction, Meter, Slot};
use crate::pool::Host;
use crate::problem::Refusal;
use crate::refusals::RefusalRecord;
use crate::vigil::{self, Chain, Footing, Passed, Permit};
use crate::worker::Worker;

/// Longest that a called node waits for its application because the caller does.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not yet, or the caller went away.
    Open,
    /// The answer was read whole.
    Complete,
    /// The answer broke off.
    Broken,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answerer {
    /// Another node.
    Peer,
    /// An application of this machine.
    Application,
}

/// One request and its answer, or one stream. Dropping it counts it out and records it.
pub(crate) struct Exchange {
    worker: Arc<Worker>,
    direction: Direction,
    started: Instant,
    deadline: Deadline,
    meter: Option<Arc<Meter>>,
    status: u16,
    code: Option<Code>,
    sent_bytes: u64,
    end: End,
    answered_by: Option<Answerer>,
    lease: Option<(Host, Http1)>,
    held: Held,
    asked: Option<Asked>,
    /// What the documents say of it.
    pub(super) judged: Judged,
    patience: Option<Duration>,
    slots: Vec<Slot>,
    footing: Footing,
    /// Bytes of a stream from the caller and to it.
    flows: Option<(Arc<AtomicU64>, Arc<AtomicU64>)>,
    /// The request, while its answer is on its way.
    passed: Option<Passed>,
    /// Ends when the documents no longer allow it; there from the first wait for more of the answer on.
    disallowed: Option<Pin<Box<dyn Future<Output = Refusal> + Send + Sync>>>,
}

/// What the access log and a refusal say of the request.
struct Asked {
    method: Option<Method>,
    path: Option<PathAndQuery>,
    trace: Option<HeaderValue>,
}

impl Exchange {
    /// Takes an exchange in; none when the worker is at its limit.
    pub(crate) fn start(worker: &Arc<Worker>, direction: Direction) -> Option<Box<Self>> {
        worker.enter().then(|| {
            Box::new(Self {
                worker: Arc::clone(worker),
                direction,
                started: Instant::now(),
                deadline: Deadline::at(None),
                meter: None,
                status: 0,
                code: None,
                sent_bytes: 0,
                end: End::Open,
                answered_by: None,
                lease: None,
                held: Held::Nothing,
                asked: None,
                judged: Judged::default(),
                patience: None,
                slots: Vec::new(),
                footing: Footing::default(),
                flows: None,
                passed: None,
                disallowed: None,
            })
        })
    }

    /// When it began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Sets when it must be over, or that it may last; replaces an earlier one. What goes on after that is cut.
    pub(crate) fn ends_by(&mut self, moment: Option<Instant>) {
        self.deadline = Deadline::at(moment);
    }

    /// When it must be over, if it must.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.moment()
    }

    /// When the head of the answer must be here: within the timeout of requests, which is the node's own where none is stated, and
    /// before the end.
    pub(crate) fn head_by(&self, stated: Option<Duration>) -> Instant {
        let by = self.started + stated.or(self.patience).unwrap_or(self.worker.settings().request_timeout);
        self.deadline().map_or(by, |end| end.min(by))
    }

    /// Notes how many milliseconds the caller waits, as its node says; no longer than any document may.
    pub(crate) fn waited_for(&mut self, ms: &HeaderValue) {
        let ms = ms.to_str().ok().and_then(|text| text.parse().ok());
        self.patience = ms.map(|ms| Duration::from_millis(ms).min(PATIENCE_MAX));
    }

    /// Whether it should be over; from then on its answer counts as broken off. Wakes the task at that moment.
    pub(crate) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let late = self.deadline.has_passed(cx);
        if late {
            self.broken();
        }
        late
    }

    /// Keeps a request that was let pass here, to decide it again while its answer lasts.
    pub(super) fn passed(&mut self, arrival: &Arrival<'_>, request: Option<Copied>) {
        self.passed = request.map(|request| Passed::new(arrival, request));
    }

    /// Whether the documents have changed so that the answer may not go on. Wakes the task when they do. Asked when there is nothing
    /// to send: an answer that comes at once costs nothing.
    pub(crate) fn is_disallowed(&mut self, cx: &mut Context<'_>) -> bool {
        if self.disallowed.is_none() {
            let permit = self.footing.permit.take().or_else(|| self.passed.take().map(Permit::answered));
            let Some((permit, cell)) = permit.zip(self.worker.world()) else { return false };
            self.disallowed = Some(Box::pin(async move { vigil::disallowed(&cell, &permit).await }));
        }
        let Some(Poll::Ready(refusal)) = self.disallowed.as_mut().map(|waiting| waiting.as_mut().poll(cx)) else {
            return false;
        };
        let cell = self.worker.world();
        self.disallowed = None;
        self.closed_by(&refusal, cell.as_deref());
        true
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Which way it goes.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Notes what the access log will say.
    pub(crate) fn asked<B>(&mut self, request: &Request<B>, trace: HeaderValue) {
        self.asked = Some(Asked {
            method: Some(request.method().clone()),
            path: request.uri().path_and_query().cloned(),
            trace: Some(trace),
        });
    }

    /// Notes a stream for the access log.
    pub(crate) fn streamed(&mut self, trace: Option<HeaderValue>) {
        self.asked = Some(Asked { method: None, path: None, trace });
    }

    /// Holds a place in something limited until the end.
    pub(crate) fn occupies(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    /// Notes as what it was let pass, for as long as it stays open.
    pub(crate) fn permitted(&mut self, permit: Box<Permit>) {
        self.footing.permit = Some(permit);
    }

    /// Notes with whom it is carried on.
    pub(crate) fn carried_with(&mut self, peer: Option<Chain>) {
        self.footing.peer = peer;
    }

    /// Notes with which of this node's credentials it was opened, for as long as it stays open.
    pub(crate) fn opened_with(&mut self, credential: &Credential) {
        self.footing.labels = Some(&credential.labels).filter(|labels| !labels.is_empty()).cloned();
    }

    /// What watches over it while it stays open.
    pub(crate) fn watched(&mut self) -> Footing {
        std::mem::take(&mut self.footing)
    }

    /// An open stream ends because it is no longer allowed, its peer no longer believed, or a label lost.
    pub(crate) fn closed_by(&mut self, refusal: &Refusal, cell: Option<&WorldCell>) {
        if let Some(cell) = cell {
            let id = self.refused(refusal, &cell.load(), None);
            tracing::info!(code = %refusal.code, id, why = refusal.why, "open stream closed");
        }
        self.broken();
    }

    /// Notes that it is refused, and keeps the refusal under a new id, which comes back.
    pub(crate) fn refused(&mut self, refusal: &Refusal, world: &World, caller: Option<&SpiffeId>) -> String {
        self.failed(refusal.code);
        let id = self.worker.refusal_id(&world.facts.node);
        let asked = self.asked.as_ref();
        self.worker.refusals().keep(RefusalRecord {
            id: id.clone(),
            at_ms: self.worker.env.clock.wall().0,
            direction: self.direction.as_str(),
            caller: caller.map(SpiffeId::to_string),
            called: self.meter.as_ref().map(|meter| meter.service.clone()),
            method: asked.and_then(|asked| Some(asked.method.as_ref()?.to_string())),
            path: asked.and_then(|asked| Some(asked.path.as_ref()?.to_string())),
            code: refusal.code.as_str(),
            why: refusal.why.clone(),
            revision: world.policy.revision(),
            steps: refusal.steps.iter().map(explain::Step::from).collect(),
        });
        self.judged.refused_as(id.clone());
        id
    }

    /// Names the meter that counts it.
    pub(crate) fn counted_by(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// The meter, once known.
    pub(crate) fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.as_ref()
    }

    /// Tells in an answer what the documents say of it.
    pub(super) fn tell_judged(&self, headers: &mut HeaderMap) {
        let other = match (self.direction, self.answered_by) {
            (Direction::Inbound, _) => Other::None,
            (Direction::Outbound, Some(Answerer::Application)) => Other::Same,
            (Direction::Outbound, _) => Other::Answered,
        };
        self.judged.tell(headers, other);
    }

    /// Whether an application of this machine answers, and not another node.
    pub(crate) fn is_from_application(&self) -> bool {
        self.answered_by == Some(Answerer::Application)
    }

    /// Counts it at an endpoint until the end; replaces an earlier try.
    pub(crate) fn at_endpoint(&mut self, endpoint: &Arc<Endpoint>) {
        self.held = Held::at_endpoint(endpoint);
    }

    /// Counts it at a replica until the end.
    pub(crate) fn at_replica(&mut self, replica: &Arc<LocalReplica>) {
        self.held = Held::at_replica(replica);
    }

    /// Keeps the connection that answers, to give it back when the answer was read whole.
    pub(crate) fn answered_by(&mut self, host: &Host, connection: Option<Http1>) {
        let by = if matches!(host, Host::App(_)) { Answerer::Application } else { Answerer::Peer };
        self.answered_by = Some(by);
        if by == Answerer::Peer {
            self.judged.allowances.forget();
        }
        if let Some(peer) = connection.as_ref().and_then(Http1::peer) {
            self.footing.peer = Some(Arc::clone(peer));
        }
        self.lease = connection.map(|connection| (host.clone(), connection));
    }

    /// Notes the status of the answer.
    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// Notes a failure of our own.
    pub(crate) fn failed(&mut self, code: Code) {
        self.code = Some(code);
        self.status = code.entry().status;
    }

    /// What counts the bytes of a stream, from the caller and to it: read at the end, however it ends.
    pub(crate) fn flows(&mut self) -> (Arc<AtomicU64>, Arc<AtomicU64>) {
        self.flows.get_or_insert_default().clone()
    }

    /// Counts bytes to the caller.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }

    /// Counts bytes from the caller.
    pub(crate) fn received(&self, bytes: u64) {
        if let Some(meter) = &self.meter {
            meter.received.increment(bytes);
        }
    }

    /// The answer ended as it should: its connection can serve again.
    pub(crate) fn complete(&mut self) {
        if self.end == End::Open {
            self.end = End::Complete;
            if let Some((host, connection)) = self.lease.take() {
                self.worker.pool.give(&host, connection, Instant::now());
            }
        }
    }

    /// The answer broke off: its connection is not used again.
    pub(crate) fn broken(&mut self) {
        if self.end == End::Open {
            self.end = End::Broken;
            // At its deadline the request's body may be cut first, and the answer breaks off for that.
            let late = self.deadline().is_some_and(|moment| moment <= Instant::now());
            self.code.get_or_insert(if late { Code::RequestTimeout } else { Code::UpstreamReset });
        }
    }

    fn record(&mut self) {
        if let Some((received, sent)) = self.flows.take() {
            self.received(received.load(Ordering::Relaxed));
            self.sent(sent.load(Ordering::Relaxed));
        }
        let took = self.started.elapsed();
        if let Some(meter) = &self.meter {
            meter.count(self.status);
            meter.seconds.record(took.as_secs_f64());
            meter.sent.increment(self.sent_bytes);
            if let Some(code) = self.code {
                meter.count_error(code);
            }
        }
        let (Some(asked), Some(log)) = (self.asked.take(), self.worker.access_log()) else {
            return;
        };
        log.push(
            self.worker.number(),
            Line {
                at: self.worker.env.clock.wall(),
                direction: self.direction,
                meter: self.meter.clone(),
                method: asked.method,
                path: asked.path,
                trace: asked.trace,
                status: self.status,
                code: self.code,
                bytes: self.sent_bytes,
                took,
                endpoint: self.held.endpoint(),
                cut: self.end == End::Open && self.code.is_none(),
                revision: self.judged.revision,
                route: self.judged.route.take(),
                shadow: self.judged.shadow.take(),
                id: self.judged.refusal.take(),
            },
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record();
        self.worker.leave();
    }
}
