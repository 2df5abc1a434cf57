//! Tests of the machine's sockets, on loopback.

#![allow(clippy::excessive_nesting, reason = "a table of cases is a loop in a loop")]

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn bytes_and_datagrams_pass_over_the_machine() {
    let network = Network::machine();
    let listener = network.listen(any_port(), Reuse::Exclusive).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(network.connect(at), listener.accept());
    let (mut dialled, (mut accepted, from)) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(dialled.local_addr().unwrap(), from);
    dialled.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");

    let (left, right) = (network.datagrams(any_port()).await.unwrap(), network.datagrams(any_port()).await.unwrap());
    left.send_to(b"hello", right.local_addr().unwrap()).await.unwrap();
    assert_eq!(right.recv_from(&mut bytes).await.unwrap(), (5, left.local_addr().unwrap()));
}

#[tokio::test]
async fn accepted_and_dialled_streams_send_at_once_and_notice_a_dead_peer() {
    let network = Network::machine();
    let listener = network.listen(any_port(), Reuse::Shared).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(network.connect(at), listener.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap().0);
    for is_early in [false, true] {
        for (stream, seconds) in [(&dialled, if is_early { 12 } else { 30 }), (&accepted, 30)] {
            gives_up_after(stream, std::time::Duration::from_secs(seconds));
        }
        dialled.gives_up_early();
    }
}

fn gives_up_after(stream: &Stream, expected: std::time::Duration) {
    let Stream::Tcp(stream) = stream else { panic!("the machine makes TCP streams") };
    let socket = socket2::SockRef::from(stream);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    let (first, every) = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
    let last = first + every * socket.tcp_keepalive_retries().unwrap();
    assert_eq!(
        (socket.tcp_user_timeout().unwrap(), last),
        (Some(expected), expected),
        "the last probe is the last moment"
    );
}

#[tokio::test]
async fn a_reader_that_pauses_is_not_taken_for_one_that_is_gone() {
    let network = Network::machine();
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let listener = network.listen(at.parse().unwrap(), Reuse::Exclusive).await.unwrap();
        let (dialled, accepted) = tokio::join!(network.connect(listener.local_addr().unwrap()), listener.accept());
        let (mut dialled, (mut accepted, _)) = (dialled.unwrap(), accepted.unwrap());
        let user_timeout = |stream: &Stream| {
            let Stream::Tcp(stream) = stream else { panic!("the machine makes TCP streams") };
            socket2::SockRef::from(stream).tcp_user_timeout().unwrap()
        };
        let pause = std::time::Duration::from_millis(300);
        let chunk = vec![0; 1 << 16];
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(pause, dialled.write(&chunk)).await {
            sent += written.unwrap();
        }
        assert!(user_timeout(&dialled).is_some());
        dialled.mind_window();
        assert_eq!(user_timeout(&dialled), None, "{at}: it has all the time it wants");
        let mut into = vec![0; sent];
        accepted.read_exact(&mut into).await.unwrap();
        dialled.mind_window();
        assert!(user_timeout(&dialled).is_some(), "{at}: and no longer");
        dialled.gives_up_early();
        dialled.mind_window();
        assert_eq!(user_timeout(&dialled), Some(std::time::Duration::from_secs(12)), "{at}: each its own");
    }
}

#[tokio::test]
async fn only_shared_listeners_share_a_port() {
    let network = Network::machine();
    let first = network.listen(any_port(), Reuse::Shared).await.unwrap();
    let at = first.local_addr().unwrap();
    assert!(network.listen(at, Reuse::Shared).await.is_ok());
    let refused = network.listen(at, Reuse::Exclusive).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}
