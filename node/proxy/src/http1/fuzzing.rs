//! Heads and bodies of HTTP/1 for tests and fuzzing. See [`crate::fuzzing`].

use http::Method;

use super::chunked::{Chunked, Step};
use super::parse;
use super::scan::{HeadLimits, Scan};
use super::write::{self, ConnectionField};
use crate::fuzzing::{Body, SeenRequest};
use crate::head::{Form, HttpVersion, Length, Malformed, Overlay, RequestHead, ResponseHead};

const LIMITS: HeadLimits = HeadLimits::APPLICATION;

/// Where a head ends when it comes in pieces of this size; none where more is needed.
fn found(bytes: &[u8], piece: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let mut scan = Scan::default();
    let mut skipped = 0;
    let mut come = 0;
    loop {
        skipped += scan.leading(&bytes[skipped..come]);
        if let Some(len) = scan.find(&bytes[skipped..come], LIMITS)? {
            assert!(skipped + len <= bytes.len() && bytes[..skipped + len].ends_with(b"\r\n"));
            return Ok(Some((skipped, len)));
        }
        if come == bytes.len() {
            return Ok(None);
        }
        come = (come + piece).min(bytes.len());
    }
}

/// What is seen of a request; none where it is refused, or not whole.
pub(crate) fn request(bytes: &[u8]) -> Option<SeenRequest> {
    let whole = found(bytes, usize::MAX >> 1).ok().flatten();
    // In pieces it may be refused sooner, and never taken otherwise.
    for piece in [1, 7] {
        let pieces = found(bytes, piece).ok().flatten();
        assert!(pieces == whole || (pieces.is_none() && whole.is_some_and(|(_, len)| len > LIMITS.bytes)), "{piece}");
    }
    let (skipped, len) = whole?;
    let head_bytes = &bytes[skipped..skipped + len];
    let mut head = RequestHead::default();
    let options = parse::request(head_bytes, LIMITS, &mut head).ok()?;
    assert!(head.fields.len() <= LIMITS.fields && !head.method.as_str().is_empty());
    assert!(head.path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#'), "{:?}", head.path);
    written_means_the_same(&head);
    let body = match head.length {
        Length::None => Body::None,
        Length::Exact(count) => Body::Length(count),
        Length::Unknown => Body::Chunked,
    };
    assert_eq!(options.is_chunked, body == Body::Chunked);
    let target = if head.form == Form::Authority { head.authority.clone() } else { head.path.clone() };
    let fields = head.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Some(SeenRequest { method: head.method.to_string(), target, fields, body, head_len: skipped + len })
}

/// What is sent on is read as it was meant.
fn written_means_the_same(head: &RequestHead) {
    let mut written = Vec::new();
    write::request(head, &Overlay::default(), ConnectionField::None, &mut written);
    let mut again = RequestHead::default();
    let read = parse::request(&written, HeadLimits::NODE, &mut again);
    assert!(read.is_ok() || written.len() > LIMITS.bytes, "{read:?}: {:?}", String::from_utf8_lossy(&written));
    if read.is_ok() {
        assert_eq!((&again.method, &again.path, &again.authority), (&head.method, &head.path, &head.authority));
        assert!(again.length == head.length, "{:?} {:?}", again.length, head.length);
    }
}

/// Reads an answer's head, to this method.
pub(crate) fn answer(bytes: &[u8], asked: &Method) {
    let Ok(Some((skipped, len))) = found(bytes, usize::MAX >> 1) else { return };
    let mut head = ResponseHead::default();
    if parse::response(&bytes[skipped..skipped + len], LIMITS, asked, &mut head).is_err() {
        return;
    }
    assert!((100..=999).contains(&head.status) && head.fields.len() <= LIMITS.fields);
    let mut written = Vec::new();
    let framing = write::framing_of(&head, HttpVersion::Http11, *asked != Method::HEAD);
    write::response(&head, framing, ConnectionField::None, &mut written);
    let mut again = ResponseHead::default();
    if let Err(wrong) = parse::response(&written, HeadLimits::NODE, asked, &mut again) {
        assert!(written.len() > LIMITS.bytes, "{wrong:?}: {:?}", String::from_utf8_lossy(&written));
        return;
    }
    assert_eq!((again.status, again.length, again.stated), (head.status, head.length, head.stated));
}

/// The bytes of a body in chunks that comes in two pieces, and where its trailers begin; none where it is wrong, or not whole.
fn decoded(bytes: &[u8], cut: usize) -> Option<(Vec<u8>, usize)> {
    let (mut chunked, mut body, mut at, mut come) = (Chunked::default(), Vec::new(), 0, cut);
    loop {
        if at == come {
            if come == bytes.len() {
                return None;
            }
            come = bytes.len();
        }
        match chunked.step(&bytes[at..come]).ok()? {
            Step::More if come == bytes.len() => return None,
            Step::More => come = bytes.len(),
            Step::Skip(count) => {
                assert!(count > 0 && at + count <= come);
                at += count;
            }
            Step::Data(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(come - at);
                body.extend_from_slice(&bytes[at..at + count]);
                chunked.used(count as u64);
                at += count;
            }
            Step::Trailers => return Some((body, at)),
        }
    }
}

/// However a body comes, it is the same.
pub(crate) fn chunks(bytes: &[u8]) {
    let whole = decoded(bytes, bytes.len());
    for cut in (1..bytes.len().min(300)).chain([bytes.len() / 2]) {
        assert_eq!(decoded(bytes, cut), whole, "cut at {cut}");
    }
    if let Some((_, at)) = whole {
        let _trailers = parse::trailers(&bytes[at..], LIMITS);
    }
}
