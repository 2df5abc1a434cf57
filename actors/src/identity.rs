//! The Identity actor: the certificates of this node.
//!
//! - Owns: the certificates of the node itself and of each service that it is granted by name, exposes or calls as, with their keys.
//! - Receives: a tick each second; `Want` from Health when a service is exposed; the end of a renewal.
//! - Publishes: [`Credentials`] into the world, a new generation at each renewal. Open connections keep theirs.
//! - A crash loses: a renewal on its way, which the next tick starts again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weft_gossip::enrol;
use weft_gossip::identity::{Grants, IssuedCertificate, SigningKey, SpiffeId, Trust, tls};
use weft_gossip::{Code, Failure, ServiceName};

use crate::address::Reply;
use crate::core::Core;
use crate::shell::Role;
use crate::upstreams::signers;
use crate::world::{Credential, Credentials};

/// Space between two looks at the certificates: small against the shortest useful life of 20 s.
const TICK: Duration = Duration::from_secs(1);
/// Wait after a failed renewal: no signer is flooded by a fleet that cannot renew.
const RETRY: Duration = Duration::from_secs(2);

/// What Identity is sent.
pub(crate) enum Message {
    /// Look whether something is due.
    Tick,
    /// Get a certificate for a service, now; answers when it is there.
    Want(ServiceName, Reply<Result<(), Failure>>),
    /// A renewal ended.
    Renewed(Result<Vec<IssuedCertificate>, Failure>),
}

/// Identity's state.
pub(crate) struct Identity {
    core: Arc<Core>,
    renewal: Option<JoinHandle<()>>,
    ticker: JoinHandle<()>,
    waiting: Vec<(SpiffeId, Reply<Result<(), Failure>>)>,
    retry_at: tokio::time::Instant,
}

impl Role for Identity {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let address = core.identity.clone();
        let ticker = tokio::spawn(async move {
            loop {
                // A full mailbox has work enough; the next tick comes.
                let _ = address.try_send(Message::Tick);
                tokio::time::sleep(TICK).await;
            }
        });
        let retry_at = core.env.clock.now();
        Ok(Self { core, renewal: None, ticker, waiting: Vec::new(), retry_at })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Tick => self.renew_due(),
            Message::Want(service, reply) => self.want(&service, reply),
            Message::Renewed(result) => return self.take(result),
        }
        Ok(())
    }
}

impl Identity {
    fn want(&mut self, service: &ServiceName, reply: Reply<Result<(), Failure>>) {
        let id = SpiffeId::service(&self.core.state.file.mesh, service);
        let now = self.core.env.clock.wall();
        if self.core.certificates.load().iter().any(|held| held.id == id && held.not_after > now) {
            drop(reply.send(Ok(())));
            return;
        }
        self.waiting.push((id, reply));
        self.renew_due();
    }

    /// Starts a renewal of all that is due, unless one is on its way.
    fn renew_due(&mut self) {
        if self.renewal.is_some() || (self.core.env.clock.now() < self.retry_at && self.waiting.is_empty()) {
            return;
        }
        let due = due(&self.core, self.waiting.iter().map(|(id, _)| id.clone()));
        if due.is_empty() {
            return;
        }
        let core = Arc::clone(&self.core);
        self.renewal = Some(tokio::spawn(async move {
            let result = obtain(&core, due).await;
            // The end of a renewal must arrive: without it no other starts.
            while core.identity.try_send(Message::Renewed(result.clone())).is_err() {
                tokio::time::sleep(TICK).await;
            }
        }));
    }

