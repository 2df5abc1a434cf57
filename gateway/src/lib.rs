//! Decisions over a snapshot, a request and a time: match, choose, retry. Pure functions; the node moves the bytes.
//!
//! - [`authority`]: which service a request names
//! - [`grpc`]: what gRPC says of deadlines and failures
//! - [`head`]: what a request's head must look like, and what does not travel on
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint
//! - [`choose`]: which endpoint of a service takes a request
//! - [`outcome`]: what became of a try, which is all that endpoints learn from
//! - [`retry`]: whether a failed try may be made again
//! - [`policy`]: who may call what, where requests go, how calls are carried
//! - [`strict`]: TOML, read strictly

pub mod authority;
pub mod choose;
pub mod endpoint;
pub mod grpc;
pub mod head;
pub mod outcome;
pub mod policy;
pub mod retry;
pub mod strict;
#[cfg(test)]
mod testing;

pub use choose::{Again, Choice, Nowhere, Subset, Way, choose};
pub use outcome::{Outcome, Try, Witness};
pub use retry::{RetryBudget, RetryRates, Stage};
