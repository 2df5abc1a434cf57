//! Decisions over a snapshot, a request and a time: match, choose, retry.
