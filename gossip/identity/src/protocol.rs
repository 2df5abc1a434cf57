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

impl Protocol {
    /// As operators write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}
