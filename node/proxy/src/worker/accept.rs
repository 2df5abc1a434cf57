//! A worker's side of its listeners: binds the port, takes connections in while the gate is open, and hands each to what serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use weft_env::{Listener, Reuse, Stream};
use weft_identity::{Code, Failure};
use weft_world::WorldCell;
use weft_world::opener::{ListenerSpec, OpenHandle, OpenListener};

use super::chores::ring;
use super::descriptors::is_shortage;
use super::gate::GateHandle;
use super::{DataPath, Gate, Phase, Shared, Worker};
use crate::bound::{self, Bound};
use crate::inbound::{self, Inbound};
use crate::memory::Step;
use crate::outbound::{self, Outbound};

/// The wait after a failed accept: most often there are no file descriptors left, and trying on at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The metric label of a listener: its kind, and not its address, so that it is bounded.
pub(super) fn label_of(spec: &ListenerSpec) -> &'static str {
    match spec {
        ListenerSpec::Inbound { .. } => "inbound",
        ListenerSpec::OutboundHttp { .. } => "outbound",
        ListenerSpec::Bound(_) => "bound",
    }
}

/// Finds out whether the address is free, because sharing it would hide that another process has it; settles port 0.
pub(super) async fn claim(workers: &[Arc<Worker>], at: SocketAddr) -> Result<SocketAddr, Failure> {
    let Some(first) = workers.first() else {
        return Err(Failure::new(Code::Internal, "the data path has no worker"));
    };
    let network = first.env.network.clone();
    let probe = first.handle.spawn(async move { network.listen(at, Reuse::Exclusive).await?.local_addr() });
    match probe.await {
        Ok(Ok(at)) => Ok(at),
        Ok(Err(error)) => Err(unopened(at, &error)),
        Err(error) => Err(Failure::new(Code::Internal, format!("listen at {at}: {error}"))),
    }
}

pub(super) async fn listen(worker: &Worker, at: SocketAddr) -> Result<Listener, Failure> {
    let network = worker.env.network.clone();
    // On the worker's own runtime, whose reactor the socket belongs to.
    match worker.handle.spawn(async move { network.listen(at, Reuse::Shared).await }).await {
        Ok(Ok(listener)) => Ok(listener),
        Ok(Err(error)) => Err(unopened(at, &error)),
        Err(error) => Err(Failure::new(Code::Internal, format!("listen at {at}: {error}"))),
    }
}

fn unopened(at: SocketAddr, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::AddrInUse => Code::PortInUse,
        _ => Code::AddressInvalid,
    };
    Failure::new(code, format!("listen at {at}: {error}"))
}

impl OpenListener for DataPath {
    fn open(
        &self,
        spec: ListenerSpec,
        world: Arc<WorldCell>,
    ) -> BoxFuture<'static, Result<Box<dyn OpenHandle>, Failure>> {
        if self.shared.world.set(Arc::clone(&world)).is_ok() {
            let ring = |worker| Box::pin(ring(Arc::downgrade(worker), Arc::clone(&world)));
            self.workers.iter().for_each(|worker| worker.spawn(ring(worker)));
        }
        let (workers, shared) = (self.workers.clone(), Arc::clone(&self.shared));
        let bells = workers.iter().map(|worker| Arc::clone(&worker.bell)).collect();
        let gate = {
            let Shared { recorder, settings, descriptors, .. } = &*self.shared;
            let open_max = descriptors.connections_max(settings.connections_max);
            Gate::new(recorder, label_of(&spec), (open_max, descriptors), bells)
        };
        Box::pin(async move {
            let at = claim(&workers, spec.at()).await?;
            shared.listening.add(at, &gate);
            for worker in &workers {
                let listener = listen(worker, at).await?;
                let server = Server::new(&spec, worker, &world, &gate);
                worker.spawn(Box::pin(accept(Arc::clone(worker), listener, server, Arc::clone(&gate))));
            }
            let open: Box<dyn OpenHandle> = Box::new(GateHandle(gate));
            Ok(open)
        })
    }
}

/// What an accepted connection goes to.
#[derive(Clone)]
pub(super) enum Server {
    Inbound(Arc<Inbound>),
    Outbound(Arc<Outbound>),
    Bound(Arc<Bound>),
}

impl Server {
    pub(super) fn new(spec: &ListenerSpec, worker: &Arc<Worker>, world: &Arc<WorldCell>, gate: &Arc<Gate>) -> Self {
        let (worker, world, gate) = (Arc::clone(worker), Arc::clone(world), Arc::clone(gate));
        match spec {
            ListenerSpec::Inbound { desk, .. } => {
                Self::Inbound(Arc::new(Inbound { worker, world, desk: desk.clone(), gate }))
            }
            ListenerSpec::OutboundHttp { identity, .. } => Self::Outbound(Arc::new(Outbound {
                worker,
                world,
                identity: identity.clone(),
                service: None,
                passed_on_for: None,
                gate,
            })),
            ListenerSpec::Bound(spec) => Self::Bound(Arc::new(Bound { worker, world, spec: spec.clone(), gate })),
        }
    }

    /// What serves a connection.
    fn serve(self, stream: Stream) -> BoxFuture<'static, ()> {
        match self {
            Self::Inbound(entry) => Box::pin(inbound::serve(entry, stream)),
            Self::Outbound(entry) => Box::pin(outbound::serve(entry, stream)),
            Self::Bound(entry) => Box::pin(bound::serve(entry, stream)),
        }
    }
}

/// Takes connections in until the gate is no longer open. Each is served by a task that listens to the gate by itself.
pub(super) async fn accept(worker: Arc<Worker>, listener: Listener, server: Server, gate: Arc<Gate>) {
    let mut seat = worker.bell().sit();
    let mut is_short = false;
    loop {
        let accepting = listener.accept();
        let mut accepting = std::pin::pin!(accepting);
        let accepted = std::future::poll_fn(|cx| {
            let _rang = seat.has_rung(cx);
            if gate.phase() != Phase::Open {
                return Poll::Ready(None);
            }
            accepting.as_mut().poll(cx).map(Some)
        });
        match accepted.await {
            None => return,
            Some(Ok((stream, _from))) => {
                is_short = false;
                if worker.memory().step() == Step::Exhausted {
                    gate.count_refused();
                    continue;
                }
                let Some(pass) = gate.pass() else { continue };
                worker.spawn_with(pass, server.clone().serve(stream));
            }
            // The connection was gone before it was accepted.
            Some(Err(error)) if !is_shortage(&error) => {}
            Some(Err(error)) => {
                gate.say_short(&error);
                if !std::mem::replace(&mut is_short, true) {
                    // Idle upstream connections make room, once: what is under way needs those that are opened from now on.
                    worker.pool.clear();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes of a task that serves a connection at rest; its state and both directions have boxes of their own.
    const AT_REST_LEN_MAX: usize = 768;

    fn len_of<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_serves_a_connection_at_rest_is_small() {
        let lens = [len_of(outbound::serve), len_of(bound::serve), size_of::<crate::http1::Connection>()];
        assert!(lens.iter().all(|len| *len <= AT_REST_LEN_MAX), "{lens:?}");
    }
}
