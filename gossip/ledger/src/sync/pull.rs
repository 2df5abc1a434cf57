//! The asking end: what a node lacks, from one peer, in batches to be checked, written and inserted. Bounded in questions and bytes. After
//! a broken stream the same pull goes on where it was, and a new one begins where the ledger is.
//!
//! ```text
//! Start -> Trust -> Gather <-> Batches -> Journals -> Done
//! ```
//!
//! Change sets are gathered before the first is checked, because it may take a later author's word to let an earlier one in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use weft_identity::wire::WireError;

use super::super::Ledger;
use super::super::batch::{Batch, arrivals};
use super::super::change_set::SignedChangeSet;
use super::super::document::Document;
use super::super::entry::Place;
use super::super::hash::Hash;
use super::super::journal::{JournalBatch, JournalHead, JournalPlace, Journals, More, Reader};
use super::super::operators::{Rules, Vouched};
use super::{Answer, HASHES_MAX, HeadReport, Question};

/// Most questions of one pull; what is left is for the next.
pub const PULL_QUESTIONS_MAX: usize = 4_096;
/// Most bytes of one pull.
pub const PULL_SIZE_MAX: usize = 512 * 1024 * 1024;
/// Change sets that are gathered before they are checked, in bytes.
const GATHER_SIZE_MAX: usize = 32 * 1024 * 1024;
/// Most change sets in one batch: a write of the store each.
const BATCH_LEN_MAX: usize = 256;

/// Whoever is asked.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Asks one question.
    async fn ask(&self, question: Question) -> Result<Answer, WireError>;
}

/// What this node holds, between two steps of a pull.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The journals.
    pub journals: &'a Journals,
    /// By what is judged.
    pub rules: &'a Rules,
    /// In what role this node reads.
    pub reader: Reader,
}

/// What came, to be verified before anything else.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// The peer holds a newer trust bundle: to be fetched from it and taken in before the next step, because change sets are judged by it.
    NewerBundle,
    /// For [`Ledger::check`].
    ChangeSets(Batch),
    /// For [`Journals::check`].
    Journal(Box<JournalBatch>),
}

