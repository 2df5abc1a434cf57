//! Tests of the simulated network, on paused time.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::{Datagrams, Stream};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), 4510)
}

fn network(seed: u64, loss: f64) -> SimNetwork {
    SimNetwork::new(seed, Link { latency: Duration::from_millis(5), jitter: Duration::from_millis(3), loss })
}

async fn sockets(network: &SimNetwork) -> (Datagrams, Datagrams) {
    let left = network.host(ip(1)).datagrams(at(1)).await.unwrap();
    let right = network.host(ip(2)).datagrams(at(2)).await.unwrap();
    (left, right)
}

async fn streams(network: &SimNetwork) -> (Stream, Stream) {
    let listener = network.host(ip(2)).listen(at(2), Reuse::Exclusive).await.unwrap();
    let host = network.host(ip(1));
    let (dialled, accepted) = tokio::join!(host.connect(at(2)), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

#[tokio::test(start_paused = true)]
async fn a_datagram_takes_the_latency_of_its_link() {
    let network = network(1, 0.0);
    let (left, right) = sockets(&network).await;
    let start = Instant::now();
    left.send_to(b"hello", at(2)).await.unwrap();
    let mut bytes = [0; 16];
    assert_eq!(right.recv_from(&mut bytes).await.unwrap(), (5, at(1)));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(5) && took <= Duration::from_millis(10), "{took:?}");
}

/// Which of 200 datagrams arrive, in which order, and when.
async fn arrivals(seed: u64) -> Vec<(u8, Duration)> {
    let network = network(seed, 0.3);
    let (left, right) = sockets(&network).await;
    let start = Instant::now();
    for number in 0..200 {
        left.send_to(&[number], at(2)).await.unwrap();
    }
    let mut arrived = Vec::new();
    let mut bytes = [0; 16];
    while let Ok(received) = timeout(Duration::from_secs(1), right.recv_from(&mut bytes)).await {
        received.unwrap();
        arrived.push((bytes[0], start.elapsed()));
    }
    arrived
}

#[tokio::test(start_paused = true)]
async fn one_seed_loses_and_reorders_the_same_datagrams() {
    let first = arrivals(7).await;
    assert_eq!(first, arrivals(7).await);
    assert_ne!(first, arrivals(8).await);
    assert!((100..180).contains(&first.len()), "{} of 200", first.len());
}

#[tokio::test(start_paused = true)]
async fn a_datagram_of_the_largest_size_arrives_whole() {
    let (left, right) = sockets(&network(1, 0.0)).await;
    left.send_to(&vec![7; 65_507], at(2)).await.unwrap();
    assert!(left.send_to(&vec![7; 65_508], at(2)).await.is_err());
    let mut bytes = vec![0; 70_000];
    assert_eq!(right.recv_from(&mut bytes).await.unwrap().0, 65_507);
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_datagrams_until_it_heals() {
    let network = network(1, 0.0);
    let (left, right) = sockets(&network).await;
    network.partition(&[ip(1)], &[ip(2)]);
    left.send_to(b"lost", at(2)).await.unwrap();
    network.heal();
    left.send_to(b"found", at(2)).await.unwrap();
    let mut bytes = [0; 16];
    assert_eq!(right.recv_from(&mut bytes).await.unwrap().0, 5);
    assert_eq!(network.traffic().datagrams_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_carries_bytes_in_order_and_ends() {
    let (mut left, mut right) = streams(&network(3, 0.2)).await;
    assert_eq!(left.peer_addr().unwrap(), at(2));
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    let expected = sent.clone();
    tokio::spawn(async move {
        left.write_all(&sent).await.unwrap();
        left.shutdown().await.unwrap();
        // The other direction still works.
        let mut reply = Vec::new();
        left.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, b"thanks");
    });
    let mut received = Vec::new();
    right.read_to_end(&mut received).await.unwrap();
    assert!(received == expected);
    right.write_all(b"thanks").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_reader_that_does_not_read() {
    let (mut left, _right) = streams(&network(1, 0.0)).await;
    let much = vec![0; 1_000_000];
    assert!(timeout(Duration::from_secs(5), left.write_all(&much)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_a_short_cut_and_ends_in_a_long_one() {
    let network = network(1, 0.0);
    let (mut left, mut right) = streams(&network).await;
    network.isolate(ip(2));
    left.write_all(b"late").await.unwrap();
    let mut bytes = [0; 4];
    assert!(timeout(Duration::from_secs(10), right.read_exact(&mut bytes)).await.is_err());
    network.heal();
    right.read_exact(&mut bytes).await.unwrap();
    network.isolate(ip(1));
    left.write_all(b"never").await.unwrap();
    assert_eq!(right.read_exact(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(left.read_exact(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_early_waits_less_long() {
    for (is_early, seconds) in [(false, 30), (true, 12)] {
        let network = network(1, 0.0);
        let (mut left, mut right) = streams(&network).await;
        if is_early {
            left.gives_up_early();
        }
        network.isolate(ip(2));
        left.write_all(b"never").await.unwrap();
        let began = Instant::now();
        assert_eq!(right.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(
            began.elapsed().abs_diff(Duration::from_secs(seconds)) < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_no_orderly_end() {
    let (mut left, mut right) = streams(&network(1, 0.0)).await;
    left.write_all(b"last").await.unwrap();
    left.reset_on_close();
    drop(left);
    let mut received = Vec::new();
    assert_eq!(right.read_to_end(&mut received).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(received, b"last");
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_refuses_and_no_host_stays_silent() {
    let network = network(1, 0.0);
    let host = network.host(ip(1));
    network.host(ip(2));
    assert_eq!(host.connect(at(2)).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert!(timeout(Duration::from_secs(5), host.connect(at(3))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_address_is_shared_only_by_those_who_agree() {
    let host = network(1, 0.0).host(ip(1));
    let first = host.listen(at(1), Reuse::Shared).await.unwrap();
    let second = host.listen(at(1), Reuse::Shared).await.unwrap();
    let refused = host.listen(at(1), Reuse::Exclusive).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop((first, second));
    let _exclusive = host.listen(at(1), Reuse::Exclusive).await.unwrap();
    assert!(host.listen(at(9), Reuse::Exclusive).await.is_err(), "an address of another host");
}

#[tokio::test(start_paused = true)]
async fn loopback_is_each_hosts_own() {
    let network = network(1, 0.0);
    let local: SocketAddr = "127.0.0.1:4512".parse().unwrap();
    let (one, two) = (network.host(ip(1)), network.host(ip(2)));
    let _listener = one.listen(local, Reuse::Exclusive).await.unwrap();
    assert!(one.connect(local).await.is_ok());
    assert_eq!(two.connect(local).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}
