//! The ledger and the policy of one node: in force at once, after a crash, after a restart, and while something cannot be compiled.

use weft_identity::SpiffeId;
use weft_ledger::journal::{Audience, Posting};
use weft_ledger::{Document, DocumentId, DocumentParts, Hash, Prune, Signing};
use weft_policy::{Call, Caller, read_file};
use weft_world::admin::ledger::{DraftWish, Reach};

use super::*;

const DENY_ALL: &str = "[[mesh]]\nname = \"defaults\"\nauthorisation = \"deny\"\n";

fn documents(text: &str) -> Vec<Document> {
    let sources = read_file("p.toml", text).unwrap();
    let document = |source: weft_policy::Source| {
        let id = DocumentId::new(&source.kind, &source.name).unwrap();
        let parts =
            DocumentParts { id, services: source.services, file: source.file, line: source.line, text: source.text };
        Document::new(parts).unwrap()
    };
    sources.into_iter().map(document).collect()
}

/// A document whose text no reader takes, as a newer version might make it.
fn unreadable() -> Vec<Document> {
    let parts = DocumentParts {
        id: "route/new".parse().unwrap(),
        services: Some(["web".parse().unwrap()].into()),
        file: "p.toml".to_owned(),
        line: 3,
        text: "[[route]]\nname = \"new\"\nservice = \"web\"\nteleport = true\n".to_owned(),
    };
    vec![Document::new(parts).unwrap()]
}

async fn apply(tree: &NodeTree, env: &Env, documents: Vec<Document>) -> Result<Hash, Failure> {
    let bytes = env.disk.read(&PathBuf::from(DIR).join("keys/operator.key")).unwrap();
    let mesh = "bank".parse().unwrap();
    let key = KeyFile::open(&String::from_utf8(bytes).unwrap(), (KeyRole::Operator, &mesh), "demo").unwrap();
    let view = tree.control.draft(DraftWish::Documents { documents, prune: Prune::Nothing })?;
    let now = env.clock.wall();
    let signing = Signing { key: &key, author_node: view.node, now, message: String::new(), confirm_by: None };
    Ok(tree.control.apply(view.draft.sign(signing)?, Reach::Half).await?.hash)
}

/// Waits until the policy actor has taken the newest revision up.
async fn settled(tree: &NodeTree, hash: &Hash) -> String {
    loop {
        let rows = tree.control.receipt(hash).unwrap();
        let own = rows.into_iter().find(|row| row.node.as_str() == "vm-a").unwrap();
        if own.state != "lacking" {
            return own.state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a caller may open a stream to a service, as this node decides now.
fn is_allowed(tree: &NodeTree) -> bool {
    let identity: SpiffeId = "spiffe://bank/svc/web".parse().unwrap();
    let caller = Caller { identity: &identity, labels: &Arc::default() };
    tree.world.load().policy.authorise(caller, &"orders".parse().unwrap(), Call::Tcp).is_allowed()
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_in_force_at_once_after_crashes_and_after_a_restart() {
    let env = founded().await;
    let (tree, _) = started_on(&env, 100).await;
    assert!(is_allowed(&tree));
    let hash = apply(&tree, &env, documents(DENY_ALL)).await.unwrap();
    assert_eq!(settled(&tree, &hash).await, "in-force");
    assert!(!is_allowed(&tree));
    for actor in ["store", "ledger", "policy", "membership"] {
        crash(&tree, actor).await;
        assert!(!is_allowed(&tree), "after a crash of {actor}");
    }
    assert_eq!(tree.control.ledger().unwrap().revision, 1);
    tree.stop(Duration::from_secs(1)).await;
    let (tree, _) = started_on(&env, 100).await;
    assert!(!is_allowed(&tree), "before anything else is asked of it");
    assert_eq!(tree.control.history(10).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_compiled_leaves_the_last_good_policy_in_force_and_is_told() {
    let env = founded().await;
    let (tree, _) = started_on(&env, 100).await;
    let good = apply(&tree, &env, documents(DENY_ALL)).await.unwrap();
    settled(&tree, &good).await;
    let bad = apply(&tree, &env, unreadable()).await.unwrap();
    assert_eq!(settled(&tree, &bad).await, "refused");
    let ledger = tree.control.ledger().unwrap();
    assert_eq!((ledger.revision, ledger.in_force), (2, 1));
    assert!(ledger.mistakes[0].starts_with("p.toml:6:1: unknown key `teleport`"), "{:?}", ledger.mistakes);
    assert!(!is_allowed(&tree));
    tree.stop(Duration::from_secs(1)).await;
    let (tree, _) = started_on(&env, 100).await;
    assert!(!is_allowed(&tree), "a restart does not forget the last good one");
    assert_eq!(tree.control.ledger().unwrap().in_force, 1);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_reaches_the_trust_of_the_node() {
    let env = founded().await;
    let (tree, _) = started_on(&env, 100).await;
    let text = "[[revocation]]\nname = \"vm-d\"\nnode = \"vm-d\"\nreason = \"stolen\"\n";
    let hash = apply(&tree, &env, documents(text)).await.unwrap();
    settled(&tree, &hash).await;
    assert!(tree.world.load().revocations.nodes.contains("vm-d"));
    assert!(tree.world.load().trust.revocations.nodes.contains("vm-d"));
}

#[tokio::test(start_paused = true)]
async fn a_change_set_that_no_operator_signed_is_refused_and_changes_nothing() {
    let env = founded().await;
    let (tree, _) = started_on(&env, 100).await;
    let view =
        tree.control.draft(DraftWish::Documents { documents: documents(DENY_ALL), prune: Prune::Nothing }).unwrap();
    let key = tree.control.0.node_key.clone();
    let now = env.clock.wall();
    let signing = Signing { key: &key, author_node: view.node, now, message: String::new(), confirm_by: None };
    let signed = view.draft.sign(signing).unwrap();
    assert!(tree.control.apply(signed, Reach::Half).await.is_err());
    assert_eq!(tree.control.ledger().unwrap().revision, 0);
    assert!(is_allowed(&tree));
}

#[tokio::test(start_paused = true)]
async fn a_journal_entry_is_there_after_a_restart() {
    let env = founded().await;
    let (tree, _) = started_on(&env, 100).await;
    let posting = Posting { kind: "usage".to_owned(), audience: Audience::All, body: b"7 calls".to_vec() };
    tree.control.post(posting).await.unwrap();
    tree.stop(Duration::from_secs(1)).await;
    let (tree, _) = started_on(&env, 100).await;
    let entries = tree.control.journal().unwrap();
    assert_eq!((entries.len(), entries[0].entry.sequence), (1, 1));
}
