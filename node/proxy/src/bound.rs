//! A port on this machine that leads to one service, for applications that name none: a stream of TCP, or requests where the service is one
//! of HTTP; or to several services of TCP, by the server name for which a client's TLS asks. A balancer in front of it may say for whom it
//! calls.

mod by_name;

use std::io;
use std::sync::Arc;

use weft_env::Stream;
use weft_identity::{Code, Protocol, ServiceName};
use weft_policy::head::Sender;
use weft_world::service_spec::{BindSpec, LeadsTo};
use weft_world::{World, WorldCell};

use crate::http1::{Connection, HeadLimits};
use crate::metrics::Direction;
use crate::outbound::Outbound;
use crate::problem::Refusal;
use crate::proxy::{self, Exchange, Failure, Matched, Record};
use crate::proxy_protocol::{self, Ends};
use crate::server;
use crate::side::Side;
use crate::tcp;
use crate::trace::Trace;
use crate::transport::Transport;
use crate::vigil::{Cut, Watch};
use crate::worker::{Gate, Worker};

/// A listener on a local port that leads to one service.
pub(crate) struct Bound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a stream.
    pub(crate) world: Arc<WorldCell>,
    /// Where it leads, and as whom.
    pub(crate) spec: BindSpec,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

/// Serves one connection of an application of this machine: carries its stream, and resets it when the service cannot be reached; or serves
/// its requests, where the service is one of HTTP, whose callers, rules and limits are those of requests.
pub(crate) async fn serve(bound: Arc<Bound>, mut stream: Stream) {
    let bound = &*bound;
    let mut watch = Watch::new(&bound.worker, &bound.world, &bound.gate, None);
    let ends = match Box::pin(ends_told(bound, &mut stream, &mut watch)).await {
        Ok(ends) => ends,
        Err(refusal) => {
            if let Some(refusal) = refusal {
                bound.note_refused(bound.only_service(), &refusal);
            }
            return stream.reset_on_close();
        }
    };
    match &bound.spec.leads_to {
        LeadsTo::Service(service) if bound.speaks_http(service) => {
            let connection = Connection::new(Transport::Plain(stream), HeadLimits::APPLICATION);
            server::serve(bound.outbound(service, ends), connection, watch).await;
        }
        LeadsTo::Service(service) => {
            let connection = Connection::tunnel(Transport::Plain(stream));
            Box::pin(serve_stream(bound, service, connection, ends, watch)).await;
        }
        LeadsTo::ServerNames(names) => {
            let connection = Connection::tunnel(Transport::Plain(stream));
            Box::pin(by_name::serve(bound, names, connection, ends, watch)).await;
        }
    }
}

/// Carries a stream to a service, and resets it when that cannot be reached.
async fn serve_stream(bound: &Bound, service: &ServiceName, connection: Box<Connection>, ends: Ends, mut watch: Watch) {
    let mut side = Side::Http1(connection);
    let entered = Record::enter(&bound.worker, Direction::Outbound, &mut watch, None).await;
    let mut record = match entered {
        Ok(record) => record,
        Err(refusal) => {
            bound.note_refused(Some(service), &refusal);
            return side.cut(0);
        }
    };
    let world = bound.world.load();
    record.streamed(Some(Trace::created(bound.worker.random(), bound.worker.random(), bound.worker.random())));
    let mut exchange = Exchange::new(&mut side, &mut watch, record, Sender::Application);
    // Only documents and the node's own settings end a stream.
    exchange.total = None;
    let asked = (bound.spec.identity.as_ref(), service.as_str());
    let opened = match proxy::identify(&bound.worker, &world, &mut exchange.record, asked) {
        Ok(matched) => carry(&world, &mut exchange, &matched, ends).await,
        Err(refusal) => Err(refusal.into()),
    };
    if let Err(failure) = opened {
        if let Failure::Refusal(refusal) = failure {
            bound.refused(Some(service), &mut exchange.record, &refusal, &world);
        }
        exchange.side.cut(0);
    }
}

impl Bound {
    /// The service, where it leads to one alone.
    fn only_service(&self) -> Option<&ServiceName> {
        match &self.spec.leads_to {
            LeadsTo::Service(service) => Some(service),
            LeadsTo::ServerNames(_) => None,
        }
    }

    fn speaks_http(&self, service: &ServiceName) -> bool {
        self.world.load().services.get(service.as_str()).is_some_and(|table| table.protocol != Protocol::Tcp)
    }

    /// What serves the requests of a connection with these ends.
    fn outbound(&self, service: &ServiceName, ends: Ends) -> Arc<Outbound> {
        Arc::new(Outbound {
            worker: Arc::clone(&self.worker),
            world: Arc::clone(&self.world),
            identity: self.spec.identity.clone(),
            service: Some(service.clone()),
            passed_on_for: self.spec.proxy_protocol.then(|| ends.source.ip()),
            gate: Arc::clone(&self.gate),
        })
    }

    /// Records a stream that is refused before anything is known of it but where it would lead, and perhaps not that.
    fn note_refused(&self, service: Option<&ServiceName>, refusal: &Refusal) {
        let world = self.world.load();
        let states = &self.worker.states;
        let mut record = Record::of_none(&self.worker, Direction::Outbound);
        match (proxy::caller_of(&world, self.spec.identity.as_ref()), service) {
            (Some(caller), Some(service)) => {
                let state = states.of(service, &world.facts.node, self.worker.noted_ns());
                record.counted_by(states.meter(&state, Direction::Outbound, caller, service));
            }
            (Some(caller), None) => record.counted_by(states.meter_nowhere(Direction::Outbound, caller)),
            (None, _) => {}
        }
        self.refused(service, &mut record, refusal, &world);
    }

    fn refused(&self, service: Option<&ServiceName>, record: &mut Record, refusal: &Refusal, world: &World) {
        let id = record.failed_by(refusal, world, proxy::caller_of(world, self.spec.identity.as_ref()), None);
        let service = service.map_or("unknown", ServiceName::as_str);
        tracing::debug!(service, code = %refusal.code, id, why = refusal.why, "stream refused");
    }
}

/// Both ends of a stream: of the socket, or as the header tells them which its listener demands. Where that is wrong or late it is refused; a
/// stream that ends without one, as a balancer's probe does, is only over.
async fn ends_told(bound: &Bound, stream: &mut Stream, watch: &mut Watch) -> Result<Ends, Option<Refusal>> {
    let (source, destination) = (stream.peer_addr().map_err(|_| None)?, stream.local_addr().map_err(|_| None)?);
    let ends = Ends { source, destination };
    if !bound.spec.proxy_protocol {
        return Ok(ends);
    }
    let span = bound.worker.settings().head_timeout;
    let told = watch.within(span, proxy_protocol::read(stream)).await;
    match told {
        Ok(Ok(told)) => Ok(told.unwrap_or(ends)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Some(Refusal::new(Code::RequestMalformed, format!("{error}, from {}", ends.source))))
        }
        Err(Cut::Due) => {
            let why = format!("no PROXY header came within {span:?} from {}", ends.source);
            Err(Some(Refusal::new(Code::CallerTooSlow, why)))
        }
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

async fn carry(world: &World, exchange: &mut Exchange<'_>, matched: &Matched<'_>, ends: Ends) -> Result<(), Failure> {
    proxy::transparent(&matched.table.service, matched.table.protocol)?;
    let (lease, footing) = tcp::open(world, exchange, matched, Some(ends)).await?;
    exchange.record.status = 200;
    let idle = exchange.record.worker().settings().stream_timeout;
    proxy::tunnel(exchange, lease, &footing, idle).await;
    Ok(())
}
