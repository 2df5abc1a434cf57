//! Elements of DER (X.690): tag, length, content. Reads what a parser of certificates has already taken; never panics.

/// A sequence.
pub(super) const SEQUENCE: u8 = 0x30;
/// A set.
pub(super) const SET: u8 = 0x31;
/// An object identifier.
pub(super) const OBJECT_ID: u8 = 0x06;
/// Text in UTF-8.
const UTF8_STRING: u8 = 0x0c;

/// The content of the first element, which must have this tag, and what comes after.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first element: tag, content, and what comes after.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Three bytes of length are 16 MB, more than any certificate.
        let count = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=3).contains(&count))?;
        (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// The text of an attribute in a distinguished name (RFC 5280, section 4.1.2.4: a sequence of sets of pairs; its own tag left out). The
/// inner none: it has no such attribute. The outer: it has it twice, or not in UTF-8, or does not read.
pub(super) fn attribute<'n>(name: &'n [u8], wanted: &[u8]) -> Option<Option<&'n str>> {
    let (mut sets, mut pairs) = (name, &[][..]);
    let mut found = None;
    while !(sets.is_empty() && pairs.is_empty()) {
        if pairs.is_empty() {
            (pairs, sets) = expect(SET, sets)?;
        }
        let (pair, others) = expect(SEQUENCE, pairs)?;
        pairs = others;
        let (kind, value) = expect(OBJECT_ID, pair)?;
        if kind == wanted {
            let (text, _) = expect(UTF8_STRING, value)?;
            let is_second = found.replace(std::str::from_utf8(text).ok()?).is_some();
            (!is_second).then_some(())?;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn pair(kind: u8, value: &[u8]) -> Vec<u8> {
        tagged(SEQUENCE, &[tagged(OBJECT_ID, &[kind]), value.to_vec()].concat())
    }

    fn text(text: &str) -> Vec<u8> {
        tagged(UTF8_STRING, text.as_bytes())
    }

    #[test]
    fn an_attribute_is_found_once_or_not_at_all() {
        let (one, two) = (pair(1, &text("a")), pair(2, &text("b")));
        let apart = [tagged(SET, &one), tagged(SET, &two)].concat();
        let together = tagged(SET, &[one.clone(), two.clone()].concat());
        for name in [&apart, &together] {
            assert_eq!(attribute(name, &[1]), Some(Some("a")));
            assert_eq!(attribute(name, &[2]), Some(Some("b")));
            assert_eq!(attribute(name, &[3]), Some(None));
            assert_eq!(attribute(&name[..name.len() - 1], &[1]), None, "cut off");
        }
        assert_eq!(attribute(&[], &[1]), Some(None));
        let twice = [tagged(SET, &one), tagged(SET, &[two, pair(1, &text("a"))].concat())].concat();
        assert_eq!(attribute(&twice, &[1]), None);
        assert_eq!(attribute(&tagged(SET, &pair(1, &tagged(0x13, b"a"))), &[1]), None, "a PrintableString");
        assert_eq!(attribute(&tagged(SET, &pair(1, &tagged(UTF8_STRING, &[0xff]))), &[1]), None);
    }
}