/// Why a pull does not go on with this peer.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The exchange failed.
    #[error("the exchange failed: {0}")]
    Exchange(#[from] WireError),
    /// The peer refused.
    #[error("the peer refused: {detail} ({label})")]
    Refused {
        /// The peer's reason.
        label: String,
        /// For people.
        detail: String,
    },
    /// The answer is not one to the question.
    #[error("the peer answered something else than it was asked")]
    OtherAnswer,
    /// The answer repeats or mixes up what was sent, or brings nothing where there must be something.
    #[error("the peer makes no progress: {0}")]
    NoProgress(&'static str),
    /// A limit of one pull; the next one goes on.
    #[error("the pull is at its limit of {0}")]
    Limit(&'static str),
}

/// Every label of a [`PullError`], for the metric that counts pulls.
pub const PULL_LABELS: &[&str] = &["exchange", "refused", "other-answer", "no-progress", "limit"];

impl PullError {
    /// The reason as a label of a metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::Refused { .. } => "refused",
            Self::OtherAnswer => "other-answer",
            Self::NoProgress(_) => "no-progress",
            Self::Limit(_) => "limit",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Trust,
    Gather,
    Batches,
    Journals,
    Done,
}

/// One pull from one peer.
#[derive(Debug)]
pub struct Pull {
    stage: Stage,
    questions: usize,
    size: usize,
    report: Option<HeadReport>,
    fetched_after: Option<u64>,
    /// What was said to be here, the same in every question for change sets.
    have: Option<Vec<Hash>>,
    after: Option<Place>,
    more: More,
    gathered: VecDeque<SignedChangeSet>,
    gathered_size: usize,
    vouched: Vouched,
    /// The next batch, while its documents come.
    documents: BTreeMap<Hash, Document>,
    journals: VecDeque<JournalHead>,
    asked_place: Option<JournalPlace>,
}

impl Default for Pull {
    fn default() -> Self {
        Self::new()
    }
}

impl Pull {
    /// A pull that has not begun.
    pub fn new() -> Self {
        Self {
            stage: Stage::Start,
            questions: 0,
            size: 0,
            report: None,
            fetched_after: None,
            have: None,
            after: None,
            more: More::Yes,
            gathered: VecDeque::new(),
            gathered_size: 0,
            vouched: Vouched::default(),
            documents: BTreeMap::new(),
            journals: VecDeque::new(),
            asked_place: None,
        }
    }

    /// Where the peer's ledger and journals end, once it has said so.
    pub fn report(&self) -> Option<&HeadReport> {
        self.report.as_ref()
    }

    /// The next thing that came, or none if this node has what the peer has. `local` is what the node holds by now, with everything in it
    /// that came before and was good. After an error of the exchange it may be called again. Not cancel safe: a cancelled question is
    /// asked again.
    pub async fn next(&mut self, local: &Local<'_>, peer: &dyn Ask) -> Result<Option<Pulled>, PullError> {
        loop {
            let pulled = match self.stage {
                Stage::Start => self.start(peer).await?,
                Stage::Trust => self.trust(local),
                Stage::Gather => self.gather(local, peer).await?,
                Stage::Batches => self.batch(local, peer).await?,
                Stage::Journals => self.journal(local, peer).await?,
                Stage::Done => return Ok(None),
            };
            if pulled.is_some() {
                return Ok(pulled);
            }
        }
    }

    async fn ask(&mut self, peer: &dyn Ask, question: Question) -> Result<Answer, PullError> {
        if self.questions >= PULL_QUESTIONS_MAX {
            return Err(PullError::Limit("questions"));
        }
        if self.size >= PULL_SIZE_MAX {
            return Err(PullError::Limit("bytes"));
        }
        self.questions += 1;
        match peer.ask(question).await? {
            Answer::Refused { label, detail } => Err(PullError::Refused { label, detail }),
            answer => Ok(answer),
        }
    }

    async fn start(&mut self, peer: &dyn Ask) -> Result<Option<Pulled>, PullError> {
        let Answer::Head(report) = self.ask(peer, Question::Head).await? else { return Err(PullError::OtherAnswer) };
        self.journals = report.journals.iter().cloned().collect();
        self.report = Some(report);
        self.stage = Stage::Trust;
        Ok(None)
    }

    /// A bundle is handed over as often as it brings another epoch: what was not believed gets no better by being fetched again.
    fn trust(&mut self, local: &Local<'_>) -> Option<Pulled> {
        let epoch = local.rules.bundle.epoch;
        let ahead = self.report.as_ref().is_some_and(|report| report.epoch > epoch);
        if ahead && self.fetched_after != Some(epoch) {
            self.fetched_after = Some(epoch);
            return Some(Pulled::NewerBundle);
        }
        self.stage = Stage::Gather;
        None
    }

    async fn gather(&mut self, local: &Local<'_>, peer: &dyn Ask) -> Result<Option<Pulled>, PullError> {
        let lacks = self.report.as_ref().is_some_and(|report| {
            report.hash != local.ledger.head(local.rules).hash()
                && (report.tips.len() >= super::TIPS_MAX
                    || report.tips.iter().any(|tip| local.ledger.entry(tip).is_none()))
        });
        if !lacks || self.more == More::No {
            self.stage = Stage::Journals;
            return Ok(None);
        }
        let have = self.have.get_or_insert_with(|| local.ledger.sample(local.rules)).clone();
        let question = Question::ChangeSets { have, after: self.after };
        let Answer::ChangeSets { change_sets, more } = self.ask(peer, question).await? else {
            return Err(PullError::OtherAnswer);
        };
        self.fold(local, change_sets, more)?;
        if more == More::No || self.gathered_size >= GATHER_SIZE_MAX {
            let mut malformed = Vec::new();
            let gathered: Vec<SignedChangeSet> = self.gathered.iter().cloned().collect();
            let arrivals = arrivals(&local.ledger.graph, gathered, &mut malformed);
            self.vouched = Vouched::of(&arrivals, local.rules);
            self.stage = Stage::Batches;
        }
        Ok(None)
    }

    /// Takes an answer in, if it goes on where the last one ended.
    fn fold(&mut self, local: &Local<'_>, change_sets: Vec<SignedChangeSet>, more: More) -> Result<(), PullError> {
        if more == More::Yes && change_sets.is_empty() {
            return Err(PullError::NoProgress("it says that there is more and sends nothing"));
        }
        let mut place = self.after;
        for signed in &change_sets {
            let claim = signed.signed.claim().map_err(|_| PullError::NoProgress("a change set does not decode"))?;
            let next = (claim.revision, signed.hash());
            if place.is_some_and(|last| next <= last) {
                return Err(PullError::NoProgress("its change sets are not in order"));
            }
            place = Some(next);
        }
        for signed in change_sets {
            self.size += signed.size();
            if local.ledger.entry(&signed.hash()).is_none() {
                self.gathered_size += signed.size();
                self.gathered.push_back(signed);
            }
        }
        (self.after, self.more) = (place, more);
        Ok(())
    }

    async fn batch(&mut self, local: &Local<'_>, peer: &dyn Ask) -> Result<Option<Pulled>, PullError> {
        if self.gathered.is_empty() {
            self.gathered_size = 0;
            self.stage = Stage::Gather;
            return Ok(None);
        }
        let (len, wanted) = self.next_batch(local.ledger);
        let mut open: Vec<Hash> = wanted.iter().filter(|hash| !self.documents.contains_key(hash)).copied().collect();
        while !open.is_empty() {
            let hashes: Vec<Hash> = open.iter().take(HASHES_MAX).copied().collect();
            let Answer::Documents(documents) = self.ask(peer, Question::Documents { hashes }).await? else {
                return Err(PullError::OtherAnswer);
            };
            let before = open.len();
            self.size += documents.iter().map(Document::size).sum::<usize>();
            let by_hash = documents.into_iter().map(|document| (document.hash(), document));
            self.documents.extend(by_hash.filter(|(hash, _)| wanted.contains(hash)));
            open.retain(|hash| !self.documents.contains_key(hash));
            if open.len() == before {
                // The peer lacks documents of its own change sets; those are refused by the check, the others may be good.
                break;
            }
        }
        let batch = Batch {
            change_sets: self.gathered.drain(..len).collect(),
            documents: std::mem::take(&mut self.documents).into_values().collect(),
            vouched: self.vouched.clone(),
        };
        Ok(Some(Pulled::ChangeSets(batch)))
    }

    /// How many of the gathered change sets are next, and which documents they need: of one question, or of one change set.
    fn next_batch(&self, ledger: &Ledger) -> (usize, BTreeSet<Hash>) {
        let mut wanted = BTreeSet::new();
        let mut len = 0;
        for signed in self.gathered.iter().take(BATCH_LEN_MAX) {
            let more = ledger.missing_documents(std::slice::from_ref(signed));
            let together = more.iter().filter(|hash| !wanted.contains(*hash)).count() + wanted.len();
            if len > 0 && together > HASHES_MAX {
                break;
            }
            wanted.extend(more);
            len += 1;
        }
        (len, wanted)
    }

    async fn journal(&mut self, local: &Local<'_>, peer: &dyn Ask) -> Result<Option<Pulled>, PullError> {
        let Some(theirs) = self.journals.front().cloned() else {
            self.stage = Stage::Done;
            return Ok(None);
        };
        let place = place_to_ask(&theirs, local).filter(|place| self.asked_place.as_ref() != Some(place));
        let Some(place) = place else {
            self.journals.pop_front();
            return Ok(None);
        };
        let question = Question::Journal(place.clone());
        let Answer::Journal(found) = self.ask(peer, question).await? else { return Err(PullError::OtherAnswer) };
        self.asked_place = Some(place);
        let Some((batch, _)) = found else {
            self.journals.pop_front();
            return Ok(None);
        };
        self.size += batch.entries.iter().map(|entry| entry.size()).sum::<usize>();
        Ok(Some(Pulled::Journal(batch)))
    }
}

/// From where this node must ask for a journal, if the peer has what it lacks.
fn place_to_ask(theirs: &JournalHead, local: &Local<'_>) -> Option<JournalPlace> {
    let ours = local.journals.head(&theirs.writer);
    let (sequence, complete, hash, frozen) =
        ours.map_or((0, 0, None, false), |ours| (ours.sequence, ours.complete, ours.hash, ours.frozen));
    let lacks_bodies = local.reader == Reader::Gateway && theirs.complete > complete && complete < sequence;
    let lacks_entries = theirs.sequence > sequence && !frozen;
    let differs = theirs.sequence == sequence && theirs.hash != hash;
    let contradicted = theirs.frozen && (!frozen || theirs.sequence < sequence);
    let after = if lacks_bodies && !contradicted { complete } else { sequence };
    let last = local.journals.entry(&theirs.writer, after).map(|held| Arc::clone(held).hash);
    (lacks_bodies || lacks_entries || differs || contradicted).then(|| JournalPlace {
        writer: theirs.writer.clone(),
        after,
        last,
    })
}
