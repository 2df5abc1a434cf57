//! The Membership actor: this node's place in the gossip of its cell.
//!
//! - Owns: the membership, which is chitchat over QUIC; the generation of this node.
//! - Receives: that what this node offers has changed, or whether it could; new certificates, trust or enrolment; the wish to leave.
//! - Publishes: the view of the members, and keeps it on disk for a cold start: soon after a change, and when it stops.
//! - A crash loses: its connections. The last view is served meanwhile, and the next start is a new generation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use weft_gossip::catalog::{ReplicaRecord, SignedRecord};
use weft_gossip::membership::{
    LedgerPeer, MembersView, Membership, MembershipConfig, MembershipCredentials, next_generation,
};
use weft_identity::{Code, Failure, IssuedCertificate, SpiffeId};

use crate::actor::upstreams::own_replicas;
use crate::address::Reply;
use crate::core::Core;
use crate::message::membership::Message;
use crate::message::store::key;
use crate::shell::Role;
use crate::standing::Standing;

/// The view is written this long after a change, so that a burst of changes is one write.
const KEEP_DELAY: Duration = Duration::from_secs(2);
/// The port of the crashed membership before may take this long to be free.
const PORT_WAIT: Duration = Duration::from_secs(2);
/// Space between two tries to take it.
const PORT_POLL: Duration = Duration::from_millis(100);

/// Membership's state.
pub(crate) struct Gossip {
    core: Arc<Core>,
    membership: Arc<Membership>,
    tasks: Vec<JoinHandle<()>>,
}

impl Role for Gossip {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let generation = next_generation(core.kept(key::GENERATION).await?, core.env.clock.wall());
        core.keep(key::GENERATION, &generation).await?;
        core.generation.store(generation, Ordering::Relaxed);
        // Before the first record is made: what changes after it is seen.
        let (offered, mark) = (core.offered.subscribe(), core.mark.subscribe());
        let membership = Arc::new(enter(&core, generation).await?);
        let tasks = vec![
            tokio::spawn(pass_on(Arc::clone(&core), membership.view())),
            tokio::spawn(keep_later(Arc::clone(&core), membership.view())),
            core.membership.follow(offered, || Message::Publish),
            core.membership.follow(mark, || Message::Mark),
            tokio::spawn(watch_end(Arc::clone(&core), Arc::clone(&membership))),
        ];
        Ok(Self { core, membership, tasks })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Publish => self.publish().await,
            Message::Fits(replicas, reply) => {
                drop(reply.send(self.membership.fits(replicas)));
                Ok(())
            }
            Message::Renew => self.renew().await,
            Message::Mark => self.mark().await,
            Message::LedgerPeer(at, reply) => {
                self.dial_ledger(at, reply);
                Ok(())
            }
            Message::Keep => self.keep().await,
            Message::Leave(reply) => {
                let membership = Arc::clone(&self.membership);
                // Waits for gossip rounds, so not here.
                tokio::spawn(async move { drop(reply.send(membership.leave().await)) });
                Ok(())
            }
            Message::Ended(ended) => Err(Failure::new(Code::Internal, format!("gossip ended: {ended:?}"))),
        }
    }

    async fn stop(&mut self) {
        // The next start serves from this view.
        if let Err(failure) = self.keep().await {
            tracing::warn!(code = %failure.code, detail = failure.detail, "the last view was not kept");
        }
    }
}

