//! Decisions over a snapshot, a request and a time: match, choose, retry. Pure functions; the node moves the bytes.
//!
//! - [`authority`]: which service a request names
//! - [`head`]: what a request's head must look like, and what does not travel on
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint
//! - [`choose`]: which endpoint of a service takes a request
//! - [`retry`]: whether a failed try may be made again

pub mod authority;
pub mod choose;
pub mod endpoint;
pub mod head;
pub mod retry;

pub use choose::{Choice, choose};
pub use retry::{RetryBudget, Stage};
