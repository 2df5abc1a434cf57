//! Waits until the nodes have a change in force, and says which have it. Called by every command that signs one.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_identity::{Code, Failure};
use weft_policy::strict::span_text;
use weft_world::admin::ledger::{Applied, HistoryView, ReceiptRow};

use super::apply::Place;
use super::client::{ask, read};
use super::output::Output;

/// The first space between two looks; each next one is half as long again.
const POLL_MIN: Duration = Duration::from_millis(20);
/// The longest space between two looks: gossip itself takes half a second.
const POLL_MAX: Duration = Duration::from_millis(250);

/// A change that was taken in, and how long its receipt is waited for.
pub(super) struct Awaited {
    /// What the node took in.
    pub(super) applied: Applied,
    /// When it was sent.
    pub(super) started: Instant,
    /// How long to wait.
    pub(super) wait: Duration,
    /// Within which span it is to be confirmed.
    pub(super) confirm: Option<Duration>,
}

/// What the node answers.
#[derive(Debug, Deserialize)]
struct Receipt {
    change_set: HistoryView,
    nodes: Vec<ReceiptRow>,
}

/// Waits until no node that answers lacks it, prints who has it, and fails if one has not.
pub(super) async fn wait(place: Place<'_>, awaited: &Awaited, plan: Value) -> Result<(), Failure> {
    let path = format!("/v1/ledger/receipt/{}", awaited.applied.hash);
    let clock = &place.env.clock;
    let mut poll = POLL_MIN;
    let receipt: Receipt = loop {
        let answer =
            ask(place.dir, Method::GET, &path, None).await.map_err(|failure| untold(&awaited.applied, &failure))?;
        let receipt: Receipt = read(answer)?;
        let is_over = clock.now() >= awaited.started + awaited.wait;
        if is_over || receipt.is_set_aside() || !receipt.nodes.iter().any(|row| row.state == "lacking") {
            break receipt;
        }
        tokio::time::sleep(poll).await;
        poll = (poll * 3 / 2).min(POLL_MAX);
    };
    let took = clock.now().saturating_duration_since(awaited.started);
    // People read the failure alone: that nodes hold what does not count would only mislead.
    if place.output == Output::Json || !receipt.is_set_aside() {
        place.output.result(&receipt.text(awaited, took), receipt.value(took, &plan));
    }
    receipt.outcome()
}

/// The node has the change and does not tell any more what became of it.
fn untold(applied: &Applied, failure: &Failure) -> Failure {
    let detail = format!(
        "the node took in revision {} ({}), and who has it is not known: {}",
        applied.revision,
        applied.hash.short(),
        failure.detail
    );
    Failure::new(Code::AnswerMissing, detail)
}

impl Receipt {
    fn is_set_aside(&self) -> bool {
        !matches!(self.change_set.standing.as_str(), "applied" | "unconfirmed")
    }

    fn of(&self, state: &str) -> Vec<&ReceiptRow> {
        self.nodes.iter().filter(|row| row.state == state).collect()
    }

    fn text(&self, awaited: &Awaited, took: Duration) -> String {
        let (revision, hash) = (self.change_set.revision, self.change_set.hash.short());
        let have = self.of("in-force").len();
        let mut lines = vec![format!(
            "revision {revision} on {have} of {} node{} in {}",
            self.nodes.len(),
            if self.nodes.len() == 1 { "" } else { "s" },
            seconds(took)
        )];
        let silent = self.of("silent");
        if !silent.is_empty() {
            lines.push(format!("does not answer, and fetches it when it is back: {}", names(&silent)));
        }
        if let Some(span) = awaited.confirm {
            let within = span_text(span);
            lines.push(format!("it is taken back unless you confirm it within {within}: weft confirm {hash}"));
        }
        lines.join("\n")
    }

    fn value(&self, took: Duration, plan: &Value) -> Value {
        json!({
            "revision": self.change_set.revision,
            "hash": self.change_set.hash,
            "standing": self.change_set.standing,
            "because": self.change_set.because,
            "nodes": self.nodes,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "changes": plan["changes"],
        })
    }

