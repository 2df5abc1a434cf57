//! What each member says it offers: one signed record a node, and the table of services that follows from all of them.

mod offers;
mod record;

pub use offers::{Offer, offers};
pub use record::{
    LABELS_MAX, NodeRecord, RECORD_CONTEXT, REPLICAS_MAX, RecordRefusal, ReplicaRecord, SignedRecord, VALUE_LEN_MAX,
    decode_value, encode_value, recheck_record, sign_record, verify_record,
};
