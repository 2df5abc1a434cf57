//! What is known of one exchange, kept until it is dropped: then it is counted out, measured and written to the access log. It decides
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use weft_identity::Code;
use weft_identity::SpiffeId;
use weft_policy::endpoint::Endpoint;
use weft_world::World;

use super::judged::Judged;
use crate::access_log::Line;
use crate::explain;
use crate::head::RequestHead;
use crate::metrics::{Direction, Meter, Slot};
use crate::problem::Refusal;
use crate::refusals::RefusalRecord;
use crate::side::Side;
use crate::trace::Trace;
use crate::vigil::Watch;
use crate::worker::Worker;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The caller went away, or nothing is known yet.
    Cut,
    /// The answer went over whole.
    Complete,
    /// It broke off for another reason.
    Broken,
}

/// The status that is counted for a call whose caller went away before there was one; nginx made the number known.
pub(crate) const STATUS_CANCELLED: u16 = 499;

/// The record of one exchange.
pub(crate) struct Record {
    worker: Arc<Worker>,
    direction: Direction,
    started: Instant,
    meter: Option<Arc<Meter>>,
    /// Of the answer; 0 while there is none.
    pub(crate) status: u16,
    code: Option<Code>,
    end: End,
    /// Bytes from the caller.
    pub(crate) received: u64,
    /// Bytes to the caller.
    pub(crate) sent: u64,
    method: Option<Method>,
    path: Option<String>,
    trace: Option<Trace>,
    /// Where the last try went.
    endpoint: Option<Arc<Endpoint>>,
    /// What the documents say of it.
    pub(super) judged: Judged,
    slots: Vec<Slot>,
    /// It has a place of the node.
    is_admitted: bool,
}

impl Record {
    /// Takes an exchange in; none when the node is at its limit.
    pub(crate) fn start(worker: &Arc<Worker>, direction: Direction, started: Instant) -> Option<Self> {
        worker.enter(direction).then(|| Self::new(worker, direction, started, true))
    }

    /// Takes an exchange in that begins now; when the node is at its limit, once there is a place for it.
    pub(crate) async fn enter(
        worker: &Arc<Worker>,
        direction: Direction,
        watch: &mut Watch,
        side: Option<&mut Side>,
    ) -> Result<Self, Refusal> {
        let started = worker.noted();
        if let Some(record) = Self::start(worker, direction, started) {
            return Ok(record);
        }
        Box::pin(worker.admission().wait(worker.number(), direction, watch, side)).await?;
        Ok(Self::new(worker, direction, started, true))
    }

    /// Of one that gets no place, or is no request at all.
    pub(crate) fn of_none(worker: &Arc<Worker>, direction: Direction) -> Self {
        Self::new(worker, direction, worker.noted(), false)
    }

    fn new(worker: &Arc<Worker>, direction: Direction, started: Instant, is_admitted: bool) -> Self {
        Self {
            worker: Arc::clone(worker),
            direction,
            started,
            meter: None,
            status: 0,
            code: None,
            end: End::Cut,
            received: 0,
            sent: 0,
            method: None,
            path: None,
            trace: None,
            endpoint: None,
            judged: Judged::default(),
            slots: Vec::new(),
            is_admitted,
        }
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Which way it goes.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// When it began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Notes what was asked.
    pub(crate) fn asked(&mut self, head: &RequestHead, trace: Trace) {
        self.method = Some(head.method.clone());
        if self.worker.access_log().is_some() {
            self.path = Some(head.path.clone());
        }
        self.trace = Some(trace);
    }

    /// Notes what was asked of one that goes no further, as far as it is known.
    pub(crate) fn asked_in_vain(&mut self, head: &RequestHead) {
        if !head.path.is_empty() {
            (self.method, self.path) = (Some(head.method.clone()), Some(head.path.clone()));
        }
    }

    /// Whether a tunnel to a port was asked for.
    pub(crate) fn is_of_connect(&self) -> bool {
        self.method == Some(Method::CONNECT)
    }

    /// Notes a stream.
    pub(crate) fn streamed(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }

    /// The trace context, as text.
    pub(crate) fn trace_text(&self) -> String {
        self.trace.as_ref().map(|trace| trace.as_str().to_owned()).unwrap_or_default()
    }

    /// Names the meter that counts it.
    pub(crate) fn counted_by(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// Holds a place in something limited until the end.
    pub(crate) fn occupies(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    /// Notes where a try goes.
    pub(crate) fn goes_to(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(Arc::clone(endpoint));
    }

    /// Notes a failure of our own.
    pub(crate) fn failed(&mut self, code: Code) {
        self.code = Some(code);
        self.status = code.entry().status;
    }

    /// The answer went over whole.
    pub(crate) fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// The answer broke off, and this is why.
    pub(crate) fn broken(&mut self, code: Code) {
        self.end = End::Broken;
        self.code.get_or_insert(code);
    }

    /// Notes that it fails by a refusal of our own, and keeps that; see [`Record::refused`].
    pub(crate) fn failed_by(
        &mut self,
        refusal: &Refusal,
        world: &World,
        caller: Option<&SpiffeId>,
        head: Option<&RequestHead>,
    ) -> String {
        self.failed(refusal.code);
        self.refused(refusal, world, caller, head)
    }

    /// Notes that it is refused, and keeps the refusal under a new id, which comes back.
    pub(crate) fn refused(
        &mut self,
        refusal: &Refusal,
        world: &World,
        caller: Option<&SpiffeId>,
        head: Option<&RequestHead>,
    ) -> String {
        let id = self.worker.refusal_id(&world.facts.node);
        self.worker.refusals().keep(RefusalRecord {
            id: id.clone(),
            at_ms: self.worker.env.clock.wall().0,
            direction: self.direction.as_str(),
            caller: caller.map(SpiffeId::to_string),
            called: self.meter.as_ref().map(|meter| meter.service.clone()),
            method: head.map(|head| head.method.to_string()),
            path: head.map(|head| head.path.clone()),
            code: refusal.code.as_str(),
            why: refusal.why.clone(),
            revision: world.policy.revision(),
            steps: refusal.steps.iter().map(explain::Step::from).collect(),
        });
        self.judged.refused_as(id.clone());
        id
    }

    fn write(&mut self) {
        let took = self.worker.noted().saturating_duration_since(self.started);
        let cut = self.end == End::Cut && self.code.is_none();
        if self.status == 0 {
            self.status = STATUS_CANCELLED;
        }
        if let Some(meter) = &self.meter {
            meter.count(self.status);
            meter.seconds.record(took.as_secs_f64());
            meter.sent.increment(self.sent);
            meter.received.increment(self.received);
            if let Some(code) = self.code {
                meter.count_error(code);
            }
        }
        let worker = Arc::clone(&self.worker);
        if let Some(log) = worker.access_log() {
            log.push(worker.number(), self.line(took, cut));
        }
    }

    fn line(&mut self, took: Duration, cut: bool) -> Line {
        Line {
            at: self.worker.env.clock.wall(),
            direction: self.direction,
            meter: self.meter.take(),
            method: self.method.take(),
            path: self.path.take(),
            trace: self.trace.take(),
            status: self.status,
            code: self.code,
            bytes: self.sent,
            took,
            endpoint: self.endpoint.take(),
            cut,
            revision: self.judged.revision,
            route: self.judged.route.take(),
            shadow: self.judged.shadow.take(),
            id: self.judged.refusal.take(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.write();
        if self.is_admitted {
            self.worker.leave();
        }
    }
}
