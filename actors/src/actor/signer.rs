//! The Signer actor: admits nodes and issues certificates, on a node with that role.
//!
//! - Owns: the signer's book of tokens and nodes.
//! - Receives: tokens to make, from the operator; requests to join and for certificates, from [`Desk`].
//! - Publishes: nothing; the book goes to the Store before an answer goes out.
//! - A crash loses: the question at hand; the asker asks again.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use weft_gossip::enrol::{CertifyReply, CertifyRequest, JoinReply, JoinRequest, SignDesk};
use weft_gossip::membership::MembersView;
use weft_gossip::signer::{Deciding, SignerState, TokenWish};
use weft_identity::{Code, Failure, JoinToken, NodeId, SignedBundle, bundles_after, newest_bundles};

use crate::core::Core;
use crate::message::signer::Message;
use crate::message::store::key;
use crate::shell::Role;
use crate::standing::Standing;

/// Most peers told to a new node: gossip brings the rest.
const PEERS_MAX: usize = 20;

/// The Signer's state.
pub(crate) struct Signer {
    core: Arc<Core>,
    book: SignerState,
}

impl Role for Signer {
    type Message = Message;
    type Seed = Arc<Core>;

    async fn start(core: Arc<Core>) -> Result<Self, Failure> {
        let book = core.kept(key::SIGNER).await?.unwrap_or_default();
        Ok(Self { core, book })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::CreateToken(wish, reply) => drop(reply.send(self.create_token(wish).await)),
            Message::Join(request, reply) => drop(reply.send(self.join(&request).await)),
            Message::Certify(request, reply) => drop(reply.send(self.certify(&request).await)),
        }
        Ok(())
    }
}

impl Signer {
    async fn create_token(&mut self, wish: TokenWish) -> Result<JoinToken, Failure> {
        let mut book = self.book.clone();
        let token = Facts::of(&self.core).decide(|deciding| book.create_token(deciding, wish))?;
        self.keep(book).await?;
        Ok(token)
    }

    async fn join(&mut self, request: &JoinRequest) -> Result<JoinReply, Failure> {
        let mut book = self.book.clone();
        let facts = Facts::of(&self.core);
        let admission = facts.decide(|deciding| book.decide_join(deciding, request))?;
        self.keep(book).await?;
        tracing::info!(node = %request.node, "a node was admitted");
        Ok(JoinReply {
            bundles: newest_bundles(&facts.standing.bundles),
            enrolment: admission.enrolment,
            chain: admission.chain,
            peers: peers(&self.core),
        })
    }

    async fn certify(&mut self, request: &CertifyRequest) -> Result<CertifyReply, Failure> {
        let mut book = self.book.clone();
        let facts = Facts::of(&self.core);
        let certification = facts.decide(|deciding| book.decide_certify(deciding, request))?;
        if book != self.book {
            self.keep(book).await?;
        }
        let bundles = bundles_after(&facts.standing.bundles, request.epoch);
        Ok(CertifyReply { bundles, chains: certification.chains, enrolment: certification.enrolment })
    }

    /// On disk first, then in effect.
    async fn keep(&mut self, book: SignerState) -> Result<(), Failure> {
        self.core.keep(key::SIGNER, &book).await?;
        self.book = book;
        Ok(())
    }
}

/// Whom a new node may gossip with first: this node and some others.
fn peers(core: &Core) -> Vec<SocketAddr> {
    let view = core.members.borrow().clone();
    let others = view.members.values().map(|member| member.record.addr);
    let own = core.file.advertise;
    std::iter::once(own).chain(others.filter(|addr| *addr != own)).take(PEERS_MAX).collect()
}

/// What this node knows when it decides.
struct Facts {
    core: Arc<Core>,
    standing: Arc<Standing>,
    members: Arc<MembersView>,
}

impl Facts {
    fn of(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), standing: core.standing.load_full(), members: core.members.borrow().clone() }
    }

    fn decide<T>(&self, decision: impl FnOnce(&Deciding<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let core = &self.core;
        let issuer = self.standing.issuer.as_ref().ok_or_else(|| not_signer(core))?;
        decision(&Deciding {
            issuer,
            bundle: &self.standing.bundle,
            revocations: &self.standing.revocations,
            members: &self.members,
            nodes_max: core.settings.nodes_max,
            lifetime: core.settings.certificate_lifetime,
            now: core.env.clock.wall(),
            random: &core.env.random,
        })
    }
}

fn not_signer(core: &Core) -> Failure {
    Failure::new(Code::NotSigner, format!("node {} is no active signer of the mesh", core.file.node))
}

/// The Signer as the mesh port sees it.
pub(crate) struct Desk(pub(crate) Arc<Core>);

impl SignDesk for Desk {
    fn whereabouts(&self, signer: NodeId) -> BoxFuture<'_, Option<SocketAddr>> {
        let own = (self.0.file.node == signer).then_some(self.0.file.advertise);
        let known = self.0.members.borrow().members.get(&signer).map(|member| member.record.addr);
        Box::pin(async move { own.or(known) })
    }

    fn bundles(&self, after: u64) -> Vec<SignedBundle> {
        bundles_after(&self.0.standing.load().bundles, after)
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<JoinReply, Failure>> {
        Box::pin(async move { self.0.signer.call(|reply| Message::Join(Box::new(request), reply)).await? })
    }

    fn certify(&self, request: CertifyRequest) -> BoxFuture<'_, Result<CertifyReply, Failure>> {
        Box::pin(async move { self.0.signer.call(|reply| Message::Certify(Box::new(request), reply)).await? })
    }
}
