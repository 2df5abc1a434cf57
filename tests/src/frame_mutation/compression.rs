//! Header compression (RFC 7541): tables, integers, strings and the code of Huffman.

use super::code::COMPRESSION;
use super::{ARRIVE, Case, GET, Must};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS};
use crate::hpack::{EOS, code, coded, entry, field, huffman, integer, kept, plain, table_size};

const WHOLE: u8 = END_STREAM | END_HEADERS;
const END: Must = Must::EndConnection(COMPRESSION);

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [good(), tables(), integers(), strings(), sizes()].concat()
}

/// The fields of GET with bytes before and behind them.
fn around(name: &str, must: Must, before: &[u8], after: &[u8]) -> Case {
    Case::new(format!("RFC 7541, {name}"), must).block(HEADERS, (1, WHOLE), before, GET, after)
}

fn behind(name: &str, must: Must, after: &[u8]) -> Case {
    around(name, must, b"", after)
}

/// A field in which the bytes of the value's string are these.
fn valued(string: &[u8]) -> Vec<u8> {
    [vec![0], plain(b"x-a"), string.to_vec()].concat()
}

fn good() -> Vec<Case> {
    let start: &[&[u8]] = &[&entry(2), &entry(6)];
    let rest = &GET[2..];
    let known = Case::new("RFC 7541, 6.1: entries of the static table", ARRIVE);
    let never = [vec![0x10], plain(b"x-secret"), plain(b"1")].concat();
    vec![
        known.block(HEADERS, (1, WHOLE), &start.concat(), rest, b""),
        behind("6.2.3: a field that is never kept", ARRIVE, &never),
        behind("5.2: a name and a value in the code of Huffman", ARRIVE, &{
            [vec![0], huffman(b"x-custom-name"), huffman(b"www.example.com?a=b&c=\"~\"")].concat()
        }),
        behind("5.2: an empty string in the code of Huffman", ARRIVE, &valued(&[0x80])),
        behind("5.1: an integer in more bytes than it needs", ARRIVE, &{
            [valued(&[0x7f, 0x81, 0x00]), vec![b'a'; 128]].concat()
        }),
        behind("2.3.2: a field that is kept and said again", ARRIVE, &[kept(b"x-a", b"1"), entry(62)].concat()),
        behind("6.2.1: a name that was kept", ARRIVE, &[kept(b"x-a", b"1"), vec![0x7e, 0x01, b'2']].concat()),
        behind("4.4: a field larger than the table", ARRIVE, &kept(b"x-a", &[b'a'; 5000])),
        around("4.2: the size of the table, the same again", ARRIVE, &table_size(4096), b""),
        around("4.2: the size of the table, twice", ARRIVE, &[table_size(0), table_size(4096)].concat(), b""),
        around("4.2: a table of no size that keeps nothing", ARRIVE, &table_size(0), &kept(b"x-a", b"1")),
        Case::new("RFC 7541, 2.2: a table that a malformed head adds to", Must::BeMalformed)
            .block(HEADERS, (1, WHOLE), &kept(b"x-a", b"1"), GET, b"")
            .block(HEADERS, (3, WHOLE), b"", ALSO, &entry(62)),
        Case::new("RFC 7541, 2.2: a table for all heads of a connection", ARRIVE)
            .block(HEADERS, (1, WHOLE), b"", GET, &kept(b"x-a", b"1"))
            .block(HEADERS, (3, WHOLE), b"", ALSO, &entry(62)),
    ]
}

const ALSO: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/also-{T}-two"), (":authority", "{H}")];

fn tables() -> Vec<Case> {
    let evicted = [kept(b"x-a", b"1"), kept(b"x-b", &[b'b'; 4050]), entry(63)].concat();
    vec![
        behind("6.1: entry 0", END, &entry(0)),
        behind("2.3.3: an entry beyond an empty table", END, &entry(62)),
        behind("2.3.3: an entry beyond the table", END, &[kept(b"x-a", b"1"), entry(63)].concat()),
        behind("2.3.3: entry 2^28", END, &entry(1 << 28)),
        behind("2.3.3: the name of an entry beyond the table", END, &[vec![0x7e], plain(b"1")].concat()),
        behind(
            "2.3.3: the name of an entry beyond the table, not kept",
            END,
            &[vec![0x0f, 62 - 15], plain(b"1")].concat(),
        ),
        behind("4.4: an entry that had to go", END, &evicted),
        behind("4.3: an entry that went as the table shrank", END, &kept(b"x-a", b"1"))
            .block(HEADERS, (3, WHOLE), &[table_size(0), table_size(4096), entry(62)].concat(), ALSO, b"")
            .perhaps("GET", ""),
    ]
}

