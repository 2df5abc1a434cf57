//! What the ledger holds: `weft history`, `weft ls documents`, and the ledger's lines of `weft status`.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use weft_identity::{Code, Failure};
use weft_ledger::RevisionName;
use weft_world::admin::ledger::{DocumentView, HISTORY_MAX, HistoryView};

use super::apply::Place;
use super::args::HistoryOptions;
use super::client::{ask, read};
use super::output::{Output, table};
use super::remote::instant;

/// Digits of an operator's key that are shown; `weft ca show` has all.
const KEY_SHOWN_LEN: usize = 8;

/// `weft history`.
pub(super) async fn run(dir: &Path, output: Output, options: HistoryOptions) -> Result<(), Failure> {
    let path = format!("/v1/history?count={}", options.count);
    let rows: Vec<HistoryView> = read(ask(dir, Method::GET, &path, None).await?)?;
    let shown: Vec<Value> = rows.iter().map(shown).collect();
    let columns = ["revision", "hash", "standing", "at", "node", "operator", "changes", "message"];
    let mut lines = vec![table(&shown, &columns)];
    let has_reason = |row: &&HistoryView| !row.because.is_empty();
    lines.extend(rows.iter().filter(has_reason).map(|row| {
        let until = row.until_ms.map(|until| format!(", {}", instant(until))).unwrap_or_default();
        format!("revision {} ({}) is {}: {}{until}", row.revision, row.hash.short(), row.standing, row.because)
    }));
    output.result(&lines.join("\n"), json!({ "history": rows }));
    Ok(())
}

/// Says that a change that was to be confirmed is made to stay when it is made again without `--confirm`.
pub(super) async fn note_unconfirmed(place: Place<'_>, revision: &str) -> Result<(), Failure> {
    let path = format!("/v1/history?count={HISTORY_MAX}");
    let rows: Vec<HistoryView> = read(ask(place.dir, Method::GET, &path, None).await?)?;
    let name: RevisionName = revision.parse()?;
    let is_meant = |row: &&HistoryView| match &name {
        RevisionName::Number(number) => row.revision == *number,
        RevisionName::Prefix(prefix) => row.hash.to_string().starts_with(prefix),
    };
    if rows.iter().find(is_meant).is_some_and(|row| matches!(row.standing.as_str(), "expired" | "unconfirmed")) {
        let text =
            format!("revision {revision} was to be confirmed; this time it stays without, unless --confirm is given");
        place.output.note(&text);
    }
    Ok(())
}

/// `weft ls documents [KIND/NAME]`: all, or the text of one.
pub(super) async fn documents(dir: &Path, output: Output, only: Option<String>) -> Result<(), Failure> {
    let mut rows: Vec<DocumentView> = read(ask(dir, Method::GET, "/v1/documents", None).await?)?;
    let Some(only) = only else {
        let shown: Vec<Value> = rows.iter().map(listed).collect();
        let columns = ["document", "revision", "services", "place"];
        output.result(&table(&shown, &columns), json!({ "documents": rows }));
        return Ok(());
    };
    rows.retain(|row| row.id.to_string() == only);
    let Some(row) = rows.first() else {
        let detail = format!("no document {only:?} is in force; `weft ls documents` names those that are");
        return Err(Failure::new(Code::UsageInvalid, detail));
    };
    let text = format!("# {}:{} (revision {})\n{}", row.file, row.line, row.revision, row.text);
    output.result(&text, json!({ "documents": rows }));
    Ok(())
}

/// The ledger in a few lines.
pub(super) fn ledger_text(ledger: &Value) -> String {
    let mut lines = vec![
        format!("revision: {}", ledger["revision"]),
        format!("revision in force: {}", ledger["in_force"]),
        format!("documents: {}", ledger["documents"]),
    ];
    let mistakes = ledger["mistakes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(mistakes.map(|mistake| format!("not in force here: {mistake}")));
    for row in ledger["set_aside"].as_array().into_iter().flatten() {
        let hash: String = row["hash"].as_str().unwrap_or_default().chars().take(KEY_SHOWN_LEN).collect();
        let because = row["because"].as_str().unwrap_or_default();
        lines.push(format!("set aside: revision {} ({hash}): {because}; weft apply --again {hash}", row["revision"]));
    }
    lines.join("\n")
}

fn shown(row: &HistoryView) -> Value {
    let changes: Vec<String> =
        row.puts.iter().map(ToString::to_string).chain(row.removes.iter().map(|id| format!("-{id}"))).collect();
    let some = match changes.as_slice() {
        [] => "confirms".to_owned(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    };
    json!({
        "revision": row.revision,
        "hash": row.hash.short(),
        "standing": row.standing,
        "at": instant(row.at_ms),
        "node": row.node,
        "operator": row.operator.chars().take(KEY_SHOWN_LEN).collect::<String>(),
        "changes": some,
        "message": row.message,
    })
}

fn listed(row: &DocumentView) -> Value {
    let services: Option<Vec<String>> =
        row.services.as_ref().map(|services| services.iter().map(ToString::to_string).collect());
    json!({
        "document": row.id,
        "revision": row.revision,
        "services": services.unwrap_or_else(|| vec!["the whole mesh".to_owned()]),
        "place": format!("{}:{}", row.file, row.line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_and_what_is_not_in_force_is_told() {
        let text = ledger_text(&json!({
            "revision": 12, "in_force": 11, "documents": 3, "mistakes": ["a.toml:1:1: unknown key"],
            "set_aside": [{ "revision": 12, "hash": "ab".repeat(32), "because": "route/one had changed meanwhile" }],
        }));
        assert!(text.contains("revision: 12\nrevision in force: 11\n"), "{text}");
        assert!(text.contains("not in force here: a.toml:1:1: unknown key"), "{text}");
        assert!(text.ends_with("weft apply --again abababab"), "{text}");
    }
}
