//! The Identity actor: the certificates of this node, and its standing in the trust of the mesh.
//!
//! - Owns: the certificates of the node itself and of each service that it is granted by name, exposes or calls as, with their keys;
//!   the
//!   [`Standing`](crate::standing::Standing), which it keeps on disk.
//! - Receives: a tick each second; `Want` from Health when a service is exposed; news of trust from an operator, the ledger or a member;
//!   the ends of renewals and fetches.
//! - Publishes: [`Credentials`] and trust into the world, a new generation at each change. Open connections keep theirs.
//! - A crash loses: a renewal or fetch on its way, which the next tick starts again.

mod alone;
mod renewal;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weft_gossip::enrol;
use weft_identity::{Code, Failure, Grants, IssuedCertificate, SignedBundle, SpiffeId, Trust, tls};
use weft_world::{Credential, Credentials};

use crate::address::Reply;
use crate::core::Core;
use crate::message::identity::{Message, Obtained};
use crate::shell::Role;
use crate::standing::News;
use alone::{Alone, is_alone};
pub(crate) use renewal::issue;
use renewal::obtain;

/// Space between two looks at the certificates: small against the shortest useful life of 20 s.
const TICK: Duration = Duration::from_secs(1);
/// Wait after a failed renewal: no signer is flooded by a fleet that cannot renew.
const RETRY: Duration = Duration::from_secs(2);

/// A certificate or enrolment of a signer or root that is on its way out is replaced within this after the bundle came: spread, because a
/// whole fleet hears of it at once.
const REPLACE_SPREAD: Duration = Duration::from_secs(2);
/// Wait between two tries to replace them: the signers may not have heard yet.
const REPLACE_INTERVAL: Duration = Duration::from_secs(3);
/// Wait between two fetches of bundles.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// The same, for a node that hears nobody.
const ALONE_INTERVAL: Duration = Duration::from_secs(5);

/// Identity's state.
pub(crate) struct Identity {
    core: Arc<Core>,
    renewal: Option<JoinHandle<()>>,
    fetch: Option<JoinHandle<()>>,
    ticker: JoinHandle<()>,
    waiting: Vec<(SpiffeId, Reply<Result<(), Failure>>)>,
    retry_at: tokio::time::Instant,
    replace_at: tokio::time::Instant,
    alone: Alone,
    fetched_at: Option<tokio::time::Instant>,
}

impl Role for Identity {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let ticker = core.identity.tick(TICK, || Message::Tick);
        let now = core.env.clock.now();
        Ok(Self {
            core,
            renewal: None,
            fetch: None,
            ticker,
            waiting: Vec::new(),
            retry_at: now,
            replace_at: now,
            alone: Alone::default(),
            fetched_at: None,
        })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Tick => {
                self.renew_due();
                self.fetch_due();
            }
            Message::Want(id, reply) => self.want(id, reply),
            Message::Renewed(result) => self.take(result),
            Message::Adopt(news, reply) => drop(reply.send(self.adopt_now(news))),
            Message::Fetched(result) => self.take_bundles(result),
        }
        Ok(())
    }
}

impl Identity {
    fn want(&mut self, id: SpiffeId, reply: Reply<Result<(), Failure>>) {
        let (now, standing) = (self.core.env.clock.wall(), self.core.standing.load_full());
        let is_good = |held: &IssuedCertificate| held.not_after > now && held.labels == standing.enrolment.labels;
        if self.core.certificates.load().iter().any(|held| held.id == id && is_good(held)) {
            drop(reply.send(Ok(())));
            return;
        }
        self.waiting.push((id, reply));
        self.renew_due();
    }

