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
use weft_gossip::identity::{Issuer, JoinToken};
use weft_gossip::signer::{Deciding, SignerState, TokenWish};
use weft_gossip::{Code, Failure, NodeId};

use crate::address::Reply;
use crate::core::Core;
use crate::shell::Role;
use crate::store::key;

/// Most peers told to a new node: gossip brings the rest.
const PEERS_MAX: usize = 20;

/// What the Signer is sent.
pub(crate) enum Message {
    /// Make a token.
    CreateToken(TokenWish, Reply<Result<JoinToken, Failure>>),
    /// Admit a node.
    Join(Box<JoinRequest>, Reply<Result<JoinReply, Failure>>),
    /// Issue certificates.
    Certify(Box<CertifyRequest>, Reply<Result<CertifyReply, Failure>>),
}

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
            Message::Certify(request, reply) => drop(reply.send(self.certify(&request))),
        }
        Ok(())
    }
}

impl Signer {
    async fn create_token(&mut self, wish: TokenWish) -> Result<JoinToken, Failure> {
        let mut book = self.book.clone();
        let token = book.create_token(&deciding(&self.core)?, wish)?;
        self.keep(book).await?;
        Ok(token)
    }

    async fn join(&mut self, request: &JoinRequest) -> Result<JoinReply, Failure> {
        let mut book = self.book.clone();
        let admission = book.decide_join(&deciding(&self.core)?, request)?;
        self.keep(book).await?;
        tracing::info!(node = %request.node, "a node was admitted");
        Ok(JoinReply {
            bundle: self.core.state.signed_bundle.clone(),
            enrolment: admission.enrolment,
            chain: admission.chain,
            peers: peers(&self.core),
        })
    }

    fn certify(&self, request: &CertifyRequest) -> Result<CertifyReply, Failure> {
        let chains = self.book.decide_certify(&deciding(&self.core)?, request)?;
        Ok(CertifyReply { bundle: self.core.state.signed_bundle.clone(), chains })
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
    let own = core.state.file.advertise;
    std::iter::once(own).chain(others.filter(|addr| *addr != own)).take(PEERS_MAX).collect()
}

fn deciding(core: &Core) -> Result<Deciding<'_>, Failure> {
    let issuer: &Issuer = core.state.issuer.as_ref().ok_or_else(|| not_signer(core))?;
    Ok(Deciding {
        issuer,
        bundle: &core.state.bundle,
        lifetime: core.settings.certificate_lifetime,
        now: core.env.clock.wall(),
        random: &core.env.random,
    })
}

fn not_signer(core: &Core) -> Failure {
    Failure::new(Code::NotSigner, format!("node {} has no signer role", core.state.file.node))
}

/// The Signer as the mesh port sees it.
pub(crate) struct Desk(pub(crate) Arc<Core>);

impl SignDesk for Desk {
    fn whereabouts(&self, signer: NodeId) -> BoxFuture<'_, Option<SocketAddr>> {
        let own = (self.0.state.file.node == signer).then_some(self.0.state.file.advertise);
        let known = self.0.members.borrow().members.get(&signer).map(|member| member.record.addr);
        Box::pin(async move { own.or(known) })
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<JoinReply, Failure>> {
        Box::pin(async move { self.0.signer.call(|reply| Message::Join(Box::new(request), reply)).await? })
    }

    fn certify(&self, request: CertifyRequest) -> BoxFuture<'_, Result<CertifyReply, Failure>> {
        Box::pin(async move { self.0.signer.call(|reply| Message::Certify(Box::new(request), reply)).await? })
    }
}