fn integers() -> Vec<Case> {
    vec![
        behind("5.1: an index that breaks off", END, &[0xff]),
        behind("5.1: an index that goes on and breaks off", END, &[0xff, 0x80, 0x80]),
        behind("5.1: an index of 2^32 + 61", END, &integer(0x80, 7, (1 << 32) + 61)),
        behind(
            "5.1: an index of 2^64 in zeros",
            END,
            &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
        ),
        behind("5.1: an index of a hundred bytes", END, &[&[0xff][..], &[0x80; 100], &[0x01]].concat()),
        behind(
            "5.1: a length of 2^32 + 1",
            END,
            &[vec![0], plain(b"x-a"), integer(0, 7, (1 << 32) + 1), vec![b'1']].concat(),
        ),
        behind("5.1: a length of 2^63", END, &[vec![0], integer(0, 7, 1 << 62), b"x-a".to_vec()].concat()),
        around("5.1: a size of the table of 2^32", END, &integer(0x20, 5, 1 << 32), b""),
    ]
}

fn strings() -> Vec<Case> {
    let bits = |symbols: &[usize]| -> Vec<bool> { symbols.iter().flat_map(|symbol| code(*symbol)).collect() };
    let padded = |with: bool, count: usize| {
        // Five bits of `0` and three of padding, then more padding.
        let mut all = bits(&[usize::from(b'0')]);
        all.extend(vec![with; count]);
        valued(&coded(all))
    };
    vec![
        behind("5.2: a length beyond the block", END, &valued(&[5, b'a'])),
        behind("5.2: a name beyond the block", END, &[0, 9, b'x']),
        behind("5.2: a block that ends before the value", END, &[vec![0], plain(b"x-a")].concat()),
        behind("5.2: a block that ends before the name", END, &[0]),
        behind("5.2: Huffman beyond the block", END, &valued(&[0x85, 0xff])),
        behind("5.2: 3 bits of padding that are zeros", END, &padded(false, 3)),
        behind("5.2: 11 bits of padding", END, &padded(true, 11)),
        behind("5.2: nothing but 8 bits of padding", END, &valued(&[0x81, 0xff])),
        behind("5.2: nothing but 24 bits of padding", END, &valued(&[0x83, 0xff, 0xff, 0xff])),
        behind(
            "5.2: the end of string within one",
            END,
            &valued(&coded(bits(&[usize::from(b'a'), EOS, usize::from(b'b')]))),
        ),
        behind("5.2: nothing but the end of string", END, &valued(&coded(bits(&[EOS])))),
        behind("5.2: a code that breaks off", END, &valued(&[0x82, 0xff, 0xf0])),
        behind(
            "5.2: the end of string in a name",
            END,
            &[vec![0], coded(bits(&[usize::from(b'x'), EOS])), plain(b"1")].concat(),
        ),
    ]
}

fn sizes() -> Vec<Case> {
    vec![
        around("6.3: a size beyond the setting", END, &table_size(4097), b""),
        around("6.3: a size of 2^28", END, &table_size(1 << 28), b""),
        around("6.3: a good size and one beyond the setting", END, &[table_size(0), table_size(5000)].concat(), b""),
        behind("4.2: a size behind the fields", END, &table_size(0)),
        behind("4.2: a size between fields", END, &[table_size(0), field(b"x-a", b"1")].concat()),
        Case::new("RFC 7541, 4.2: a size at the beginning of the second frame", END)
            .head(1, END_STREAM, GET)
            .goes_on(1, END_HEADERS, &table_size(0))
            .perhaps("GET", ""),
        Case::new("RFC 7541, 4.2: a size behind the trailers", END).upload(&[]).block(
            HEADERS,
            (1, WHOLE),
            b"",
            &[("x-a", "1")],
            &table_size(0),
        ),
    ]
}
