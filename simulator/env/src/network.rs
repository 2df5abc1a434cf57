//! Streams and datagrams: the machine's sockets, or a network in memory. Everything that dials or listens takes a `Network`.

mod datagrams;
mod machine;
mod simulated;
mod stream;
mod window;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use simulated::{SimHost, SimListener};

pub use datagrams::Datagrams;
pub use simulated::{Link, SimNetwork, SimStream, Traffic};
pub use stream::Stream;

/// Whether a listener shares its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Nobody else may listen there: the second gets `AddrInUse`.
    Exclusive,
    /// Several listeners of one user share the address, and the kernel spreads connections over them (SO_REUSEPORT).
    Shared,
}

/// The network as one node sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Machine,
    Simulated(SimHost),
}

impl Network {
    /// The machine's sockets.
    pub fn machine() -> Self {
        Self { kind: Kind::Machine }
    }

    fn simulated(host: SimHost) -> Self {
        Self { kind: Kind::Simulated(host) }
    }

    /// Opens a stream. It has no timeout of its own below the kernel's: wrap it in one. Dropping the future abandons the attempt.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        match &self.kind {
            Kind::Machine => Ok(Stream::Tcp(machine::connect(to).await?)),
            Kind::Simulated(host) => Ok(Stream::Simulated(host.connect(to).await?)),
        }
    }

    /// Accepts streams at an address; port 0 takes any free port.
    pub async fn listen(&self, at: SocketAddr, reuse: Reuse) -> io::Result<Listener> {
        match &self.kind {
            Kind::Machine => Ok(Listener { kind: ListenerKind::Tcp(machine::listen(at, reuse)?) }),
            Kind::Simulated(host) => Ok(Listener { kind: ListenerKind::Simulated(host.listen(at, reuse)?) }),
        }
    }

    /// Sends and receives datagrams at an address; port 0 takes any free port.
    pub async fn datagrams(&self, at: SocketAddr) -> io::Result<Datagrams> {
        match &self.kind {
            Kind::Machine => Ok(Datagrams::machine(machine::datagrams(at)?)),
            Kind::Simulated(host) => Ok(Datagrams::simulated(host.datagrams(at)?)),
        }
    }
}

/// Accepts streams at one address until it is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: ListenerKind,
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Simulated(SimListener),
}

impl Listener {
    /// The next stream and where it comes from. Cancel safe.
    ///
    /// # Errors
    /// An error does not end the listener: it may be of one connection, or want of file descriptors; wait a little then.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.kind {
            ListenerKind::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok((Stream::Tcp(stream), from))
            }
            ListenerKind::Simulated(listener) => {
                let (stream, from) = listener.accept().await;
                Ok((Stream::Simulated(stream), from))
            }
        }
    }

    /// The address, with the port that was taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.kind {
            ListenerKind::Tcp(listener) => listener.local_addr(),
            ListenerKind::Simulated(listener) => Ok(listener.local_addr()),
        }
    }
}

#[cfg(test)]
mod tests;
