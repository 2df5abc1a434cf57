//! Who is in the cell: chitchat behind a façade, fed only what was verified, over mutually authenticated QUIC. The membership actor
//! starts one, publishes through it, and passes on its views.

mod desk;
mod exchange;
mod guard;
mod links;
mod liveness;
mod message;
mod roster;
mod round;
mod view;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_env::{Env, Timestamp};
use weft_identity::{
    Code, Enrolment, Failure, IssuedCertificate, PublicKey, SignedEnrolment, SigningKey, Trust, ZoneName,
};
use weft_ledger::LedgerMark;
use weft_ledger::sync::LedgerDesk;

use crate::catalog::{NodeRecord, ReplicaRecord, SignedRecord, encode_value, sign_record, verify_record};
use crate::metrics::GossipMetrics;
use crate::quic::{DialError, QuicCredentials, QuicEndpoint, QuicProtocol};
use desk::{Desk, DeskStart};
use guard::RECORD_KEY;
use links::{LinkTransport, Links};
use roster::{Known, Roster};

pub use exchange::LedgerPeer;
pub use view::{Member, MemberState, MembersView};

/// Time between gossip rounds.
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(500);
/// Nodes that a cell admits unless it is told otherwise.
pub const NODES_DEFAULT: usize = 600;
/// Nodes that a cell can admit at most: a digest of more does not fit a message.
pub const NODES_MAX: usize = 1_000;
/// From here on a node says that its cell grows large.
pub const NODES_WARN: usize = 300;
/// Silence, in mean intervals between heartbeats, after which the detector calls a member dead: about five seconds.
const PHI_THRESHOLD: f64 = 10.0;
/// Intervals that the detector remembers of a member.
const SAMPLES: usize = 100;
/// Longer intervals are absences, not samples.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// The detector's guess of an interval before it has samples.
const INTERVAL_INITIAL: Duration = Duration::from_secs(1);
/// How long chitchat remembers a dead member.
const DEAD_GRACE: Duration = Duration::from_secs(180);

/// What a membership starts with besides its credentials.
#[derive(Clone)]
pub struct MembershipConfig {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Where other nodes reach this one.
    pub advertise: SocketAddr,
    /// The zone.
    pub zone: Option<ZoneName>,
    /// Addresses to find the cell by: those of the token and the last peers; asked for ever.
    pub seeds: Vec<SocketAddr>,
    /// From [`next_generation`]; kept by the caller before the start.
    pub generation: u64,
    /// The records of the last view, as kept on disk: members of a cold start.
    pub restored: Vec<SignedRecord>,
    /// What this node offers at first.
    pub replicas: Vec<ReplicaRecord>,
    /// Nodes that the cell admits, [`NODES_DEFAULT`] by default, at most [`NODES_MAX`].
    pub nodes_max: usize,
    /// What this node says of its ledger at first.
    pub mark: LedgerMark,
    /// Who answers ledger questions; without one they are turned away.
    pub ledger: Option<Arc<dyn LedgerDesk>>,
}

/// Who this node is and whom it believes.
#[derive(Debug, Clone)]
pub struct MembershipCredentials {
    /// Whom it believes.
    pub trust: Trust,
    /// Its certificate.
    pub certificate: IssuedCertificate,
    /// Its enrolled key.
    pub key: SigningKey,
    /// The signer's word on it.
    pub enrolment: SignedEnrolment,
    /// How many of its certificates are of a signer or root on its way out.
    pub outgoing: u32,
    /// The key that it would issue with, if it has the signer role.
    pub signer_key: Option<PublicKey>,
}

/// Why a membership ended by itself. The caller starts another, with a higher generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The gossip task failed; the text says how.
    Failed(String),
    /// A later generation of this very node is in the cell: a second process with its state, or a clock that was set back.
    Superseded(u64),
}

/// A member of its cell. Dropping it leaves without goodbye.
pub struct Membership {
    links: Arc<Links>,
    desk: Arc<Desk>,
    chitchat: Arc<ChitchatHandle>,
    key: SigningKey,
    view: watch::Receiver<Arc<MembersView>>,
    watching: JoinHandle<()>,
}

/// The generation of a start: higher than every one before, and than that of a state directory that was lost.
pub fn next_generation(persisted: Option<u64>, now: Timestamp) -> u64 {
    persisted.map_or(now.0, |last| last.saturating_add(1).max(now.0))
}

