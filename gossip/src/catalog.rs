//! What each member says it offers: one signed record a node, and the table of services that follows from all of them.

use serde::{Deserialize, Serialize};

/// What the replicas of a service speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 to the application.
    Http,
    /// HTTP/2 without TLS and with prior knowledge to the application: gRPC.
    Http2,
    /// Any stream of bytes.
    Tcp,
}
