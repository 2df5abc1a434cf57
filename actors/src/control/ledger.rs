//! What an operator can ask of the ledger: what is in force, what would change, take this in, who has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_gossip::membership::{Member, MemberState};
use weft_identity::{Code, Failure, NodeId, ServiceName};
use weft_ledger::journal::{Posting, VerifiedEntry};
use weft_ledger::{Change, Document, DocumentId, Draft, Hash, HistoryRow, RevisionName, SignedDraft, Standing, State};
use weft_policy::{InForce, Kind};
use weft_world::admin::ledger::{
    Applied, DocumentView, DraftView, DraftWish, HISTORY_MAX, HistoryView, LedgerStatus, Reach, ReceiptRow, Revoked,
};

use super::NodeControl;
use crate::actor::policy::job;
use crate::core::Core;
use crate::message::ledger;

impl NodeControl {
    /// The ledger in one look.
    pub fn ledger(&self) -> Result<LedgerStatus, Failure> {
        let core = &self.0;
        let (held, rules) = (core.held()?, core.rules());
        let head = held.ledger.head(&rules);
        let (own, report) = (&core.file.node, core.policy.load_full());
        let history: Vec<HistoryRow> = held.ledger.history(&rules).take(HISTORY_MAX).collect();
        let is_aside = |row: &&HistoryRow| {
            row.author_node == *own
                && matches!(row.standing, Standing::SetAside { .. })
                && !is_made_again(row, &history)
        };
        Ok(LedgerStatus {
            revision: head.revision,
            tips: head.tips,
            documents: held.ledger.state(&rules).len(),
            in_force: if report.mistakes.is_empty() {
                newest_counting(&history, report.mark.revision)
            } else {
                core.world.load().policy.revision()
            },
            mistakes: report.mistakes.clone(),
            set_aside: history.iter().filter(is_aside).cloned().map(view_of).collect(),
        })
    }

    /// The documents in force, by kind and name.
    pub fn documents(&self) -> Result<Vec<DocumentView>, Failure> {
        let state = self.0.held()?.ledger.state(&self.0.rules());
        let view = |(id, entry): (&DocumentId, &weft_ledger::StateEntry)| DocumentView {
            id: id.clone(),
            services: entry.document.services().map(|services| services.iter().cloned().collect()),
            file: entry.document.file().to_owned(),
            line: entry.document.line(),
            revision: entry.revision,
            hash: entry.hash,
            text: entry.document.text().to_owned(),
        };
        Ok(state.iter().map(view).collect())
    }

    /// The newest change sets, at most [`HISTORY_MAX`].
    pub fn history(&self, count: usize) -> Result<Vec<HistoryView>, Failure> {
        let held = self.0.held()?;
        Ok(held.ledger.history(&self.0.rules()).take(count.min(HISTORY_MAX)).map(view_of).collect())
    }

    /// One change set.
    pub fn change_set(&self, hash: &Hash) -> Result<HistoryView, Failure> {
        let held = self.0.held()?;
        held.ledger.history_row(hash, &self.0.rules()).map(view_of).ok_or_else(|| unknown(hash))
    }

    /// What would change. Nothing is kept.
    pub fn draft(&self, wish: DraftWish) -> Result<DraftView, Failure> {
        let core = &self.0;
        let (held, rules) = (core.held()?, core.rules());
        let name = |text: String| text.parse::<RevisionName>();
        let draft = match wish {
            DraftWish::Documents { documents, prune } => held.ledger.draft(documents, &prune, &rules)?,
            DraftWish::Rollback { to, revocations } => {
                let is_revocation = |id: &DocumentId| id.kind() == Kind::Revocation.word();
                let stays = |id: &DocumentId| revocations == Revoked::Stay && is_revocation(id);
                held.ledger.rollback(&name(to)?, &stays, &rules)?
            }
            DraftWish::Again(of) => held.ledger.again(&name(of)?, &rules)?,
            DraftWish::Confirm(of) => held.ledger.confirmation(&name(of)?, &rules)?,
        };
        let mistakes = would_not_compile(core, &held.ledger.state(&rules), &draft);
        let (reached, unreached) = reach(core);
        Ok(DraftView {
            mistakes,
            concerned: concerned(core, &draft),
            reached,
            unreached,
            node: core.file.node.clone(),
            draft,
        })
    }

    /// Takes in a signed change set; done once it is on disk here. The others fetch it.
    pub async fn apply(&self, signed: SignedDraft, wanted: Reach) -> Result<Applied, Failure> {
        let core = &self.0;
        let (reached, unreached) = reach(core);
        if wanted == Reach::Half && reached.len() < unreached.len() {
            let detail = format!("only {} of {} nodes answer", reached.len(), reached.len() + unreached.len());
            return Err(Failure::new(Code::ReachTooSmall, detail));
        }
        let message = |reply| ledger::Message::Apply(Box::new(signed), reply);
        let hash = core.ledger_actor.call(message).await??;
        let held = core.held()?;
        let revision = held.ledger.entry(&hash).map_or(0, |entry| entry.change_set.revision);
        Ok(Applied { revision, hash })
    }

    /// Appends to this node's own journal; done once it is on disk here. The others fetch it.
    pub async fn post(&self, posting: Posting) -> Result<(), Failure> {
        self.0.ledger_actor.call(|reply| ledger::Message::Post(posting, reply)).await?
    }

    /// The entries of all journals: by time, then writer, then number.
    pub fn journal(&self) -> Result<Vec<Arc<VerifiedEntry>>, Failure> {
        Ok(self.0.held()?.journals.merged().cloned().collect())
    }

