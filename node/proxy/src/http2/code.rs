//! The error codes that this data path sends by itself (RFC 9113, section 7). Codes of peers are carried on as they are.

/// A stream ends early, and nothing is wrong.
pub(crate) const NO_ERROR: u32 = 0x0;
/// Something went wrong behind whoever sends it.
pub(crate) const INTERNAL_ERROR: u32 = 0x2;
/// The request was not looked at: it may be sent again.
pub(crate) const REFUSED_STREAM: u32 = 0x7;
/// Nobody waits for the answer any more.
pub(crate) const CANCEL: u32 = 0x8;
/// The peer asks too much.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;
