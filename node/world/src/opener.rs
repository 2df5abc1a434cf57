//! What the Listeners actor asks of the data path: to open a listener. The node crate implements it; the tree only decides
//! which listeners there are.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use weft_gossip::enrol::SignDesk;
use weft_identity::{Failure, ServiceName};

use crate::WorldCell;
use crate::service_spec::BindSpec;

/// A listener that the node should have.
#[derive(Clone)]
pub enum ListenerSpec {
    /// The mesh port: mutual TLS from other nodes.
    Inbound {
        /// Where.
        at: SocketAddr,
        /// Who answers `weft-sign/1` streams; none on a node that is no signer.
        desk: Option<Arc<dyn SignDesk>>,
    },
    /// Plain HTTP from applications of this machine, by `Host` or absolute form.
    OutboundHttp {
        /// Where.
        at: SocketAddr,
        /// Which service's identity the calls carry; none lets the node choose.
        identity: Option<ServiceName>,
    },
    /// Any TCP stream from applications of this machine to one service, or to several by server name.
    Bound(BindSpec),
}

impl ListenerSpec {
    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        match self {
            Self::Inbound { at, .. } | Self::OutboundHttp { at, .. } => *at,
            Self::Bound(spec) => spec.at,
        }
    }
}

/// Opens listeners.
pub trait OpenListener: Send + Sync + 'static {
    /// Opens a listener that reads the world for each connection or request. The port in use is [`weft_identity::Code::PortInUse`].
    fn open(
        &self,
        spec: ListenerSpec,
        world: Arc<WorldCell>,
    ) -> BoxFuture<'static, Result<Box<dyn OpenHandle>, Failure>>;
}

/// An open listener. Dropping it closes the listener and everything that came in by it.
pub trait OpenHandle: Send + Sync {
    /// Takes in no more connections; what is open stays.
    fn stop_accepting(&self);

    /// Connections and requests still open.
    fn in_flight(&self) -> usize;
}
