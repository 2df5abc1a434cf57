//! The upstream connections of one worker: idle HTTP/1.1 connections, last in first out, and shared HTTP/2 ones.
//!
//! A connection belongs to an endpoint *and* to the credential it was opened with, so that a renewed certificate is used for new
//! requests at once. Keys are the addresses of what a host keeps alive, so that no name is hashed on the way of a request.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_policy::endpoint::EndpointLoad;
use weft_world::{Credential, LocalReplica};

use crate::http1::Http1;
use crate::http2::Http2;

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

/// The connections to one host.
struct HostPool {
    /// Keeps the key's addresses from being used again.
    _host: Host,
    idle: Vec<(Http1, Instant)>,
    shared: Option<Http2>,
    /// Held while the shared connection is opened, so that a burst opens one.
    opening: Arc<tokio::sync::Mutex<()>>,
    used_at: Instant,
}

/// The connections of one worker. The lock is the worker's own: it is contended only when a pool is swept from outside.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<HostKey, HostPool>>);

impl Pool {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostKey, HostPool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that can take a request now.
    pub(crate) fn take(&self, host: &Host) -> Option<Http1> {
        let mut hosts = self.hosts();
        let idle = &mut hosts.get_mut(&host.key())?.idle;
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].0.is_closed() {
                idle.swap_remove(at);
                at = at.min(idle.len());
            } else if idle[at].0.is_ready() {
                return Some(idle.remove(at).0);
            }
        }
        None
    }

    /// Gives a connection back after its answer was read whole.
    pub(crate) fn give(&self, host: &Host, connection: Http1, now: Instant) {
        if connection.is_closed() {
            return;
        }
        let mut hosts = self.hosts();
        let pool = entry(&mut hosts, host, now);
        pool.used_at = now;
        if pool.idle.len() < IDLE_MAX {
            pool.idle.push((connection, now));
        }
    }

    /// Closes the connection that is idle longest at some host, among those that `counter` counts; false where there is none.
    pub(crate) fn close_idle(&self, counter: &Arc<AtomicU32>) -> bool {
        let mut hosts = self.hosts();
        let idle = hosts.values_mut().find_map(|pool| {
            let is_counted = |connection: &Http1| !connection.is_closed() && connection.is_counted_by(counter);
            let at = pool.idle.iter().position(|(connection, _)| is_counted(connection))?;
            Some(pool.idle.remove(at))
        });
        idle.is_some()
    }

    /// The shared connection, if it lives.
    pub(crate) fn shared(&self, host: &Host, now: Instant) -> Option<Http2> {
        let mut hosts = self.hosts();
        let pool = hosts.get_mut(&host.key())?;
        pool.used_at = now;
        if pool.shared.as_ref().is_some_and(Http2::is_closed) {
            pool.shared = None;
        }
        pool.shared.clone()
    }

    /// Who holds this lock may open the shared connection.
    pub(crate) fn opening(&self, host: &Host, now: Instant) -> Arc<tokio::sync::Mutex<()>> {
        let mut hosts = self.hosts();
        Arc::clone(&entry(&mut hosts, host, now).opening)
    }

    /// Keeps a shared connection.
    pub(crate) fn share(&self, host: &Host, connection: Http2, now: Instant) {
        let mut hosts = self.hosts();
        let pool = entry(&mut hosts, host, now);
        pool.used_at = now;
        pool.shared = Some(connection);
    }

    /// Closes what was idle too long. A shared connection that is let go of here still finishes its streams.
    pub(crate) fn sweep(&self, now: Instant, idle_timeout: Duration) {
        self.hosts().retain(|_, pool| {
            pool.idle.retain(|(connection, since)| {
                !connection.is_closed() && now.saturating_duration_since(*since) < idle_timeout
            });
            let unused = now.saturating_duration_since(pool.used_at) >= idle_timeout;
            if unused || pool.shared.as_ref().is_some_and(Http2::is_closed) {
                pool.shared = None;
            }
            !(unused && pool.idle.is_empty() && pool.shared.is_none())
        });
    }

    /// Closes every connection that no request uses.
    pub(crate) fn clear(&self) {
        self.hosts().clear();
    }
}

fn entry<'a>(hosts: &'a mut HashMap<HostKey, HostPool>, host: &Host, now: Instant) -> &'a mut HostPool {
    hosts.entry(host.key()).or_insert_with(|| HostPool {
        _host: host.clone(),
        idle: Vec::new(),
        shared: None,
        opening: Arc::default(),
        used_at: now,
    })
}
