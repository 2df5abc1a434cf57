use proptest::prelude::*;

use super::*;

fn id(node: &str, generation_id: u64) -> ChitchatId {
    ChitchatId { node_id: Arc::from(node), generation_id, gossip_advertise_addr: ([10, 0, 0, 1], 4510).into() }
}

fn sample() -> Message {
    let entry = |node: &str| DigestEntry { id: id(node, 7), heartbeat: 3, gc_version: 0, max_version: 2 };
    let value = KeyValue { key: "r".to_owned(), value: "x".repeat(60_000), version: 2, status: 0 };
    let node = |name: &str| NodeDelta {
        id: id(name, 7),
        gc_version: 0,
        from_version: 1,
        values: vec![value.clone()],
        max_version: None,
    };
    Message::SynAck { digest: vec![entry("a"), entry("b")], delta: vec![node("a"), node("b")] }
}

#[test]
fn chitchat_reads_what_is_encoded_and_its_own_encoding_reads_back() {
    use chitchat::{ChitchatMessage, Deserializable, Serializable};
    for message in
        [sample(), Message::BadCluster, Message::Syn { cluster: "bank/default".to_owned(), digest: Vec::new() }]
    {
        let bytes = message.encode();
        let mut rest = bytes.as_slice();
        let theirs = ChitchatMessage::deserialize(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(Message::parse(&bytes).unwrap(), message);
        if !matches!(message, Message::SynAck { .. }) {
            assert_eq!(Message::parse(&theirs.serialize_to_vec()).unwrap(), message);
        }
    }
}

#[test]
fn a_bomb_of_compressed_blocks_is_refused() {
    let block = zstd::bulk::compress(&vec![0; BLOCK_LEN_MAX], 1).unwrap();
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend([0, 2]);
    for _ in 0..100 {
        bytes.push(1);
        bytes.extend(u16::try_from(block.len()).unwrap().to_le_bytes());
        bytes.extend(&block);
    }
    bytes.push(0);
    assert_eq!(Message::parse(&bytes), Err(MessageError::Malformed));
}

#[test]
fn a_digest_of_more_than_a_cell_is_refused() {
    let entry = |generation| DigestEntry { id: id("a", generation), heartbeat: 0, gc_version: 0, max_version: 0 };
    let digest = (0..=DIGEST_NODES_MAX as u64).map(entry).collect();
    let bytes = Message::Syn { cluster: String::new(), digest }.encode();
    assert_eq!(Message::parse(&bytes), Err(MessageError::DigestSize));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u8..5) {
        let _ = Message::parse(&bytes);
        let mut headed = MAGIC.to_le_bytes().to_vec();
        headed.extend([0, kind]);
        headed.extend(&bytes);
        let _ = Message::parse(&headed);
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic(at in 0_usize..121_000, byte: u8) {
        let mut bytes = sample().encode();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }
}