impl Membership {
    /// Opens the endpoint, publishes the first record and starts to gossip.
    pub async fn start(
        env: &Env,
        config: MembershipConfig,
        credentials: MembershipCredentials,
        metrics: Arc<GossipMetrics>,
    ) -> Result<Self, Failure> {
        let own = first_record(&config, &credentials)?;
        let own_id = ChitchatId::new(own.record.node.as_str(), own.record.generation, config.advertise);
        let cluster = format!("{}/{}", own.record.mesh, own.record.cell);
        let desk = Arc::new(Desk::new(DeskStart {
            own_id: own_id.clone(),
            cluster: cluster.clone(),
            nodes_max: config.nodes_max.min(NODES_MAX),
            clock: env.clock.clone(),
            metrics: Arc::clone(&metrics),
            roster: restored(&config, &credentials.trust, &own),
            trust: credentials.trust.clone(),
            own: own.clone(),
        }));
        let quic =
            QuicCredentials { trust: &credentials.trust, certificate: &credentials.certificate, key: &credentials.key };
        let (endpoint, accepted) = QuicEndpoint::open(env, config.bind, quic, metrics).await?;
        let seeds: BTreeSet<SocketAddr> = config.seeds.iter().copied().filter(|at| *at != config.advertise).collect();
        let links = Links::start(endpoint, accepted, Arc::clone(&desk), seeds.clone(), config.ledger.clone());
        let first = vec![(RECORD_KEY.to_owned(), encode_value(&own.signed)?)];
        let settings = chitchat_config(own_id, cluster);
        let chitchat = spawn_chitchat(settings, first, &LinkTransport(Arc::clone(&links)))
            .await
            .map_err(|error| Failure::new(Code::Internal, format!("start gossip: {error}")))?;
        let chitchat = Arc::new(chitchat);
        let (views, view) = watch::channel(Arc::new(MembersView::default()));
        let rounds = round::Rounds::new(Arc::clone(&desk), Arc::downgrade(&links), env.random.split(), seeds);
        let watching = tokio::spawn(rounds.run(Arc::downgrade(&chitchat), views));
        Ok(Self { links, desk, chitchat, key: credentials.key, view, watching })
    }

    /// The members, this node among them; a new view on each change.
    pub fn view(&self) -> watch::Receiver<Arc<MembersView>> {
        self.view.clone()
    }

    /// This node's generation.
    pub fn generation(&self) -> u64 {
        self.desk.own_id.generation_id
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.links.endpoint().local_addr()
    }

    /// Publishes what this node offers now. A record that is too large is refused here and changes nothing.
    pub async fn publish(&self, replicas: Vec<ReplicaRecord>) -> Result<(), Failure> {
        self.change(|record| record.replicas.clone_from(&replicas)).await
    }

    /// Whether a record with these replicas could be published; changes nothing.
    pub fn fits(&self, replicas: Vec<ReplicaRecord>) -> Result<(), Failure> {
        try_record(&self.desk.own().record, replicas, &self.key)
    }

    /// Whether a membership could start with this; [`Code::RecordTooLarge`] when it offers more than fits.
    pub fn check(config: &MembershipConfig, credentials: &MembershipCredentials) -> Result<(), Failure> {
        let own = first_record(config, credentials)?;
        try_record(&own.record, config.replicas.clone(), &credentials.key)
    }

    /// Publishes what this node holds of the ledger now.
    pub async fn mark(&self, mark: LedgerMark) -> Result<(), Failure> {
        self.change(|record| record.ledger = mark.clone()).await
    }

    /// Connects to a member to ask it for what this node lacks of the ledger. Cancel safe.
    pub async fn ledger_peer(&self, at: SocketAddr) -> Result<LedgerPeer, DialError> {
        self.links.endpoint().dial(at, QuicProtocol::Ledger).await.map(LedgerPeer::new)
    }

    /// Uses other credentials from now on: connections that live go on, except those of peers that the new trust refuses, and what
    /// the members should know of this node (enrolment, bundle, signer key) is published if it changed.
    pub async fn renew(&self, credentials: &MembershipCredentials) -> Result<(), Failure> {
        let MembershipCredentials { trust, certificate, enrolment, outgoing, signer_key, .. } = credentials;
        let says = Enrolment::verify(enrolment, &trust.bundle)
            .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
        self.links.endpoint().renew(trust, certificate)?;
        self.desk.set_trust(trust.clone());
        self.links.recheck(trust);
        let own = self.desk.own().record;
        let is_news = own.enrolment != *enrolment
            || own.bundle_epoch != trust.bundle.epoch
            || own.outgoing != *outgoing
            || own.signer_key != *signer_key;
        if !is_news {
            return Ok(());
        }
        self.change(|record| {
            record.enrolment = enrolment.clone();
            record.roles = says.roles;
            record.bundle_epoch = trust.bundle.epoch;
            record.outgoing = *outgoing;
            record.signer_key = *signer_key;
        })
        .await
    }

    /// Says that this node goes, and waits until some have heard it.
    pub async fn leave(&self) -> Result<(), Failure> {
        self.change(|record| record.leaving = true).await?;
        // A round and its two replies; the others pass it on.
        tokio::time::sleep(GOSSIP_INTERVAL.saturating_mul(2)).await;
        Ok(())
    }

