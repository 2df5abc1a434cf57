//! Where this node listens, so that it does not dial itself: an application that is one of its own ports would be called without end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weft_identity::Code;
use weft_policy::endpoint::AppAddr;

use super::{Gate, Phase, Worker};
use crate::dial::DialError;

/// The addresses of the listeners that are open.
#[derive(Default)]
pub(super) struct Listening(Mutex<Vec<(SocketAddr, Weak<Gate>)>>);

impl Listening {
    /// A listener opens here.
    pub(super) fn add(&self, at: SocketAddr, gate: &Arc<Gate>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, gate)| is_open(gate));
        open.push((at, Arc::downgrade(gate)));
    }

    /// Whether whoever dials this reaches one of them.
    fn has(&self, dialled: SocketAddr) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|(at, gate)| {
            let (own, other) = (at.ip().to_canonical(), dialled.ip().to_canonical());
            let is_there = own == other || other.is_unspecified() || (own.is_unspecified() && other.is_loopback());
            is_there && at.port() == dialled.port() && is_open(gate)
        })
    }
}

fn is_open(gate: &Weak<Gate>) -> bool {
    gate.upgrade().is_some_and(|gate| gate.phase() == Phase::Open)
}

impl Worker {
    /// Refuses to dial an application that is a port of this node.
    pub(crate) fn refuse_itself(&self, app: AppAddr) -> Result<(), DialError> {
        if !self.shared.listening.has(app.0) {
            return Ok(());
        }
        Err(DialError { code: Code::CallLoops, why: format!("the application at {} is a port of this node", app.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_node_is_known_by_every_name_of_its_address() {
        let (listening, gate, other) = (Listening::default(), Gate::always_open(), Gate::always_open());
        listening.add("127.0.0.2:80".parse().unwrap(), &gate);
        listening.add("0.0.0.0:4510".parse().unwrap(), &other);
        for (dialled, is_own) in [
            ("127.0.0.2:80", true),
            ("[::ffff:127.0.0.2]:80", true),
            ("0.0.0.0:80", true),
            ("127.0.0.2:81", false),
            ("127.0.0.3:80", false),
            ("127.0.0.9:4510", true),
            ("192.0.2.1:4510", false),
        ] {
            assert_eq!(listening.has(dialled.parse().unwrap()), is_own, "{dialled}");
        }
        drop(gate);
        assert!(!listening.has("127.0.0.2:80".parse().unwrap()), "a listener that is gone");
    }
}
