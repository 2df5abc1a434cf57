//! Why a connection is over.

use std::io;

/// Why a connection is over, other than that both ends were done with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It sent more frames without progress than its budget allows; it was told ENHANCE_YOUR_CALM.
    #[error("too many frames that carry nothing: {0}")]
    Flood(&'static str),
    /// The preface, SETTINGS, the rest of a head or a PING's answer did not come in time.
    #[error("{0} did not come in time")]
    Late(&'static str),
    /// It does not speak HTTP/2: the first frame is something else than SETTINGS.
    #[error("the other end does not speak HTTP/2")]
    NotHttp2,
    /// A rule of the protocol was broken, by the end that the text names; the code of RFC 9113, section 7.
    #[error("HTTP/2 error {code}: {why}")]
    Protocol {
        /// The code.
        code: u32,
        /// What h2 says of it.
        why: String,
    },
    /// The transport failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}