    fn take(&mut self, result: Result<Vec<IssuedCertificate>, Failure>) -> Result<(), Failure> {
        self.renewal = None;
        let outcome = result.and_then(|renewed| {
            let mut held = Vec::clone(&self.core.certificates.load());
            held.retain(|old| renewed.iter().all(|new| new.id != old.id));
            held.extend(renewed);
            publish(&self.core, held)
        });
        if let Err(failure) = &outcome {
            tracing::warn!(code = %failure.code, detail = failure.detail, "certificates were not renewed; trying again");
            self.retry_at = self.core.env.clock.now() + self.core.env.random.jitter(RETRY, 0.25);
        }
        for (id, reply) in self.waiting.drain(..) {
            let there = self.core.certificates.load().iter().any(|held| held.id == id);
            let answer = match &outcome {
                Ok(()) if !there => {
                    Err(Failure::new(Code::GrantMissing, format!("no certificate for {id} was issued")))
                }
                other => other.clone(),
            };
            drop(reply.send(answer));
        }
        Ok(())
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.ticker.abort();
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

/// The identities that this node should hold and does not, or only past half of their life.
fn due(core: &Core, extra: impl Iterator<Item = SpiffeId>) -> Vec<SpiffeId> {
    let file = &core.state.file;
    let mut wanted = vec![SpiffeId::node(&file.mesh, &file.node)];
    if let Grants::Only(services) = &core.state.enrolment.grants {
        wanted.extend(services.iter().map(|service| SpiffeId::service(&file.mesh, service)));
    }
    wanted.extend(core.exposed.load().keys().map(|service| SpiffeId::service(&file.mesh, service)));
    // A binding that an older version took in may name what is not granted, for which a signer would refuse the rest, too.
    let (bindings, grants) = (core.bindings.load(), &core.state.enrolment.grants);
    let called_as = bindings.values().filter_map(|binding| binding.identity.as_ref());
    let called_as = called_as.filter(|service| grants.allows(service));
    wanted.extend(called_as.map(|service| SpiffeId::service(&file.mesh, service)));
    wanted.extend(extra);
    wanted.sort();
    wanted.dedup();
    let (held, now) = (core.certificates.load(), core.env.clock.wall());
    wanted.retain(|id| held.iter().all(|certificate| certificate.id != *id || now >= certificate.half_life()));
    wanted
}

/// Gets certificates: from this node itself if it is a signer, else from the first signer that answers.
async fn obtain(core: &Core, ids: Vec<SpiffeId>) -> Result<Vec<IssuedCertificate>, Failure> {
    let keyed: Vec<_> = ids.into_iter().map(|id| (id, SigningKey::generate(&core.env.random))).collect();
    if let Some(issuer) = &core.state.issuer {
        let lifetime = core.settings.certificate_lifetime;
        return keyed.iter().map(|(id, key)| crate::enlist::issue(issuer, &core.env, (id, key), lifetime)).collect();
    }
    let trust = Trust::new(core.state.bundle.clone(), core.env.clock.clone());
    let wishes: Vec<_> = keyed.iter().map(|(id, key)| (id.clone(), key.public())).collect();
    let enrolled = (&core.state.signed_enrolment, &core.state.node_key);
    let mut last = Failure::new(Code::NoSigner, "this node knows no signer");
    for signer in signer_addresses(core) {
        match enrol::certify(&core.env, &trust, enrolled, signer, wishes.clone()).await {
            Ok((chains, _)) => return joined(chains, keyed),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The signers that the members know of, then the seeds, which may be signers.
fn signer_addresses(core: &Core) -> Vec<std::net::SocketAddr> {
    let view = core.members.borrow().clone();
    let mut found: Vec<_> = signers(&view, &core.state.file.node).iter().map(|record| record.addr).collect();
    for seed in &core.state.file.seeds {
        if !found.contains(seed) {
            found.push(*seed);
        }
    }
    found
}

fn joined(
    chains: Vec<Vec<rustls::pki_types::CertificateDer<'static>>>,
    keyed: Vec<(SpiffeId, SigningKey)>,
) -> Result<Vec<IssuedCertificate>, Failure> {
    let made: Result<_, _> =
        chains.into_iter().zip(keyed).map(|(chain, (_, key))| IssuedCertificate::new(chain, key)).collect();
    made.map_err(|error| Failure::new(Code::IdentityRefused, format!("the signer's certificate: {error}")))
}

/// Keeps the certificates, on disk and in the world.
fn publish(core: &Core, held: Vec<IssuedCertificate>) -> Result<(), Failure> {
    let generation = core.world.load().credentials.generation + 1;
    let credentials = Arc::new(credentials(core, &held, generation)?);
    core.dir.save_certificates(&held)?;
    core.certificates.store(Arc::new(held));
    core.world.change(|world| world.credentials = Arc::clone(&credentials));
    // Membership that is just being restarted reads them at its start.
    let _ = core.membership.try_send(crate::membership::Message::Renew);
    tracing::info!(generation, "certificates renewed");
    Ok(())
}

fn credentials(core: &Core, held: &[IssuedCertificate], generation: u64) -> Result<Credentials, Failure> {
    let trust = Trust::new(core.state.bundle.clone(), core.env.clock.clone());
    build_credentials(&trust, &SpiffeId::node(&core.state.file.mesh, &core.state.file.node), held, generation)
}

/// The TLS configurations that follow from certificates; `node` is the identity that `weft-sign/1` shows.
pub(crate) fn build_credentials(
    trust: &Trust,
    node: &SpiffeId,
    held: &[IssuedCertificate],
    generation: u64,
) -> Result<Credentials, Failure> {
    let by_id: BTreeMap<_, _> = held.iter().map(|one| (one.id.clone(), one.clone())).collect();
    let own = by_id.get(node).ok_or_else(|| Failure::new(Code::StateBroken, format!("no certificate for {node}")))?;
    let mut identities = BTreeMap::new();
    for one in held {
        let credential = Credential {
            identity: one.id.clone(),
            dial_http1: tls::dial_config(trust, one, tls::ALPN_HTTP1)?,
            dial_http2: tls::dial_config(trust, one, tls::ALPN_HTTP2)?,
            dial_tcp: tls::dial_config(trust, one, tls::ALPN_TCP)?,
            not_before: one.not_before,
            not_after: one.not_after,
        };
        identities.insert(one.id.clone(), Arc::new(credential));
    }
    Ok(Credentials {
        generation,
        usual: Credentials::usual_of(&identities, node),
        identities,
        inbound: tls::inbound_config(trust, &by_id)?,
        inbound_sign: tls::inbound_sign_config(trust, own)?,
    })
}
