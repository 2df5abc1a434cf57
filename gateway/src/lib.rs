//! Decisions over a snapshot, a request and a time: match, choose, retry. Pure functions; the node moves the bytes.
//!
//! - [`authority`]: which service a request names
//! - [`head`]: what a request's head must look like, and what does not travel on
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint
//! - [`choose`]: which endpoint of a service takes a request
//! - [`retry`]: whether a failed try may be made again
//! - [`fields`]: the header fields of a message
//! - [`policy`]: who may call what, where requests go, how calls are carried
//! - [`strict`]: TOML, read strictly

pub mod authority;
pub mod choose;
pub mod endpoint;
pub mod fields;
pub mod head;
pub mod policy;
pub mod retry;
pub mod strict;

pub use choose::{Choice, Subset, Way, choose};
pub use retry::{RetryBudget, RetryRates, Stage};
