//! What each member says it offers: one signed record a node, and the table of services that follows from all of them.

mod offers;
mod record;

use serde::{Deserialize, Serialize};

pub use offers::{Offer, offers};
pub use record::{
    LABELS_MAX, NodeRecord, RECORD_CONTEXT, REPLICAS_MAX, RecordRefusal, ReplicaRecord, SignedRecord, VALUE_LEN_MAX,
    decode_value, encode_value, recheck_record, sign_record, verify_record,
};

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
