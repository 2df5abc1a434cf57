//! One connection that speaks HTTP/1, in either role, or a plain stream. See [`super`].

use std::io;
use std::task::{Context, Poll};

use http::Method;
use weft_policy::fields::Fields;
use weft_policy::head::Upgrade;

use super::receiving::{Hangup, HeadFault, Received, Receiving};
use super::scan::HeadLimits;
use super::sending::{Asked, Persistence, Sending};
use crate::head::{HttpVersion, Overlay, RequestHead, ResponseHead};
use crate::proxy_protocol::Ends;
use crate::side::{Broken, Part};
use crate::transport::Transport;

/// One connection.
pub(crate) struct Connection {
    io: Transport,
    receiving: Receiving,
    sending: Sending,
    /// How the request that is being answered came.
    asked: Asked,
}

/// Whether a connection can carry another exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// Both messages were whole, nobody asked for its end, nothing was odd.
    Reusable,
    /// The answer went out while its request was still coming: what comes is read and thrown away for a moment before the end, so that the
    /// answer is not lost to a reset.
    Lingers,
    /// It ends.
    Spent,
    /// It was cut: its end is a reset, and nothing in order comes before.
    Cut,
}

/// Which end of a connection this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

impl Connection {
    /// Speaks HTTP/1 over a transport.
    pub(crate) fn new(io: Transport, limits: HeadLimits) -> Box<Self> {
        Box::new(Self {
            io,
            receiving: Receiving::new(limits),
            sending: Sending::new(),
            asked: Asked { version: HttpVersion::Http11, method: Method::GET },
        })
    }

    /// A plain stream: bytes both ways until each ends.
    pub(crate) fn tunnel(io: Transport) -> Box<Self> {
        let mut connection = Self::new(io, HeadLimits::APPLICATION);
        connection.becomes_tunnel();
        connection
    }

    /// From here on both directions are bytes until each ends; what was received beyond the head is the first of them.
    pub(crate) fn becomes_tunnel(&mut self) {
        self.receiving.becomes_bytes();
        self.sending.becomes_bytes();
    }

