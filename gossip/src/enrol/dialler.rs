//! The asking end of `weft-sign/1`: a machine that joins, and a node that wants certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_env::{Env, Stream};
use weft_identity::wire::{self, Kind, Signed};
use weft_identity::{
    BUNDLES_MAX, CertificateError, Code, Enrolment, Failure, Fingerprint, IdentityRefusal, IssuedCertificate,
    JoinToken, NodeId, PublicKey, Side, SignedBundle, SignedEnrolment, SigningKey, SpiffeId, Trust, TrustBundle,
    any_node_name, peer_identity, pinned_client_config, tls, unpinned_client_config,
};

use super::messages::{
    Answer, CertificateWish, CertifyReply, CertifyRequest, EXCHANGE_TIMEOUT, JoinReply, JoinRequest, Proven, Question,
    REQUEST_CONTEXT, SIGN_LEN_MAX, exporter, refused,
};

/// Connecting and the handshake together take no longer; a machine that is down is found out after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a machine that joins wants to be.
#[derive(Debug, Clone)]
pub struct JoinWish<'a> {
    /// Its name.
    pub node: NodeId,
    /// Its key, which will be enrolled.
    pub key: &'a SigningKey,
    /// Its enrolment, if it joins again.
    pub enrolment: Option<&'a SignedEnrolment>,
}

/// What an enrolled node asks with.
#[derive(Debug, Clone, Copy)]
pub struct Enrolled<'a> {
    /// Its enrolment.
    pub enrolment: &'a SignedEnrolment,
    /// The key that is enrolled.
    pub key: &'a SigningKey,
    /// The bundle that it holds, as signed.
    pub bundle: &'a SignedBundle,
}

/// What a signer answered; all of it verified.
#[derive(Debug, Clone)]
pub struct Certified {
    /// One chain for each wish, in order.
    pub chains: Vec<Vec<CertificateDer<'static>>>,
    /// The trust bundles after the one that the node holds, oldest first.
    pub bundles: Vec<SignedBundle>,
    /// A newer enrolment of the node.
    pub enrolment: Option<SignedEnrolment>,
}

/// What a machine has after joining; all of it verified.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Whom the mesh believes, as signed: from the bundle of the root that the token named to the newest.
    pub bundles: Vec<SignedBundle>,
    /// The newest, verified.
    pub bundle: TrustBundle,
    /// The root certificate that the token named.
    pub root: CertificateDer<'static>,
    /// The signer's word on this node, as signed.
    pub signed_enrolment: SignedEnrolment,
    /// The same, verified.
    pub enrolment: Enrolment,
    /// The node's first certificate.
    pub certificate: IssuedCertificate,
    /// Nodes to gossip with.
    pub peers: Vec<SocketAddr>,
}

/// Joins the token's mesh through the node at `at`, or, when that is not the token's signer, where it says that the signer is.
pub async fn join(env: &Env, token: &JoinToken, at: SocketAddr, wish: JoinWish<'_>) -> Result<Joined, Failure> {
    // Expiry is the signer's to judge: by a wrong clock here it would hide that the clock is wrong.
    let (stream, root) = dial_pinned(env, token, at).await?;
    if answers_as(&stream, &token.signer) {
        return join_over(env, token, stream, root, wish).await;
    }
    let signer_at = match ask(stream, &Question::Whereabouts(token.signer.clone())).await? {
        Answer::Whereabouts(Some(signer_at)) => signer_at,
        Answer::Refused(code, detail) => return Err(refused(&code, detail)),
        _ => {
            let detail = format!("{at} does not know where the token's signer {} is; join at the signer", token.signer);
            return Err(Failure::new(Code::NoSigner, detail));
        }
    };
    let (stream, root) = dial_pinned(env, token, signer_at).await?;
    if !answers_as(&stream, &token.signer) {
        let detail = format!("{signer_at} should be the token's signer {} and is another node", token.signer);
        return Err(Failure::new(Code::NoSigner, detail));
    }
    join_over(env, token, stream, root, wish).await
}