    fn outcome(&self) -> Result<(), Failure> {
        let (revision, hash) = (self.change_set.revision, self.change_set.hash.short());
        if self.is_set_aside() {
            let detail = format!(
                "revision {revision} ({hash}) is {}: {}; to apply it again: weft apply --again {hash}",
                self.change_set.standing, self.change_set.because
            );
            return Err(Failure::new(Code::RevisionSetAside, detail));
        }
        let mut missing: Vec<String> = self.of("lacking").iter().map(|row| format!("{} lacks it", row.node)).collect();
        missing.extend(self.of("refused").iter().map(|row| format!("{} refuses it: {}", row.node, row.because)));
        if missing.is_empty() {
            return Ok(());
        }
        let detail = format!("revision {revision} ({hash}) stands, but {}", missing.join("; "));
        Err(Failure::new(Code::RevisionIncomplete, detail))
    }
}

/// `0.4 s`; below a tenth, `38 ms`.
fn seconds(took: Duration) -> String {
    let tenths = (took.as_millis() + 50) / 100;
    if tenths == 0 { format!("{} ms", took.as_millis()) } else { format!("{}.{} s", tenths / 10, tenths % 10) }
}

fn names(rows: &[&ReceiptRow]) -> String {
    rows.iter().map(|row| row.node.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use weft_ledger::Hash;

    use super::*;

    fn receipt(standing: &str, states: &[&str]) -> Receipt {
        let row = |(number, state): (usize, &&str)| ReceiptRow {
            node: format!("vm-{number}").parse().unwrap(),
            state: (*state).to_owned(),
            because: if *state == "refused" { "a.toml:1:1: unknown key".to_owned() } else { String::new() },
        };
        Receipt {
            change_set: HistoryView {
                revision: 12,
                hash: Hash([0xab; 32]),
                operator: String::new(),
                node: "vm-0".parse().unwrap(),
                at_ms: 0,
                message: String::new(),
                puts: Vec::new(),
                removes: Vec::new(),
                standing: standing.to_owned(),
                until_ms: None,
                because: "route/one had changed meanwhile".to_owned(),
            },
            nodes: states.iter().enumerate().map(row).collect(),
        }
    }

    fn awaited(confirm: Option<Duration>) -> Awaited {
        let applied = Applied { revision: 12, hash: Hash([0xab; 32]) };
        Awaited { applied, started: weft_env::Clock::machine().now(), wait: Duration::ZERO, confirm }
    }

    #[test]
    fn a_receipt_says_who_has_it() {
        let whole = receipt("applied", &["in-force", "in-force"]);
        assert_eq!(whole.text(&awaited(None), Duration::from_millis(380)), "revision 12 on 2 of 2 nodes in 0.4 s");
        assert_eq!(whole.outcome(), Ok(()));
        assert_eq!(seconds(Duration::from_millis(38)), "38 ms");
        let silent = receipt("unconfirmed", &["in-force", "silent"]);
        let text = silent.text(&awaited(Some(Duration::from_secs(300))), Duration::from_secs(2));
        assert!(text.starts_with("revision 12 on 1 of 2 nodes in 2.0 s\n") && text.contains(": vm-1"), "{text}");
        assert!(text.ends_with("within 5m: weft confirm abababab"), "{text}");
        assert_eq!(silent.outcome(), Ok(()));
    }

    #[test]
    fn a_change_that_was_taken_in_is_not_denied() {
        let lost = Failure::new(Code::NodeNotRunning, "connect to the node: refused");
        let told = untold(&awaited(None).applied, &lost);
        assert_eq!(told.code, Code::AnswerMissing);
        assert!(told.detail.starts_with("the node took in revision 12 (abababab)"), "{told}");
    }

    #[test]
    fn a_node_without_it_is_named_with_the_reason() {
        let failure = receipt("applied", &["in-force", "lacking", "refused"]).outcome().unwrap_err();
        assert_eq!(failure.code, Code::RevisionIncomplete);
        assert!(failure.detail.ends_with("vm-1 lacks it; vm-2 refuses it: a.toml:1:1: unknown key"), "{failure}");
        let failure = receipt("set aside", &["in-force"]).outcome().unwrap_err();
        assert_eq!(failure.code, Code::RevisionSetAside);
        assert!(failure.detail.ends_with("weft apply --again abababab"), "{failure}");
    }
}
