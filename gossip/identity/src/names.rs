//! The names that stand in a TLS handshake: how a dialler says which identity it wants, and a server learns it (SNI).

use rustls_pki_types::ServerName;

use super::spiffe::{SpiffeId, Subject};
use crate::ids::{MeshName, SERVICE_DOMAIN};

/// Labels between a name and the domain.
const SERVICE_LABEL: &str = "svc";
const NODE_LABEL: &str = "node";
const GATEWAY_LABEL: &str = "gw";

/// The name to dial an identity by: `orders.svc.weft.internal`, `vm-a.node.weft.internal`, `edge.gw.weft.internal`.
pub fn dial_name(id: &SpiffeId) -> ServerName<'static> {
    let label = match &id.subject {
        Subject::Service(_) => SERVICE_LABEL,
        Subject::Node(_) => NODE_LABEL,
        Subject::Gateway(_) => GATEWAY_LABEL,
    };
    server_name(format!("{}.{label}.{SERVICE_DOMAIN}", id.short()))
}

/// The name to dial whichever node of the mesh answers at an address: `node.weft.internal`.
pub fn any_node_name() -> ServerName<'static> {
    server_name(format!("{NODE_LABEL}.{SERVICE_DOMAIN}"))
}

/// The identity of this mesh that a dialled name asks for; none for [`any_node_name`] and foreign names.
pub fn dialled_identity(mesh: &MeshName, name: &str) -> Option<SpiffeId> {
    let rest = name.strip_suffix(SERVICE_DOMAIN)?.strip_suffix('.')?;
    let (name, label) = rest.split_once('.')?;
    let subject = match label {
        SERVICE_LABEL => Subject::Service(name.parse().ok()?),
        NODE_LABEL => Subject::Node(name.parse().ok()?),
        GATEWAY_LABEL => Subject::Gateway(name.parse().ok()?),
        _ => return None,
    };
    Some(SpiffeId { mesh: mesh.clone(), subject })
}

fn server_name(name: String) -> ServerName<'static> {
    ServerName::try_from(name).expect("labels joined by dots are a DNS name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialled_name_leads_back_to_its_identity() {
        for text in ["spiffe://bank/svc/orders", "spiffe://bank/node/vm-a", "spiffe://bank/gw/edge"] {
            let id: SpiffeId = text.parse().unwrap();
            let name = dial_name(&id).to_str().into_owned();
            assert_eq!(dialled_identity(&id.mesh, &name), Some(id), "{name}");
        }
        let mesh = "bank".parse().unwrap();
        for foreign in ["node.weft.internal", "orders.weft.internal", "example.org", "a.b.svc.weft.internal", ""] {
            assert_eq!(dialled_identity(&mesh, foreign), None, "{foreign}");
        }
    }
}
