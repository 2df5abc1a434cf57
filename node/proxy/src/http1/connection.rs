//! One connection that speaks HTTP/1, in either role, or a plain stream. See [`super`].

use std::io;
use std::task::{Context, Poll, ready};

use http::Method;
use weft_policy::fields::Fields;
use weft_policy::head::Upgrade;

use super::buffer::Buffer;
use super::chunked::{Chunked, Step};
use super::parse::{self, Options};
use super::scan::{HeadLimits, Scan};
use super::write::{self, AnswerFraming, ConnectionField};
use crate::head::{HttpVersion, Length, Malformed, Overlay, RequestHead, ResponseHead};
use crate::side::{Broken, Part};
use crate::transport::Transport;

/// Bytes that wait to be sent before no more are taken.
const OUTPUT_MAX: usize = 32 * 1024;
/// A piece up to this is copied behind what waits; a larger one is written from where it is.
const COPIED_MAX: usize = 4 * 1024;
/// The largest chunk that is written.
const CHUNK_MAX: usize = 16 * 1024;
/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection.
pub(crate) struct Connection {
    io: Transport,
    limits: HeadLimits,
    input: Buffer,
    output: Vec<u8>,
    /// Bytes of `output` that were sent.
    sent: usize,
    scan: Scan,
    receiving: Receiving,
    sending: Sending,
    /// What the head that was received says of the connection.
    theirs: Options,
    /// What the head that was sent says of it.
    ours: Persistence,
    /// How the request that is being answered came.
    asked: Asked,
    trailers: Option<Fields>,
    /// Bytes of the body at the front of `input`.
    at_hand: usize,
    is_shut: bool,
}

/// What of a request decides about its answer.
#[derive(Debug, Clone)]
struct Asked {
    version: HttpVersion,
    method: Method,
}

/// Where the message that is received stands.
#[derive(Debug)]
enum Receiving {
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
    Broken,
}

/// Where the message that is sent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Head,
    Length(u64),
    Chunked,
    /// Bytes until this side of the connection is shut.
    UntilClose,
    Done,
    Broken,
}

/// Whether the sender of a head will use the connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// As far as it goes.
    Keep,
    /// It will not.
    Close,
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
}

/// What was received at the start of a connection or between exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// A request's head.
    Request,
    /// The preface of HTTP/2, which is still to be read.
    Http2,
}

/// Why no head was received.
#[derive(Debug)]
pub(crate) enum HeadFault {
    /// The connection ended before a byte of it.
    Ended,
    /// It broke a rule.
    Malformed(Malformed),
    /// The connection failed, or ended within it.
    Broken(io::Error),
}

