use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use weft_env::{Clock, Disk, Env, Link, Listener, Random, Reuse, SimNetwork};
use weft_identity::testing::{self, NOW, TestMesh};
use weft_identity::{
    Code, Enrolment, Failure, Fingerprint, Grants, IssuedCertificate, JoinToken, LEAF_LIFETIME, LabelChanges, NodeId,
    Revocations, Roles, SignedBundle, SigningKey, SpiffeId, TrustBundle, bundles_after, tls,
};

use super::*;
use crate::membership::{MembersView, NODES_MAX};
use crate::signer::{Certification, Deciding, SignerState, TokenWish};

const SIGNER_AT: &str = "10.0.0.11:4510";
const OTHER_AT: &str = "10.0.0.12:4510";

/// A desk over a signer's book, as the Signer actor has one.
struct TestDesk {
    mesh: TestMesh,
    bundle: TrustBundle,
    state: Mutex<SignerState>,
    clock: Clock,
    is_signer: bool,
}

impl TestDesk {
    fn new(mesh: TestMesh, clock: &Clock, is_signer: bool) -> Arc<Self> {
        let state = Mutex::new(SignerState::founded(&mesh.seed.enrolment.claim().unwrap()));
        Arc::new(Self { bundle: mesh.bundle(), state, mesh, clock: clock.clone(), is_signer })
    }

    fn with<T>(&self, act: impl FnOnce(&mut SignerState, &Deciding<'_>) -> T) -> T {
        let deciding = Deciding {
            issuer: &self.mesh.seed.issuer,
            bundle: &self.bundle,
            revocations: &Revocations::default(),
            members: &MembersView::default(),
            nodes_max: NODES_MAX,
            lifetime: LEAF_LIFETIME,
            now: self.clock.wall(),
            random: &self.mesh.random,
        };
        act(&mut self.state.lock().unwrap(), &deciding)
    }

    fn token(&self) -> JoinToken {
        let wish = TokenWish {
            grants: Grants::Only(["web".parse().unwrap()].into()),
            roles: Roles::default(),
            labels: LabelChanges::default(),
            cell: "default".parse().unwrap(),
            time_to_live: Duration::from_secs(600),
            seeds: vec![SIGNER_AT.parse().unwrap()],
        };
        self.with(|state, deciding| state.create_token(deciding, wish)).unwrap()
    }
}

impl SignDesk for TestDesk {
    fn whereabouts(&self, signer: NodeId) -> BoxFuture<'_, Option<SocketAddr>> {
        async move { (signer.as_str() == "vm-a").then(|| SIGNER_AT.parse().unwrap()) }.boxed()
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<JoinReply, Failure>> {
        async move {
            if !self.is_signer {
                return Err(Failure::new(Code::NotSigner, "no"));
            }
            let admission = self.with(|state, deciding| state.decide_join(deciding, &request))?;
            Ok(JoinReply {
                bundles: vec![self.mesh.seed.bundle.clone()],
                enrolment: admission.enrolment,
                chain: admission.chain,
                peers: vec![SIGNER_AT.parse().unwrap()],
            })
        }
        .boxed()
    }

    fn bundles(&self, after: u64) -> Vec<SignedBundle> {
        bundles_after(std::slice::from_ref(&self.mesh.seed.bundle), after)
    }

    fn certify(&self, request: CertifyRequest) -> BoxFuture<'_, Result<CertifyReply, Failure>> {
        async move {
            let Certification { chains, enrolment } =
                self.with(|state, deciding| state.decide_certify(deciding, &request))?;
            Ok(CertifyReply { bundles: self.bundles(request.epoch), chains, enrolment })
        }
        .boxed()
    }
}

/// A simulated network with a signer on it, and a machine that is to join.
struct Scene {
    network: SimNetwork,
    clock: Clock,
    desk: Arc<TestDesk>,
    joiner: Env,
}

impl Scene {
    async fn new() -> Self {
        let network = SimNetwork::new(1, Link::default());
        let clock = Clock::simulated(NOW);
        let desk = TestDesk::new(testing::mesh(), &clock, true);
        let joiner = env(&network, "10.0.0.20", Clock::simulated(NOW));
        let scene = Self { network, clock, desk, joiner };
        scene.answer(Arc::clone(&scene.desk), SIGNER_AT, "vm-a").await;
        scene
    }

    /// Lets a node of the desk's mesh answer at an address.
    async fn answer(&self, desk: Arc<TestDesk>, at: &str, node: &str) {
        let at: SocketAddr = at.parse().unwrap();
        let own = desk.mesh.issue_for(&format!("spiffe://{}/node/{node}", desk.bundle.mesh), LEAF_LIFETIME);
        let config = tls::inbound_sign_config(&desk.mesh.trust(&self.clock), &own).unwrap();
        let clock = self.clock.clone();
        let listener = self.network.host(at.ip()).listen(at, Reuse::Exclusive).await.unwrap();
        tokio::spawn(answer_all(listener, config, desk, clock));
    }

    async fn join(&self, token: &JoinToken, at: &str, key: &SigningKey) -> Result<Joined, Failure> {
        let wish = JoinWish { node: "vm-b".parse().unwrap(), key, enrolment: None };
        join(&self.joiner, token, at.parse().unwrap(), wish).await
    }

    fn key(&self) -> SigningKey {
        SigningKey::generate(&self.joiner.random)
    }
}

async fn answer_all(listener: Listener, config: Arc<rustls::ServerConfig>, desk: Arc<TestDesk>, clock: Clock) {
    while let Ok((stream, _)) = listener.accept().await {
        if let Ok(stream) = TlsAcceptor::from(Arc::clone(&config)).accept(stream).await {
            let _ = serve(stream, &*desk, &clock).await;
        }
    }
}

