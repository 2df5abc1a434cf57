use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_env::Random;

use super::*;

#[test]
fn a_message_comes_back_and_only_as_its_own_kind() {
    let bytes = encode(Kind::Probe, &("a", 7u64)).unwrap();
    let back: (String, u64) = decode(Kind::Probe, &bytes, 100).unwrap();
    assert_eq!(back, ("a".to_owned(), 7));
    assert!(matches!(decode::<(String, u64)>(Kind::Record, &bytes, 100), Err(WireError::Foreign { .. })));
}

#[test]
fn a_cut_or_lengthened_or_long_message_is_refused() {
    let bytes = encode(Kind::Probe, &vec![1u8; 50]).unwrap();
    for cut in 0..bytes.len() {
        assert!(decode::<Vec<u8>>(Kind::Probe, &bytes[..cut], 100).is_err(), "{cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(decode::<Vec<u8>>(Kind::Probe, &longer, 100), Err(WireError::Length { .. })));
    assert!(matches!(decode::<Vec<u8>>(Kind::Probe, &bytes, 20), Err(WireError::TooLong { .. })));
}

#[test]
fn bytes_left_over_inside_the_body_are_refused() {
    let mut bytes = encode(Kind::Probe, &1u8).unwrap();
    bytes.push(9);
    bytes[7] = 2;
    assert!(matches!(decode::<u8>(Kind::Probe, &bytes, 100), Err(WireError::Length { .. })));
}

#[test]
fn a_length_in_the_body_allocates_nothing_beyond_the_limit() {
    // A vector that claims 2^60 bytes.
    let mut bytes = vec![b'W', b'F', 1, Kind::Probe as u8, 0, 0, 0, 9, 253];
    bytes.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(decode::<Vec<u8>>(Kind::Probe, &bytes, 100).is_err());
    assert!(decode::<String>(Kind::Probe, &bytes, 100).is_err());
}

#[test]
fn a_signature_holds_for_its_key_its_use_and_its_bytes_only() {
    let random = Random::seeded(1);
    let (key, other) = (SigningKey::generate(&random), SigningKey::generate(&random));
    let signed = Signed::sign(&"x".to_owned(), "test one", &key).unwrap();
    assert_eq!(signed.verify("test one", &key.public()).unwrap(), "x");
    assert!(signed.verify("test two", &key.public()).is_err());
    assert!(signed.verify("test one", &other.public()).is_err());
    for at in 0..signed.bytes.len() {
        let mut forged = signed.clone();
        forged.bytes[at] ^= 1;
        assert!(forged.verify("test one", &key.public()).is_err());
    }
}

#[tokio::test]
async fn a_stream_carries_messages_and_refuses_a_long_one_before_reading_it() {
    let (mut near, mut far) = tokio::io::duplex(64);
    let writing = tokio::spawn(async move {
        write(&mut near, Kind::Probe, "hello").await.unwrap();
        near.write_all(&[b'W', b'F', 1, Kind::Probe as u8, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        near
    });
    assert_eq!(read::<String, _>(&mut far, Kind::Probe, 100).await.unwrap(), "hello");
    assert!(matches!(read::<String, _>(&mut far, Kind::Probe, 100).await, Err(WireError::TooLong { .. })));
    writing.await.unwrap();
}

type Anything = (Vec<String>, BTreeMap<String, Vec<u8>>, Option<Signed<String>>, crate::Grants);

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode::<Anything>(Kind::Probe, &bytes, 400);
        let mut framed = vec![b'W', b'F', 1, Kind::Probe as u8];
        framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&bytes);
        let _ = decode::<Anything>(Kind::Probe, &framed, 4000);
        let _ = decode::<crate::TrustBundle>(Kind::Probe, &framed, 4000);
        let _ = decode::<crate::Enrolment>(Kind::Probe, &framed, 4000);
    }
}
