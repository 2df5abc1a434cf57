//! Stands between h2 and the transport, and looks at the head of each frame in both directions: h2 has no limit on frames that carry
//! nothing, none on the work of one turn, and does not ask for SETTINGS first. Header blocks that h2 would misread are put together anew.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Trust;
use super::budget::{Budget, Excess};
use super::ended::Ended;
use super::frame::{Frame, HEAD_LEN, Heads, Kind, PREFACE};
use super::named::Named;
use super::observed::Observed;
use super::read_out::ReadOut;
use super::regroup::{Place, Regroup};
use super::trailing::Trailing;
use crate::transport::Transport;

/// Most bytes that h2 gets before others have their turn: h2 reads until there is nothing more, and the streams' tasks, which take what was
/// read out of h2's hands, wait for it. Some thousand small frames and as many events in h2, for which it keeps the room; larger turns
/// were not faster.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// A transport whose frames are watched.
pub(super) struct Guard {
    io: ReadOut,
    /// What was read of the transport before it came here.
    received: Bytes,
    /// Of the frame whose head was seen last, what is still to come.
    left: usize,
    block: Block,
    /// What at the start of a payload is still to be looked at.
    named: Option<Named>,
    /// A part of a head that has not come whole: nothing of it is passed on before it is judged.
    held: Held,
    /// What was judged, or put together anew, and is to be passed on before all that comes.
    passed: BytesMut,
    /// The block that is being put together anew.
    regroup: Option<Box<Regroup>>,
    trailing: Trailing,
    sent: Heads,
    budget: Budget,
    excess: Option<Excess>,
    observed: Arc<Observed>,
    has_settings: bool,
    turn_bytes: usize,
}

/// Where a header block stands (RFC 9113, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    /// Another frame of it follows.
    Open,
    /// Its last frame is coming.
    Last,
}

/// Whether h2 is to see a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// Its head is left out; of its payload, which may be empty, what is to be seen comes later.
    Drop,
}

/// Up to one head.
#[derive(Debug, Default)]
struct Held {
    bytes: [u8; HEAD_LEN],
    len: usize,
}

impl Guard {
    /// Guards the server's end: the peer sends the preface.
    pub(super) fn server(io: Transport, received: Bytes, trust: Trust, observed: Arc<Observed>) -> Self {
        let guard = Self::new(ReadOut::server(io), Budget::server(trust), observed);
        Self { left: PREFACE.len(), sent: Heads::after(0), received, trailing: Trailing::of_requests(), ..guard }
    }

    /// Guards the client's end: we send the preface.
    pub(super) fn client(io: Transport, observed: Arc<Observed>) -> Self {
        Self::new(ReadOut::client(io), Budget::client(), observed)
    }

    fn new(io: ReadOut, budget: Budget, observed: Arc<Observed>) -> Self {
        Self {
            io,
            received: Bytes::new(),
            left: 0,
            block: Block::None,
            named: None,
            held: Held::default(),
            passed: BytesMut::new(),
            regroup: None,
            trailing: Trailing::of_answers(),
            sent: Heads::after(PREFACE.len()),
            budget,
            excess: None,
            observed,
            has_settings: false,
            turn_bytes: 0,
        }
    }

