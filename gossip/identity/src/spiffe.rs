//! SPIFFE ids: who a certificate says its holder is. One id, in exactly one URI SAN (SPIFFE X.509-SVID, section 2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{MeshName, NodeId, ServiceName};

/// What an identity names inside its mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// `/svc/<service>`: a replica of a service.
    Service(ServiceName),
    /// `/node/<id>`: a node.
    Node(NodeId),
    /// `/gw/<name>`: a gateway.
    Gateway(ServiceName),
}

/// `spiffe://<mesh>/svc/<service>`, `/node/<id>` or `/gw/<name>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpiffeId {
    /// The trust domain.
    pub mesh: MeshName,
    /// Who in it.
    pub subject: Subject,
}

/// A text that is not a SPIFFE id of this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SPIFFE id of the form spiffe://<mesh>/svc|node|gw/<name>")]
pub struct SpiffeError(pub String);

impl SpiffeId {
    /// The id of a service.
    pub fn service(mesh: &MeshName, service: &ServiceName) -> Self {
        Self { mesh: mesh.clone(), subject: Subject::Service(service.clone()) }
    }

    /// The id of a node.
    pub fn node(mesh: &MeshName, node: &NodeId) -> Self {
        Self { mesh: mesh.clone(), subject: Subject::Node(node.clone()) }
    }

    /// The short form for metrics and lists: the service's or node's name alone.
    pub fn short(&self) -> &str {
        match &self.subject {
            Subject::Service(name) | Subject::Gateway(name) => name.as_str(),
            Subject::Node(id) => id.as_str(),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Service(name) => write!(f, "spiffe://{}/svc/{name}", self.mesh),
            Subject::Node(id) => write!(f, "spiffe://{}/node/{id}", self.mesh),
            Subject::Gateway(name) => write!(f, "spiffe://{}/gw/{name}", self.mesh),
        }
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let wrong = || SpiffeError(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(wrong)?;
        let mut parts = rest.split('/');
        let (Some(mesh), Some(kind), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let mesh = mesh.parse().map_err(|_| wrong())?;
        let subject = match kind {
            "svc" => Subject::Service(name.parse().map_err(|_| wrong())?),
            "node" => Subject::Node(name.parse().map_err(|_| wrong())?),
            "gw" => Subject::Gateway(name.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        Ok(Self { mesh, subject })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_a_near_miss_does_not() {
        for text in ["spiffe://bank/svc/orders", "spiffe://bank/node/vm-a", "spiffe://bank/gw/edge"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        for text in [
            "spiffe://bank/svc/",
            "spiffe://bank/svc/a/b",
            "https://bank/svc/a",
            "spiffe:///svc/a",
            "spiffe://bank/x/a",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
