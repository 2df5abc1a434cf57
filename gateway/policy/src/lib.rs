//! What every node decides, over a snapshot, a request and a time: who may call what, where requests go, how calls are carried. Pure
//! functions; the node moves the bytes.
//!
//! `weft plan` reads files ([`read_files`]); every node compiles the documents of a revision ([`Compiler`]) into one immutable
//! [`Policy`] and asks it per call.
//!
//! - [`raw`]: the documents as they are written
//! - [`source`]: files into documents; [`strict`]: TOML, read strictly
//! - [`compile`](mod@compile): documents into a policy
//! - [`path`]: the normal form of paths, and patterns over it
//! - [`condition`]: conditions on a request's head
//! - [`authorise`](mod@authorise): who may call what
//! - [`route`](mod@route): where a request goes
//! - [`change`]: redirects, rewrites and header changes
//! - [`traffic`]: how calls are carried
//! - [`limit`]: rate limits
//! - [`revocation`]: what is no longer trusted
//! - [`authority`]: which service a request names
//! - [`head`]: what a request's head must look like, and what does not travel on
//! - [`endpoint`]: endpoint tables and what the data path learns of each endpoint
//! - [`choose`](mod@choose): which endpoint of a service takes a request
//! - [`outcome`]: what became of a try, which is all that endpoints learn from
//! - [`retry`]: whether a failed try may be made again
//! - [`fields`]: the header fields of a message; [`grpc`]: what gRPC says of deadlines and failures

mod authorisation_parse;
pub mod authorise;
pub mod authority;
pub mod change;
pub mod choose;
pub mod compile;
pub mod condition;
pub mod endpoint;
pub mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grpc;
pub mod head;
mod index;
pub mod limit;
pub mod outcome;
pub mod path;
mod place;
mod policy;
pub mod raw;
pub mod reference;
pub mod retry;
pub mod revocation;
pub mod route;
mod route_parse;
mod rule;
mod rule_index;
pub mod source;
pub mod strict;
#[cfg(test)]
mod testing;
pub mod traffic;

pub use authorise::{Call, Caller, Reason, ShadowRefusal, Verdict};
pub use choose::{Again, Choice, Nowhere, Subset, Way, choose};
pub use compile::{Compiler, InForce, compile};
pub use condition::RequestView;
pub use limit::{Limiter, RateLimit};
pub use outcome::{Outcome, Try, Witness};
pub use path::{NormalPath, PathFault};
pub use place::{DocumentId, DocumentPlace, Kind, Place, Step};
pub use policy::Policy;
pub use raw::Action;
pub use reference::{policy_page, schema};
pub use retry::{RetryBudget, RetryRates, Stage};
pub use revocation::Revocations;
pub use route::{RouteRule, Routed};
pub use source::{Source, read_all, read_file, read_files};
pub use traffic::Traffic;
