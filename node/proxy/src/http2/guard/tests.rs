use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;

use super::*;

/// A frame as it is written: kind, flags, stream, payload.
type Sent = (u8, u8, u32, usize);

const SETTINGS: Sent = (4, 0, 0, 6);

fn written(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, stream, len) in frames {
        bytes.extend_from_slice(&u32::try_from(*len).unwrap().to_be_bytes()[1..]);
        bytes.extend_from_slice(&[*kind, *flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.resize(bytes.len() + len, 0);
    }
    bytes
}

/// Whether a frame says nothing at all.
fn is_void((kind, flags, stream, len): &Sent) -> bool {
    *kind == 0 && flags & 9 == 0 && *stream != 0 && *len == 0
}

/// What comes out of a guard's reads of these sizes, when bytes come in pieces of those.
async fn through(bytes: Vec<u8>, pieces: Vec<usize>, reads: Vec<usize>) -> io::Result<Vec<u8>> {
    let (mut near, far) = duplex(1 << 20);
    let mut guard = Guard::client(Transport::Memory(far), Arc::default());
    // What comes answers these.
    let asked = [1, 3, 5, 7, 9].map(|stream| (1, 5, stream, 3));
    guard.write_all(&[PREFACE, &written(&asked)].concat()).await?;
    let mut out = Vec::new();
    let mut rest = &bytes[..];
    let mut reads = reads.iter().cycle();
    for piece in pieces.iter().cycle() {
        let (piece, after) = rest.split_at((*piece).min(rest.len()));
        near.write_all(piece).await?;
        rest = after;
        if rest.is_empty() {
            break;
        }
        let mut room = vec![0; *reads.next().unwrap_or(&1)];
        let mut buf = ReadBuf::new(&mut room);
        let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut guard).poll_read(cx, &mut buf))).await;
        if let Poll::Ready(read) = read {
            read?;
            assert!(!buf.filled().is_empty(), "this is not the end");
            out.extend_from_slice(buf.filled());
        }
    }
    drop(near);
    guard.read_to_end(&mut out).await?;
    Ok(out)
}