    /// Waits for more bytes behind those that are held; 0 is the end, or that there is no room for more.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.receiving.poll_more(cx, &mut self.io)
    }

    /// All that was received and not consumed.
    pub(crate) fn held(&self) -> &[u8] {
        self.receiving.held()
    }

    /// The transport, and what was received and not read.
    pub(crate) fn into_transport(self: Box<Self>) -> (Transport, Vec<u8>) {
        let Self { io, receiving, .. } = *self;
        (io, receiving.into_bytes())
    }

    /// Waits for the first bytes of the next request.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadFault>> {
        self.receiving.poll_begun(cx, &mut self.io)
    }

    /// Waits for the head of the next request. Holds no room for bytes while none come.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<Received, HeadFault>> {
        let received = self.receiving.poll_request(cx, &mut self.io, head);
        if let Poll::Ready(Ok(Received::Request)) = received {
            self.asked = Asked { version: head.version, method: head.method.clone() };
        }
        received
    }

    /// Waits for the head of an answer. One below 200 is followed by another, except 101.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead) -> Poll<Result<(), Broken>> {
        self.receiving.poll_response(cx, &mut self.io, &self.asked.method, head)
    }

    /// Whether `Connection: upgrade` was in the head that was received.
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        self.receiving.options().upgrades
    }

    /// Whether not a byte of the message that is sent was written.
    pub(crate) fn is_untouched(&self) -> bool {
        self.sending.is_untouched()
    }

    /// Whether all of the message that is received was.
    pub(crate) fn is_received(&self) -> bool {
        self.receiving.is_done()
    }

    /// Takes a request's head to be sent.
    pub(crate) fn send_request(&mut self, head: &RequestHead, overlay: &Overlay, upgrade: Upgrade) {
        self.sending.request(head, overlay, upgrade);
        let method = overlay.method.as_ref().unwrap_or(&head.method).clone();
        self.asked = Asked { version: HttpVersion::Http11, method };
    }

    /// Takes the head of an answer to be sent. The connection closes behind it where the caller said so or asked so, and where nothing else
    /// ends the body.
    pub(crate) fn send_response(&mut self, head: &ResponseHead, wanted: Persistence) {
        let wanted = if self.receiving.options().is_last { Persistence::Close } else { wanted };
        self.sending.response(head, &self.asked, wanted);
    }

    /// Takes an answer back of which not a byte was sent; whether it could. Another may be sent in its place.
    pub(crate) fn retract_response(&mut self) -> bool {
        self.sending.retract()
    }

    /// Takes the head of an answer after which both directions are bytes.
    pub(crate) fn send_switch(&mut self, head: &ResponseHead) {
        self.sending.switch(head);
    }

    /// Takes `100 Continue` and the like to be sent: HTTP/1.0 knows none.
    pub(crate) fn send_informational(&mut self, head: &ResponseHead) {
        if self.asked.version != HttpVersion::Http10 {
            self.send_response(head, Persistence::Keep);
        }
    }

    /// Waits for more of the body that is received.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        self.receiving.poll_part(cx, &mut self.io)
    }

    /// See [`crate::side::Side::data`].
    pub(crate) fn data(&self) -> &[u8] {
        self.receiving.data()
    }

    /// See [`crate::side::Side::consume`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.receiving.consume(count);
    }

    /// See [`crate::side::Side::take_trailers`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        self.receiving.take_trailers()
    }

    /// See [`crate::side::Side::poll_send`].
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.sending.poll_send(cx, &mut self.io, data)
    }

    /// See [`crate::side::Side::poll_end`].
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        self.sending.poll_end(cx, &mut self.io, trailers)
    }

    /// See [`crate::side::Side::poll_flush`].
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.sending.poll_flush(cx, &mut self.io)
    }

    /// Ends the sending side of the transport; that the other end is gone already is no news.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.poll_shutdown(cx, &mut self.io)
    }

    /// Ends the connection by a reset, so that nobody takes what went over for the whole.
    pub(crate) fn cut(&mut self) {
        self.receiving.cut();
        self.sending.cut();
        if let Some(socket) = self.io.socket() {
            socket.reset_on_close();
        }
    }

    /// See [`Transport::ends`].
    pub(crate) fn ends(&self) -> Option<Ends> {
        self.io.ends()
    }

    /// See [`crate::side::Side::is_dead`].
    pub(crate) fn is_dead(&self) -> bool {
        self.io.socket().is_some_and(|socket| socket.peer_addr().is_err())
    }

    /// See [`weft_env::Stream::mind_window`].
    pub(crate) fn mind_window(&self) {
        if let Some(socket) = self.io.socket() {
            socket.mind_window();
        }
    }

    /// Waits for the other end to go while nothing more is expected of it: ready with whether it failed, or only will not send more. What it
    /// sends meanwhile is kept, up to the room there is, for the next exchange.
    pub(crate) fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        self.receiving.poll_hangup(cx, &mut self.io)
    }

    /// What the connection is good for, once an exchange is over: computed from all that was sent and received.
    pub(crate) fn fitness(&self, role: Role) -> Fitness {
        let has_more = self.receiving.holds_bytes();
        let persists = !self.receiving.options().is_last && self.sending.persists();
        // Bytes behind an answer belong to no request.
        let is_clean = role == Role::Server || !has_more;
        match (role, self.sending.is_done(), self.receiving.is_done()) {
            _ if self.sending.is_broken() => Fitness::Cut,
            (_, true, true) if persists && is_clean => Fitness::Reusable,
            (Role::Server, true, false) => Fitness::Lingers,
            (Role::Server, true, true) if has_more => Fitness::Lingers,
            _ => Fitness::Spent,
        }
    }

    /// Makes a reusable connection ready for the next exchange.
    pub(crate) fn renew(&mut self) {
        self.receiving.renew();
        self.sending.renew();
    }

    /// Whether nothing came since the last exchange: it can take another.
    pub(crate) fn is_quiet(&mut self) -> bool {
        !self.receiving.holds_bytes() && self.io.is_quiet()
    }

    /// Reads and throws away what still comes; ready when the other end is done.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.receiving.poll_discard(cx, &mut self.io)
    }
}

#[cfg(test)]
mod tests;
