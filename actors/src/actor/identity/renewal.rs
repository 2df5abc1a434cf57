//! A renewal: certificates from this node itself or from a signer, and the news of trust that come with them. Runs in a task beside
//! the actor, which takes what it brings.

use std::net::SocketAddr;
use std::time::Duration;

use weft_env::Env;
use weft_gossip::enrol::{self, CertifyRequest, Enrolled};
use weft_identity::{
    Code, Failure, GrantedLabels, IssuedCertificate, Issuer, LeafSubject, SignedBundle, SigningKey, SpiffeId,
};

use crate::actor::upstreams::signers;
use crate::core::Core;
use crate::message::identity::Obtained;
use crate::standing::{News, Standing};

/// Gets certificates: from this node itself if it is a signer, else from the first signer that answers.
pub(super) async fn obtain(core: &Core, ids: Vec<SpiffeId>) -> Result<Obtained, Failure> {
    let keyed: Vec<_> = ids.into_iter().map(|id| (id, SigningKey::generate(&core.env.random))).collect();
    let standing = core.standing.load_full();
    if let Some(issuer) = &standing.issuer {
        let lifetime = core.settings.certificate_lifetime;
        let labels = &standing.enrolment.labels;
        let issued = |(id, key): &(SpiffeId, SigningKey)| issue(issuer, labels, &core.env, (id, key), lifetime);
        let certificates: Result<_, _> = keyed.iter().map(issued).collect();
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

/// Makes a certificate for a key of this process, on a signer whose enrolment has these labels.
pub(crate) fn issue(
    issuer: &Issuer,
    labels: &GrantedLabels,
    env: &Env,
    subject: (&SpiffeId, &SigningKey),
    lifetime: Duration,
) -> Result<IssuedCertificate, Failure> {
    let (id, key) = subject;
    let leaf = LeafSubject { id, key: &key.public(), node: &issuer.node, labels };
    issuer
        .issue(leaf, lifetime, env.clock.wall(), &env.random)
        .and_then(|chain| IssuedCertificate::new(chain, key.clone()))
        .map_err(|error| Failure::new(Code::Internal, format!("issue a certificate for {id}: {error}")))
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
    let reply = core.signer.call(|reply| crate::message::signer::Message::Certify(request, reply)).await??;
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
