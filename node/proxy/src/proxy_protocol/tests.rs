//! Tests of the header, over tables and random bytes.

use proptest::prelude::*;

use super::*;

const ID: &str = "spiffe://bank/svc/orders";

fn between(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of TCP over IPv4 with these values behind its ends.
fn with_values(values: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([PROXY, TCP_OVER_V4]);
    bytes.extend(u16::try_from(V4_LEN + values.len()).unwrap().to_be_bytes());
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 187]);
    bytes.extend(values);
    bytes
}

#[test]
fn a_header_is_written_as_the_specification_says() {
    let bytes = header(between("10.0.0.1:4660", "10.0.0.2:80"), "id");
    let rest = [0x21, 0x11, 0, 17, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 80, 0xe0, 0, 2, b'i', b'd'];
    assert_eq!(bytes, [&SIGNATURE[..], &rest].concat());
}

#[test]
fn what_is_written_is_read() {
    for ends in [
        between("10.0.0.1:4660", "10.0.0.2:80"),
        between("[fd00::1]:4660", "[fd00::2]:80"),
        between("10.0.0.1:4660", "[fd00::2]:80"),
    ] {
        assert_eq!(parsed(&header(ends, ID)), Ok(Some(ends)));
    }
    let mapped = between("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:2");
    assert_eq!(parsed(&header(mapped, ID)), Ok(Some(between("10.0.0.1:1", "10.0.0.2:2"))));
}

#[test]
fn whatever_is_not_exactly_a_header_is_refused() {
    let good = header(between("10.0.0.1:4660", "10.0.0.2:80"), ID);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut long = with_values(&[0xe1, 3, 245]);
    long.resize(FIXED_LEN + V4_LEN + VALUE_HEAD_LEN + 1013, 0);
    let bad = [
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
        changed(0, b'G'),
        changed(12, 0x11),
        changed(12, 0x22),
        changed(13, 0x12),
        changed(13, 0x31),
        changed(14, 0xff),
        changed(15, 11),
        good[..good.len() - 1].to_vec(),
        with_values(&[0xe0]),
        with_values(&[0xe0, 0]),
        with_values(&[0xe0, 0, 2, b'i']),
        with_values(&[TYPE_CRC32C, 0, 2, 1, 2]),
        with_values(&[TYPE_CRC32C, 0, 4, 1, 2, 3, 4]),
        long,
    ];
    for bytes in bad {
        assert!(parsed(&bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_right_checksum_passes() {
    assert_eq!(crc32c(b"123456789", 9), 0xe306_9283, "the check value of CRC32C");
    let mut bytes = with_values(&[TYPE_CRC32C, 0, 4, 0, 0, 0, 0, 0xe1, 0, 1, 7]);
    let at = FIXED_LEN + V4_LEN + VALUE_HEAD_LEN;
    let sum = crc32c(&bytes, at);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(parsed(&bytes), Ok(Some(between("10.0.0.1:80", "10.0.0.2:443"))));
}

#[test]
fn a_balancers_own_connection_has_no_ends() {
    for (command, family) in [(LOCAL, UNSPEC), (LOCAL, TCP_OVER_V4), (PROXY, UNSPEC)] {
        let bytes = [&SIGNATURE[..], &[command, family, 0, 2, 9, 9]].concat();
        assert_eq!(parsed(&bytes), Ok(None));
    }
}

#[tokio::test]
async fn nothing_behind_a_header_is_read() {
    let ends = between("10.0.0.1:4660", "10.0.0.2:80");
    let bytes = [&header(ends, ID)[..], b"hello"].concat();
    let mut stream = &bytes[..];
    assert_eq!(read(&mut stream).await.unwrap(), Some(ends));
    assert_eq!(stream, b"hello");
    let mut cut = &bytes[..20];
    assert_eq!(read(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let mut http = &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..];
    assert_eq!(read(&mut http).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

fn any_ends() -> impl Strategy<Value = Ends> {
    let end = || (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port));
    (end(), end()).prop_map(|(source, destination)| Ends { source, destination })
}

proptest! {
    #[test]
    fn any_ends_come_back(ends in any_ends(), identity in "[ -~]{0,400}") {
        prop_assert_eq!(parsed(&header(ends, &identity)), Ok(Some(ends)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let _read_or_refused = parsed(&bytes);
    }

    #[test]
    fn any_values_are_read_or_refused(values in prop::collection::vec(any::<u8>(), 0..1100)) {
        let _read_or_refused = parsed(&with_values(&values));
    }

    #[test]
    fn a_damaged_header_is_read_or_refused(ends in any_ends(), at in 0_usize..70, byte: u8, cut in 0_usize..80) {
        let mut bytes = header(ends, ID);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        let _read_or_refused = parsed(&bytes);
    }
}
