//! Ledger questions over `weft-ledger/1`: answered to members that connect, and asked of a member. Each question has a stream of its own.

use std::sync::Arc;

use async_trait::async_trait;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use weft_identity::NodeId;
use weft_identity::wire::WireError;
use weft_ledger::sync::{Answer, Ask, LedgerDesk, Question, exchange, serve};

use super::links::{Links, Rate};
use crate::quic::{PeerConnection, peer_chain};

/// Questions a second that a peer may ask, and how many at once: a node that is a month behind asks some hundreds in all.
const QUESTIONS_A_SECOND: f64 = 100.0;
const QUESTIONS_AT_ONCE: f64 = 400.0;

/// A member that is asked. Dropping it closes the connection.
#[derive(Debug)]
pub struct LedgerPeer {
    /// The node that its certificate names.
    pub node: NodeId,
    connection: Connection,
}

impl LedgerPeer {
    pub(super) fn new(peer: PeerConnection) -> Self {
        Self { node: peer.node, connection: peer.connection }
    }
}

impl Drop for LedgerPeer {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"done");
    }
}

#[async_trait]
impl Ask for LedgerPeer {
    async fn ask(&self, question: Question) -> Result<Answer, WireError> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(std::io::Error::from)?;
        exchange(&mut send, &mut receive, &question).await
    }
}

/// Answers a member's questions, one after the other, until it goes or is no longer trusted.
pub(super) fn answer_all(links: &Arc<Links>, peer: PeerConnection) {
    let Some(desk) = links.ledger_desk() else {
        peer.connection.close(VarInt::from_u32(6), b"no ledger here");
        return;
    };
    let links = Arc::clone(links);
    tokio::spawn(async move {
        let mut rate = Rate::new(QUESTIONS_A_SECOND, QUESTIONS_AT_ONCE);
        while let Ok(streams) = peer.connection.accept_bi().await {
            if !is_trusted(&links, &peer) {
                return peer.connection.close(VarInt::from_u32(5), b"revoked");
            }
            if !rate.take() {
                links.refused_from(&peer.node, "rate", "more ledger questions than a member asks");
                return peer.connection.close(VarInt::from_u32(4), b"rate");
            }
            answer_one(desk.as_ref(), &peer.node, streams).await;
        }
    });
}

fn is_trusted(links: &Links, peer: &PeerConnection) -> bool {
    peer_chain(&peer.connection).is_some_and(|chain| links.trust().recheck(&chain).is_ok())
}

async fn answer_one(desk: &dyn LedgerDesk, peer: &NodeId, streams: (SendStream, RecvStream)) {
    let (mut send, mut receive) = streams;
    if let Err(error) = serve(&mut send, &mut receive, |question| desk.answer(peer, question)).await {
        tracing::debug!(%error, node = %peer, "a ledger question was not answered");
    }
}