    /// Starts a renewal of all that is due, unless one is on its way.
    fn renew_due(&mut self) {
        let now = self.core.env.clock.now();
        if self.renewal.is_some() || (now < self.retry_at && self.waiting.is_empty()) {
            return;
        }
        let mut due = due(&self.core, self.waiting.iter().map(|(id, _)| id.clone()));
        let mut is_due = !due.is_empty();
        if now >= self.replace_at {
            let outgoing = outgoing(&self.core);
            if !outgoing.is_empty() || self.core.standing.load().is_outgoing() {
                self.replace_at = now + self.core.env.random.jitter(REPLACE_INTERVAL, 0.25);
                due.extend(outgoing);
                due.sort();
                due.dedup();
                is_due = true;
            }
        }
        if self.alone.is_over(&self.core) {
            due.push(SpiffeId::node(&self.core.file.mesh, &self.core.file.node));
            due.sort();
            due.dedup();
            is_due = true;
        }
        if !is_due {
            return;
        }
        let core = Arc::clone(&self.core);
        self.renewal = Some(tokio::spawn(async move {
            let result = obtain(&core, due).await;
            // Without it no other starts.
            core.identity.deliver(Message::Renewed(result)).await;
        }));
    }

    fn take(&mut self, result: Result<Obtained, Failure>) {
        self.renewal = None;
        let outcome = result.and_then(|obtained| self.take_obtained(obtained));
        if let Err(failure) = &outcome {
            let is_unheard = matches!(failure.code, Code::NodeUnreachable | Code::NoSigner) && is_alone(&self.core);
            if is_unheard && due(&self.core, std::iter::empty()).is_empty() {
                tracing::debug!(code = %failure.code, detail = failure.detail, "nobody is heard, no signer either");
            } else {
                tracing::warn!(code = %failure.code, detail = failure.detail, "certificates were not renewed; trying again");
            }
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
    }

    fn take_obtained(&mut self, obtained: Obtained) -> Result<(), Failure> {
        let is_news = self.adopt(obtained.news).unwrap_or_else(|failure| {
            // The certificates are good all the same.
            tracing::warn!(code = %failure.code, detail = failure.detail, "the signer's news were not taken");
            false
        });
        if obtained.certificates.is_empty() && !is_news {
            return Ok(());
        }
        let renewed = obtained.certificates;
        let mut held = Vec::clone(&self.core.certificates.load());
        held.retain(|old| renewed.iter().all(|new| new.id != old.id));
        held.extend(renewed);
        publish(&self.core, held)
    }

    /// Takes news in, on disk first; tells whether they changed anything. The caller publishes.
    fn adopt(&mut self, news: News) -> Result<bool, Failure> {
        let held = self.core.standing.load_full();
        let Some(next) = held.after(news, &self.core.env.random)? else { return Ok(false) };
        self.core.dir.save_standing(&next)?;
        if next.bundle.epoch != held.bundle.epoch {
            tracing::info!(epoch = next.bundle.epoch, "the trust bundle is new");
            let spread = u64::try_from(REPLACE_SPREAD.as_millis()).unwrap_or(u64::MAX);
            let wait = Duration::from_millis(self.core.env.random.below(spread));
            self.replace_at = self.core.env.clock.now() + wait;
        }
        if next.enrolment.labels != held.enrolment.labels {
            self.replace_at = self.core.env.clock.now();
        }
        if next.enrolment.serial != held.enrolment.serial {
            tracing::info!(serial = next.enrolment.serial, signer = %next.enrolment.signer, "the enrolment is new");
        }
        self.core.standing.store(Arc::new(next));
        self.core.standings.send_modify(|count| *count += 1);
        Ok(true)
    }

    fn adopt_now(&mut self, news: News) -> Result<(), Failure> {
        if self.adopt(news)? {
            publish(&self.core, Vec::clone(&self.core.certificates.load()))?;
            self.renew_due();
        }
        Ok(())
    }

    /// Asks a member that holds a newer bundle for it; a node that hears nobody asks whom it knows, because it may have been away
    /// while the roots changed.
    fn fetch_due(&mut self) {
        let now = self.core.env.clock.now();
        if self.fetch.is_some() {
            return;
        }
        let epoch = self.core.standing.load().bundle.epoch;
        let asked = bundle_sources(&self.core, epoch);
        let rest = self.core.env.random.jitter(asked.interval, 0.25);
        if self.fetched_at.is_some_and(|last| now < last + rest) {
            return;
        }
        let choice = self.core.env.random.below(asked.addresses.len().max(1) as u64);
        let Some(at) = usize::try_from(choice).ok().and_then(|choice| asked.addresses.get(choice).copied()) else {
            return;
        };
        self.fetched_at = Some(now);
        let core = Arc::clone(&self.core);
        self.fetch = Some(tokio::spawn(async move {
            let result = enrol::fetch_bundles(&core.env, epoch, at).await;
            core.identity.deliver(Message::Fetched(result)).await;
        }));
    }

    fn take_bundles(&mut self, result: Result<Vec<SignedBundle>, Failure>) {
        self.fetch = None;
        let adopted = result.and_then(|bundles| self.adopt_now(News { bundles, ..News::default() }));
        if let Err(failure) = adopted {
            tracing::debug!(code = %failure.code, detail = failure.detail, "no newer trust bundle now");
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.ticker.abort();
        self.renewal.iter().chain(&self.fetch).for_each(JoinHandle::abort);
    }
}

/// Whom to ask for newer bundles, and how often.
struct BundleSources {
    addresses: Vec<SocketAddr>,
    interval: Duration,
}

fn bundle_sources(core: &Core, epoch: u64) -> BundleSources {
    let view = core.members.borrow().clone();
    let others = || view.members.values().filter(|member| member.record.node != core.file.node);
    let ahead = others().filter(|member| member.record.bundle_epoch > epoch);
    let mut addresses: Vec<_> = ahead.map(|member| member.record.addr).collect();
    if !addresses.is_empty() || !is_alone(core) {
        return BundleSources { addresses, interval: FETCH_INTERVAL };
    }
    addresses.extend(others().map(|member| member.record.addr).chain(core.file.seeds.iter().copied()));
    BundleSources { addresses, interval: ALONE_INTERVAL }
}

/// The identities that this node should hold and does not, or only past half of their life.
fn due(core: &Core, extra: impl Iterator<Item = SpiffeId>) -> Vec<SpiffeId> {
    let file = &core.file;
    let mut wanted = vec![SpiffeId::node(&file.mesh, &file.node)];
    if let Grants::Only(services) = &core.standing.load().enrolment.grants {
        wanted.extend(services.iter().map(|service| SpiffeId::service(&file.mesh, service)));
    }
    wanted.extend(core.exposed.load().keys().map(|(service, _)| SpiffeId::service(&file.mesh, service)));
    // A binding that an older version took in may name what is not granted, for which a signer would refuse the rest, too.
    let (bindings, standing) = (core.bindings.load(), core.standing.load_full());
    let grants = &standing.enrolment.grants;
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

/// The identities whose certificates are to be replaced now: their signer or root is on its way out, their key was revoked, or they have
/// other labels than the enrolment.
pub(crate) fn outgoing(core: &Core) -> Vec<SpiffeId> {
    let (trust, standing) = (core.trust(), core.standing.load_full());
    let held = core.certificates.load();
    let is_revoked = |one: &IssuedCertificate| trust.revocations.keys.contains(&one.key.public());
    let falls = |one: &&IssuedCertificate| {
        trust.is_outgoing(&one.chain) || is_revoked(one) || one.labels != standing.enrolment.labels
    };
    held.iter().filter(falls).map(|one| one.id.clone()).collect()
}

/// Keeps the certificates, on disk and in the world.
fn publish(core: &Core, held: Vec<IssuedCertificate>) -> Result<(), Failure> {
    let generation = core.world.load().credentials.generation + 1;
    let credentials = Arc::new(credentials(core, &held, generation)?);
    core.dir.save_certificates(&held)?;
    core.certificates.store(Arc::new(held));
    let trust = core.trust();
    core.world.change(|world| {
        world.credentials = Arc::clone(&credentials);
        world.revocations = Arc::clone(&trust.revocations);
        world.trust = trust.clone();
    });
    // Membership that is just being restarted reads them at its start.
    let _ = core.membership.try_send(crate::message::membership::Message::Renew);
    tracing::info!(generation, "credentials renewed");
    Ok(())
}

fn credentials(core: &Core, held: &[IssuedCertificate], generation: u64) -> Result<Credentials, Failure> {
    build_credentials(&core.trust(), &SpiffeId::node(&core.file.mesh, &core.file.node), held, generation)
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
            key: one.key.public(),
            labels: Arc::new(one.labels.clone()),
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
