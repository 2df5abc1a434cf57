//! Opening a connection to another node or to an application of this machine, and saying in a code why it did not work.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_env::{Network, Stream};
use weft_identity::Code;
use weft_identity::{SpiffeId, dial_name};
use weft_world::LocalReplica;

use crate::proxy_protocol::{self, Ends};
use crate::worker::Worker;
use weft_policy::endpoint::{AppAddr, PeerAddr};

/// A connection that did not come to be.
#[derive(Debug, Clone)]
pub(crate) struct DialError {
    /// The code.
    pub(crate) code: Code,
    /// What was being done, and the likely cause.
    pub(crate) why: String,
}

/// What to dial at another node.
pub(crate) struct PeerDial<'a> {
    /// Its mesh port.
    pub(crate) addr: PeerAddr,
    /// Who must answer.
    pub(crate) identity: &'a SpiffeId,
    /// What we prove, and the protocol.
    pub(crate) config: &'a Arc<ClientConfig>,
    /// For TCP and TLS together.
    pub(crate) within: Duration,
}

/// Connects to another node and proves both identities. Dropping the future abandons the attempt.
pub(crate) async fn peer(network: &Network, dial: PeerDial<'_>) -> Result<TlsStream<Stream>, DialError> {
    let PeerDial { addr, identity, config, within } = dial;
    let attempt = async {
        let stream = network.connect(addr.0).await?;
        let name = dial_name(identity);
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await
    };
    match tokio::time::timeout(within, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(explained(&error, &addr.0.to_string())),
        Err(_) => Err(DialError {
            code: Code::ConnectTimeout,
            why: format!("connect to {} took over {within:?}; is the port open between the machines?", addr.0),
        }),
    }
}

/// Connects to an application of this machine, which is no port of the node itself.
pub(crate) async fn app(worker: &Worker, addr: AppAddr, within: Duration) -> Result<Stream, DialError> {
    worker.refuse_itself(addr)?;
    match tokio::time::timeout(within, worker.env.network.connect(addr.0)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(explained(&error, &addr.0.to_string())),
        Err(_) => Err(DialError {
            code: Code::ConnectTimeout,
            why: format!("the application at {} did not accept within {within:?}", addr.0),
        }),
    }
}

/// Connects to an application of this machine, and tells it who calls where it is to be told.
pub(crate) async fn application(
    worker: &Worker,
    replica: &LocalReplica,
    (caller, ends): (&SpiffeId, Option<Ends>),
    within: Duration,
) -> Result<Stream, DialError> {
    let mut stream = app(worker, replica.app, within).await?;
    if !replica.proxy_protocol {
        return Ok(stream);
    }
    let told = async {
        // A stream of HTTP/2 has no ends of its own: the node is its source.
        let own = Ends { source: stream.local_addr()?, destination: stream.peer_addr()? };
        let header = proxy_protocol::header(ends.unwrap_or(own), &caller.to_string());
        stream.write_all(&header).await
    };
    match tokio::time::timeout(within, told).await {
        Ok(Ok(())) => Ok(stream),
        _ => {
            let why = format!("the application at {} took no PROXY header", replica.app.0);
            Err(DialError { code: Code::UpstreamReset, why })
        }
    }
}

fn explained(error: &io::Error, to: &str) -> DialError {
    let code = code_of(error).unwrap_or(match error.kind() {
        io::ErrorKind::ConnectionRefused => Code::ConnectRefused,
        // Descriptors, ports or memory: of this node, not of what it dials.
        _ if is_short(error) => Code::Overloaded,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Code::ConnectTimeout
        }
        _ => Code::UpstreamReset,
    });
    DialError { code, why: format!("connect to {to}: {error}") }
}

/// Whether this machine lacks something that every connection needs.
fn is_short(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// The code of a failure of identity somewhere in a chain of errors: what answered was not who was dialled, or it refused us.
pub(crate) fn code_of(error: &(dyn Error + 'static)) -> Option<Code> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = tls_code(error) {
            return Some(code);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(code) = inner.and_then(|inner| tls_code(inner)) {
            return Some(code);
        }
        next = error.source();
    }
    None
}

fn tls_code(error: &(dyn Error + 'static)) -> Option<Code> {
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(_) => Some(Code::IdentityRefused),
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Some(Code::IdentityMismatch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_identity_is_told_from_one_of_the_network() {
        let wrong = rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName);
        let cases = [
            (io::Error::new(io::ErrorKind::InvalidData, wrong), Code::IdentityMismatch),
            (io::Error::from(io::ErrorKind::ConnectionRefused), Code::ConnectRefused),
            (io::Error::from(io::ErrorKind::ConnectionReset), Code::UpstreamReset),
            (io::Error::from(Errno::MFILE), Code::Overloaded),
        ];
        for (error, code) in cases {
            assert_eq!(explained(&error, "x").code, code);
        }
    }
}
