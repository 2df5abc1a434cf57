//! One try of a request at an endpoint: what it sends there, and how the answer is awaited. See [`super::tries`].

use std::sync::Arc;

use tokio::time::Instant;
use weft_identity::Code;
use weft_policy::Stage;
use weft_policy::endpoint::Endpoint;
use weft_policy::fields::Known;
use weft_policy::grpc;
use weft_policy::head::{self, Upgrade};
use weft_policy::outcome::{Outcome, Try};
use weft_policy::retry::Repeat;

use super::attempt::{self, Awaited, Failed, Times, Unanswered};
use super::connect::{self, Destination, Source, Way, Wire};
use super::exchange::Exchange;
use super::lease::{Lease, Tally};
use super::message;
use super::tries::{Attempt, Attempted, Call, delivered_here};
use super::{Arrival, local};
use crate::head::{Overlay, RequestHead, ResponseHead};
use crate::pool::Host;
use crate::problem::Refusal;
use crate::stock::Recycled;
use crate::vigil::{Footing, Permit, Subject};

/// A request and all its tries.
pub(crate) struct RequestTries<'a> {
    pub(crate) call: Call<'a>,
    /// As it is sent, but for what each try changes.
    pub(crate) head: &'a RequestHead,
    pub(crate) upgrade: Upgrade,
    /// Of the last answer.
    pub(crate) response: Recycled<ResponseHead>,
    /// When an answer must have begun; known once the request was sent whole.
    answer_by: Option<Instant>,
    /// Decided about here, for a replica of this machine: once, however often it is tried; with the path in its normal form, where that is
    /// another.
    admitted: Option<Option<String>>,
}

impl<'a> RequestTries<'a> {
    pub(crate) fn new(call: Call<'a>, head: &'a RequestHead, upgrade: Upgrade) -> Self {
        Self { call, head, upgrade, response: Recycled::default(), answer_by: None, admitted: None }
    }

    /// What the exchange rests on while its answer lasts, where its service was on this machine.
    pub(crate) fn permit<'p>(&'p self, lease: &Lease) -> Option<Permit<'p>> {
        let caller = self.call.matched.credential.caller();
        let called = &self.call.matched.table.service;
        lease.is_application().then_some(Permit { caller, called, subject: Subject::Request(self.head) })
    }

    fn way_to(&self, endpoint: &Arc<Endpoint>) -> Option<Way<'a>> {
        let Call { world, matched, carriage } = self.call;
        let wire = Wire::of(matched.table.protocol)?;
        let here = delivered_here(world, &matched.table.service, endpoint);
        let here = here.filter(|local| Wire::of(local.protocol) == Some(wire));
        let (host, to) = match here.and_then(|local| local.chosen(endpoint)) {
            Some(replica) => (Host::App(Arc::clone(replica)), Destination::App(replica.app)),
            None => (
                Host::Peer(Arc::clone(&endpoint.load), Arc::clone(matched.credential)),
                Destination::Peer(endpoint.addr, &matched.identity),
            ),
        };
        let limit = carriage.traffic.connections_max.map(|max| (max, &matched.state.connections));
        Some(Way { host, wire, to, connects: &matched.meter.connects, connect: carriage.connect, limit })
    }

    /// Lets the request pass at its service on this machine, or refuses it.
    fn admit(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Attempted> {
        if self.admitted.is_some() {
            return Ok(());
        }
        let Call { world, matched, .. } = self.call;
        let arrival = Arrival::new(world, matched.credential.caller(), &matched.table.service);
        self.admitted = Some(arrival.request(&mut exchange.record, self.head)?);
        Ok(())
    }

    /// What this try changes of the head.
    fn overlay(
        &self,
        exchange: &Exchange<'_>,
        endpoint: &Endpoint,
        to: &Destination<'_>,
        wire: Wire,
    ) -> Recycled<Overlay> {
        let Call { matched, carriage, .. } = self.call;
        let mut overlay = Recycled::<Overlay>::default();
        let left = exchange.total.map(|total| total.saturating_duration_since(Instant::now()));
        if let (true, Some(left)) = (self.head.fields.has(Known::GrpcTimeout), left) {
            overlay.put(Known::GrpcTimeout, grpc::timeout_text(left).as_bytes());
        }
        match to {
            Destination::Peer(..) => {
                if let Some(patience) = carriage.patience {
                    let ms = left.map_or(patience, |left| left.min(patience)).as_millis();
                    overlay.put(Known::WeftPatience, ms.to_string().as_bytes());
                }
                if let Some(selector) = &endpoint.selector {
                    overlay.put(Known::WeftReplica, selector.as_bytes());
                }
            }
            Destination::App(_) => {
                overlay.without.insert(Known::WeftTraceRevision);
                overlay.path = self.admitted.clone().flatten();
                local::introduce(&mut overlay, self.head, &matched.meter.introduced);
            }
        }
        if wire == Wire::Http1 {
            local::as_http1(&mut overlay, self.head, || exchange.record.worker().random());
        }
        overlay
    }

    async fn answer(
        &mut self,
        exchange: &mut Exchange<'_>,
        lease: &mut Lease,
        (times, held): (&Times, &mut Try<Tally>),
    ) -> Result<Outcome, Attempted> {
        let footing = Footing { peer: lease.chain.clone(), ..Footing::default() };
        let awaited = Awaited { times, asked: &mut || held.asked() };
        let answered = attempt::answer(exchange, lease, &footing, awaited, &mut self.response).await;
        self.answer_by.get_or_insert_with(|| match &answered {
            Ok(flushed) => *flushed + self.call.carriage.left(exchange),
            Err(_) => exchange.record.started() + self.call.carriage.answer,
        });
        answered?;
        if lease.is_application() {
            return Ok(message::outcome_of(&self.response));
        }
        match message::undelivered_code(&self.response) {
            Some(code) => Err(Attempted::Told(code, format!("it answered {code} for its application"))),
            None => Ok(message::outcome_of(&self.response)),
        }
    }
}

