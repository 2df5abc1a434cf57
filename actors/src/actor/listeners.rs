//! The Listeners actor: which listeners this node has.
//!
//! - Owns: the bindings of local ports to services. The handles lie in the core, so that a crash closes nothing.
//! - Receives: bind and unbind, from the operator.
//! - Publishes: the bindings, for lists.
//! - A crash loses: nothing; what is open stays open, and a restart opens only what is missing.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use weft_identity::{Code, Failure, ServiceName};
use weft_world::opener::ListenerSpec;
use weft_world::server_names::ServerNames;
use weft_world::service_spec::{BindSpec, LeadsTo};
use weft_world::settings::local_ip;

use crate::actor::signer::Desk;
use crate::core::{Bindings, Core};
use crate::message::listeners::Message;
use crate::message::store::key;
use crate::shell::Role;

/// Most bindings: each is a port of this machine.
const BINDINGS_MAX: usize = 1_000;

/// A binding as it is kept: where, what it leads to, and as whom.
type Row<T> = (SocketAddr, T, Option<ServiceName>);

/// Listeners' state.
pub(crate) struct Listeners(Arc<Core>);

impl Role for Listeners {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let listeners = Self(core);
        let core = &listeners.0;
        let proxied: Vec<SocketAddr> = core.kept(key::BINDINGS_PROXIED).await?.unwrap_or_default();
        let to_one: Vec<Row<ServiceName>> = core.kept(key::BINDINGS).await?.unwrap_or_default();
        let by_name: Vec<Row<ServerNames>> = core.kept(key::BINDINGS_BY_NAME).await?.unwrap_or_default();
        let to_one = to_one.into_iter().map(|(at, service, identity)| (at, LeadsTo::Service(service), identity));
        let by_name = by_name.into_iter().map(|(at, names, identity)| (at, LeadsTo::ServerNames(names), identity));
        let bindings: Bindings = to_one
            .chain(by_name)
            .map(|(at, leads_to, identity)| {
                (at, BindSpec { at, leads_to, identity, proxy_protocol: proxied.contains(&at) })
            })
            .collect();
        let outbound = SocketAddr::new(local_ip(core.file.bind.ip()), core.settings.ports.outbound);
        let desk: Arc<dyn weft_gossip::enrol::SignDesk> = Arc::new(Desk(Arc::clone(core)));
        listeners.open(ListenerSpec::Inbound { at: core.file.bind, desk: Some(desk) }).await?;
        listeners.open(ListenerSpec::OutboundHttp { at: outbound, identity: None }).await?;
        for spec in bindings.values() {
            // A port that another program took meanwhile must not keep the node down.
            if let Err(failure) = listeners.open(ListenerSpec::Bound(spec.clone())).await {
                tracing::warn!(at = %spec.at, leads_to = %spec.leads_to, %failure, "a binding was not opened");
            }
        }
        core.bindings.store(Arc::new(bindings));
        Ok(listeners)
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Bind(spec, reply) => drop(reply.send(self.bind(spec).await)),
            Message::Unbind(at, reply) => drop(reply.send(self.unbind(at).await)),
        }
        Ok(())
    }
}

impl Listeners {
    /// Opens a listener unless it is open.
    async fn open(&self, spec: ListenerSpec) -> Result<(), Failure> {
        let at = spec.at();
        if self.0.handles.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&at) {
            return Ok(());
        }
        let handle = self.0.opener.open(spec, Arc::clone(&self.0.world)).await?;
        self.0.handles.lock().unwrap_or_else(PoisonError::into_inner).insert(at, handle);
        Ok(())
    }

    async fn bind(&mut self, spec: BindSpec) -> Result<(), Failure> {
        let mut bindings = Bindings::clone(&self.0.bindings.load());
        match bindings.get(&spec.at) {
            Some(old) if *old == spec => return Ok(()),
            Some(old) => {
                let detail = format!("{} already leads to {}; remove that binding first", spec.at, old.leads_to);
                return Err(Failure::new(Code::BindingConflict, detail));
            }
            None if bindings.len() >= BINDINGS_MAX => {
                return Err(Failure::new(Code::BindingConflict, format!("there are {BINDINGS_MAX} bindings already")));
            }
            None => {}
        }
        if self.0.handles.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&spec.at) {
            return Err(Failure::new(Code::BindingConflict, format!("{} is a port of the node itself", spec.at)));
        }
        self.open(ListenerSpec::Bound(spec.clone())).await?;
        bindings.insert(spec.at, spec);
        self.keep(bindings).await
    }

    async fn unbind(&mut self, at: SocketAddr) -> Result<(), Failure> {
        let mut bindings = Bindings::clone(&self.0.bindings.load());
        if bindings.remove(&at).is_none() {
            return Err(Failure::new(Code::BindingConflict, format!("nothing is bound at {at}")));
        }
        self.keep(bindings).await?;
        self.0.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
        Ok(())
    }

    async fn keep(&self, bindings: Bindings) -> Result<(), Failure> {
        let proxied: Vec<SocketAddr> = bindings.values().filter(|one| one.proxy_protocol).map(|one| one.at).collect();
        self.0.keep(key::BINDINGS_PROXIED, &proxied).await?;
        let (mut to_one, mut by_name) = (Vec::<Row<&ServiceName>>::new(), Vec::<Row<&ServerNames>>::new());
        for spec in bindings.values() {
            match &spec.leads_to {
                LeadsTo::Service(service) => to_one.push((spec.at, service, spec.identity.clone())),
                LeadsTo::ServerNames(names) => by_name.push((spec.at, names, spec.identity.clone())),
            }
        }
        self.0.keep(key::BINDINGS, &to_one).await?;
        self.0.keep(key::BINDINGS_BY_NAME, &by_name).await?;
        self.0.bindings.store(Arc::new(bindings));
        Ok(())
    }
}
