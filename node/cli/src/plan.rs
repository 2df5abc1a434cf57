//! `weft plan`: what would change and whom it would reach. Nothing is signed or kept. Also what every other signing command asks first.

use std::collections::BTreeMap;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use similar::TextDiff;
use weft_identity::{Code, Failure, NodeId};
use weft_ledger::{Difference, DifferenceKind, DocumentId, Draft, Hash, Prune};
use weft_world::admin::ledger::{DraftView, DraftWish};

use super::args::PlanOptions;
use super::client::{ask, body, read};
use super::output::{Output, Paint};
use super::policies;

/// Lines around a change that a difference shows.
const LINES_AROUND: usize = 3;

/// `weft plan`.
pub(super) async fn run(dir: &Path, output: Output, options: PlanOptions) -> Result<(), Failure> {
    let prune = options.prune.unwrap_or(Prune::Nothing);
    let documents = policies::read(&options.paths, &prune)?;
    let wish = DraftWish::Documents { documents, prune };
    let view = draft(dir, &wish).await?;
    output.result(&text(&view, output.paint()), value(&view));
    check_compiles(&view)?;
    view.draft.check_size()
}

/// Asks the node for a draft and checks that it is what was asked for.
pub(super) async fn draft(dir: &Path, wish: &DraftWish) -> Result<DraftView, Failure> {
    let view: DraftView = read(ask(dir, Method::POST, "/v1/ledger/draft", Some(body(wish)?)).await?)?;
    match broken_promise(wish, &view.draft) {
        None => Ok(view),
        Some(broken) => {
            let detail = format!("the node drafted something else than was asked for: {broken}; nothing was signed");
            Err(Failure::new(Code::Internal, detail))
        }
    }
}

/// Refuses what the node would not compile.
pub(super) fn check_compiles(view: &DraftView) -> Result<(), Failure> {
    if view.mistakes.is_empty() || view.draft.is_empty() || view.draft.confirms.is_some() {
        return Ok(());
    }
    Err(Failure::new(Code::PolicyInvalid, view.mistakes.join("\n")))
}

/// In what a draft is not what was asked for. An operator's name stands under what is signed, whatever the node says.
fn broken_promise(wish: &DraftWish, draft: &Draft) -> Option<String> {
    let is_confirmation = matches!(wish, DraftWish::Confirm(_));
    if draft.confirms.is_some() != is_confirmation {
        return Some("a confirmation for a change, or a change for a confirmation".to_owned());
    }
    let DraftWish::Documents { documents, prune } = wish else { return None };
    let asked: BTreeMap<&DocumentId, Hash> = documents.iter().map(|one| (one.id(), one.hash())).collect();
    let is_asked = |difference: &Difference| match (&difference.new, &difference.old) {
        (Some(new), _) => *new.id() == difference.id && asked.get(&difference.id) == Some(&new.hash()),
        (None, Some(old)) => !asked.contains_key(&difference.id) && *old.id() == difference.id && prune.removes(old),
        (None, None) => false,
    };
    if let Some(other) = draft.differences.iter().find(|difference| !is_asked(difference)) {
        return Some(format!("{} was not asked for", other.id));
    }
    let put = draft.differences.iter().filter(|difference| difference.new.is_some()).count();
    (put + draft.unchanged != documents.len()).then(|| "some documents are missing".to_owned())
}

/// The plan for people.
pub(super) fn text(view: &DraftView, paint: Paint) -> String {
    let draft = &view.draft;
    if draft.is_empty() {
        return format!("nothing to change: {} as in force", counted(draft.unchanged, "document"));
    }
    let width = draft.differences.iter().map(|one| one.id.to_string().len()).max().unwrap_or(0);
    let mut lines: Vec<String> =
        draft.differences.iter().flat_map(|difference| lines_of(difference, width, paint)).collect();
    lines.push(String::new());
    lines.push(summary(draft));
    lines.push(format!("concerns {}", names(&view.concerned)));
    lines.push(reach(view));
    lines.join("\n")
}

