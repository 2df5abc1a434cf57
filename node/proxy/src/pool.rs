//! The upstream connections of one worker: idle ones of HTTP/1.1, last in first out, and shared ones of HTTP/2.
//!
//! A connection belongs to an endpoint *and* to the credential it was opened with, so that a renewed certificate is used for new
//! requests at once. Keys are the addresses of what a host keeps alive, so that no name is hashed on the way of a request. Nobody watches an
//! idle connection: whether it still lives is asked when it is taken, and whether its peer is still believed whenever that may have changed.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use weft_policy::endpoint::EndpointLoad;
use weft_world::{Credential, LocalReplica, World};

use crate::dial::DialError;
use crate::http1::Connection;
use crate::http2::Client;
use crate::metrics::Slot;
use crate::vigil::{Chain, believed};

/// Idle connections kept a host and worker; more than this many requests at once to one endpoint are bursts.
const IDLE_MAX: usize = 256;

/// What a connection leads to.
#[derive(Clone)]
pub(crate) enum Host {
    /// A service at another node, as an identity.
    Peer(Arc<EndpointLoad>, Arc<Credential>),
    /// An application of this machine.
    App(Arc<LocalReplica>),
}

type HostKey = (usize, usize);

impl Host {
    fn key(&self) -> HostKey {
        match self {
            Self::Peer(load, credential) => (Arc::as_ptr(load).addr(), Arc::as_ptr(credential).addr()),
            Self::App(replica) => (Arc::as_ptr(replica).addr(), 0),
        }
    }
}

/// An upstream connection of HTTP/1.1 with what it holds while it is open.
pub(crate) struct Upstream {
    pub(crate) connection: Box<Connection>,
    /// What the other node proved itself with; none for an application of this machine.
    pub(crate) chain: Option<Chain>,
    /// Its place among the connections of its service, where these are limited.
    pub(crate) slot: Option<Slot>,
    /// How often the worker's bell had rung when its peer was last believed.
    pub(crate) rings: u64,
}

impl Upstream {
    fn is_counted_by(&self, counter: &Arc<AtomicU32>) -> bool {
        self.slot.as_ref().is_some_and(|slot| Arc::ptr_eq(slot.counter(), counter))
    }

    pub(crate) fn is_believed(&self, world: &World) -> bool {
        self.chain.as_ref().is_none_or(|chain| believed(world, chain).is_ok())
    }
}

/// An upstream connection of HTTP/2, which many requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// What the other node proved itself with.
    pub(crate) chain: Option<Chain>,
    pub(crate) opened_at: Instant,
}

/// Held by who opens a shared connection; when the last one failed, and why.
pub(crate) type Opening = Arc<tokio::sync::Mutex<Option<(Instant, DialError)>>>;

/// The connections to one host.
struct HostPool {
    /// Keeps the key's addresses from being used again.
    _host: Host,
    idle: Vec<(Upstream, Instant)>,
    shared: Vec<Shared>,
    /// Held while a shared connection is opened, so that a burst opens one.
    opening: Opening,
    /// Told whenever a stream of a shared connection ends.
    room: Arc<Notify>,
    used_at: Instant,
}

/// The connections of one worker. The lock is the worker's own: it is contended only when a pool is swept from outside.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<HostKey, HostPool, Addresses>>);

/// Hashes addresses: they are spread by their allocator already.
#[derive(Default, Clone, Copy)]
struct Addresses;

impl std::hash::BuildHasher for Addresses {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher(0)
    }
}

struct AddressHasher(u64);

