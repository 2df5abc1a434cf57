//! The last refusals of this node, each under the id that its caller was told. Written by the workers, and only when they refuse;
//! read by the admin API for `weft why ID`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::explain::Step;

/// Refusals that are kept: with a path of usual length half a megabyte.
const KEPT_MAX: usize = 1_024;
/// Bytes of a path or a reason that are kept; a head may have 32 KiB.
const TEXT_BYTES_MAX: usize = 512;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalRecord {
    /// Its id: the node's name, a dot and 16 hexadecimal digits.
    pub id: String,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// Who called; none where that is not known.
    pub caller: Option<String>,
    /// The called service; `unknown` for one that is not of the mesh.
    pub called: Option<String>,
    /// The method; none for a stream.
    pub method: Option<String>,
    /// The path with its query; none for a stream. Cut after 512 bytes.
    pub path: Option<String>,
    /// The code.
    pub code: &'static str,
    /// Why.
    pub why: String,
    /// The revision of the policy that the request was decided by.
    pub revision: u64,
    /// How a policy came to it; empty where none decided.
    pub steps: Vec<Step>,
}

/// The last refusals. The lock is taken for a refusal and for a question about one.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<VecDeque<Arc<RefusalRecord>>>);

impl Refusals {
    /// Keeps a refusal; the oldest makes room.
    pub(crate) fn keep(&self, mut record: RefusalRecord) {
        record.path = record.path.as_deref().map(shortened);
        record.why = shortened(&record.why);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(record));
    }

    /// The refusal with this id, if it is among the last.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<RefusalRecord>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|record| record.id == id).cloned()
    }
}

/// The start of a text, with no more room than it takes.
fn shortened(text: &str) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> RefusalRecord {
        RefusalRecord {
            id: format!("vm-a.{number}"),
            at_ms: 1,
            direction: "inbound",
            caller: None,
            called: None,
            method: None,
            path: Some("é".repeat(300)),
            code: "not-allowed",
            why: String::new(),
            revision: 1,
            steps: Vec::new(),
        }
    }

    #[test]
    fn the_last_refusals_are_found_and_bounded() {
        let refusals = Refusals::default();
        for number in 0..=KEPT_MAX {
            refusals.keep(record(number));
        }
        assert_eq!(refusals.find("vm-a.0"), None, "the oldest made room");
        let last = refusals.find(&format!("vm-a.{KEPT_MAX}")).unwrap();
        assert_eq!(last.path.as_ref().unwrap().capacity(), TEXT_BYTES_MAX);
    }
}
