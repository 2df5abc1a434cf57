//! How nodes exchange ledger and journals: one question and one answer over each bidirectional stream. The answering end is a pure
//! function of what a node holds ([`answer`]); the asking end is [`Pull`].

mod answer;
mod pull;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use weft_identity::NodeId;
use weft_identity::wire::{self, Kind, WireError};

use super::change_set::SignedChangeSet;
use super::document::Document;
use super::entry::Place;
use super::hash::Hash;
use super::journal::{JournalBatch, JournalHead, JournalPlace, More};

pub use answer::{View, answer};
pub use pull::{Ask, Local, PULL_LABELS, PULL_QUESTIONS_MAX, PULL_SIZE_MAX, Pull, PullError, Pulled};

/// Longest question, in bytes: 1,024 hashes.
pub const QUESTION_LEN_MAX: usize = 64 * 1024;
/// Longest answer, in bytes.
pub const ANSWER_LEN_MAX: usize = 1024 * 1024;
/// Bytes that an answer is filled up to. The rest is room for one change set, or an enrolment, of 256 KiB.
const ANSWER_FILL: usize = ANSWER_LEN_MAX - 320 * 1024;
/// Most hashes with which an asker says what it has.
pub const HAVE_MAX: usize = 64;
/// Most documents in one question.
pub const HASHES_MAX: usize = 1024;
/// Most tips in one answer; more only come of a split into more parts than that.
pub const TIPS_MAX: usize = 1024;
/// A question and its answer take no longer.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// What one node asks another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Where do your ledger and journals end?
    Head,
    /// Which change sets do you have that are not at or below these? In order, from a place on.
    ChangeSets {
        /// Tips of the asker, and some change sets below them.
        have: Vec<Hash>,
        /// Revision and hash of the last one that the asker got of this question.
        after: Option<Place>,
    },
    /// These documents.
    Documents {
        /// Which.
        hashes: Vec<Hash>,
    },
    /// What follows in one journal?
    Journal(JournalPlace),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// There they end.
    Head(HeadReport),
    /// These change sets, by revision, then hash.
    ChangeSets {
        /// Which.
        change_sets: Vec<SignedChangeSet>,
        /// Whether more follow the last one.
        more: More,
    },
    /// As many of them as are there and fit, in the order of the question.
    Documents(Vec<Document>),
    /// These entries, and whether there are more; none if the journal is not here.
    Journal(Option<(Box<JournalBatch>, More)>),
    /// No answer, and why.
    Refused {
        /// The reason as a label of a metric.
        label: String,
        /// For people.
        detail: String,
    },
}

/// Where a node's ledger and journals end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadReport {
    /// The epoch of its trust bundle.
    pub epoch: u64,
    /// Its highest revision.
    pub revision: u64,
    /// One hash for all its tips.
    pub hash: Hash,
    /// Its tips, the highest if there are very many.
    pub tips: Vec<Hash>,
    /// Its journals.
    pub journals: Vec<JournalHead>,
}

/// Who answers the questions of members. Called once a question, by a task of its connection; bounded work, no waiting.
pub trait LedgerDesk: Send + Sync {
    /// Answers a question of this node, which its certificate proves.
    fn answer(&self, peer: &NodeId, question: Question) -> Answer;
}

/// Asks one question over a fresh stream. Not cancel safe: a stream is for one exchange.
pub async fn exchange<W, R>(send: &mut W, receive: &mut R, question: &Question) -> Result<Answer, WireError>
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let exchange = async {
        wire::write(send, Kind::LedgerQuestion, question).await?;
        send.shutdown().await?;
        wire::read(receive, Kind::LedgerAnswer, ANSWER_LEN_MAX).await
    };
    in_time(exchange).await
}

/// Answers the one question of a stream. An error says that the asker broke the protocol or went away.
pub async fn serve<W, R>(
    send: &mut W,
    receive: &mut R,
    answer: impl FnOnce(Question) -> Answer,
) -> Result<(), WireError>
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let exchange = async {
        let question = wire::read(receive, Kind::LedgerQuestion, QUESTION_LEN_MAX).await?;
        wire::write(send, Kind::LedgerAnswer, &answer(question)).await?;
        send.shutdown().await?;
        Ok(())
    };
    in_time(exchange).await
}

async fn in_time<T>(exchange: impl Future<Output = Result<T, WireError>>) -> Result<T, WireError> {
    match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
        Ok(done) => done,
        Err(_) => Err(WireError::Stream(std::io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests;
