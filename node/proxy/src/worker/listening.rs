//! Where this node listens, so that it does not dial itself: an application that is one of its own ports would be called without end.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, Weak};

use weft_identity::Code;
use weft_policy::endpoint::AppAddr;

use super::{Gate, Phase, Worker};
use crate::dial::DialError;

/// The addresses of the listeners that are open.
#[derive(Default)]
pub(super) struct Listening(Mutex<Vec<(SocketAddr, Weak<Gate>)>>);

impl Listening {
    /// A listener opens here.
    pub(super) fn add(&self, at: SocketAddr, gate: &std::sync::Arc<Gate>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, gate)| is_open(gate));
        open.push((at, std::sync::Arc::downgrade(gate)));
    }

    /// Whether whoever dials this reaches one of them.
    fn has(&self, dialled: SocketAddr) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|(at, gate)| {
            let is_there = at.ip() == dialled.ip() || (at.ip().is_unspecified() && dialled.ip().is_loopback());
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
