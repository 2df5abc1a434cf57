//! One stream, of either role: a side of an exchange.

use std::task::{Context, Poll};

use weft_policy::fields::Fields;

use crate::head::ResponseHead;
use crate::side::{Broken, Part};

/// One stream. One task polls all of it. Dropped before both messages are over it is reset: CANCEL as a client, INTERNAL_ERROR as a
/// server that did not finish its answer, NO_ERROR as one that did.
pub(crate) struct Stream;

impl Stream {
    /// Waits for more of the body that the peer sends.
    pub(crate) fn poll_part(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        todo!()
    }

    /// What is at hand of it, after [`Part::Data`].
    pub(crate) fn data(&self) -> &[u8] {
        todo!()
    }

    /// So many bytes of it went on: the peer may send as many more.
    pub(crate) fn consume(&mut self, _count: usize) {
        todo!()
    }

    /// The trailers, after [`Part::End`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        todo!()
    }

    /// Takes bytes for the peer, at least one where it is ready. Small pieces wait for more, or for [`Stream::poll_flush`]. A peer that
    /// wants no more ([`Stream::is_unwanted`]) takes everything and loses it.
    pub(crate) fn poll_send(&mut self, _cx: &mut Context<'_>, _data: &[u8]) -> Poll<Result<usize, Broken>> {
        todo!()
    }

    /// Ends the body that goes to the peer.
    pub(crate) fn poll_end(&mut self, _cx: &mut Context<'_>, _trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        todo!()
    }

    /// Gives to the connection what was taken; ready when the peer's windows had room for it.
    pub(crate) fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        todo!()
    }

    /// Waits until the peer resets the stream or the connection ends.
    pub(crate) fn poll_reset(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        todo!()
    }

    /// Ends the stream with a code (RFC 9113, section 7), drops what waits to be sent, and never waits itself.
    pub(crate) fn reset(&mut self, _code: u32) {
        todo!()
    }

    /// As a server: the head of the answer. END_STREAM follows at once where it says that no body does.
    pub(crate) fn send_response(&mut self, _head: &ResponseHead) -> Result<(), Broken> {
        todo!()
    }

    /// As a server: an interim answer, 1xx but 101, which HTTP/2 does not have.
    pub(crate) fn send_informational(&mut self, _head: &ResponseHead) -> Result<(), Broken> {
        todo!()
    }

    /// As a client: waits for the next head, an interim one (1xx) or the answer's.
    pub(crate) fn poll_response(&mut self, _cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        todo!()
    }

    /// Whether the peer's message was received to its end.
    pub(crate) fn is_received(&self) -> bool {
        todo!()
    }

    /// Whether our message was given to the connection to its end.
    pub(crate) fn is_sent(&self) -> bool {
        todo!()
    }

    /// As a client: whether the peer has answered in full and wants no more of the request (RST_STREAM with NO_ERROR).
    pub(crate) fn is_unwanted(&self) -> bool {
        todo!()
    }

    /// Its number on the connection.
    pub(crate) fn id(&self) -> u32 {
        todo!()
    }
}