impl Connection {
    /// Speaks HTTP/1 over a transport.
    pub(crate) fn new(io: Transport, limits: HeadLimits) -> Box<Self> {
        Box::new(Self {
            io,
            limits,
            input: Buffer::default(),
            output: Vec::new(),
            sent: 0,
            scan: Scan::default(),
            receiving: Receiving::Head,
            sending: Sending::Head,
            theirs: Options::default(),
            ours: Persistence::Keep,
            asked: Asked { version: HttpVersion::Http11, method: Method::GET },
            trailers: None,
            at_hand: 0,
            is_shut: false,
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
        (self.receiving, self.sending) = (Receiving::UntilClose, Sending::UntilClose);
        (self.theirs.is_last, self.ours) = (true, Persistence::Close);
    }

    /// The transport.
    pub(crate) fn transport(&self) -> &Transport {
        &self.io
    }

    /// The transport, and what was received and not read.
    pub(crate) fn into_transport(mut self: Box<Self>) -> (Transport, Vec<u8>) {
        let rest = self.input.bytes().to_vec();
        self.input.consume(rest.len());
        (self.io, rest)
    }

    /// Waits for the head of the next request. Holds no room for bytes while none come.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<Received, HeadFault>> {
        loop {
            let skipped = self.scan.leading(self.input.bytes());
            self.input.consume(skipped);
            let bytes = self.input.bytes();
            let compared = bytes.len().min(PREFACE.len());
            // Three bytes tell: no method of a request begins as the preface does and goes on otherwise.
            if compared > 0 && bytes[..compared] == PREFACE[..compared] {
                if compared == PREFACE.len() {
                    return Poll::Ready(Ok(Received::Http2));
                }
            } else if !bytes.is_empty() {
                let found = self.scan.find(bytes, self.limits).map_err(HeadFault::Malformed)?;
                if let Some(len) = found {
                    let options = parse::request(&bytes[..len], self.limits, head).map_err(HeadFault::Malformed)?;
                    self.input.consume(len);
                    self.has_received(options, head.length);
                    self.asked = Asked { version: head.version, method: head.method.clone() };
                    return Poll::Ready(Ok(Received::Request));
                }
            }
            match ready!(self.input.poll_fill(cx, &mut self.io)) {
                Ok(0) if self.input.is_empty() => return Poll::Ready(Err(HeadFault::Ended)),
                Ok(0) => return Poll::Ready(Err(HeadFault::Broken(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(HeadFault::Broken(error))),
            }
        }
    }

    /// Whether bytes of a next head are there already.
    pub(crate) fn has_begun(&self) -> bool {
        !self.input.is_empty()
    }

    /// Waits for the head of an answer. One below 200 is followed by another, except 101.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let bytes = self.input.bytes();
            let found = if bytes.is_empty() { Ok(None) } else { self.scan.find(bytes, self.limits) };
            match found {
                Err(malformed) => return Poll::Ready(Err(self.breaks(Broken::Malformed(malformed)))),
                Ok(Some(len)) => {
                    let parsed = parse::response(&bytes[..len], self.limits, &self.asked.method, head);
                    self.input.consume(len);
                    let options = match parsed {
                        Ok(options) => options,
                        Err(malformed) => return Poll::Ready(Err(self.breaks(Broken::Malformed(malformed)))),
                    };
                    if head.status >= 200 || head.status == 101 {
                        self.has_received(options, head.length);
                    } else {
                        self.scan = Scan::default();
                    }
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
            }
            match ready!(self.input.poll_fill(cx, &mut self.io)) {
                Ok(0) => return Poll::Ready(Err(self.breaks(Broken::Truncated))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.breaks(Broken::Io(error)))),
            }
        }
    }

    fn has_received(&mut self, options: Options, length: Length) {
        self.scan = Scan::default();
        self.theirs = options;
        self.receiving = match length {
            Length::None => Receiving::Done,
            Length::Exact(count) => Receiving::Length(count),
            Length::Unknown if options.is_chunked => Receiving::Chunked(Chunked::default()),
            Length::Unknown => Receiving::UntilClose,
        };
    }

    fn breaks(&mut self, broken: Broken) -> Broken {
        self.receiving = Receiving::Broken;
        broken
    }

    /// Whether `Connection: upgrade` was in the head that was received.
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        self.theirs.upgrades
    }

    /// Whether all of the message that is received was.
    pub(crate) fn is_received(&self) -> bool {
        matches!(self.receiving, Receiving::Done)
    }

    /// Takes a request's head to be sent.
    pub(crate) fn send_request(&mut self, head: &RequestHead, overlay: &Overlay, upgrade: Upgrade) {
        let connection = if upgrade == Upgrade::Asked { ConnectionField::Upgrade } else { ConnectionField::None };
        write::request(head, overlay, connection, &mut self.output);
        let method = overlay.method.as_ref().unwrap_or(&head.method).clone();
        self.asked = Asked { version: HttpVersion::Http11, method };
        self.sending = match head.length {
            Length::None => Sending::Done,
            Length::Exact(count) => Sending::Length(count),
            Length::Unknown => Sending::Chunked,
        };
    }

    /// Takes the head of an answer to be sent. The connection closes behind it where the caller said so or asked so, and where nothing else
    /// ends the body.
    pub(crate) fn send_response(&mut self, head: &ResponseHead, wanted: Persistence) {
        let framing = write::framing_of(head, self.asked.version, self.asked.method != Method::HEAD);
        let is_final = head.status >= 200 || head.status == 101;
        let closes = wanted == Persistence::Close || self.theirs.is_last || framing == AnswerFraming::Close;
        let connection = match (head.status, closes) {
            (101, _) => ConnectionField::Upgrade,
            _ if !is_final => ConnectionField::None,
            (_, true) => ConnectionField::Close,
            _ if self.asked.version == HttpVersion::Http10 => ConnectionField::KeepAlive,
            _ => ConnectionField::None,
        };
        write::response(head, framing, connection, &mut self.output);
        if !is_final {
            return;
        }
        self.ours = if closes { Persistence::Close } else { Persistence::Keep };
        self.sending = match framing {
            AnswerFraming::None | AnswerFraming::Stated(_) => Sending::Done,
            AnswerFraming::Length(count) => Sending::Length(count),
            AnswerFraming::Chunked => Sending::Chunked,
            AnswerFraming::Close => Sending::UntilClose,
        };
    }

    /// Takes the head of an answer after which both directions are bytes.
    pub(crate) fn send_switch(&mut self, head: &ResponseHead) {
        let connection = if head.status == 101 { ConnectionField::Upgrade } else { ConnectionField::None };
        write::response(head, AnswerFraming::None, connection, &mut self.output);
    }

