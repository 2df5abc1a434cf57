//! The commands and options of what operators sign: `weft plan`, `apply`, `confirm`, `history`, `rollback`, `revoke`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use weft_identity::NodeId;
use weft_ledger::{CONFIRM_SPAN_MAX, Prune};

use super::span;

/// `weft plan`.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// Policy files, or directories whose *.toml files are read, those of folders in them, too.
    #[arg(required = true, value_name = "DIR|FILE")]
    pub paths: Vec<PathBuf>,
    /// Removes documents of this scope that are in force and not in the files: all, kind/KIND, service/NAME or
    /// document/KIND/NAME. Without it nothing is removed.
    #[arg(long, value_parser = prune, value_name = "SCOPE")]
    pub prune: Option<Prune>,
}

/// `weft apply`.
#[derive(Debug, Args)]
pub struct ApplyOptions {
    /// Policy files, or directories whose *.toml files are read, those of folders in them, too.
    #[arg(required_unless_present = "again", value_name = "DIR|FILE")]
    pub paths: Vec<PathBuf>,
    /// Removes documents of this scope that are in force and not in the files: all, kind/KIND, service/NAME or
    /// document/KIND/NAME. Without it nothing is removed.
    #[arg(long, value_parser = prune, value_name = "SCOPE")]
    pub prune: Option<Prune>,
    /// Takes the change back on every node unless `weft confirm` comes within this span, at most 24h. `--again` does not keep the span of
    /// the first time.
    #[arg(long, value_parser = confirm_span, value_name = "SPAN")]
    pub confirm: Option<Duration>,
    /// In place of files: a revision that was set aside or has expired, once more.
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["paths", "prune"])]
    pub again: Option<String>,
    /// How it is signed and awaited.
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// How a change is signed and awaited.
#[derive(Debug, Args)]
pub struct SigningOptions {
    /// What the history says of it.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Also if it reaches fewer than half of the nodes.
    #[arg(long)]
    pub anyway: bool,
    /// The encrypted operator key; keys/operator.key of the state directory if none.
    #[arg(long, value_name = "FILE")]
    pub operator_key: Option<PathBuf>,
    /// A file with its passphrase. WEFT_PASSPHRASE serves, too; with neither it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// How long to wait until every node that answers has it in force.
    #[arg(long, default_value = "10s", value_parser = span, value_name = "SPAN")]
    pub wait: Duration,
}

/// `weft rollback`.
#[derive(Debug, Args)]
pub struct RollbackOptions {
    /// Which revision, and how the change is signed and awaited.
    #[command(flatten)]
    pub revision: RevisionOptions,
    /// Brings revocations back as they were, too: what was revoked since is trusted again. Without this they stay as they are.
    #[arg(long)]
    pub with_revocations: bool,
}

/// `weft confirm`, and a part of `weft rollback`.
#[derive(Debug, Args)]
pub struct RevisionOptions {
    /// The revision: its number, or at least 8 digits of its hash.
    pub revision: String,
    /// How it is signed and awaited.
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// `weft history`.
#[derive(Debug, Args)]
pub struct HistoryOptions {
    /// How many change sets, at most 1000.
    #[arg(short = 'n', long = "count", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,
}

/// `weft revoke`.
#[derive(Debug, Subcommand)]
pub enum RevokeCommand {
    /// Lets nobody trust a node any more; its open connections are closed.
    Node {
        /// The node.
        node: NodeId,
        /// Why, and how it is signed.
        #[command(flatten)]
        options: RevokeOptions,
    },
    /// Lets nobody trust a key any more, of a replica or a node; `weft cert ls` there shows it.
    Key {
        /// The public key, 64 hexadecimal digits.
        key: String,
        /// Why, and how it is signed.
        #[command(flatten)]
        options: RevokeOptions,
    },
    /// Lets nobody join with a token any more.
    Token {
        /// The token, or the 16 hexadecimal digits of its id.
        token: String,
        /// Why, and how it is signed.
        #[command(flatten)]
        options: RevokeOptions,
    },
}

/// Why something is revoked, and how that is signed.
#[derive(Debug, Args)]
pub struct RevokeOptions {
    /// Why.
    #[arg(long, value_name = "TEXT", required_unless_present = "undo")]
    pub reason: Option<String>,
    /// Takes the revocation back.
    #[arg(long, conflicts_with = "reason")]
    pub undo: bool,
    /// How it is signed and awaited.
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// A span within which a change is confirmed.
fn confirm_span(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if span > CONFIRM_SPAN_MAX { Err("a change is confirmed within 24h".to_owned()) } else { Ok(span) }
}

/// The scope of `--prune`.
fn prune(text: &str) -> Result<Prune, String> {
    match text.split_once('/') {
        None if text == "all" => Ok(Prune::All),
        Some(("kind", kind)) => match weft_policy::Kind::named(kind) {
            Some(kind) => Ok(Prune::Kind(kind.word().to_owned())),
            None => Err(format!("there is no kind {kind:?}")),
        },
        Some(("service", name)) => Ok(Prune::Service(name.parse().map_err(|error| format!("{error}"))?)),
        Some(("document", id)) => Ok(Prune::Document(id.parse().map_err(|error| format!("{error}"))?)),
        _ => Err("a scope is all, kind/KIND, service/NAME or document/KIND/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_to_confirm_in_says_what_is_wrong_with_it() {
        assert_eq!(confirm_span("24h"), Ok(CONFIRM_SPAN_MAX));
        assert_eq!(confirm_span("0s").unwrap_err(), "a span must be longer than nothing");
        assert_eq!(confirm_span("25h").unwrap_err(), "a change is confirmed within 24h");
        assert_eq!(confirm_span("soon").unwrap_err(), "a span is written 90s, 10m, 24h");
    }

    #[test]
    fn a_scope_says_what_may_go() {
        assert_eq!(prune("all"), Ok(Prune::All));
        assert_eq!(prune("kind/rate-limit"), Ok(Prune::Kind("rate-limit".to_owned())));
        assert_eq!(prune("service/orders"), Ok(Prune::Service("orders".parse().unwrap())));
        assert_eq!(prune("document/route/orders"), Ok(Prune::Document("route/orders".parse().unwrap())));
        for wrong in ["", "everything", "kind/routes", "service/", "document/orders", "all/of", "node/vm-a"] {
            assert!(prune(wrong).is_err(), "{wrong}");
        }
    }
}