    /// Reads from what was read before, else from the transport.
    fn poll_source(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        if self.received.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, buf);
            if read.is_pending() {
                self.turn_bytes = 0;
            }
            ready!(read)?;
        } else {
            let count = self.received.len().min(buf.remaining());
            buf.put_slice(&self.received[..count]);
            self.received.advance(count);
        }
        let count = buf.filled().len() - before;
        if count > 0 {
            self.turn_bytes += count;
            self.observed.hear();
        }
        Poll::Ready(Ok(count))
    }

    /// Reads what is missing of a head whose first bytes are held; at the end of the transport they go on as they are.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = self.held.bytes;
        let mut buf = ReadBuf::new(&mut bytes);
        buf.set_filled(self.held.len);
        let count = ready!(self.poll_source(cx, &mut buf))?;
        self.held = Held { bytes, len: self.held.len + count };
        if count == 0 {
            let held = std::mem::take(&mut self.held);
            self.passed.extend_from_slice(&held.bytes[..held.len]);
        } else if self.held.len == HEAD_LEN {
            let head = std::mem::take(&mut self.held);
            if self.judge(head.bytes)? == Verdict::Pass {
                self.passed.extend_from_slice(&head.bytes);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Judges the frames in what was read, moves together what goes on at once, and tells how much that is.
    fn sift(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let mut pass = self.left.min(bytes.len() - at);
            if pass > 0 {
                let goes_on = self.take_payload(&bytes[at..at + pass])?;
                self.left -= pass;
                at += pass - goes_on;
                pass = goes_on;
                self.after_payload()?;
            } else if let Some(head) = bytes[at..].first_chunk::<HEAD_LEN>() {
                match self.judge(*head)? {
                    Verdict::Pass => pass = HEAD_LEN,
                    Verdict::Drop => at += HEAD_LEN,
                }
            } else {
                let rest = &bytes[at..];
                self.held.bytes[..rest.len()].copy_from_slice(rest);
                self.held.len = rest.len();
                break;
            }
            // A block that was put together anew comes before what follows it.
            let is_behind = !self.passed.is_empty();
            if is_behind {
                self.passed.extend_from_slice(&bytes[at..at + pass]);
            } else if at != kept {
                bytes.copy_within(at..at + pass, kept);
            }
            at += pass;
            kept += if is_behind { 0 } else { pass };
        }
        Ok(kept)
    }

    /// Gives on what was judged before. A connection may rest for hours, and holds no room for it then.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.len().min(buf.remaining());
        buf.put_slice(&self.passed[..count]);
        self.passed.advance(count);
        if self.passed.is_empty() {
            self.passed = BytesMut::new();
        }
    }

    /// Looks at a part of a payload; tells how much of it goes on as it came: all or nothing.
    fn take_payload(&mut self, payload: &[u8]) -> io::Result<usize> {
        self.look_at_named(payload)?;
        let Some(regroup) = &mut self.regroup else { return Ok(payload.len()) };
        regroup.take(payload);
        Ok(0)
    }

    /// Ends a connection one of whose streams depends on itself: h2 resets the stream and does not read the head, so that what it knows of
    /// fields that are named again is no longer what its peer means by them (RFC 9113, section 4.3). Notes a GOAWAY that excludes every stream.
    fn look_at_named(&mut self, payload: &[u8]) -> io::Result<()> {
        let Some(named) = &mut self.named else { return Ok(()) };
        if !named.take(payload) {
            return Ok(());
        }
        let (by, stream) = (named.by, named.stream());
        self.named = None;
        match by.kind {
            Kind::GoAway if stream == 0 => self.observed.takes_none(),
            Kind::Headers if stream == by.stream && stream != 0 => {
                return Err(self.fault(Ended::Broken("a stream depends on itself")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Decides about a frame by its head.
    fn judge(&mut self, head: [u8; HEAD_LEN]) -> io::Result<Verdict> {
        let frame = Frame::parse(head);
        if !self.has_settings {
            // Else the peer does not speak HTTP/2, or its limits are unknown for as long as it likes (RFC 9113, section 3.4).
            if frame.kind != Kind::Settings || frame.is_ack() || frame.stream != 0 {
                return Err(self.fault(Ended::NotHttp2));
            }
            self.has_settings = true;
        }
        if frame.is_missized() {
            return Err(self.fault(Ended::Size("a frame is longer or shorter than it may be")));
        }
        self.budget.received(frame).map_err(|excess| self.fault(Ended::Flood(excess)))?;
        // Asked of every frame, whatever becomes of it.
        let place = self.trailing.place_of(frame);
        // It carries nothing, and h2 counts it over the life of a connection: after a hundred the connection would end.
        let is_void = frame.kind == Kind::Data && frame.len == 0 && !frame.ends_stream() && !frame.is_padded();
        if is_void && frame.stream != 0 && self.block == Block::None {
            return Ok(Verdict::Drop);
        }
        if frame.kind == Kind::GoAway {
            self.observed.goes_away();
        }
        if frame.is_head() {
            self.block = if frame.ends_head() { Block::Last } else { Block::Open };
            if frame.kind != Kind::Continuation {
                self.observed.begin_head();
            }
        }
        if let Some(regroup) = &mut self.regroup {
            let goes_on = regroup.goes_on(frame);
            goes_on.map_err(|why| self.fault(why))?;
        } else if frame.kind == Kind::Headers && (self.block == Block::Open || place == Place::Trailers) {
            self.regroup = Some(Box::new(Regroup::new(frame, place)));
        }
        self.left = frame.len;
        self.named = Named::of(frame);
        let verdict = if self.regroup.is_some() { Verdict::Drop } else { Verdict::Pass };
        self.after_payload()?;
        Ok(verdict)
    }

    /// Notes what the end of a payload means, if this is one.
    fn after_payload(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Ok(());
        }
        if let Some(regroup) = &mut self.regroup {
            let is_over = regroup.end_frame(&mut self.passed);
            if is_over.map_err(|why| self.fault(why))? {
                self.regroup = None;
            }
        }
        if self.block == Block::Last {
            self.block = Block::None;
            self.observed.end_head();
        }
        if self.has_settings && !self.observed.is_greeted() {
            self.observed.greet();
        }
        Ok(())
    }

    /// What a read fails with when nothing more is taken from the peer. h2 keeps no more than the text of an error.
    fn fault(&self, why: Ended) -> io::Error {
        let error = io::Error::other(why.to_string());
        self.observed.set_fault(why);
        error
    }

    /// Accounts for what was written.
    fn wrote(&mut self, bytes: &[u8]) {
        if self.io.is_lost() {
            self.observed.goes_away();
            return;
        }
        let Self { sent, budget, excess, observed, trailing, .. } = self;
        sent.look(bytes, |frame| {
            trailing.sent(frame);
            if frame.kind == Kind::Headers {
                observed.sent_head(frame.stream);
            }
            if let Err(what) = budget.sent(frame) {
                *excess = Some(what);
            }
        });
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if let Some(excess) = me.excess {
            return Poll::Ready(Err(me.fault(Ended::Flood(excess))));
        }
        loop {
            if !me.passed.is_empty() {
                me.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if me.turn_bytes >= TURN_BYTES_MAX {
                me.turn_bytes = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if me.held.len > 0 {
                ready!(me.poll_held(cx))?;
                continue;
            }
            let before = buf.filled().len();
            if ready!(me.poll_source(cx, buf))? == 0 {
                return Poll::Ready(Ok(()));
            }
            let kept = me.sift(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + *kept.as_ref().unwrap_or(&0));
            if kept? > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = ready!(Pin::new(&mut me.io).poll_write(cx, bytes))?;
        me.wrote(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = ready!(Pin::new(&mut me.io).poll_write_vectored(cx, parts))?;
        let mut rest = count;
        for part in parts {
            let written = part.len().min(rest);
            me.wrote(&part[..written]);
            rest -= written;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
