//! What a service speaks, as records, documents and configuration say it.

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