/// Gets certificates for an enrolled node from the signer at `signer_at`: one chain a wish, in order, each verified by the newest bundle
/// that the signer has. Works without a valid certificate.
pub async fn certify(
    env: &Env,
    trust: &Trust,
    enrolled: Enrolled<'_>,
    signer_at: SocketAddr,
    wishes: Vec<(SpiffeId, PublicKey)>,
) -> Result<Certified, Failure> {
    let stream = dial(env, tls::sign_client_config(trust)?, signer_at).await?;
    let wishes: Vec<_> = wishes.into_iter().map(|(id, key)| CertificateWish { id, key }).collect();
    let epoch = trust.bundle.epoch;
    let request = CertifyRequest { enrolment: enrolled.enrolment.clone(), epoch, wishes: wishes.clone() };
    let question = Question::Certify(prove(env, &stream, request, enrolled.key)?);
    let reply = match ask(stream, &question).await? {
        Answer::Certified(reply) => *reply,
        Answer::Refused(code, detail) => return Err(refused(&code, detail)),
        _ => return Err(protocol_broken()),
    };
    let CertifyReply { bundles, chains, enrolment } = reply;
    if chains.len() != wishes.len() {
        return Err(protocol_broken());
    }
    let (bundles, trust) = match trust.bundle.successors(enrolled.bundle, &bundles) {
        Some((taken, newest)) => (taken, Trust { bundle: Arc::new(newest), ..trust.clone() }),
        None => (Vec::new(), trust.clone()),
    };
    let mut verified = Vec::with_capacity(chains.len());
    for (chain, wish) in chains.into_iter().zip(&wishes) {
        verified.push(verified_chain(env, &trust, chain, wish)?);
    }
    let enrolment = enrolment.filter(|newer| is_newer(newer, enrolled, &trust.bundle));
    Ok(Certified { chains: verified, bundles, enrolment })
}

/// Whether an enrolment that came over the wire is this node's and later than the one that it has.
fn is_newer(newer: &SignedEnrolment, enrolled: Enrolled<'_>, bundle: &TrustBundle) -> bool {
    let (Ok(newer), Ok(held)) = (Enrolment::verify(newer, bundle), enrolled.enrolment.claim()) else { return false };
    newer.node == held.node && newer.key == enrolled.key.public() && newer.serial > held.serial
}

/// The trust bundles after this one, from any node of the mesh. Whoever answers is believed nothing: each bundle proves itself by the
/// signature of a root that the one before names. So this works, too, for a node that was away while roots and signers changed.
pub async fn fetch_bundles(env: &Env, after: u64, at: SocketAddr) -> Result<Vec<SignedBundle>, Failure> {
    let config = unpinned_client_config(&env.clock).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    match ask(dial(env, config, at).await?, &Question::Bundles(after)).await? {
        Answer::Bundles(bundles) => Ok(bundles),
        Answer::Refused(code, detail) => Err(refused(&code, detail)),
        _ => Err(protocol_broken()),
    }
}

fn verified_chain(
    env: &Env,
    trust: &Trust,
    chain: Vec<Vec<u8>>,
    wish: &CertificateWish,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
    let id = trust.identify(&chain, Side::Server, env.clock.wall()).map_err(|refusal| identity_failure(&refusal))?;
    if id != wish.id {
        return Err(Failure::new(Code::EnrolmentRefused, format!("asked for {} and got {id}", wish.id)));
    }
    Ok(chain)
}

async fn join_over(
    env: &Env,
    token: &JoinToken,
    stream: TlsStream<Stream>,
    root: CertificateDer<'static>,
    wish: JoinWish<'_>,
) -> Result<Joined, Failure> {
    let certificate_key = SigningKey::generate(&env.random);
    let request = JoinRequest {
        token: token.id,
        secret: token.secret.clone(),
        node: wish.node.clone(),
        key: wish.key.public(),
        certificate_key: certificate_key.public(),
        enrolment: wish.enrolment.cloned(),
    };
    let question = Question::Join(prove(env, &stream, request, wish.key)?);
    let reply = match ask(stream, &question).await? {
        Answer::Joined(reply) => *reply,
        Answer::Refused(code, detail) => return Err(refused(&code, detail)),
        _ => return Err(protocol_broken()),
    };
    admitted(env, token, (reply, root), (wish, certificate_key))
}