    /// Which nodes have a change set in force.
    pub fn receipt(&self, hash: &Hash) -> Result<Vec<ReceiptRow>, Failure> {
        let core = &self.0;
        let held = core.held()?;
        let holding = held.ledger.with_descendants(hash).ok_or_else(|| unknown(hash))?;
        let row = |node: &NodeId, mark: &weft_ledger::LedgerMark, answers: bool| {
            let state = match (mark.tips.iter().any(|tip| holding.contains(tip)), &mark.refused, answers) {
                (true, None, _) => "in-force",
                (true, Some(_), _) => "refused",
                (false, _, true) => "lacking",
                (false, _, false) => "silent",
            };
            let because = mark.refused.clone().filter(|_| state == "refused").unwrap_or_default();
            ReceiptRow { node: node.clone(), state: state.to_owned(), because }
        };
        let view = core.members.borrow().clone();
        let others = view.members.values().filter(|member| member.record.node != core.file.node);
        let mut rows: Vec<ReceiptRow> = others
            .map(|member| row(&member.record.node, &member.record.ledger, member.state == MemberState::Alive))
            .collect();
        rows.push(row(&core.file.node, &core.policy.load().mark, true));
        rows.sort_by(|one, two| one.node.cmp(&two.node));
        Ok(rows)
    }
}

/// The newest revision, not above `most`, that counts and changes a document.
fn newest_counting(history: &[HistoryRow], most: u64) -> u64 {
    let mut changes = history.iter().filter(|row| row.revision <= most && !row.changes.is_empty());
    changes.find(|row| counts(row)).map_or(0, |row| row.revision)
}

fn counts(row: &HistoryRow) -> bool {
    matches!(row.standing, Standing::Applied | Standing::Unconfirmed { .. })
}

/// Whether all that a change set wanted came later all the same, in change sets that count.
fn is_made_again(aside: &HistoryRow, history: &[HistoryRow]) -> bool {
    let is_later = |row: &&HistoryRow| row.revision > aside.revision && counts(row);
    let is_made = |wanted: &Change| {
        let is_same = |made: &Change| made.id == wanted.id && made.after == wanted.after;
        history.iter().filter(is_later).any(|row| row.changes.iter().any(is_same))
    };
    aside.changes.iter().all(is_made)
}

fn unknown(hash: &Hash) -> Failure {
    Failure::new(Code::RevisionUnknown, format!("this node has no change set {hash}"))
}

/// Members that answer, this node among them, and those that do not.
fn reach(core: &Core) -> (Vec<NodeId>, Vec<NodeId>) {
    let view = core.members.borrow().clone();
    let is_reached = |member: &&Member| member.state == MemberState::Alive || member.record.node == core.file.node;
    let (reached, unreached): (Vec<&Member>, Vec<&Member>) = view.members.values().partition(is_reached);
    let nodes = |members: Vec<&Member>| members.into_iter().map(|member| member.record.node.clone()).collect();
    (nodes(reached), nodes(unreached))
}

/// Nodes that decide by the draft's documents: those that offer a service which they concern; for the whole mesh, and for what callers do,
/// all.
fn concerned(core: &Core, draft: &Draft) -> Vec<NodeId> {
    let documents: Vec<&Arc<Document>> =
        draft.differences.iter().flat_map(|difference| difference.old.iter().chain(&difference.new)).collect();
    let concerns = |service: &ServiceName| {
        documents.iter().any(|document| document.services().is_none_or(|services| services.contains(service)))
    };
    let is_of_callers = |kind: &str| [Kind::Route, Kind::Traffic].iter().any(|known| known.word() == kind);
    let is_everywhere =
        |document: &&Arc<Document>| document.services().is_none() || is_of_callers(document.id().kind());
    let whole_mesh = documents.iter().any(is_everywhere);
    let view = core.members.borrow().clone();
    let found = view
        .members
        .values()
        .filter(|member| whole_mesh || member.record.replicas.iter().any(|replica| concerns(&replica.service)));
    found.map(|member| member.record.node.clone()).collect()
}

/// What this node would not compile if the draft were in force.
fn would_not_compile(core: &Core, state: &State, draft: &Draft) -> Vec<String> {
    let replaced: BTreeSet<&DocumentId> = draft.differences.iter().map(|difference| &difference.id).collect();
    let kept = state.iter().filter(|(id, _)| !replaced.contains(id)).map(|(_, entry)| job::in_force(entry));
    let added = draft.differences.iter().filter_map(|difference| difference.new.as_ref()).map(|document| InForce {
        document: Arc::clone(document),
        hash: document.hash(),
        revision: draft.revision,
    });
    let documents: Vec<InForce> = kept.chain(added).collect();
    job::compile(core, &documents).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn view_of(row: HistoryRow) -> HistoryView {
    let (puts, removes): (Vec<_>, Vec<_>) = row.changes.iter().partition(|change| change.after.is_some());
    let ids = |changes: Vec<&weft_ledger::Change>| changes.into_iter().map(|change| change.id.clone()).collect();
    let (standing, because) = match &row.standing {
        Standing::Applied => ("applied", String::new()),
        Standing::SetAside { document } => ("set aside", format!("{document} had changed meanwhile")),
        Standing::Unconfirmed { .. } => {
            ("unconfirmed", "counts until its deadline unless somebody confirms it".to_owned())
        }
        Standing::Expired => ("expired", "nobody confirmed it in time".to_owned()),
        Standing::Uncounted { refusal } => ("uncounted", refusal.to_string()),
    };
    let until_ms = match &row.standing {
        Standing::Unconfirmed { until } => Some(until.0),
        _ => None,
    };
    HistoryView {
        until_ms,
        revision: row.revision,
        hash: row.hash,
        operator: row.operator.to_string(),
        node: row.author_node,
        at_ms: row.at.0,
        message: row.message,
        puts: ids(puts),
        removes: ids(removes),
        standing: standing.to_owned(),
        because,
    }
}