fn env(network: &SimNetwork, ip: &str, clock: Clock) -> Env {
    Env { clock, random: Random::seeded(5), network: network.host(ip.parse().unwrap()), disk: Disk::memory() }
}

fn code<T>(result: Result<T, Failure>) -> Code {
    result.err().expect("refused").code
}

#[tokio::test(start_paused = true)]
async fn a_machine_joins_with_a_token_and_a_second_one_does_not() {
    let scene = Scene::new().await;
    let (token, key) = (scene.desk.token(), scene.key());
    let joined = scene.join(&token, SIGNER_AT, &key).await.unwrap();
    assert_eq!(joined.certificate.id.to_string(), "spiffe://bank/node/vm-b");
    assert_eq!(Fingerprint::of(&joined.root), token.root_fingerprint);
    assert_eq!((joined.enrolment.key, joined.peers.len()), (key.public(), 1));
    assert_eq!(code(scene.join(&token, SIGNER_AT, &scene.key()).await), Code::TokenUsed);
}

#[tokio::test(start_paused = true)]
async fn any_node_shows_the_way_to_the_tokens_signer() {
    let scene = Scene::new().await;
    let other = TestDesk::new(testing::mesh(), &scene.clock, false);
    scene.answer(other, OTHER_AT, "vm-c").await;
    let token = scene.desk.token();
    assert!(scene.join(&token, OTHER_AT, &scene.key()).await.is_ok());

    let mut lost = scene.desk.token();
    lost.signer = "vm-x".parse().unwrap();
    assert_eq!(code(scene.join(&lost, OTHER_AT, &scene.key()).await), Code::NoSigner);
}

#[tokio::test(start_paused = true)]
async fn another_mesh_is_recognised_before_the_secret_is_sent() {
    let scene = Scene::new().await;
    let other = TestDesk::new(testing::mesh_of("bank", 9), &scene.clock, true);
    scene.answer(other, OTHER_AT, "vm-a").await;
    let token = scene.desk.token();
    assert_eq!(code(scene.join(&token, OTHER_AT, &scene.key()).await), Code::RootMismatch);
    assert!(scene.join(&token, SIGNER_AT, &scene.key()).await.is_ok(), "the token is unused");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_is_named_as_the_reason() {
    for skew_ms in [3_600_000, -3_600_000, 90_000, -90_000] {
        let scene = Scene::new().await;
        let (token, before) = (scene.desk.token(), scene.desk.state.lock().unwrap().clone());
        scene.joiner.clock.skew(skew_ms);
        assert_eq!(code(scene.join(&token, SIGNER_AT, &scene.key()).await), Code::ClockSkew, "{skew_ms}");
        let after = scene.desk.state.lock().unwrap().clone();
        assert_eq!(after.enrolled, before.enrolled);
    }
    let scene = Scene::new().await;
    scene.joiner.clock.skew(30_000);
    assert!(scene.join(&scene.desk.token(), SIGNER_AT, &scene.key()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_at_the_address_is_said_so() {
    let scene = Scene::new().await;
    let token = scene.desk.token();
    assert_eq!(code(scene.join(&token, "10.0.0.99:4510", &scene.key()).await), Code::NodeUnreachable);
}

#[tokio::test(start_paused = true)]
async fn an_enrolled_node_comes_back_after_its_certificate_expired() {
    let scene = Scene::new().await;
    let (token, key) = (scene.desk.token(), scene.key());
    let joined = scene.join(&token, SIGNER_AT, &key).await.unwrap();
    // The node's own certificate is not shown at all, so that it may be long gone.
    let trust = weft_identity::Trust::new(joined.bundle.clone(), scene.joiner.clock.clone());
    let fresh = scene.key();
    let wish = |id: &str| vec![(id.parse::<SpiffeId>().unwrap(), fresh.public())];
    let at = SIGNER_AT.parse().unwrap();
    let bundle = &joined.bundles[0];
    let enrolled = Enrolled { enrolment: &joined.signed_enrolment, key: &key, bundle };
    let certified = certify(&scene.joiner, &trust, enrolled, at, wish("spiffe://bank/svc/web")).await.unwrap();
    assert_eq!((certified.bundles.len(), certified.enrolment), (0, None));
    let issued = IssuedCertificate::new(certified.chains[0].clone(), fresh.clone()).unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://bank/svc/web");

    let refused = certify(&scene.joiner, &trust, enrolled, at, wish("spiffe://bank/svc/ledger")).await;
    assert_eq!(code(refused), Code::GrantMissing);
    let thief = scene.key();
    let stolen = Enrolled { key: &thief, ..enrolled };
    let refused = certify(&scene.joiner, &trust, stolen, at, wish("spiffe://bank/svc/web")).await;
    assert_eq!(code(refused), Code::EnrolmentRefused);
    assert!(Enrolment::verify(&joined.signed_enrolment, &joined.bundle).is_ok());
    let root = CertificateDer::from(scene.desk.mesh.seed.root_certificate.clone());
    assert_eq!(joined.root, root);
}

#[tokio::test(start_paused = true)]
async fn anybody_may_ask_for_newer_bundles_and_believes_only_their_signatures() {
    let scene = Scene::new().await;
    let at = SIGNER_AT.parse().unwrap();
    let bundles = fetch_bundles(&scene.joiner, 0, at).await.unwrap();
    assert_eq!(bundles.as_slice(), std::slice::from_ref(&scene.desk.mesh.seed.bundle));
    assert!(fetch_bundles(&scene.joiner, 1, at).await.unwrap().is_empty());
}