/// The plan for programs.
pub(super) fn value(view: &DraftView) -> Value {
    json!({
        "revision": (!view.draft.is_empty()).then_some(view.draft.revision),
        "changes": view.draft.differences.iter().map(change_value).collect::<Vec<_>>(),
        "unchanged": view.draft.unchanged,
        "concerned": view.concerned,
        "reached": view.reached,
        "unreached": view.unreached,
        "mistakes": view.mistakes,
    })
}

/// One line: how many documents change, and how.
pub(super) fn summary(draft: &Draft) -> String {
    if draft.confirms.is_some() {
        return format!("revision {}: a confirmation", draft.revision);
    }
    let of = |kind| draft.differences.iter().filter(|one| one.kind() == kind).count();
    let kinds = [DifferenceKind::Added, DifferenceKind::Changed, DifferenceKind::Moved, DifferenceKind::Removed];
    let parts: Vec<String> =
        kinds.into_iter().filter(|kind| of(*kind) > 0).map(|kind| format!("{} {}", of(kind), word(kind))).collect();
    let rest = if draft.unchanged > 0 { format!(", {} as in force", draft.unchanged) } else { String::new() };
    format!("revision {}: {}{rest}", draft.revision, parts.join(", "))
}

/// One line: how many nodes it reaches, and which not.
pub(super) fn reach(view: &DraftView) -> String {
    let all = view.reached.len() + view.unreached.len();
    let missed = if view.unreached.is_empty() { String::new() } else { format!("; not {}", names(&view.unreached)) };
    format!("reaches {} of {}{missed}", view.reached.len(), counted(all, "node"))
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no node".to_owned() } else { names.join(", ") }
}

fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Added => "added",
        DifferenceKind::Changed => "changed",
        DifferenceKind::Moved => "moved",
        DifferenceKind::Removed => "removed",
    }
}

fn place(document: &weft_ledger::Document) -> String {
    format!("{}:{}", document.file(), document.line())
}

fn lines_of(difference: &Difference, width: usize, paint: Paint) -> Vec<String> {
    let (old, new) = (difference.old.as_deref(), difference.new.as_deref());
    let kind = difference.kind();
    let now = new.map(place);
    let was = old.map(place).filter(|was| Some(was) != now.as_ref()).map(|was| format!("(was {was})"));
    let places: Vec<String> = now.into_iter().chain(was).collect();
    let id = difference.id.to_string();
    let head = format!("{:<7}  {id:<width$}  {}", word(kind), places.join(" "));
    let mut lines = vec![match kind {
        DifferenceKind::Added => paint.green(&head),
        DifferenceKind::Removed => paint.red(&head),
        DifferenceKind::Changed | DifferenceKind::Moved => head,
    }];
    lines.extend(text_difference(difference).lines().map(|line| {
        let shown = format!("    {line}");
        match line.as_bytes().first() {
            Some(b'+') => paint.green(&shown),
            Some(b'-') => paint.red(&shown),
            _ => shown,
        }
    }));
    lines
}

/// The unified difference of a changed document; empty for any other.
fn text_difference(difference: &Difference) -> String {
    let (Some(old), Some(new)) = (&difference.old, &difference.new) else { return String::new() };
    let difference = TextDiff::from_lines(old.text(), new.text());
    let mut unified = difference.unified_diff();
    unified.context_radius(LINES_AROUND).missing_newline_hint(false).to_string()
}

fn change_value(difference: &Difference) -> Value {
    let (old, new) = (difference.old.as_deref(), difference.new.as_deref());
    json!({
        "document": difference.id,
        "change": word(difference.kind()),
        "file": new.map(|document| document.file()),
        "line": new.map(|document| document.line()),
        "old_file": old.map(|document| document.file()),
        "old_line": old.map(|document| document.line()),
        "diff": text_difference(difference),
    })
}

#[cfg(test)]
mod tests;
