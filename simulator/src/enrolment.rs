//! The scenario of machines that join: each dials the signer over a network that delays and loses, with a token of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use weft_env::{Random, Reuse, Stream, Timestamp, Traffic};
use weft_gossip::enrol::{self, CertifyReply, CertifyRequest, JoinReply, JoinRequest, JoinWish, SignDesk};
use weft_gossip::membership::{MembersView, NODES_DEFAULT};
use weft_gossip::signer::{Certification, Deciding, SignerState, TokenWish};
use weft_identity::{
    Failure, Grants, JoinToken, LabelChanges, NodeId, Revocations, Roles, SignedBundle, SigningKey, bundles_after, tls,
};

use crate::event_log::Event;
use crate::mesh::{CERTIFICATE_LIFETIME, SimMesh, SimNode, internal, name};
use crate::simulation::Simulation;

/// Machines are not started in the same instant; so far apart they are here.
const START_SPREAD: Duration = Duration::from_millis(100);
/// Life of the tokens.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentReport {
    /// How many nodes joined.
    pub joined: usize,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// What passed through the network.
    pub traffic: Traffic,
}

/// Runs the scenario with a signer and that many nodes that join it.
pub async fn run(simulation: &Simulation, nodes: u16) -> Result<EnrolmentReport, Failure> {
    let mesh = Arc::new(SimMesh::found(simulation)?);
    let founder = mesh.admit(0)?;
    let first = mesh.founder.enrolment.claim().map_err(internal)?;
    let desk = Arc::new(Desk {
        mesh: Arc::clone(&mesh),
        founder: founder.clone(),
        book: Mutex::new(SignerState::founded(&first)),
    });
    let mut serving = JoinSet::new();
    serving.spawn(sign(founder, Arc::clone(&desk)));
    let mut joining = JoinSet::new();
    for number in 1..=nodes {
        let token = desk.token()?;
        joining.spawn(join(simulation.clone(), number, token));
        tokio::time::sleep(START_SPREAD).await;
    }
    let joined = joining.join_all().await.into_iter().filter(|joined| *joined).count();
    serving.shutdown().await;
    Ok(EnrolmentReport { joined, events: simulation.log().events(), traffic: simulation.network().traffic() })
}

/// Whether the node got in.
async fn join(simulation: Simulation, number: u16, token: JoinToken) -> bool {
    let env = simulation.env(Simulation::ip(number));
    let log = simulation.log();
    let Ok(node) = name::<NodeId>(&format!("node-{number}")) else { return false };
    let key = SigningKey::generate(&env.random);
    let wish = JoinWish { node: node.clone(), key: &key, enrolment: None };
    match Box::pin(enrol::join(&env, &token, SimMesh::addr(0), wish)).await {
        Ok(joined) => log.record(&node, format_args!("joined with serial {}", joined.enrolment.serial)),
        Err(failure) => {
            log.record(&node, format_args!("was refused: {} {}", failure.code, failure.detail));
            return false;
        }
    }
    true
}

/// Answers every stream at the signer's mesh port.
async fn sign(founder: SimNode, desk: Arc<Desk>) {
    let config = tls::inbound_sign_config(&founder.trust, &founder.certificate);
    let listener = founder.env.network.listen(founder.addr, Reuse::Exclusive).await;
    let (Ok(config), Ok(listener)) = (config, listener) else { return };
    let acceptor = TlsAcceptor::from(config);
    let mut answering = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        answering.spawn(Box::pin(answer(acceptor.clone(), stream, Arc::clone(&desk))));
    }
}

async fn answer(acceptor: TlsAcceptor, stream: Stream, desk: Arc<Desk>) {
    if let Ok(stream) = acceptor.accept(stream).await {
        // A caller that goes away is told by the network; it records its own failure.
        let _ = enrol::serve(stream, &*desk, &desk.founder.env.clock).await;
    }
}

/// The signer's book, with the decisions of the real signer.
struct Desk {
    mesh: Arc<SimMesh>,
    founder: SimNode,
    book: Mutex<SignerState>,
}

impl Desk {
    fn token(&self) -> Result<JoinToken, Failure> {
        let wish = TokenWish {
            grants: Grants::none(),
            roles: Roles::default(),
            labels: LabelChanges::default(),
            cell: self.founder.cell.clone(),
            time_to_live: TOKEN_LIFE,
            seeds: vec![self.founder.addr],
        };
        self.decide(|book, deciding| book.create_token(deciding, wish))
    }

    fn decide<T>(&self, decision: impl FnOnce(&mut SignerState, &Deciding<'_>) -> T) -> T {
        let now: Timestamp = self.founder.env.clock.wall();
        let random: &Random = &self.founder.env.random;
        let (issuer, bundle) = (&self.mesh.founder.issuer, &self.mesh.bundle);
        let deciding = Deciding {
            issuer,
            bundle,
            revocations: &Revocations::default(),
            members: &MembersView::default(),
            nodes_max: NODES_DEFAULT,
            lifetime: CERTIFICATE_LIFETIME,
            now,
            random,
        };
        decision(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner), &deciding)
    }
}

impl SignDesk for Desk {
    fn whereabouts(&self, signer: NodeId) -> BoxFuture<'_, Option<std::net::SocketAddr>> {
        let here = (signer == self.founder.node).then_some(self.founder.addr);
        Box::pin(std::future::ready(here))
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<JoinReply, Failure>> {
        let admitted = self.decide(|book, deciding| book.decide_join(deciding, &request));
        let reply = admitted.map(|admission| JoinReply {
            bundles: self.bundles(0),
            enrolment: admission.enrolment,
            chain: admission.chain,
            peers: vec![self.founder.addr],
        });
        Box::pin(std::future::ready(reply))
    }

    fn bundles(&self, after: u64) -> Vec<SignedBundle> {
        bundles_after(std::slice::from_ref(&self.mesh.founder.bundle), after)
    }

    fn certify(&self, request: CertifyRequest) -> BoxFuture<'_, Result<CertifyReply, Failure>> {
        let certified = self.decide(|book, deciding| book.decide_certify(deciding, &request));
        let reply = certified.map(|Certification { chains, enrolment }| {
            let bundles = self.bundles(request.epoch);
            CertifyReply { bundles, chains, enrolment }
        });
        Box::pin(std::future::ready(reply))
    }
}
