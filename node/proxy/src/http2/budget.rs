//! How many frames that carry nothing a connection may send.

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// An application of this machine, or anybody: it answers for what it sends.
    Stranger,
    /// Another node: it carries many callers over one connection and has held each of them to a budget.
    Proven,
}
