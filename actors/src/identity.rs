//! The Identity actor: the certificates of this node, and its standing in the trust of the mesh.
//!
//! - Owns: the certificates of the node itself and of each service that it is granted by name or exposes, with their keys; the
//!   [`Standing`], which it keeps on disk.
//! - Receives: a tick each second; `Want` from Health when a service is exposed; news of trust from an operator, the ledger or a member;
//!   the ends of renewals and fetches.
//! - Publishes: [`Credentials`] and trust into the world, a new generation at each change. Open connections keep theirs.
//! - A crash loses: a renewal or fetch on its way, which the next tick starts again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weft_gossip::enrol::{self, CertifyRequest, Enrolled};
use weft_gossip::identity::{Grants, IssuedCertificate, SignedBundle, SigningKey, SpiffeId, Trust, tls};
use weft_gossip::membership::MemberState;
use weft_gossip::{Code, Failure, ServiceName};

use crate::address::Reply;
use crate::core::Core;
use crate::shell::Role;
use crate::standing::{News, Standing};
use crate::upstreams::signers;
use crate::world::{Credential, Credentials};

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

/// What Identity is sent.
pub(crate) enum Message {
    /// Look whether something is due.
    Tick,
    /// Get a certificate for a service, now; answers when it is there.
    Want(ServiceName, Reply<Result<(), Failure>>),
    /// A renewal ended.
    Renewed(Result<Obtained, Failure>),
    /// Newer bundles, another enrolment, other revocations; answers when they are on disk and in force.
    Adopt(News, Reply<Result<(), Failure>>),
    /// A member was asked for newer bundles.
    Fetched(Result<Vec<SignedBundle>, Failure>),
}

/// What a renewal brought.
#[derive(Clone)]
pub(crate) struct Obtained {
    certificates: Vec<IssuedCertificate>,
    news: News,
}

/// Identity's state.
pub(crate) struct Identity {
    core: Arc<Core>,
    renewal: Option<JoinHandle<()>>,
    fetch: Option<JoinHandle<()>>,
    ticker: JoinHandle<()>,
    waiting: Vec<(SpiffeId, Reply<Result<(), Failure>>)>,
    retry_at: tokio::time::Instant,
    replace_at: tokio::time::Instant,
    fetch_at: tokio::time::Instant,
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
        let now = core.env.clock.now();
        let waiting = Vec::new();
        Ok(Self { core, renewal: None, fetch: None, ticker, waiting, retry_at: now, replace_at: now, fetch_at: now })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Tick => {
                self.renew_due();
                self.fetch_due();
            }
            Message::Want(service, reply) => self.want(&service, reply),
            Message::Renewed(result) => self.take(result),
            Message::Adopt(news, reply) => drop(reply.send(self.adopt_now(news))),
            Message::Fetched(result) => self.take_bundles(result),
        }
        Ok(())
    }
}

