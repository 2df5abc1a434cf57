//! What becomes of a try: one outcome each, reported through a guard ([`Try`]) by the data path, for HTTP and TCP alike. Latency, load,
//! ejection and the adaptive limit of an endpoint are fed by it and by nothing else.

mod guard;

use std::fmt;
use std::time::Duration;

use weft_identity::Code;

use crate::traffic::{Outlier, ReplicaLimit, Traffic};

pub use guard::{Try, Witness};

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of an answer came. From 500 on it is no success, but still an answer.
    Answered {
        /// Its status.
        status: u16,
    },
    /// The application answered 502, 503 or 504: it works and what it needs does not, or it has no room. No success, and ends no row of
    /// failures.
    GatewayError {
        /// Which.
        status: u16,
    },
    /// A TCP stream was opened.
    Opened,
    /// The connection broke before an answer began, or before the stream was open.
    Reset,
    /// The call never reached an application.
    Undelivered(Refused),
    /// The node or the application said that it is at its limit.
    Overloaded,
    /// No answer in the time of the try.
    Late,
    /// The caller went before there was an answer.
    Cancelled,
    /// A limit of this node's own kept the call here: it says nothing of the endpoint.
    Withheld,
}

/// How a call was refused before it reached an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No connection came to be, from here to the node or from there to the application.
    Connect,
    /// The other side did not look at the stream: `REFUSED_STREAM`, or a `GOAWAY` that takes no stream at all.
    Stream,
    /// A connection from the pool turned out to be closed. Says nothing of the endpoint.
    Stale,
    /// A connection that many share ended after it had taken others: a `GOAWAY` with a lower last stream id. Says nothing of the endpoint.
    Unread,
}

impl Outcome {
    /// Of an application's answer.
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError { status },
            _ => Self::Answered { status },
        }
    }

    /// Of what the called node says in the place of its application.
    pub fn of_code(code: Code) -> Self {
        match code {
            Code::ConnectRefused
            | Code::ConnectTimeout
            | Code::NoHealthyReplica
            | Code::ServiceUnknown
            | Code::IdentityMismatch
            | Code::IdentityRefused
            | Code::ProtocolMismatch => Self::Undelivered(Refused::Connect),
            Code::UpstreamReset => Self::Reset,
            Code::RequestTimeout => Self::Late,
            Code::Overloaded => Self::Overloaded,
            // Its policies or its own state: the node answered, and another would answer the same.
            _ => match code.entry().status {
                // No code that belongs here.
                0 => Self::Answered { status: 500 },
                status => Self::Answered { status },
            },
        }
    }
}

/// When a try began, was asked and ended, in nanoseconds of the data path's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When its endpoint was chosen.
    pub began_ns: u64,
    /// When the whole request was given to its connection: what opening one cost, or the caller took to send, says nothing of the next one.
    pub asked_ns: u64,
    /// When the outcome was known.
    pub ended_ns: u64,
}

impl Taken {
    /// How long the answer took.
    pub fn waited_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.asked_ns)
    }
}

/// What the documents of a service say of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// When an endpoint is left out.
    pub outlier: Outlier,
    /// How many tries may wait at one.
    pub replica_limit: ReplicaLimit,
}

impl Terms {
    /// Those of a service.
    pub fn of(traffic: &Traffic) -> Self {
        Self { outlier: traffic.outlier, replica_limit: traffic.replica_limit }
    }
}

/// A change of an endpoint's part in the balance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It was left out.
    Ejected {
        /// For how long.
        span: Duration,
        /// Why.
        why: Why,
    },
    /// It was left out, and takes its part again.
    Returned,
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// So many failures in a row.
    Failures(u32),
    /// Calls waited in vain while it answered no other; with it there are so many failures in a row.
    Silent(u32),
    /// So many gateway errors in a row.
    GatewayErrors(u32),
    /// The one try after an ejection failed.
    Probe,
    /// Its successes are fewer than those of the others.
    SuccessRate {
        /// Its own, in percent.
        own: f64,
        /// The mean of those that were compared, in percent.
        mean: f64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count) => write!(f, "failures in a row: {count}"),
            Self::Silent(count) => write!(f, "it answers nobody; failures in a row: {count}"),
            Self::GatewayErrors(count) => write!(f, "gateway errors in a row: {count}"),
            Self::Probe => f.write_str("the first call after the last ejection failed, too"),
            Self::SuccessRate { own, mean } => {
                write!(f, "{own:.1} % of its calls succeed, of all replicas' {mean:.1} %")
            }
        }
    }
}

#[cfg(test)]
mod tests;