/// Verifies everything that a signer handed out.
fn admitted(
    env: &Env,
    token: &JoinToken,
    handed: (JoinReply, CertificateDer<'static>),
    own: (JoinWish<'_>, SigningKey),
) -> Result<Joined, Failure> {
    let ((reply, root), (wish, certificate_key)) = (handed, own);
    let (bundles, bundle) = pinned_bundles(&reply.bundles, &root)?;
    if bundle.mesh != token.mesh {
        let detail = format!("the token is for mesh {} and the signer's bundle for {}", token.mesh, bundle.mesh);
        return Err(Failure::new(Code::RootMismatch, detail));
    }
    let enrolment = Enrolment::verify(&reply.enrolment, &bundle)
        .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
    if enrolment.node != wish.node || enrolment.key != wish.key.public() {
        return Err(Failure::new(Code::EnrolmentRefused, "the signer enrolled another node than this one"));
    }
    let trust = Trust::new(bundle.clone(), env.clock.clone());
    let node = CertificateWish { id: SpiffeId::node(&bundle.mesh, &wish.node), key: certificate_key.public() };
    let chain = verified_chain(env, &trust, reply.chain, &node)?;
    let certificate = IssuedCertificate::new(chain, certificate_key)
        .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
    Ok(Joined { bundles, bundle, root, signed_enrolment: reply.enrolment, enrolment, certificate, peers: reply.peers })
}

/// The bundles from the newest one that the pinned root signed up to the newest of all, which is verified.
fn pinned_bundles(
    bundles: &[SignedBundle],
    root: &CertificateDer<'_>,
) -> Result<(Vec<SignedBundle>, TrustBundle), Failure> {
    let recent = &bundles[bundles.len().saturating_sub(BUNDLES_MAX)..];
    let pinned = recent.iter().enumerate().rev().find_map(|(at, one)| Some((at, TrustBundle::verify(one, root).ok()?)));
    let Some((at, first)) = pinned else {
        return Err(Failure::new(Code::RootMismatch, CertificateError::Bundle.to_string()));
    };
    let mut kept = vec![recent[at].clone()];
    let (newer, newest) =
        first.successors(&recent[at], &recent[at + 1..]).unwrap_or_else(|| (Vec::new(), first.clone()));
    kept.extend(newer);
    Ok((kept, newest))
}

async fn dial_pinned(
    env: &Env,
    token: &JoinToken,
    at: SocketAddr,
) -> Result<(TlsStream<Stream>, CertificateDer<'static>), Failure> {
    let config = pinned_client_config(token.root_fingerprint, &env.clock)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let stream = dial(env, config, at).await?;
    let root = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.iter().find(|one| Fingerprint::of(one) == token.root_fingerprint))
        .map(|root| root.clone().into_owned())
        .ok_or_else(protocol_broken)?;
    Ok((stream, root))
}

async fn dial(env: &Env, config: Arc<rustls::ClientConfig>, at: SocketAddr) -> Result<TlsStream<Stream>, Failure> {
    let dialling = async {
        let stream = env.network.connect(at).await?;
        TlsConnector::from(config).connect(any_node_name(), stream).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, dialling).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match IdentityRefusal::find(&error) {
            Some(refusal) => identity_failure(refusal),
            None => Failure::new(Code::NodeUnreachable, format!("connecting to {at} failed: {error}")),
        }),
        Err(_) => {
            let detail = format!("connecting to {at} timed out; is the port open between the machines?");
            Err(Failure::new(Code::NodeUnreachable, detail))
        }
    }
}

/// What a refused certificate means to somebody who joins or renews.
fn identity_failure(refusal: &IdentityRefusal) -> Failure {
    if refusal.is_about_time() {
        let detail = format!("by this machine's clock the other node's certificate is out of its time: {refusal}");
        return Failure::new(Code::ClockSkew, detail);
    }
    Failure::new(Code::RootMismatch, refusal.to_string())
}

/// Whether the node at the other end is this one; its chain is verified already.
fn answers_as(stream: &TlsStream<Stream>, node: &NodeId) -> bool {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    peer_identity(chain).is_ok_and(|id| id == SpiffeId::node(&id.mesh, node))
}

fn prove<T: Serialize + DeserializeOwned>(
    env: &Env,
    stream: &TlsStream<Stream>,
    request: T,
    key: &SigningKey,
) -> Result<Signed<Proven<T>>, Failure> {
    let internal = |error: String| Failure::new(Code::Internal, error);
    let channel = exporter(stream.get_ref().1).map_err(|error| internal(error.to_string()))?;
    let proven = Proven { channel, sent_at: env.clock.wall(), request };
    Signed::sign(&proven, REQUEST_CONTEXT, key).map_err(|error| internal(error.to_string()))
}

async fn ask(mut stream: TlsStream<Stream>, question: &Question) -> Result<Answer, Failure> {
    let exchange = async {
        wire::write(&mut stream, Kind::SignRequest, question).await?;
        wire::read(&mut stream, Kind::SignReply, SIGN_LEN_MAX).await
    };
    match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::new(Code::NodeUnreachable, format!("the signer did not answer: {error}"))),
        Err(_) => Err(Failure::new(Code::NodeUnreachable, "the signer did not answer in time")),
    }
}

fn protocol_broken() -> Failure {
    Failure::new(
        Code::Internal,
        "the signer answered what was not asked; do both machines run the same version of weft?",
    )
}