fn a_frame() -> impl Strategy<Value = Sent> {
    let data = (Just(0u8), prop_oneof![Just(0u8), Just(1u8), Just(8u8)], 0u32..4, 0usize..3);
    // Padding has a length.
    let data = data.prop_map(|(kind, flags, stream, len)| (kind, flags, stream, len + usize::from(flags == 8)));
    // Whole heads, and none behind DATA: others are put together anew.
    let other = (1u8..12, 0usize..40).prop_map(|(kind, len)| match kind {
        2 => (kind, 5, 1, 5),
        3 | 8 => (kind, 5, 1, 4),
        4 => (kind, 0, 0, len / 6 * 6),
        6 => (kind, 4, 0, 8),
        7 => (kind, 5, 0, 8 + len),
        _ => (kind, 5, 9, len),
    });
    prop_oneof![data, other].prop_filter("one block in one frame", |frame| frame.0 != 9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_pass_unchanged_and_void_ones_do_not(
        frames in prop::collection::vec(a_frame(), 0..30),
        pieces in prop::collection::vec(1usize..40, 1..40),
        reads in prop::collection::vec(1usize..60, 1..40),
        cut in 0usize..9,
    ) {
        let mut sent = vec![SETTINGS];
        sent.extend_from_slice(&frames);
        let kept: Vec<_> = sent.iter().filter(|frame| !is_void(frame)).copied().collect();
        // The end may come within a head.
        let tail = &written(&[(6, 0, 0, 8)])[..cut];
        let through = through([&written(&sent), tail].concat(), pieces, reads);
        let out = Runtime::new().unwrap().block_on(through).unwrap();
        prop_assert_eq!(out, [&written(&kept), tail].concat());
    }
}

#[tokio::test]
async fn a_header_block_of_several_frames_comes_as_one_and_nothing_comes_between() {
    let frames = [SETTINGS, (1, 0, 1, 3), (9, 0, 1, 0), (9, 4, 1, 3), (0, 0, 1, 0)];
    let out = through(written(&frames), vec![7], vec![5]).await.unwrap();
    assert_eq!(out, written(&[SETTINGS, (1, 4, 1, 6)]));
    for between in [(0, 0, 1, 0), (9, 4, 3, 3), (6, 0, 0, 8), (0x42, 0, 0, 0)] {
        let broken = [SETTINGS, (1, 0, 1, 3), between, (9, 4, 1, 3)];
        assert!(through(written(&broken), vec![100], vec![100]).await.is_err(), "{between:?}");
    }
}

#[tokio::test]
async fn a_frame_of_a_wrong_size_ends_the_connection() {
    for wrong in [
        (6, 0, 0, 7),
        (3, 0, 1, 5),
        (8, 0, 0, 3),
        (2, 0, 1, 4),
        (4, 0, 0, 5),
        (4, 1, 0, 6),
        (7, 0, 0, 7),
        (0, 0, 1, 16_385),
    ] {
        assert!(through(written(&[SETTINGS, wrong]), vec![100], vec![100]).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_ends_a_message_begins_with_a_field_that_no_pseudo_field_may_follow() {
    // `:path` of the static table, alone.
    let block = |stream: u32| [&written(&[(1, 5, stream, 1)])[..HEAD_LEN], &[0x84]].concat();
    let changed = |stream: u32| [&written(&[(1, 5, stream, 2)])[..HEAD_LEN], &[0x80 | 38, 0x84]].concat();
    let begun = written(&[SETTINGS, (0, 0, 3, 5)]);
    // An answer: behind DATA alone it is known, because heads of interim answers look the same.
    let out = through([&begun[..], &block(3), &block(5)].concat(), vec![20], vec![20]).await.unwrap();
    assert_eq!(out, [&begun[..], &changed(3), &block(5)].concat());
}

#[tokio::test]
async fn what_comes_at_once_keeps_its_order() {
    let mut sent = written(&[SETTINGS]);
    let mut expected = sent.clone();
    for stream in [3, 5, 7, 9] {
        let begun = written(&[(0, 0, stream, 40), (6, 0, 0, 8)]);
        let trailers = written(&[(1, 5, stream, 1)]);
        sent.extend([&begun[..], &trailers[..HEAD_LEN], &[0x84], &written(&[(8, 0, stream, 4)])].concat());
        let changed = written(&[(1, 5, stream, 2)]);
        expected
            .extend([&begun[..], &changed[..HEAD_LEN], &[0x80 | 38, 0x84], &written(&[(8, 0, stream, 4)])].concat());
    }
    for (piece, read) in [(1000, 1000), (1000, 7), (13, 1000), (1, 1)] {
        let out = through(sent.clone(), vec![piece], vec![read]).await.unwrap();
        assert_eq!(out, expected, "in pieces of {piece}, reads of {read}");
    }
}

#[tokio::test]
async fn the_first_frame_is_settings() {
    for first in [(6, 0, 0, 8), (4, 1, 0, 0), (4, 0, 1, 0), (1, 5, 1, 3)] {
        assert!(through(written(&[first]), vec![100], vec![100]).await.is_err(), "{first:?}");
    }
}

#[tokio::test]
async fn a_turn_is_bounded_and_the_next_follows() {
    let bytes = written(&[vec![SETTINGS], vec![(0, 0, 1, 15_000); 20]].concat());
    let (mut near, far) = duplex(1 << 20);
    let mut guard = Guard::client(Transport::Memory(far), Arc::default());
    near.write_all(&bytes).await.unwrap();
    let mut turns = Vec::new();
    while turns.iter().sum::<usize>() < bytes.len() {
        turns.push(poll_fn(|cx| Poll::Ready(turn(&mut guard, cx))).await);
    }
    assert!(turns.len() >= 4 && turns.iter().all(|turn| *turn <= TURN_BYTES_MAX + 8 * 1024), "{turns:?}");
}

/// Reads until there is nothing more; how much that was.
fn turn(guard: &mut Guard, cx: &mut Context<'_>) -> usize {
    let mut count = 0;
    let mut room = [0; 8 * 1024];
    let mut buf = ReadBuf::new(&mut room);
    while Pin::new(&mut *guard).poll_read(cx, &mut buf).is_ready() {
        count += buf.filled().len();
        buf.clear();
    }
    count
}

#[tokio::test]
async fn what_is_seen_is_told() {
    let observed = Arc::new(Observed::default());
    let (mut near, far) = duplex(1 << 20);
    let mut guard = Guard::client(Transport::Memory(far), Arc::clone(&observed));
    near.write_all(&written(&[SETTINGS])[..12]).await.unwrap();
    assert_ne!(guard.read(&mut [0; 1024]).await.unwrap(), 0);
    assert!(!observed.is_greeted());
    near.write_all(&written(&[SETTINGS])[12..]).await.unwrap();
    assert_ne!(guard.read(&mut [0; 1024]).await.unwrap(), 0);
    assert!(observed.is_greeted());
    near.write_all(&written(&[(1, 0, 1, 3), (9, 0, 1, 3), (9, 4, 1, 3)])[..35]).await.unwrap();
    assert_eq!(poll_fn(|cx| Poll::Ready(turn(&mut guard, cx))).await, 0, "the block is held until it is whole");
    assert_eq!(observed.open_head(), Some(1));
    near.write_all(&[0]).await.unwrap();
    assert_ne!(guard.read(&mut [0; 1024]).await.unwrap(), 0);
    assert!(observed.open_head().is_none() && !observed.is_going_away());
    near.write_all(&written(&[(7, 0, 0, 8)])).await.unwrap();
    assert_ne!(guard.read(&mut [0; 1024]).await.unwrap(), 0);
    assert!(observed.is_going_away());
    guard.write_all(&[PREFACE, &written(&[(1, 5, 3, 4)])].concat()).await.unwrap();
    assert!(observed.has_sent(3) && !observed.has_sent(5));
}

#[tokio::test]
async fn trailers_behind_data_that_carries_nothing_are_trailers() {
    let (mut near, far) = duplex(1 << 20);
    let mut guard = Guard::client(Transport::Memory(far), Arc::default());
    guard.write_all(&[PREFACE, &written(&[(1, 5, 1, 3)])].concat()).await.unwrap();
    let status = |flags| [&written(&[(1, flags, 1, 1)])[..9], b"\x88"].concat();
    near.write_all(&[written(&[SETTINGS]), status(4), written(&[(0, 0, 1, 0)]), status(5)].concat()).await.unwrap();
    drop(near);
    let mut out = Vec::new();
    guard.read_to_end(&mut out).await.unwrap();
    // Marked as trailers, in which a pseudo-field is refused.
    let marked = out.strip_prefix(&[written(&[SETTINGS]), status(4)].concat()[..]).unwrap();
    assert_eq!(marked.last_chunk::<1>(), Some(b"\x88"));
    assert_eq!(marked.len(), status(5).len() + 1, "{marked:?}");
}
