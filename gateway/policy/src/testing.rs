//! What the tests of balancing share: endpoints and tables, a clock that stands still, chance from a seed, and a service in virtual time
//! whose replicas behave as a test says.

mod service;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use weft_identity::Protocol;

use crate::endpoint::{Endpoint, EndpointLoad, EndpointTable, PeerAddr};
use crate::outcome::{Change, Witness};

pub(crate) use service::{Answer, Calls, Replica, Service};

/// One millisecond of the data path's clock.
pub(crate) const MS: u64 = 1_000_000;
/// One second of it.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// An endpoint that nothing is known of.
pub(crate) fn endpoint(node: &str, zone: Option<&str>) -> Endpoint {
    Endpoint {
        node: node.parse().unwrap(),
        replica: "orders".parse().unwrap(),
        selector: None,
        generation: 1,
        addr: PeerAddr("127.0.0.1:4510".parse().unwrap()),
        zone: zone.map(|zone| zone.parse().unwrap()),
        version: String::new(),
        labels: BTreeMap::new(),
        weight: 1,
        healthy: true,
        load: Arc::new(EndpointLoad::default()),
    }
}

/// A table that nobody looked at yet.
pub(crate) fn table(endpoints: Vec<Endpoint>) -> EndpointTable {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    EndpointTable::new("orders".parse().unwrap(), Protocol::Http, endpoints)
}

/// A clock that a test sets, and what it was told of endpoints.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) now_ns: Cell<u64>,
    pub(crate) changes: RefCell<Vec<(u64, String, Change)>>,
}

impl Watch {
    pub(crate) fn at(now_ns: u64) -> Rc<Self> {
        Rc::new(Self { now_ns: Cell::new(now_ns), ..Self::default() })
    }

    /// How often an endpoint was ejected.
    pub(crate) fn ejections(&self) -> usize {
        self.changes.borrow().iter().filter(|(_, _, change)| matches!(change, Change::Ejected { .. })).count()
    }
}

impl Witness for Rc<Watch> {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn changed(&self, endpoint: &Endpoint, change: Change) {
        self.changes.borrow_mut().push((self.now_ns.get(), endpoint.node.to_string(), change));
    }
}

/// Chance from a seed (xorshift64*, Vigna 2016).
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}
