//! Header blocks that h2 reads otherwise than their sender means them, put together anew. Asked by [`super::guard`], for blocks of more than
//! one frame and for trailers; all others pass as they came.
//!
//! - Where a frame ends within a field, h2 forgets what was malformed before. Here each frame ends between two fields, or is part of one alone.
//! - h2 takes a change of the table's size at the start of each frame; it belongs to the start of the block (RFC 7541, section 4.2).
//! - h2 leaves pseudo-fields in trailers out; they are malformed (RFC 9113, section 8.1). A field that may not stand in trailers, and is taken out
//!   of them later, is put before theirs: h2 resets a stream with a pseudo-field behind another.

use bytes::BytesMut;

use super::ended::Ended;
use super::frame::{FRAME_LEN_MAX, Frame, HEAD_LEN, Kind};

/// Longest field that is waited for: the longest head that is answered by name has half as much.
const FIELD_LEN_MAX: usize = 64 * 1024;
/// Most frames of a block. As long as a head may be, it fits into five.
const FRAMES_MAX: usize = 16;
/// `host` with an empty value, of the static table (RFC 7541, appendix A): one byte.
const HOST: u8 = 0x80 | 38;

/// What a block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It begins a message.
    Head,
    /// It ends one.
    Trailers,
}

/// One block that is put together anew.
#[derive(Debug)]
pub(super) struct Regroup {
    place: Place,
    /// Of its first frame.
    first: Frame,
    /// Of the frame that is coming.
    frame: Frame,
    frames: usize,
    /// The payload of that frame.
    payload: Vec<u8>,
    /// A field of which more is to come.
    cut: Vec<u8>,
    /// Whole fields that wait for others, so that few frames go on: h2 counts them.
    group: BytesMut,
    /// A field has come; until then the size of the table may change.
    has_field: bool,
    is_begun: bool,
}

impl Regroup {
    /// Of the block that begins with this frame.
    pub(super) fn new(first: Frame, place: Place) -> Self {
        Self {
            place,
            first,
            frame: first,
            frames: 1,
            payload: Vec::new(),
            cut: Vec::new(),
            group: BytesMut::new(),
            has_field: false,
            is_begun: false,
        }
    }

    /// The head of the next frame has come.
    pub(super) fn goes_on(&mut self, frame: Frame) -> Result<(), Ended> {
        if frame.kind != Kind::Continuation || frame.stream != self.first.stream {
            return Err(Ended::Broken("another frame within a head"));
        }
        self.frames += 1;
        self.frame = frame;
        if self.frames > FRAMES_MAX { Err(Ended::Flood("CONTINUATION")) } else { Ok(()) }
    }

    /// A part of the frame's payload has come.
    pub(super) fn take(&mut self, payload: &[u8]) {
        self.payload.extend_from_slice(payload);
    }

    /// The frame has come whole: writes what can be passed on of the block; whether that was all.
    pub(super) fn end_frame(&mut self, out: &mut BytesMut) -> Result<bool, Ended> {
        let payload = std::mem::take(&mut self.payload);
        self.cut.extend_from_slice(fields_of(self.frame, &payload)?);
        let fields = std::mem::take(&mut self.cut);
        let mut rest = &fields[..];
        while let Some(field) = Representation::first(rest)? {
            let (bytes, after) = rest.split_at(field.len);
            self.add(field, bytes, out)?;
            rest = after;
        }
        let is_last = self.frame.ends_head();
        if is_last {
            // A field that is cut here is for h2 to refuse.
            self.group.extend_from_slice(rest);
            self.write_group(Frame::END_HEADERS, out);
        } else if rest.len() > FIELD_LEN_MAX {
            return Err(Ended::Flood("bytes of one field"));
        } else {
            self.cut = rest.to_vec();
        }
        Ok(is_last)
    }

    /// Adds a field, or a change of size, to those that wait; writes them where the frame is full.
    fn add(&mut self, field: Representation, bytes: &[u8], out: &mut BytesMut) -> Result<(), Ended> {
        if field.is_size && self.has_field {
            return Err(Ended::Compressed("the table's size changes within a head"));
        }
        if !field.is_size && !std::mem::replace(&mut self.has_field, true) && self.place == Place::Trailers {
            self.group.extend_from_slice(&[HOST]);
        }
        if !self.group.is_empty() && self.group.len() + bytes.len() > FRAME_LEN_MAX {
            self.write_group(0, out);
        }
        self.group.extend_from_slice(bytes);
        if bytes.len() > FRAME_LEN_MAX {
            self.write_group(0, out);
        }
        Ok(())
    }

    /// Writes what waits, with these flags on the last frame.
    fn write_group(&mut self, flags: u8, out: &mut BytesMut) {
        let mut group = std::mem::take(&mut self.group);
        while group.len() > FRAME_LEN_MAX {
            let piece = group.split_to(FRAME_LEN_MAX);
            self.write(&piece, 0, out);
        }
        self.write(&group, flags, out);
    }

    fn write(&mut self, payload: &[u8], flags: u8, out: &mut BytesMut) {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let (kind, flags) = if is_first {
            (Kind::Headers, flags | if self.first.ends_stream() { Frame::END_STREAM } else { 0 })
        } else {
            (Kind::Continuation, flags)
        };
        out.reserve(HEAD_LEN + payload.len());
        out.extend_from_slice(&Frame { kind, flags, stream: self.first.stream, len: payload.len() }.head());
        out.extend_from_slice(payload);
    }
}

/// The part of a payload that belongs to the block: without padding and priority.
fn fields_of(frame: Frame, payload: &[u8]) -> Result<&[u8], Ended> {
    let padding = payload.first().filter(|_| frame.is_padded()).map_or(0, |len| usize::from(*len));
    let fields = payload.len().checked_sub(padding).and_then(|end| payload.get(frame.content_at()..end));
    fields.ok_or(Ended::Broken("HEADERS are shorter than their padding and priority"))
}

/// One field of a block, or a change of the table's size (RFC 7541, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Representation {
    len: usize,
    is_size: bool,
}

impl Representation {
    /// The first of these bytes; none where it is cut.
    fn first(bytes: &[u8]) -> Result<Option<Self>, Ended> {
        let Some(kind) = bytes.first() else { return Ok(None) };
        // How many bits of the first byte belong to its number, and whether strings follow.
        let (prefix, has_value) = match kind {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let Some((index, mut len)) = number(bytes, prefix)? else { return Ok(None) };
        let strings = if !has_value {
            0
        } else if index == 0 {
            2
        } else {
            1
        };
        for _ in 0..strings {
            let Some((text_len, taken)) = number(&bytes[len..], 7)? else { return Ok(None) };
            len = len.saturating_add(taken).saturating_add(text_len);
            if len > bytes.len() {
                return Ok(None);
            }
        }
        Ok(Some(Self { len, is_size: prefix == 5 }))
    }
}

/// A number that begins with so many bits of the first byte, and how many bytes it has (RFC 7541, section 5.1); none where it is cut.
fn number(bytes: &[u8], prefix: u32) -> Result<Option<(usize, usize)>, Ended> {
    /// Four bytes more hold 28 bits; nothing that long can be sent.
    const LEN_MAX: usize = 5;
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Ok(Some((value, 1)));
    }
    for (at, byte) in rest.iter().enumerate() {
        if at + 1 >= LEN_MAX {
            return Err(Ended::Compressed("a number is too large"));
        }
        value += usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 2)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