impl Gossip {
    async fn publish(&self) -> Result<(), Failure> {
        let replicas = own_replicas(&self.core, &self.core.world.load().local);
        let replicas = fitting(replicas, |part| self.membership.fits(part));
        if let Err(failure) = self.membership.publish(replicas).await {
            // The old record stays; a restart would not make the new one smaller.
            tracing::error!(code = %failure.code, detail = failure.detail, "this node's record was not published");
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), Failure> {
        if let Err(failure) = self.membership.renew(&credentials(&self.core)?).await {
            // What was published before stays; a restart would not make a refused enrolment count.
            tracing::error!(code = %failure.code, detail = failure.detail, "gossip goes on with what it had");
        }
        Ok(())
    }

    async fn mark(&self) -> Result<(), Failure> {
        let mark = self.core.mark.borrow().clone();
        if let Err(failure) = self.membership.mark(mark).await {
            tracing::error!(code = %failure.code, detail = failure.detail, "this node's mark of the ledger was not published");
        }
        Ok(())
    }

    /// Waits for a handshake, so in a task of its own.
    fn dial_ledger(&self, at: SocketAddr, reply: Reply<Result<LedgerPeer, Failure>>) {
        let membership = Arc::clone(&self.membership);
        tokio::spawn(async move {
            let dialled = membership.ledger_peer(at).await;
            drop(reply.send(dialled.map_err(|error| Failure::new(Code::NodeUnreachable, error.to_string()))));
        });
    }

    async fn keep(&self) -> Result<(), Failure> {
        let view = self.core.members.borrow().clone();
        self.core.keep(key::RECORDS, &records_of(&view)).await
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// As much of an offer as the members can be told: an older version may have taken in more, or the enrolment have grown.
fn fitting(
    replicas: Vec<ReplicaRecord>,
    fits: impl Fn(Vec<ReplicaRecord>) -> Result<(), Failure>,
) -> Vec<ReplicaRecord> {
    let failure = match fits(replicas.clone()) {
        Err(failure) if failure.code == Code::RecordTooLarge => failure,
        // Another failure is met by who publishes them.
        _ => return replicas,
    };
    let (mut part, mut left_out) = (Vec::new(), Vec::new());
    for replica in replicas {
        part.push(replica);
        if fits(part.clone()).is_err() {
            left_out.extend(part.pop().map(|replica| replica.service.to_string()));
        }
    }
    tracing::error!(
        code = %failure.code, detail = failure.detail, left_out = left_out.join(", "),
        "the members are not told of every service of this node"
    );
    part
}

async fn enter(core: &Arc<Core>, generation: u64) -> Result<Membership, Failure> {
    let restored = last_records(core).await?;
    let mut config = MembershipConfig {
        bind: core.file.bind,
        advertise: core.file.advertise,
        zone: core.file.zone.clone(),
        seeds: core.file.seeds.clone(),
        generation,
        restored,
        replicas: own_replicas(core, &core.world.load().local),
        nodes_max: core.settings.nodes_max,
        mark: core.mark.borrow().clone(),
        ledger: Some(Arc::new(crate::actor::ledger::Desk(Arc::clone(core)))),
    };
    let credentials = credentials(core)?;
    config.replicas = fitting(std::mem::take(&mut config.replicas), |replicas| {
        Membership::check(&MembershipConfig { replicas, ..config.clone() }, &credentials)
    });
    let deadline = core.env.clock.now() + PORT_WAIT;
    loop {
        let metrics = Arc::clone(&core.gossip_metrics);
        match Membership::start(&core.env, config.clone(), credentials.clone(), metrics).await {
            Err(failure) if failure.code == Code::PortInUse && core.env.clock.now() < deadline => {
                tokio::time::sleep(PORT_POLL).await;
            }
            other => return other,
        }
    }
}

/// What was known last: in this process, if a crash came between, because the view on disk is some seconds older.
async fn last_records(core: &Core) -> Result<Vec<SignedRecord>, Failure> {
    let view = core.members.borrow().clone();
    if view.members.is_empty() {
        return Ok(core.kept(key::RECORDS).await?.unwrap_or_default());
    }
    Ok(records_of(&view))
}

fn records_of(view: &MembersView) -> Vec<SignedRecord> {
    view.members.values().map(|member| SignedRecord::clone(&member.signed)).collect()
}

fn credentials(core: &Core) -> Result<MembershipCredentials, Failure> {
    let standing = core.standing.load_full();
    Ok(MembershipCredentials {
        trust: standing.trust(&core.env.clock),
        certificate: own_certificate(core)?,
        key: core.node_key.clone(),
        enrolment: standing.signed_enrolment.clone(),
        outgoing: outgoing_count(core, &standing),
        signer_key: standing.signer_public(),
    })
}

/// The certificates of this node, its enrolment counted with them, that are to be replaced.
pub(crate) fn outgoing_count(core: &Core, standing: &Standing) -> u32 {
    let certificates = crate::actor::identity::outgoing(core).len();
    u32::try_from(certificates).unwrap_or(u32::MAX).saturating_add(u32::from(standing.is_outgoing()))
}

fn own_certificate(core: &Core) -> Result<IssuedCertificate, Failure> {
    let id = SpiffeId::node(&core.file.mesh, &core.file.node);
    let held = core.certificates.load();
    let own = held.iter().find(|certificate| certificate.id == id).cloned();
    own.ok_or_else(|| Failure::new(Code::StateBroken, format!("no certificate for {id}")))
}

type ViewReceiver = tokio::sync::watch::Receiver<Arc<MembersView>>;

async fn pass_on(core: Arc<Core>, mut view: ViewReceiver) {
    while view.changed().await.is_ok() {
        let newest = view.borrow_and_update().clone();
        core.members.send_replace(newest);
    }
}

async fn keep_later(core: Arc<Core>, mut view: ViewReceiver) {
    while view.changed().await.is_ok() {
        tokio::time::sleep(KEEP_DELAY).await;
        view.mark_unchanged();
        // Full: another change will come.
        let _ = core.membership.try_send(Message::Keep);
    }
}

async fn watch_end(core: Arc<Core>, membership: Arc<Membership>) {
    let ended = membership.failed().await;
    core.membership.deliver(Message::Ended(ended)).await;
}
