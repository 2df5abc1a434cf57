//! Loopback addresses that no other test uses at the same time.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

static NEXT: AtomicU8 = AtomicU8::new(1);

/// A block 127.x.y.0/24 for one mesh: x from this process, y from a counter.
///
/// x starts at 130 because 127.64.0.0/10 belongs to the addresses of services and 127.0.0.0/16 to people and the demo.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    process: u8,
    number: u8,
}

impl Block {
    /// The next free block of this process.
    pub fn next() -> Self {
        let process = u8::try_from(130 + std::process::id() % 120).expect("below 250");
        Self { process, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The address number `host` of this block.
    pub fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.process, self.number, host)
    }
}

/// A port of `address` that nothing listened on a moment ago.
pub fn free_port(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind(SocketAddrV4::new(address, 0)).expect("a loopback address can be bound");
    listener.local_addr().expect("a bound listener has an address").port()
}