impl std::hash::Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, number: usize) {
        // Fibonacci hashing (Knuth, volume 3, section 6.4).
        self.0 = (self.0.rotate_left(5) ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Pool {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostKey, HostPool, Addresses>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that can take a request now.
    pub(crate) fn take(&self, host: &Host) -> Option<Upstream> {
        let mut hosts = self.hosts();
        let idle = &mut hosts.get_mut(&host.key())?.idle;
        while let Some((mut upstream, _)) = idle.pop() {
            if upstream.connection.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection after its answer was read whole.
    pub(crate) fn give(&self, host: &Host, mut upstream: Upstream, now: Instant) {
        upstream.connection.renew();
        let mut hosts = self.hosts();
        let pool = entry(&mut hosts, host, now);
        pool.used_at = now;
        if pool.idle.len() < IDLE_MAX {
            pool.idle.push((upstream, now));
        }
    }

    /// Closes the connection that is idle longest at some host, among those that `counter` counts; false where there is none.
    pub(crate) fn close_idle(&self, counter: &Arc<AtomicU32>) -> bool {
        let mut hosts = self.hosts();
        let idle = hosts.values_mut().find_map(|pool| {
            let at = pool.idle.iter().position(|(upstream, _)| upstream.is_counted_by(counter))?;
            Some(pool.idle.remove(at))
        });
        idle.is_some()
    }

    /// A shared connection with room for another stream, if there is one; opened no earlier than this, where that matters: older ones take
    /// no more then, and finish their streams.
    pub(crate) fn shared(&self, host: &Host, now: Instant, since: Option<Instant>) -> Option<Shared> {
        let mut hosts = self.hosts();
        let pool = hosts.get_mut(&host.key())?;
        pool.used_at = now;
        let is_old = |shared: &Shared| since.is_some_and(|since| shared.opened_at < since);
        pool.shared.retain(|shared| !shared.client.is_closed() && !shared.client.is_going_away() && !is_old(shared));
        pool.shared.iter().find(|shared| shared.client.has_room()).cloned()
    }

    /// How many shared connections there are.
    pub(crate) fn shared_count(&self, host: &Host) -> usize {
        self.hosts().get(&host.key()).map_or(0, |pool| pool.shared.len())
    }

    /// What is told whenever there may be room on a shared connection.
    pub(crate) fn room(&self, host: &Host, now: Instant) -> Arc<Notify> {
        let mut hosts = self.hosts();
        Arc::clone(&entry(&mut hosts, host, now).room)
    }

    /// Who holds this lock may open a shared connection.
    pub(crate) fn opening(&self, host: &Host, now: Instant) -> Opening {
        let mut hosts = self.hosts();
        Arc::clone(&entry(&mut hosts, host, now).opening)
    }

    /// Keeps a shared connection.
    pub(crate) fn share(&self, host: &Host, shared: Shared, now: Instant) {
        let mut hosts = self.hosts();
        let pool = entry(&mut hosts, host, now);
        pool.used_at = now;
        pool.shared.push(shared);
    }

    /// Closes what was idle too long, or was closed by its other end. A shared connection that is let go of here still finishes its
    /// streams.
    pub(crate) fn sweep(&self, now: Instant, idle_timeout: Duration) {
        self.hosts().retain(|_, pool| {
            pool.idle.retain_mut(|(upstream, since)| {
                now.saturating_duration_since(*since) < idle_timeout && upstream.connection.is_quiet()
            });
            let unused = now.saturating_duration_since(pool.used_at) >= idle_timeout;
            pool.shared.retain(|Shared { client, .. }| !client.is_closed() && (!unused || client.streams_open() > 0));
            !unused || !pool.idle.is_empty() || !pool.shared.is_empty()
        });
    }

    /// Closes idle connections to nodes that are no longer believed.
    pub(crate) fn disbelieve(&self, world: &World) {
        self.hosts().values_mut().for_each(|pool| pool.idle.retain(|(upstream, _)| upstream.is_believed(world)));
    }

    /// Closes the idle connections of HTTP/1.1.
    pub(crate) fn clear_idle(&self) {
        self.hosts().values_mut().for_each(|pool| pool.idle.clear());
    }

    /// Closes every connection that no request uses.
    pub(crate) fn clear(&self) {
        self.hosts().clear();
    }
}

fn entry<'a>(hosts: &'a mut HashMap<HostKey, HostPool, Addresses>, host: &Host, now: Instant) -> &'a mut HostPool {
    hosts.entry(host.key()).or_insert_with(|| HostPool {
        _host: host.clone(),
        idle: Vec::new(),
        shared: Vec::new(),
        opening: Arc::default(),
        room: Arc::default(),
        used_at: now,
    })
}

#[cfg(test)]
mod tests;