impl Attempt for RequestTries<'_> {
    async fn make(
        &mut self,
        exchange: &mut Exchange<'_>,
        endpoint: &Arc<Endpoint>,
        source: Source,
        held: &mut Try<Tally>,
    ) -> Result<(Lease, Outcome), Attempted> {
        let way = self.way_to(endpoint).ok_or_else(|| super::not_http(&self.call.matched.table.service))?;
        if matches!(way.to, Destination::App(_)) {
            self.admit(exchange)?;
        }
        let overlay = self.overlay(exchange, endpoint, &way.to, way.wire);
        let worker = Arc::clone(exchange.record.worker());
        let times = self.call.carriage.times(exchange, self.answer_by);
        let sent = (self.head, &*overlay, self.upgrade);
        let mut lease = connect::begin(&worker, exchange, &way, source, (sent, &times)).await?;
        held.sends();
        let outcome = match self.answer(exchange, &mut lease, (&times, held)).await {
            Ok(outcome) => outcome,
            Err(unanswered) => {
                if matches!(unanswered, Attempted::Told(..)) {
                    lease.forgo(&worker).await;
                }
                return Err(unanswered);
            }
        };
        if self.response.status == 101 && !is_switch_wanted(self.head, self.upgrade, &self.response) {
            let why = "it switches to a protocol that nobody asked for".to_owned();
            return Err(Unanswered::Failed(Failed::new(Code::AnswerMalformed, why, Stage::Answered)).into());
        }
        if is_unswitched(self.head, &self.response) {
            return Err(Attempted::Useless(unswitched()));
        }
        Ok((lease, outcome))
    }

    fn repeat(&self, exchange: &Exchange<'_>) -> Repeat {
        Repeat {
            idempotent: head::is_idempotent(&self.head.method) && self.upgrade == Upgrade::None,
            repeatable: exchange.upload.can_restart(),
        }
    }

    fn over_at(&self) -> Option<Instant> {
        self.answer_by
    }
}

/// Whether an answer says that all is well and has not switched, where its request is nothing but the wish to (RFC 8441, section 5): its
/// caller would take the page for the stream.
pub(super) fn is_unswitched(asked: &RequestHead, response: &ResponseHead) -> bool {
    asked.protocol.is_some() && (200..300).contains(&response.status)
}

/// The refusal of such an answer.
pub(super) fn unswitched() -> Refusal {
    Refusal::new(Code::AnswerMalformed, "it answered a request for a WebSocket with a page")
}

/// Whether an answer of 101 is what was asked for.
pub(crate) fn is_switch_wanted(asked: &RequestHead, upgrade: Upgrade, response: &ResponseHead) -> bool {
    upgrade == Upgrade::Asked
        && match &asked.protocol {
            Some(protocol) => response
                .fields
                .first(Known::Upgrade)
                .is_some_and(|chosen| chosen.eq_ignore_ascii_case(protocol.as_bytes())),
            None => head::is_asked_for(&asked.fields, &response.fields),
        }
}
