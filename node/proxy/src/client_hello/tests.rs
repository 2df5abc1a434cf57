use proptest::prelude::*;
use rustls::pki_types;

use super::*;

/// What rustls sends first to a server of this name.
fn hello_of(server: &str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let server = pki_types::ServerName::try_from(server.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), server).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    sent
}

fn vector(len_len: usize, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&len[4 - len_len..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

fn stated(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(2, &[&[0][..], &vector(2, name)].concat()))
}

/// A message with these extensions; none at all where there are none.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &vector(1, &[1; 32]), &vector(2, &[0x13, 1]), &vector(1, &[0])].concat();
    body.extend(extensions.map(|all| vector(2, all)).unwrap_or_default());
    [&[1][..], &vector(3, &body)].concat()
}

fn records(message: &[u8], most: usize) -> Vec<u8> {
    message.chunks(most).flat_map(|piece| [&[22, 3, 1][..], &vector(2, piece)].concat()).collect()
}

fn read_extensions(extensions: &[u8]) -> Result<Hello, HelloFault> {
    read(&records(&message(Some(extensions)), 1 << 14))
}

fn whole(name: Option<&str>) -> Hello {
    Hello::Whole(ServerName(name.map(str::to_owned)))
}

#[test]
fn the_name_is_found_wherever_the_message_is_cut() {
    let sent = hello_of("orders.bank.example");
    for most in [1, 2, 5, 100, 1 << 14] {
        let sent = records(&sent[RECORD_HEAD_LEN..], most);
        for end in 0..sent.len() {
            let Ok(Hello::Needs(len)) = read(&sent[..end]) else { panic!("{end} of {}", sent.len()) };
            assert!(len > end && len <= sent.len(), "{len} at {end}");
        }
        assert_eq!(read(&sent), Ok(whole(Some("orders.bank.example"))));
        let with_data = [&sent[..], b"early"].concat();
        assert_eq!(read(&with_data), Ok(whole(Some("orders.bank.example"))), "what follows is no part of it");
    }
}

#[test]
fn a_client_may_state_no_name() {
    assert_eq!(read(&hello_of("127.0.0.1")), Ok(whole(None)));
    assert_eq!(read(&records(&message(None), 1 << 14)), Ok(whole(None)));
    assert_eq!(read_extensions(&[]), Ok(whole(None)));
    assert_eq!(read_extensions(&extension(23, &[])), Ok(whole(None)));
    assert_eq!(read_extensions(&stated(b"orders.bank.example.")), Ok(whole(Some("orders.bank.example"))));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let twice = [stated(b"a.example"), stated(b"b.example")].concat();
    let two = extension(0, &vector(2, &[&[0][..], &vector(2, b"a.example"), &[0], &vector(2, b"b.example")].concat()));
    let other = extension(0, &vector(2, &[&[1][..], &vector(2, b"a.example")].concat()));
    let trailing = extension(0, &[&vector(2, &[&[0][..], &vector(2, b"a.example")].concat())[..], b"x"].concat());
    let empty = extension(0, &[]);
    let names = [b"", &b"."[..], b"..", b"a..b", b".a", b"a\0b", "é".as_bytes()].map(stated);
    // Longer than a label, or a name, may be.
    let long = [vec![b'a'; 64], b"a.".repeat(127), b"a.".repeat(2_000)].map(|name| stated(&[&name[..], b"b"].concat()));
    for extensions in [twice, two, other, trailing, empty].into_iter().chain(names).chain(long) {
        assert!(matches!(read_extensions(&extensions), Err(HelloFault::Malformed(_))), "{extensions:?}");
    }
    let hello = message(Some(&stated(b"a.example")));
    let mut another = hello.clone();
    another[0] = 2;
    let mut long = hello.clone();
    long[1] = 1;
    for message in [another, long, [&hello[..], &hello].concat(), [&message(None)[..4], &[3]].concat()] {
        let read = read(&records(&message, 1 << 14));
        assert!(!matches!(read, Ok(Hello::Whole(_))), "{read:?}");
    }
}

#[test]
fn what_is_no_tls_is_known_by_its_first_bytes() {
    for foreign in
        [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x80\x2e\x01\x03\x01", b"\x16\x02", b"\x15\x03"]
    {
        assert_eq!(read(foreign), Err(HelloFault::Foreign), "{foreign:?}");
    }
    assert_eq!(read(b"\x16"), Ok(Hello::Needs(5)));
}

#[test]
fn a_message_without_end_is_not_waited_for() {
    let endless =
        records(&[1, 0, 0x40, 0].iter().copied().chain(std::iter::repeat_n(0, 1 << 14)).collect::<Vec<u8>>(), 1);
    let ended = (0..endless.len()).find(|end| read(&endless[..*end]).is_err()).unwrap();
    assert!(ended <= HELLO_LEN_MAX, "{ended}");
    assert!(read(&[22, 3, 1, 0x40, 1]).is_err() && read(&[22, 3, 1, 0, 0]).is_err());
}

proptest! {
    #[test]
    fn nothing_makes_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..400), most in 1_usize..50) {
        let _any = read(&bytes);
        let _extensions = read_extensions(&bytes);
        let _message = read(&records(&[&[1, 0, 1, 0][..], &bytes].concat(), most));
    }
}