impl Identity {
    fn want(&mut self, service: &ServiceName, reply: Reply<Result<(), Failure>>) {
        let id = SpiffeId::service(&self.core.file.mesh, service);
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
        if !is_due {
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

    fn take(&mut self, result: Result<Obtained, Failure>) {
        self.renewal = None;
        let outcome = result.and_then(|obtained| self.take_obtained(obtained));
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
        if next.enrolment.serial != held.enrolment.serial {
            tracing::info!(serial = next.enrolment.serial, signer = %next.enrolment.signer, "the enrolment is new");
        }
        self.core.standing.store(Arc::new(next));
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
        if self.fetch.is_some() || now < self.fetch_at {
            return;
        }
        let epoch = self.core.standing.load().bundle.epoch;
        let asked = bundle_sources(&self.core, epoch);
        let choice = self.core.env.random.below(asked.addresses.len().max(1) as u64);
        let Some(at) = usize::try_from(choice).ok().and_then(|choice| asked.addresses.get(choice).copied()) else {
            return;
        };
        self.fetch_at = now + self.core.env.random.jitter(asked.interval, 0.25);
        let core = Arc::clone(&self.core);
        self.fetch = Some(tokio::spawn(async move {
            let result = enrol::fetch_bundles(&core.env, epoch, at).await;
            while core.identity.try_send(Message::Fetched(result.clone())).is_err() {
                tokio::time::sleep(TICK).await;
            }
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
    let hears_anybody = others().any(|member| member.state == MemberState::Alive);
    if !addresses.is_empty() || hears_anybody {
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
    wanted.extend(core.exposed.load().keys().map(|service| SpiffeId::service(&file.mesh, service)));
    wanted.extend(extra);
    wanted.sort();
    wanted.dedup();
    let (held, now) = (core.certificates.load(), core.env.clock.wall());
    wanted.retain(|id| held.iter().all(|certificate| certificate.id != *id || now >= certificate.half_life()));
    wanted
}

/// The identities whose certificates are to be replaced now: their signer or root is on its way out, or their key was revoked.
pub(crate) fn outgoing(core: &Core) -> Vec<SpiffeId> {
    let trust = core.trust();
    let held = core.certificates.load();
    let falls =
        |one: &&IssuedCertificate| trust.is_outgoing(&one.chain) || trust.revocations.keys.contains(&one.key.public());
    held.iter().filter(falls).map(|one| one.id.clone()).collect()
}

/// Gets certificates: from this node itself if it is a signer, else from the first signer that answers.
async fn obtain(core: &Core, ids: Vec<SpiffeId>) -> Result<Obtained, Failure> {
    let keyed: Vec<_> = ids.into_iter().map(|id| (id, SigningKey::generate(&core.env.random))).collect();
    let standing = core.standing.load_full();
    if let Some(issuer) = &standing.issuer {
        let lifetime = core.settings.certificate_lifetime;
        let issue = |(id, key): &(SpiffeId, SigningKey)| crate::enlist::issue(issuer, &core.env, (id, key), lifetime);
        let certificates: Result<_, _> = keyed.iter().map(issue).collect();
        return Ok(Obtained { certificates: certificates?, news: own_news(core, &standing).await? });
    }
    let trust = standing.trust(&core.env.clock);
    let wishes: Vec<_> = keyed.iter().map(|(id, key)| (id.clone(), key.public())).collect();
    let enrolled =
        Enrolled { enrolment: &standing.signed_enrolment, key: &core.node_key, bundle: standing.signed_bundle() };
    let mut last = Failure::new(Code::NoSigner, "this node knows no signer");
    for signer in signer_addresses(core, &standing) {
        match enrol::certify(&core.env, &trust, enrolled, signer, wishes.clone()).await {
            Ok(certified) => {
                let news = News { bundles: certified.bundles, enrolment: certified.enrolment, revocations: None };
                return Ok(Obtained { certificates: joined(certified.chains, keyed)?, news });
            }
            Err(failure) => last = failure,
        }
        if last.code == Code::RootMismatch
            && let Some(bundles) = missed_bundles(core, &standing, signer).await
        {
            return Ok(Obtained { certificates: Vec::new(), news: News { bundles, ..News::default() } });
        }
    }
    Err(last)
}

/// The bundles that this node missed while it was away, if the node at `at` has them: its own certificate may be of a newer root.
async fn missed_bundles(core: &Core, standing: &Standing, at: SocketAddr) -> Option<Vec<SignedBundle>> {
    let bundles = enrol::fetch_bundles(&core.env, standing.bundle.epoch, at).await.ok()?;
    standing.bundle.successors(standing.signed_bundle(), &bundles).map(|(taken, _)| taken)
}

/// A signer's new enrolment by itself, when the one who made the old issues no more.
async fn own_news(core: &Core, standing: &Standing) -> Result<News, Failure> {
    if !standing.is_outgoing() {
        return Ok(News::default());
    }
    let enrolment = standing.signed_enrolment.clone();
    let request = Box::new(CertifyRequest { enrolment, epoch: standing.bundle.epoch, wishes: Vec::new() });
    let reply = core.signer.call(|reply| crate::signer::Message::Certify(request, reply)).await??;
    Ok(News { enrolment: reply.enrolment, ..News::default() })
}

/// The signers that the members know of, first those that the bundle names; then the seeds, which may be signers.
fn signer_addresses(core: &Core, standing: &Standing) -> Vec<SocketAddr> {
    let view = core.members.borrow().clone();
    let mut known = signers(&view, &core.file.node);
    known.sort_by_key(|record| standing.bundle.signer(&record.node).is_none());
    let mut found: Vec<_> = known.iter().map(|record| record.addr).collect();
    for seed in &core.file.seeds {
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
    let trust = core.trust();
    core.world.change(|world| {
        world.credentials = Arc::clone(&credentials);
        world.revocations = Arc::clone(&trust.revocations);
        world.trust = trust.clone();
    });
    // Membership that is just being restarted reads them at its start.
    let _ = core.membership.try_send(crate::membership::Message::Renew);
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
