//! Which protocol a service speaks where its nodes state different ones: all nodes of the mesh come to the same answer, so that a
//! mistake on one node takes its own replicas out and nobody else's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_gossip::catalog::Offer;
use weft_identity::{Code, Failure, NodeId, Protocol, ServiceName};
use weft_world::service_spec::ServiceSpec;

use crate::core::Core;

/// A node that states another protocol for a service than the mesh goes by; its replicas are in no endpoint table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dissent {
    /// The service.
    pub service: ServiceName,
    /// The node.
    pub node: NodeId,
    /// What the node states.
    pub stated: Protocol,
    /// What the mesh goes by.
    pub agreed: Protocol,
}

/// The protocol of a service: the one that most nodes state; of those that equally many state, the one of the node that has run the
/// longest (the lowest generation, then the lowest name), so that the newcomer is the one that is left out. None without an offer.
pub(crate) fn agreed<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Option<Protocol> {
    let mut stated: BTreeMap<Protocol, BTreeMap<&NodeId, u64>> = BTreeMap::new();
    for offer in offers {
        stated.entry(offer.replica.protocol).or_default().insert(&offer.node, offer.generation);
    }
    let rank = |nodes: &BTreeMap<&NodeId, u64>| {
        let eldest = nodes.iter().map(|(node, generation)| (*generation, (*node).clone())).min();
        (nodes.len(), eldest.map(Reverse))
    };
    stated.into_iter().max_by_key(|(_, nodes)| rank(nodes)).map(|(protocol, _)| protocol)
}

/// The nodes that state another protocol than the agreed one, in order, each once a service.
pub(crate) fn dissents(offered: &BTreeMap<ServiceName, Vec<Offer>>) -> Vec<Dissent> {
    let of_service = |(service, offers): (&ServiceName, &Vec<Offer>)| {
        let agreed = agreed(offers)?;
        let others = offers.iter().filter(move |offer| offer.replica.protocol != agreed);
        let dissent = move |offer: &Offer| {
            let (node, stated) = (offer.node.clone(), offer.replica.protocol);
            Dissent { service: service.clone(), node, stated, agreed }
        };
        Some(others.map(dissent).collect::<Vec<_>>())
    };
    let mut found: Vec<Dissent> = offered.iter().filter_map(of_service).flatten().collect();
    found.sort();
    found.dedup();
    found
}

/// Whether the other nodes speak a service as this node is about to offer it. What this node states already is no news.
pub(crate) fn check_agrees(core: &Core, spec: &ServiceSpec) -> Result<(), Failure> {
    let own = &core.file.node;
    let exposed = core.exposed.load();
    if exposed.values().any(|other| other.service == spec.service && other.protocol == spec.protocol) {
        return Ok(());
    }
    let stated = super::stated(core);
    let offers = stated.get(&spec.service).map(Vec::as_slice).unwrap_or_default();
    let others: Vec<&Offer> = offers.iter().filter(|offer| offer.node != *own).collect();
    let Some(known) = agreed(others.iter().copied()).filter(|known| *known != spec.protocol) else { return Ok(()) };
    let node = others.iter().find(|offer| offer.replica.protocol == known).map_or("", |offer| offer.node.as_str());
    let detail = format!(
        "{} is known as {}, by node {node} for one, not as {}: offered so, replicas of this node would take no calls; give --protocol {}, \
         or --anyway if the other nodes are to follow",
        spec.service,
        known.as_str(),
        spec.protocol.as_str(),
        known.as_str(),
    );
    Err(Failure::new(Code::ProtocolMismatch, detail))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weft_gossip::catalog::ReplicaRecord;
    use weft_gossip::membership::MemberState;

    use super::*;

    /// An offer of `orders` by a node of this generation.
    pub(crate) fn offer(node: &str, generation: u64, protocol: Protocol) -> Offer {
        let replica = ReplicaRecord {
            service: "orders".parse().unwrap(),
            name: "orders".parse().unwrap(),
            version: String::new(),
            protocol,
            port: 8080,
            weight: 100,
            labels: BTreeMap::new(),
            healthy: true,
        };
        let addr = "10.0.0.1:4510".parse().unwrap();
        Offer { node: node.parse().unwrap(), generation, addr, zone: None, state: MemberState::Alive, replica }
    }

    #[test]
    fn the_protocol_of_most_nodes_holds_then_that_of_the_eldest() {
        use Protocol::{Http, Http2, Tcp};
        for (offers, expected) in [
            (vec![], None),
            (vec![("a", 1, Tcp)], Some(Tcp)),
            (vec![("a", 2, Tcp), ("b", 1, Http)], Some(Http)),
            (vec![("a", 1, Tcp), ("b", 2, Http)], Some(Tcp)),
            (vec![("b", 1, Tcp), ("a", 1, Http)], Some(Http)),
            (vec![("a", 1, Tcp), ("b", 2, Http), ("c", 3, Http)], Some(Http)),
            (vec![("a", 1, Tcp), ("a", 1, Tcp), ("b", 2, Http), ("c", 3, Http)], Some(Http)),
            (vec![("a", 3, Tcp), ("b", 2, Http), ("c", 1, Http2)], Some(Http2)),
        ] {
            let mut list: Vec<Offer> =
                offers.iter().map(|(node, generation, protocol)| offer(node, *generation, *protocol)).collect();
            assert_eq!(agreed(&list), expected, "{offers:?}");
            list.reverse();
            assert_eq!(agreed(&list), expected, "{offers:?}, in whatever order");
        }
    }

    #[test]
    fn who_dissents_is_named_once() {
        let offers = vec![
            offer("a", 1, Protocol::Http),
            offer("b", 2, Protocol::Tcp),
            offer("b", 2, Protocol::Tcp),
            offer("c", 3, Protocol::Http),
        ];
        let found = dissents(&BTreeMap::from([("orders".parse().unwrap(), offers)]));
        let named: Vec<_> = found.iter().map(|one| (one.node.as_str(), one.stated, one.agreed)).collect();
        assert_eq!(named, [("b", Protocol::Tcp, Protocol::Http)]);
    }
}