    /// Waits until this membership has ended by itself. Cancel safe.
    pub async fn failed(&self) -> Ended {
        let mut successor = self.desk.successor.subscribe();
        let superseded = async {
            // Copied out, because a reference to the value may not live across an await.
            let heard = successor.wait_for(Option::is_some).await.ok().and_then(|generation| *generation);
            match heard {
                Some(generation) => generation,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.chitchat.termination_watcher() => match ended {
                Ok(()) => Ended::Failed("gossip stopped".to_owned()),
                Err(error) => Ended::Failed(error.to_string()),
            },
            generation = superseded => Ended::Superseded(generation),
        }
    }

    /// Stops gossip and closes every connection.
    pub async fn stop(self) {
        self.chitchat.abort();
        self.watching.abort();
        self.links.endpoint().close().await;
    }

    /// Changes this node's record: next version, signed, published, and passed on at once.
    async fn change(&self, change: impl Fn(&mut NodeRecord)) -> Result<(), Failure> {
        let published = self.chitchat.with_chitchat(|chitchat| {
            let state = chitchat.self_node_state();
            let mut record = (*self.desk.own().record).clone();
            change(&mut record);
            record.version = state.max_version() + 1;
            let signed = sign_record(&record, &self.key)?;
            state.set(RECORD_KEY, encode_value(&signed)?);
            self.desk.set_own(Known { record: Arc::new(record), signed: Arc::new(signed) });
            Ok(())
        });
        published.await?;
        let view = self.view.borrow().clone();
        for member in view.members.values().filter(|member| member.state == MemberState::Alive).take(4) {
            if member.record.addr != self.desk.own_id.gossip_advertise_addr {
                // Ends with the gossip task, of which `failed` tells.
                let _ = self.chitchat.gossip(member.record.addr);
            }
        }
        Ok(())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.chitchat.abort();
        self.watching.abort();
        // Tasks of connections hold the links; they end with their connections.
        self.links.endpoint().shut();
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Membership({:?})", self.desk.own_id)
    }
}

fn first_record(config: &MembershipConfig, credentials: &MembershipCredentials) -> Result<Known, Failure> {
    let enrolment = Enrolment::verify(&credentials.enrolment, &credentials.trust.bundle)
        .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
    let record = NodeRecord {
        mesh: enrolment.mesh,
        cell: enrolment.cell,
        zone: config.zone.clone(),
        node: enrolment.node,
        generation: config.generation,
        // What chitchat gives the first value.
        version: 1,
        addr: config.advertise,
        roles: enrolment.roles,
        replicas: config.replicas.clone(),
        ledger: config.mark.clone(),
        leaving: false,
        bundle_epoch: credentials.trust.bundle.epoch,
        outgoing: credentials.outgoing,
        signer_key: credentials.signer_key,
        enrolment: credentials.enrolment.clone(),
    };
    let signed = sign_record(&record, &credentials.key)?;
    Ok(Known { record: Arc::new(record), signed: Arc::new(signed) })
}

/// Signs a trial of a node's next records: versions take more bytes as they grow, so it has the longest.
fn try_record(own: &NodeRecord, replicas: Vec<ReplicaRecord>, key: &SigningKey) -> Result<(), Failure> {
    let trial = NodeRecord { replicas, version: u64::MAX, ..own.clone() };
    sign_record(&trial, key).map(drop)
}

/// The records of the last view that still verify, of this cell and of other nodes.
fn restored(config: &MembershipConfig, trust: &Trust, own: &Known) -> Roster {
    let mut roster = Roster::default();
    for signed in config.restored.iter().take(NODES_MAX) {
        let Ok(record) = verify_record(signed, trust) else { continue };
        let is_ours = record.mesh == own.record.mesh && record.cell == own.record.cell;
        if is_ours && record.node != own.record.node && !record.leaving {
            roster.insert(Known { record: Arc::new(record), signed: Arc::new(signed.clone()) });
        }
    }
    roster
}

fn chitchat_config(chitchat_id: ChitchatId, cluster_id: String) -> ChitchatConfig {
    let detector = FailureDetectorConfig::new(PHI_THRESHOLD, SAMPLES, INTERVAL_MAX, INTERVAL_INITIAL, DEAD_GRACE);
    ChitchatConfig {
        listen_addr: chitchat_id.gossip_advertise_addr,
        chitchat_id,
        cluster_id,
        gossip_interval: GOSSIP_INTERVAL,
        // The rounds ask the seeds, and the last peers with them.
        seed_nodes: Vec::new(),
        failure_detector_config: detector,
        marked_for_deletion_grace_period: DEAD_GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

/// Reads a message of gossip as the guard does, for tests and fuzzing: what it reads is written so that it is read as the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_message(bytes: &[u8]) {
    if let Ok(message) = message::Message::parse(bytes) {
        let written = message.encode();
        assert!(message::Message::parse(&written).is_ok_and(|again| again.encode() == written));
    }
}

#[cfg(test)]
mod tests;