    /// Takes `100 Continue` and the like to be sent: HTTP/1.0 knows none.
    pub(crate) fn send_informational(&mut self, head: &ResponseHead) {
        if self.asked.version != HttpVersion::Http10 {
            self.send_response(head, Persistence::Keep);
        }
    }

    /// Waits for more of the body that is received.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broken>> {
        loop {
            match self.next_part() {
                Ok(Some(part)) => return Poll::Ready(Ok(part)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(self.breaks(Broken::Malformed(malformed)))),
            }
            match ready!(self.input.poll_fill(cx, &mut self.io)) {
                Ok(0) if matches!(self.receiving, Receiving::UntilClose) => self.receiving = Receiving::Done,
                Ok(0) => return Poll::Ready(Err(self.breaks(Broken::Truncated))),
                Ok(_) => {}
                // A peer that ends TLS without saying so may have been cut off (RFC 8446, section 6.1).
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(self.breaks(Broken::Truncated)));
                }
                Err(error) => return Poll::Ready(Err(self.breaks(Broken::Io(error)))),
            }
        }
    }

    /// What is at hand of the body; none where more bytes are needed.
    fn next_part(&mut self) -> Result<Option<Part>, Malformed> {
        loop {
            let held = self.input.bytes();
            let step = match &mut self.receiving {
                Receiving::Done => return Ok(Some(Part::End)),
                Receiving::Broken => return Err(Malformed::new("the message broke off before")),
                Receiving::Head => return Err(Malformed::new("no message has begun")),
                Receiving::Length(0) => {
                    self.receiving = Receiving::Done;
                    return Ok(Some(Part::End));
                }
                _ if held.is_empty() => return Ok(None),
                Receiving::Length(left) => Step::Data(*left),
                Receiving::UntilClose => Step::Data(u64::MAX),
                Receiving::Chunked(chunked) => chunked.step(held)?,
            };
            match step {
                Step::More => return Ok(None),
                Step::Skip(count) => self.input.consume(count),
                Step::Data(left) => {
                    self.at_hand = usize::try_from(left).unwrap_or(usize::MAX).min(held.len());
                    return Ok(Some(Part::Data));
                }
                Step::Trailers => {
                    let Some(len) = self.scan.find(held, self.limits)? else { return Ok(None) };
                    self.scan = Scan::default();
                    let trailers = parse::trailers(&held[..len], self.limits)?;
                    self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                    self.input.consume(len);
                    self.receiving = Receiving::Done;
                }
            }
        }
    }

    /// See [`crate::side::Side::data`].
    pub(crate) fn data(&self) -> &[u8] {
        &self.input.bytes()[..self.at_hand]
    }

    /// See [`crate::side::Side::consume`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.at_hand -= count.min(self.at_hand);
        match &mut self.receiving {
            Receiving::Length(left) => *left = left.saturating_sub(count as u64),
            Receiving::Chunked(chunked) => chunked.used(count as u64),
            _ => {}
        }
    }

    /// See [`crate::side::Side::take_trailers`].
    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// See [`crate::side::Side::poll_send`].
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.waiting() >= OUTPUT_MAX {
            ready!(self.poll_write(cx, &[]))?;
        }
        let count = match self.sending {
            Sending::Chunked => {
                let count = data.len().min(CHUNK_MAX);
                write::chunk_size(count, &mut self.output);
                self.output.extend_from_slice(&data[..count]);
                self.output.extend_from_slice(b"\r\n");
                count
            }
            Sending::Length(left) if (data.len() as u64) > left => {
                self.sending = Sending::Broken;
                return Poll::Ready(Err(Broken::Overrun));
            }
            Sending::Length(_) | Sending::UntilClose if data.len() <= COPIED_MAX => {
                self.output.extend_from_slice(data);
                data.len()
            }
            Sending::Length(_) | Sending::UntilClose => ready!(self.poll_write(cx, data))?,
            Sending::Head | Sending::Done | Sending::Broken => return Poll::Ready(Err(Broken::Overrun)),
        };
        if let Sending::Length(left) = &mut self.sending {
            *left -= count as u64;
        }
        Poll::Ready(Ok(count))
    }

    /// See [`crate::side::Side::poll_end`].
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, trailers: Option<&Fields>) -> Poll<Result<(), Broken>> {
        match self.sending {
            Sending::Chunked => {
                self.output.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    write::fields(trailers, &mut self.output);
                }
                self.output.extend_from_slice(b"\r\n");
                self.sending = Sending::Done;
            }
            Sending::Length(0) => self.sending = Sending::Done,
            Sending::Length(_) => {
                self.sending = Sending::Broken;
                return Poll::Ready(Err(Broken::Overrun));
            }
            Sending::UntilClose => {
                ready!(self.poll_flush(cx))?;
                ready!(self.poll_shutdown(cx));
                self.sending = Sending::Done;
                return Poll::Ready(Ok(()));
            }
            Sending::Head | Sending::Broken => return Poll::Ready(Err(Broken::Overrun)),
            Sending::Done => {}
        }
        self.poll_flush(cx)
    }

    fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Writes what waits and then `data`, until a byte of `data` went, or all that waits where there is none; how much of `data` went.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        while self.waiting() > 0 || !data.is_empty() {
            let written = ready!(self.io.poll_write_both(cx, [&self.output[self.sent..], data]));
            let count = match written {
                Ok(count) => count,
                Err(error) => {
                    self.sending = Sending::Broken;
                    return Poll::Ready(Err(Broken::Io(error)));
                }
            };
            let of_output = count.min(self.waiting());
            self.sent += of_output;
            if self.waiting() == 0 {
                self.output.clear();
                self.sent = 0;
            }
            if count > of_output {
                return Poll::Ready(Ok(count - of_output));
            }
        }
        Poll::Ready(Ok(0))
    }

    /// See [`crate::side::Side::poll_flush`].
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.waiting() > 0 {
            ready!(self.poll_write(cx, &[]))?;
        }
        match ready!(self.io.poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                self.sending = Sending::Broken;
                Poll::Ready(Err(Broken::Io(error)))
            }
        }
    }

    /// Ends the sending side of the transport; that the other end is gone already is no news.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_shut {
            let _gone = ready!(self.io.poll_shutdown(cx));
            self.is_shut = true;
        }
        Poll::Ready(())
    }

    /// Ends the connection by a reset, so that nobody takes what went over for the whole.
    pub(crate) fn cut(&mut self) {
        (self.receiving, self.sending) = (Receiving::Broken, Sending::Broken);
        if let Some(socket) = self.io.socket() {
            socket.reset_on_close();
        }
    }

    /// Waits for the other end to go while nothing more is expected of it: ready with whether it failed, or only will not send more. What it
    /// sends meanwhile is kept, up to the room there is, for the next exchange.
    pub(crate) fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<Hangup> {
        loop {
            if self.input.is_full() || !matches!(self.receiving, Receiving::Done) {
                return Poll::Pending;
            }
            match ready!(self.input.poll_fill(cx, &mut self.io)) {
                Ok(0) => return Poll::Ready(Hangup::Ended),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Hangup::Failed),
            }
        }
    }

    /// What the connection is good for, once an exchange is over: computed from all that was sent and received.
    pub(crate) fn fitness(&self, role: Role) -> Fitness {
        let is_sent = self.sending == Sending::Done && self.waiting() == 0;
        let is_received = matches!(self.receiving, Receiving::Done);
        let persists = !self.theirs.is_last && self.ours == Persistence::Keep && !self.is_shut;
        // Bytes behind an answer belong to no request.
        let is_clean = role == Role::Server || self.input.is_empty();
        match (role, is_sent, is_received) {
            (_, true, true) if persists && is_clean => Fitness::Reusable,
            (Role::Server, true, false) => Fitness::Lingers,
            (Role::Server, true, true) if !self.input.is_empty() => Fitness::Lingers,
            _ => Fitness::Spent,
        }
    }

    /// Makes a reusable connection ready for the next exchange.
    pub(crate) fn renew(&mut self) {
        (self.receiving, self.sending) = (Receiving::Head, Sending::Head);
        (self.theirs, self.ours) = (Options::default(), Persistence::Keep);
        self.trailers = None;
        self.at_hand = 0;
        self.input.rest();
        if self.output.capacity() > COPIED_MAX {
            self.output = Vec::new();
        }
    }

    /// Holds no room for bytes while it is idle.
    pub(crate) fn rest(&mut self) {
        self.input.rest();
        self.output = Vec::new();
    }

    /// Whether nothing came since the last exchange: it can take another.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.input.is_empty() && self.io.is_quiet()
    }

    /// Reads and throws away what still comes; ready when the other end is done.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.input.consume(usize::MAX);
            match ready!(self.input.poll_fill(cx, &mut self.io)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }
}

/// Which end of a connection this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// How the other end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// It will not send more: perhaps it waits for its answer all the same.
    Ended,
    /// The connection failed.
    Failed,
}

#[cfg(test)]
mod tests;
