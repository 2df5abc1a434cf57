//! What Listeners is sent.

use std::net::SocketAddr;

use weft_identity::Failure;
use weft_world::service_spec::BindSpec;

use crate::address::Reply;

/// What Listeners is sent.
pub(crate) enum Message {
    /// Open a local port.
    Bind(BindSpec, Reply<Result<(), Failure>>),
    /// Close it.
    Unbind(SocketAddr, Reply<Result<(), Failure>>),
}
