use proptest::prelude::*;

use super::*;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// A field, literal and not indexed.
fn field(name: &str, len: usize) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let mut written = Vec::new();
        if bytes.len() < 127 {
            written.push(u8::try_from(bytes.len()).unwrap());
        } else {
            written.push(127);
            let mut left = bytes.len() - 127;
            while left >= 128 {
                written.push(u8::try_from(left % 128).unwrap() | 0x80);
                left /= 128;
            }
            written.push(u8::try_from(left).unwrap());
        }
        [written, bytes.to_vec()].concat()
    };
    [vec![0], text(name.as_bytes()), text(&vec![b'v'; len])].concat()
}

/// A frame as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frames(mut bytes: &[u8]) -> Vec<Written> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_LEN>() {
        let frame = Frame::parse(*head);
        let (payload, rest) = rest.split_at(frame.len);
        found.push(Written { kind: head[3], flags: head[4], stream: frame.stream, payload: payload.to_vec() });
        bytes = rest;
    }
    found
}

/// Puts a block anew that comes in these pieces.
fn regrouped(place: Place, pieces: &[&[u8]]) -> Result<Vec<Written>, Ended> {
    let mut out = BytesMut::new();
    let mut regroup = None;
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { Kind::Headers } else { Kind::Continuation };
        let last = if at + 1 == pieces.len() { Frame::END_HEADERS } else { 0 };
        let first = if at == 0 { Frame::END_STREAM } else { 0 };
        let frame = Frame { kind, flags: first | last, stream: 7, len: piece.len() };
        let regroup = match &mut regroup {
            None => regroup.insert(Regroup::new(frame, place)),
            Some(regroup) => {
                regroup.goes_on(frame)?;
                regroup
            }
        };
        piece.chunks(5000).for_each(|part| regroup.take(part));
        assert_eq!(regroup.end_frame(&mut out)?, at + 1 == pieces.len());
    }
    Ok(frames(&out))
}

fn fields_end_at(block: &[u8], ends: &[usize]) -> bool {
    ends.iter()
        .scan(0, |sum, len| {
            *sum += len;
            Some(*sum)
        })
        .any(|end| end == block.len())
}

proptest! {
    #[test]
    fn every_frame_ends_between_two_fields_or_is_part_of_one(
        lens in prop::collection::vec(prop_oneof![0_usize..200, 10_000_usize..40_000], 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        is_trailing in any::<bool>(),
    ) {
        let fields: Vec<Vec<u8>> = lens.iter().map(|len| field("x", *len)).collect();
        let block = fields.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(block.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([block.len()]) {
            pieces.push(&block[from..cut]);
            from = cut;
        }
        let place = if is_trailing { Place::Trailers } else { Place::Head };
        let written = regrouped(place, &pieces).unwrap();
        let host: &[u8] = if is_trailing && !fields.is_empty() { &[HOST] } else { &[] };
        let all: Vec<u8> = written.iter().flat_map(|frame| frame.payload.clone()).collect();
        prop_assert_eq!(&all, &[host, &block].concat());
        let ends: Vec<usize> = std::iter::once(host.len()).chain(fields.iter().map(Vec::len)).collect();
        let mut so_far = 0;
        for (at, frame) in written.iter().enumerate() {
            let (is_first, is_last) = (at == 0, at + 1 == written.len());
            prop_assert_eq!(frame.kind, if is_first { HEADERS } else { CONTINUATION });
            prop_assert_eq!(frame.flags, u8::from(is_first) | if is_last { 4 } else { 0 });
            prop_assert!(frame.stream == 7 && frame.payload.len() <= FRAME_LEN_MAX);
            let begins_between = fields_end_at(&all[..so_far], &ends) || so_far == 0;
            so_far += frame.payload.len();
            let is_between = fields_end_at(&all[..so_far], &ends) || all.is_empty();
            // A frame that ends within a field is full, and begins with it or within it.
            let is_part = frame.payload.len() == FRAME_LEN_MAX;
            prop_assert!(is_between || is_part, "{} of {}", so_far, all.len());
            prop_assert!(is_between || !begins_between || frame.payload[0] == 0);
        }
    }

    #[test]
    fn nothing_makes_it_fall(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _any = regrouped(Place::Trailers, &pieces);
    }
}

#[test]
fn padding_and_priority_are_left_out() {
    let block = field("x", 3);
    let padded = [&[2][..], &[0, 0, 0, 0, 9], &block, &[0, 0]].concat();
    let flags = Frame::END_HEADERS | 0x8 | 0x20;
    let frame = Frame { kind: Kind::Headers, flags, stream: 7, len: padded.len() };
    let mut out = BytesMut::new();
    let mut regroup = Regroup::new(frame, Place::Head);
    regroup.take(&padded);
    assert!(regroup.end_frame(&mut out).unwrap());
    assert_eq!(frames(&out), [Written { kind: HEADERS, flags: 4, stream: 7, payload: block }]);
    for short in [&[][..], &[0, 1, 2, 3], &[9, 0, 0, 0, 0, 9, 1]] {
        let mut regroup = Regroup::new(Frame { len: short.len(), ..frame }, Place::Head);
        regroup.take(short);
        assert!(regroup.end_frame(&mut out).is_err(), "{short:?}");
    }
}

#[test]
fn the_tables_size_changes_only_before_the_first_field() {
    let (size, block) = ([0x3f, 0xe1, 0x1f], field("x", 3));
    let before = [&size[..], &[0x20], &block].concat();
    assert!(regrouped(Place::Head, &[&before]).is_ok() && regrouped(Place::Head, &[&size, &block]).is_ok());
    let trailers = regrouped(Place::Trailers, &[&before]).unwrap();
    assert_eq!(trailers[0].payload, [&size[..], &[0x20, HOST], &block].concat(), "sizes come first");
    let split = [&block[..], &size];
    for behind in [&[&split.concat()[..]][..], &split[..]] {
        assert!(matches!(regrouped(Place::Head, behind), Err(Ended::Compressed(_))), "{behind:?}");
    }
}

#[test]
fn a_block_without_end_is_not_waited_for() {
    let many: Vec<&[u8]> = vec![&[0x82]; FRAMES_MAX + 1];
    assert!(matches!(regrouped(Place::Head, &many), Err(Ended::Flood(_))));
    let long = field("x", 200_000);
    let pieces: Vec<&[u8]> = long.chunks(16_000).collect();
    assert!(matches!(regrouped(Place::Head, &pieces), Err(Ended::Flood(_))));
    let number = [0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(matches!(regrouped(Place::Head, &[&number, &[]]), Err(Ended::Compressed(_))));
}
