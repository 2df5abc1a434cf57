//! Handshakes under way, by the address that they come from: one address has a share of the listener's places until it has proven itself,
//! so that whoever opens connections and says nothing leaves others theirs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of a listener's places that one address may hold before it has proven itself.
const SHARE: usize = 4;
/// The part of an IPv6 address by which its holder is known: whoever has one such network has 2^64 addresses.
const NETWORK_BITS: u32 = 64;

/// The handshakes of one listener.
pub(crate) struct Handshakes {
    /// Holds no address without a handshake, so it is as bounded as the open connections.
    under_way: Mutex<BTreeMap<IpAddr, usize>>,
    of_address_max: usize,
}

/// One under way; dropping it counts it out.
pub(crate) struct Handshake {
    of: Arc<Handshakes>,
    from: IpAddr,
}

impl Handshakes {
    /// Of a listener with so many places.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default(), of_address_max: (places / SHARE).max(1) })
    }

    /// Begins one; none when the address has its share.
    pub(crate) fn begin(self: &Arc<Self>, from: IpAddr) -> Option<Handshake> {
        let from = network_of(from.to_canonical());
        let mut under_way = self.counts();
        let count = under_way.entry(from).or_default();
        if *count >= self.of_address_max {
            return None;
        }
        *count += 1;
        Some(Handshake { of: Arc::clone(self), from })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under_way = self.of.counts();
        let Some(count) = under_way.get_mut(&self.from) else { return };
        *count -= 1;
        if *count == 0 {
            under_way.remove(&self.from);
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << NETWORK_BITS)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_quarter_of_the_places_until_it_has_proven_itself() {
        let handshakes = Handshakes::new(8);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let held: Vec<_> = (0..2).map(|_| handshakes.begin(ip("10.0.0.1")).unwrap()).collect();
        assert!(handshakes.begin(ip("10.0.0.1")).is_none() && handshakes.begin(ip("::ffff:10.0.0.1")).is_none());
        assert!(handshakes.begin(ip("10.0.0.2")).is_some());
        drop(held);
        assert!(handshakes.begin(ip("10.0.0.1")).is_some());
        assert!(handshakes.counts().is_empty(), "what is over is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let handshakes = Handshakes::new(4);
        let _held = handshakes.begin("2001:db8::1".parse().unwrap()).unwrap();
        assert!(handshakes.begin("2001:db8::2".parse().unwrap()).is_none());
        assert!(handshakes.begin("2001:db8:0:1::2".parse().unwrap()).is_some());
    }
}
