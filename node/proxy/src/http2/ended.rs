//! Why a connection is over, other than that both ends were done with it. For whoever serves it or keeps it in a pool.

use std::io;

use h2::Reason;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The peer sent more frames without progress than its budget allows; it was told ENHANCE_YOUR_CALM.
    #[error("the peer sent too many frames that carry nothing: {0}")]
    Flood(&'static str),
    /// Something did not come in time.
    #[error("{0} did not come in time")]
    Late(&'static str),
    /// The peer's first frame is something else than SETTINGS.
    #[error("the peer does not speak HTTP/2; is it HTTP/1?")]
    NotHttp2,
    /// The peer broke a rule that h2 does not keep to.
    #[error("HTTP/2: {0}")]
    Broken(&'static str),
    /// A frame is longer or shorter than it may be.
    #[error("HTTP/2: {0}")]
    Size(&'static str),
    /// The peer compressed a head against the rules.
    #[error("HTTP/2: {0}")]
    Compressed(&'static str),
    /// A rule of the protocol was broken, by the end that the text names.
    #[error("HTTP/2: {0}")]
    Protocol(h2::Error),
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
}

impl Ended {
    /// The code that the peer is told.
    pub(super) fn code(&self) -> Reason {
        match self {
            Self::Flood(_) => Reason::ENHANCE_YOUR_CALM,
            Self::NotHttp2 | Self::Broken(_) => Reason::PROTOCOL_ERROR,
            Self::Size(_) => Reason::FRAME_SIZE_ERROR,
            Self::Compressed(_) => Reason::COMPRESSION_ERROR,
            Self::Late(_) | Self::Protocol(_) | Self::Io(_) => Reason::NO_ERROR,
        }
    }
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        match error.get_io() {
            Some(io) => Self::Io(io::Error::new(io.kind(), io.to_string())),
            None => Self::Protocol(error),
        }
    }
}
