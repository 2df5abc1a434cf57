//! The outbound HTTP listener: plain HTTP/1 (Host or absolute form, CONNECT, upgrades) and HTTP/2 with prior knowledge from applications of
//! this machine.

use std::sync::Arc;

use weft_env::Stream;
use weft_identity::ServiceName;
use weft_world::WorldCell;

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

/// One outbound listener on one worker.
pub(crate) struct Outbound {
    /// Serves it.
    pub(crate) worker: Arc<Worker>,
    /// Read once a request.
    pub(crate) world: Arc<WorldCell>,
    /// As whom its requests call.
    pub(crate) identity: Option<ServiceName>,
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
