//! Plain HTTP/1 (Host or absolute form, CONNECT, upgrades) and HTTP/2 with prior knowledge from applications of this machine: at the outbound
//! port, to whatever service a request names, and at a bound port, to the one that it leads to.

use std::net::IpAddr;
use std::sync::Arc;

use weft_env::Stream;
use weft_identity::{ServiceName, SpiffeId};
use weft_world::{World, WorldCell};

use crate::head::RequestHead;
use crate::http1::{Connection, HeadLimits};
use crate::http2::Trust;
use crate::metrics::Direction;
use crate::proxy;
use crate::server::{self, Serve};
use crate::side::Side;
use crate::transport::Transport;
use crate::vigil::Watch;
use crate::worker::{Gate, Worker};

/// One outbound listener on one worker, or one connection of a bound port.
pub(crate) struct Outbound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a request.
    pub(crate) world: Arc<WorldCell>,
    /// As whom its requests call.
    pub(crate) identity: Option<ServiceName>,
    /// The service that its port leads to, whatever a request names.
    pub(crate) service: Option<ServiceName>,
    /// Whose connection a balancer has passed on, by its PROXY header.
    pub(crate) passed_on_for: Option<IpAddr>,
    /// The listener's.
    pub(crate) gate: Arc<Gate>,
}

impl Serve for Outbound {
    const DIRECTION: Direction = Direction::Outbound;
    const TRUST: Trust = Trust::Stranger;

    fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    fn world(&self) -> &Arc<WorldCell> {
        &self.world
    }

    fn caller<'a>(&'a self, world: &'a World) -> Option<&'a SpiffeId> {
        proxy::caller_of(world, self.identity.as_ref())
    }

    async fn request(&self, side: &mut Side, watch: &mut Watch, head: &mut RequestHead) {
        proxy::outbound(self, side, watch, head).await;
    }
}

/// Serves one connection until it ends, or until the listener drains and its requests are done.
pub(crate) async fn serve(entry: Arc<Outbound>, stream: Stream) {
    let watch = Watch::new(&entry.worker, &entry.world, &entry.gate, None);
    let connection = Connection::new(Transport::Plain(stream), HeadLimits::APPLICATION);
    server::serve(entry, connection, watch).await;
}
