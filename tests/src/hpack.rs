//! HPACK by hand (RFC 7541): whatever bytes a test wants to say, and a reader for what is answered.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Where the dynamic table begins.
const STATIC_LEN: usize = 61;
/// Bytes that an entry counts beside its text (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;
/// The size of a table that nobody has changed (RFC 9113, section 6.5.2).
const TABLE_BYTES: usize = 4096;
/// The number that ends a string and is no byte.
pub const EOS: usize = 256;

/// How many bits the code of each byte takes, and of [`EOS`]; codes of one length follow each other (RFC 7541, appendix B).
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The entries that everybody knows (RFC 7541, appendix A).
const STATIC: [(&str, &str); STATIC_LEN] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// An integer behind a prefix of so many bits, in a byte whose other bits are given (section 5.1).
pub fn integer(other: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    let low = |value: usize| u8::try_from(value & 0x7f).expect("seven bits");
    if value < most {
        return vec![other | low(value)];
    }
    let mut bytes = vec![other | u8::try_from(most).expect("at most eight bits")];
    let mut rest = value - most;
    while rest >= 0x80 {
        bytes.push(0x80 | low(rest));
        rest >>= 7;
    }
    bytes.push(low(rest));
    bytes
}

/// A string as it is (section 5.2).
pub fn plain(text: &[u8]) -> Vec<u8> {
    [integer(0, 7, text.len()), text.to_vec()].concat()
}

/// A string in the code of Huffman.
pub fn huffman(text: &[u8]) -> Vec<u8> {
    let bits: Vec<bool> = text.iter().flat_map(|byte| code(usize::from(*byte))).collect();
    coded(bits)
}

/// A string of these bits, filled up with ones.
pub fn coded(mut bits: Vec<bool>) -> Vec<u8> {
    bits.resize(bits.len().next_multiple_of(8), true);
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    let bytes: Vec<u8> = bits.chunks(8).map(byte).collect();
    [integer(0x80, 7, bytes.len()), bytes].concat()
}

/// The bits of a symbol's code.
pub fn code(symbol: usize) -> Vec<bool> {
    static CODES: LazyLock<Vec<Vec<bool>>> = LazyLock::new(codes);
    CODES[symbol].clone()
}

/// The bits of all codes.
fn codes() -> Vec<Vec<bool>> {
    let (mut next, mut before) = (0_u32, CODE_BITS[usize::from(b'0')]);
    let mut order: Vec<usize> = (0..CODE_BITS.len()).collect();
    order.sort_by_key(|one| (CODE_BITS[*one], *one));
    let mut codes = vec![Vec::new(); CODE_BITS.len()];
    for symbol in order {
        next <<= CODE_BITS[symbol] - before;
        before = CODE_BITS[symbol];
        codes[symbol] = (0..before).rev().map(|bit| next >> bit & 1 == 1).collect();
        next += 1;
    }
    codes
}

/// A field that no table keeps (section 6.2.2).
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0], plain(name), plain(value)].concat()
}

/// A field that the dynamic table keeps (section 6.2.1).
pub fn kept(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x40], plain(name), plain(value)].concat()
}

/// The field of a table's entry (section 6.1).
pub fn entry(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A change of the dynamic table's size (section 6.3).
pub fn table_size(bytes: usize) -> Vec<u8> {
    integer(0x20, 5, bytes)
}

/// A name and a value.
pub type Field = (String, String);

/// Reads the header blocks of one connection, in order.
#[derive(Debug)]
pub struct Reader {
    table: Vec<Field>,
    most: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { table: Vec::new(), most: TABLE_BYTES }
    }
}

impl Reader {
    /// Reads a whole block; none where it is none.
    pub fn read(&mut self, block: &[u8]) -> Option<Vec<Field>> {
        let (mut fields, mut rest) = (Vec::new(), block);
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.most = take_integer(&mut rest, 5)?;
                self.shrink();
            } else {
                fields.push(self.literal(first & 0x40 != 0, &mut rest)?);
            }
        }
        Some(fields)
    }

    /// A field whose value is said, and that the table keeps or not.
    fn literal(&mut self, is_kept: bool, rest: &mut &[u8]) -> Option<Field> {
        let index = take_integer(rest, if is_kept { 6 } else { 4 })?;
        let name = if index == 0 { take_string(rest)? } else { self.entry(index)?.0 };
        let field = (name, take_string(rest)?);
        if is_kept {
            self.table.insert(0, field.clone());
            self.shrink();
        }
        Some(field)
    }

    fn entry(&self, index: usize) -> Option<Field> {
        let known = STATIC.get(index.checked_sub(1)?).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        known.or_else(|| self.table.get(index - STATIC_LEN - 1).cloned())
    }

    fn shrink(&mut self) {
        let size = |table: &[Field]| -> usize {
            table.iter().map(|(name, value)| name.len() + value.len() + ENTRY_OVERHEAD).sum()
        };
        while size(&self.table) > self.most {
            self.table.pop();
        }
    }
}

fn take_integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let (first, mut after) = rest.split_first()?;
    let mut value = usize::from(*first) & most;
    let mut shift = 0;
    while value >= most {
        let (byte, behind) = after.split_first()?;
        after = behind;
        value += (usize::from(*byte) & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    *rest = after;
    Some(value)
}

fn take_string(rest: &mut &[u8]) -> Option<String> {
    let is_coded = rest.first()? & 0x80 != 0;
    let len = take_integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    let bytes = if is_coded { decoded(text) } else { text.to_vec() };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn decoded(text: &[u8]) -> Vec<u8> {
    static SYMBOLS: LazyLock<BTreeMap<Vec<bool>, u8>> =
        LazyLock::new(|| codes().into_iter().zip(0..=u8::MAX).collect());
    let (mut bytes, mut seen) = (Vec::new(), Vec::new());
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)) {
        seen.push(bit);
        if let Some(symbol) = SYMBOLS.get(&seen) {
            bytes.push(*symbol);
            seen.clear();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        // Appendix C.4.1 and C.6.1.
        let coded = [0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(huffman(b"www.example.com"), coded);
        assert_eq!(integer(0, 5, 1337), [31, 154, 10]);
        let mut reader = Reader::default();
        let fields = reader.read(&[&[0x82, 0x86, 0x84, 0x41][..], &coded].concat()).unwrap();
        let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["GET", "http", "/", "www.example.com"]);
        assert_eq!(reader.read(&entry(62)).unwrap(), [(":authority".to_owned(), "www.example.com".to_owned())]);
        assert_eq!(reader.read(&[table_size(0), entry(62)].concat()), None);
    }
}
