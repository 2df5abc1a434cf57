//! Messages from the RFCs and from attackers, kept as files, and what is made of them by chance. The seed of a run is printed; `WEFT_SEED`
//! repeats it, and `WEFT_LONG` makes it longer.

use std::path::Path;

use weft_env::Random;

/// Cases of one run.
const CASES: usize = 5_000;
const CASES_LONG: usize = 1_000_000;
/// What is put into a message: bytes and words that parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"0",
    b"f",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"content-length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive\r\n",
    b"host: b\r\n",
    b" HTTP/1.0\r\n",
    b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
];

/// The files of one kind, by name.
pub(super) fn files(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/http1").join(kind);
    let entries = std::fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    assert!(files.len() > 5, "{}", folder.display());
    files
}

/// Calls `check` with every file of a kind, and with as many changed ones as a run has.
pub(super) fn each_and_changed(kind: &str, mut check: impl FnMut(&Random, &[u8])) {
    let seed = std::env::var("WEFT_SEED").map_or_else(|_| Random::machine().next_u64(), |text| text.parse().unwrap());
    println!("WEFT_SEED={seed} for {kind}");
    let random = Random::seeded(seed);
    let seeds: Vec<Vec<u8>> = files(kind).into_iter().map(|(_, bytes)| bytes).collect();
    seeds.iter().for_each(|bytes| check(&random, bytes));
    let cases = if std::env::var_os("WEFT_LONG").is_some() { CASES_LONG } else { CASES };
    for _ in 0..cases {
        check(&random, &changed(&random, &seeds));
    }
}

fn index(random: &Random, len: usize) -> usize {
    usize::try_from(random.below(len as u64)).unwrap()
}

/// Sizes of the pieces in which bytes come.
pub(super) fn cuts(random: &Random) -> Vec<usize> {
    (0..=index(random, 5)).map(|_| 1 + index(random, 30)).collect()
}

/// One of the seeds, or two, with a few changes.
fn changed(random: &Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[index(random, seeds.len())].clone();
    if random.below(4) == 0 {
        bytes.extend_from_slice(&seeds[index(random, seeds.len())]);
    }
    for _ in 0..random.below(5) {
        change(random, &mut bytes, seeds);
    }
    bytes
}

fn change(random: &Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = index(random, bytes.len() + 1);
    let end = (at + 1 + index(random, 20)).min(bytes.len());
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] = random.next_u64().to_le_bytes()[0],
        1 if at < bytes.len() => bytes[at] ^= 0x20,
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => {
            let again = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, again);
        }
        4 => bytes.truncate(at),
        5 => {
            let other = &seeds[index(random, seeds.len())];
            let from = index(random, other.len() + 1);
            let until = (from + index(random, 40)).min(other.len());
            bytes.splice(at..at, other[from..until].iter().copied());
        }
        _ => {
            let word = WORDS[index(random, WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
    }
}
