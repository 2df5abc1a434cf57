//! Watches over what stays open: ends a connection whose peer is no longer believed, and a stream that the documents no longer
//! allow or that was opened with a label which this node has lost. Asleep until trust, labels or documents change, so that an open connection costs nothing.

use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use rustls::pki_types::CertificateDer;
use weft_identity::{Code, GrantedLabels, Protocol, ServiceName, SpiffeId};
use weft_policy::{Call, Caller, NormalPath, RequestView};
use weft_world::WorldCell;

use crate::metrics::Slot;
use crate::problem::Refusal;
use crate::proxy::{Arrival, Copied};

/// The certificates that the other end of a connection proved itself with.
pub(crate) type Chain = Arc<[CertificateDer<'static>]>;

/// What a stream rests on while it is open; it ends with the first that falls.
#[derive(Default)]
pub(crate) struct Footing {
    /// As what it was let pass, where it arrived.
    pub(crate) permit: Option<Box<Permit>>,
    /// What the node at its other end proved itself with.
    pub(crate) peer: Option<Chain>,
    /// The labels with which this node called.
    pub(crate) labels: Option<Arc<GrantedLabels>>,
}

/// What a stream was let pass as; asked again when the documents change.
pub(crate) struct Permit {
    caller: SpiffeId,
    labels: Arc<GrantedLabels>,
    called: ServiceName,
    subject: Subject,
}

/// A request that was let pass, kept while its answer is on its way: a permit is made of it once the answer lasts.
pub(crate) struct Passed {
    caller: SpiffeId,
    labels: Arc<GrantedLabels>,
    called: ServiceName,
    request: Copied,
}

impl Passed {
    /// A request as it arrived.
    pub(crate) fn new(arrival: &Arrival<'_>, request: Copied) -> Self {
        let Caller { identity, labels } = arrival.caller;
        Self { caller: identity.clone(), labels: Arc::clone(labels), called: arrival.called.clone(), request }
    }
}

/// What passed.
enum Subject {
    /// A stream to a service of this protocol.
    Stream(Protocol),
    /// A request that became a tunnel.
    Request(Box<Head>),
}

/// What rules look at of a request.
struct Head {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Permit {
    /// Of a stream.
    pub(crate) fn stream(arrival: &Arrival<'_>, protocol: Protocol) -> Box<Self> {
        Self::new(arrival, Subject::Stream(protocol))
    }

    /// Of a request that asks to become a tunnel.
    pub(crate) fn request<B>(arrival: &Arrival<'_>, request: &Request<B>) -> Box<Self> {
        let head = Head {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            headers: request.headers().clone(),
        };
        Self::new(arrival, Subject::Request(Box::new(head)))
    }

    /// Of a request whose answer is on its way, by the copy that was kept of its head.
    pub(crate) fn answered(passed: Passed) -> Box<Self> {
        let Passed { caller, labels, called, request } = passed;
        let (parts, _) = request.into_request().into_parts();
        let head = Head {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
        };
        Box::new(Self { caller, labels, called, subject: Subject::Request(Box::new(head)) })
    }

    fn new(arrival: &Arrival<'_>, subject: Subject) -> Box<Self> {
        let Caller { identity, labels } = arrival.caller;
        let (caller, labels) = (identity.clone(), Arc::clone(labels));
        Box::new(Self { caller, labels, called: arrival.called.clone(), subject })
    }

    /// Whether it would pass in this world.
    fn holds(&self, cell: &WorldCell) -> Result<(), Refusal> {
        let world = cell.load();
        let caller = Caller { identity: &self.caller, labels: &self.labels };
        let arrival = Arrival::new(&world, caller, &self.called);
        let head = match &self.subject {
            Subject::Stream(protocol) => return arrival.stream_goes_on(*protocol),
            Subject::Request(head) => head,
        };
        if !world.policy.reads_requests(&self.called) {
            return arrival.goes_on(Call::Tcp);
        }
        let path =
            NormalPath::of(&head.path).map_err(|fault| Refusal::new(Code::RequestMalformed, fault.to_string()))?;
        let (method, query) = (&head.method, head.query.as_deref());
        arrival.goes_on(Call::Http(&RequestView { method, path: &path, query, headers: &head.headers }))
    }
}

/// Waits until the peer of a connection is no longer believed.
pub(crate) async fn disbelieved(cell: &WorldCell, chain: &Chain) -> Refusal {
    let mut changes = cell.watch_trust();
    loop {
        // At once, too: trust may have changed since the handshake.
        if let Err(refusal) = cell.load().trust.recheck(chain) {
            return Refusal::new(Code::IdentityRefused, refusal.to_string());
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the documents no longer allow what they allowed.
pub(crate) async fn disallowed(cell: &WorldCell, permit: &Permit) -> Refusal {
    let mut changes = cell.watch_policy();
    loop {
        if let Err(refusal) = permit.holds(cell) {
            return refusal;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until this node lacks a label with which it called.
async fn unlabelled(cell: &WorldCell, labels: &GrantedLabels) -> Refusal {
    let mut changes = cell.watch_trust();
    loop {
        if cell.load().credentials.labels().is_some_and(|own| !own.includes(labels)) {
            let why =
                format!("it was opened with the granted labels {labels}, and this node no longer has all of them");
            return Refusal::new(Code::NotAllowed, why);
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until a stream must end; for ever where nothing can end it.
pub(crate) async fn ended(cell: &WorldCell, footing: &Footing) -> Refusal {
    let by_documents = async {
        match &footing.permit {
            Some(permit) => disallowed(cell, permit).await,
            None => std::future::pending().await,
        }
    };
    let by_trust = async {
        match &footing.peer {
            Some(chain) => disbelieved(cell, chain).await,
            None => std::future::pending().await,
        }
    };
    let by_labels = async {
        match &footing.labels {
            Some(labels) => unlabelled(cell, labels).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        refusal = by_documents => refusal,
        refusal = by_labels => refusal,
        refusal = by_trust => refusal,
    }
}

/// What an upstream connection holds while it is open.
pub(crate) struct Driven {
    /// What the other node proved itself with; none for an application of this machine.
    pub(crate) peer: Option<Chain>,
    /// Its place among the connections of its service, where these are limited.
    pub(crate) slot: Option<Slot>,
}

impl Driven {
    /// Drives a connection to its end, or until its peer is no longer believed.
    pub(crate) async fn drive(
        self,
        cell: Option<Arc<WorldCell>>,
        connection: impl Future<Output = Result<(), hyper::Error>>,
    ) {
        let _slot = self.slot;
        let ended = match cell.as_deref().zip(self.peer.as_ref()) {
            None => connection.await,
            Some((cell, chain)) => tokio::select! {
                ended = connection => ended,
                refusal = disbelieved(cell, chain) => {
                    return tracing::info!(why = refusal.why, "connection to a revoked peer closed");
                }
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "upstream connection ended");
        }
    }
}

/// What the other end of a TLS connection proved itself with.
pub(crate) fn chain_of(tls: &rustls::CommonState) -> Option<Chain> {
    tls.peer_certificates().map(|chain| chain.iter().map(|part| part.clone().into_owned()).collect())
}
