use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use weft_env::Random;
use weft_identity::testing::NOW;
use weft_identity::{Grants, SignedBundle, TrustBundle};

use super::super::journal::{Audience, Journals, Posting, Reader, Writing};
use super::super::testing::{Bench, bench, document, take, texts};
use super::super::{Ledger, Quarantined, Rules};
use super::*;

/// A node that answers over an in-memory stream, and whose streams break after so many questions.
struct Peer {
    ledger: Ledger,
    journals: Journals,
    rules: Rules,
    reader: Reader,
    questions_left: AtomicUsize,
    asked: AtomicUsize,
}

#[async_trait]
impl Ask for Peer {
    async fn ask(&self, question: Question) -> Result<Answer, WireError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(4096);
        let (mut near_receive, mut near_send) = tokio::io::split(near);
        let (mut far_receive, mut far_send) = tokio::io::split(far);
        let left = self.questions_left.load(Ordering::Relaxed);
        if left == 0 {
            // The question arrives, and in the middle of the answer the connection is gone.
            let breaking = async {
                wire::read::<Question, _>(&mut far_receive, Kind::LedgerQuestion, QUESTION_LEN_MAX).await?;
                far_send.write_all(b"WF\x01\x0b\x00\x00").await?;
                far_send.shutdown().await?;
                Ok::<(), WireError>(())
            };
            let (answer, broken) = tokio::join!(exchange(&mut near_send, &mut near_receive, &question), breaking);
            broken?;
            return answer;
        }
        self.questions_left.store(left - 1, Ordering::Relaxed);
        let view = View { ledger: &self.ledger, rules: &self.rules, journals: &self.journals, reader: self.reader };
        let serving = serve(&mut far_send, &mut far_receive, |question| answer(question, &view));
        let (answer, served) = tokio::join!(exchange(&mut near_send, &mut near_receive, &question), serving);
        served?;
        answer
    }
}

fn peer(ledger: Ledger, rules: Rules) -> Peer {
    Peer {
        ledger,
        journals: Journals::empty(),
        rules,
        reader: Reader::Node,
        questions_left: AtomicUsize::new(usize::MAX),
        asked: AtomicUsize::new(0),
    }
}

struct Node {
    ledger: Ledger,
    journals: Journals,
    rules: Rules,
    held: SignedBundle,
    /// What it gets when it fetches bundles.
    offered: Vec<SignedBundle>,
    refused: Vec<Quarantined>,
}

impl Node {
    fn new(bench: &Bench) -> Self {
        let held = bench.mesh.seed.bundle.clone();
        let (ledger, journals, rules) = (bench.ledger(), Journals::empty(), bench.rules());
        Self { ledger, journals, rules, held, offered: Vec::new(), refused: Vec::new() }
    }

    fn adopt(&mut self, bundles: &[SignedBundle]) {
        if let Some((taken, newest)) = self.rules.bundle.successors(&self.held, bundles) {
            self.held = taken.last().unwrap().clone();
            self.rules.bundle = newest.into();
        }
    }

    /// Pulls until the peer has nothing more; returns the number of steps.
    async fn pull(&mut self, pull: &mut Pull, peer: &dyn Ask) -> Result<usize, PullError> {
        let mut steps = 0;
        loop {
            let (ledger, journals, rules) = (&self.ledger, &self.journals, &self.rules);
            let local = Local { ledger, journals, rules, reader: Reader::Node };
            let Some(pulled) = pull.next(&local, peer).await? else { return Ok(steps) };
            steps += 1;
            match pulled {
                Pulled::NewerBundle => self.adopt(&self.offered.clone()),
                Pulled::ChangeSets(batch) => {
                    let mut checked = self.ledger.check(batch, &self.rules);
                    self.refused.append(&mut checked.refused);
                    self.ledger.insert(checked);
                }
                Pulled::Journal(batch) => {
                    let mut checked = self.journals.check(*batch, &self.rules).unwrap();
                    self.refused.append(&mut checked.refused);
                    self.journals.insert(checked);
                }
            }
        }
    }
}

/// A ledger of many revisions of few documents.
fn long(bench: &Bench, len: usize) -> Ledger {
    let mut ledger = bench.ledger();
    for n in 0..len {
        bench.apply(&mut ledger, &[document(&format!("route/r{}", n % 7), Some("a"), &n.to_string())]);
    }
    ledger
}

#[tokio::test]
async fn a_node_that_is_a_thousand_change_sets_behind_catches_up() {
    let bench = bench();
    let peer = peer(long(&bench, 1_000), bench.rules());
    let mut node = Node::new(&bench);
    node.pull(&mut Pull::new(), &peer).await.unwrap();
    assert_eq!((node.ledger.len(), node.refused.len()), (1_000, 0));
    assert_eq!(node.ledger.head(&bench.rules()), peer.ledger.head(&bench.rules()));
    assert_eq!(texts(&node.ledger, &bench.rules()), texts(&peer.ledger, &bench.rules()));
    let asked = peer.asked.swap(0, Ordering::Relaxed);
    assert!(asked < 12, "{asked} questions");
    // When there is nothing new, one question tells.
    assert_eq!(node.pull(&mut Pull::new(), &peer).await.unwrap(), 0);
    assert_eq!(peer.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_node_that_is_a_little_behind_gets_little() {
    let bench = bench();
    let mut ledger = long(&bench, 300);
    let mut node = Node::new(&bench);
    node.ledger = ledger.clone();
    bench.apply(&mut node.ledger, &[document("route/mine", None, "1")]);
    bench.apply(&mut ledger, &[document("route/theirs", None, "1")]);
    let peer = peer(ledger, bench.rules());
    let mut pull = Pull::new();
    let local = Local { ledger: &node.ledger, journals: &node.journals, rules: &node.rules, reader: Reader::Node };
    let Some(Pulled::ChangeSets(batch)) = pull.next(&local, &peer).await.unwrap() else { panic!("change sets") };
    // The peer does not know the newest here, but one of the sample, which lies one below.
    assert_eq!((batch.change_sets.len(), batch.documents.len()), (1, 1));
    node.pull(&mut Pull::new(), &peer).await.unwrap();
    assert_eq!(node.ledger.head(&bench.rules()).tips.len(), 2);
}

#[tokio::test]
async fn a_pull_that_breaks_goes_on_where_it_was() {
    let bench = bench();
    let mut ledger = bench.ledger();
    for round in 0..4 {
        // 1.2 MB a revision: more than an answer holds.
        let documents =
            (0..20).map(|n| document(&format!("route/r{n}"), None, &format!("{round}{}", "x".repeat(60_000))));
        bench.apply(&mut ledger, &documents.collect::<Vec<_>>());
    }
    let peer = peer(ledger, bench.rules());
    let mut node = Node::new(&bench);
    let mut pull = Pull::new();
    let mut broken = 0;
    peer.questions_left.store(1, Ordering::Relaxed);
    // The same pull for a while, then a new one, as after a restart.
    while let Err(error) = node.pull(&mut pull, &peer).await {
        assert_eq!(error.label(), "exchange", "{error}");
        broken += 1;
        assert!(broken < 40, "no progress");
        if broken % 5 == 0 {
            pull = Pull::new();
        }
        peer.questions_left.store(2, Ordering::Relaxed);
    }
    assert!(broken > 3, "{broken}");
    assert_eq!((node.ledger.len(), node.refused.len()), (4, 0));
    assert_eq!(node.ledger.head(&bench.rules()), peer.ledger.head(&bench.rules()));
}

#[tokio::test]
async fn many_sides_of_a_split_come_together() {
    let bench = bench();
    let (mut one, mut two) = (bench.ledger(), bench.ledger());
    for n in 0..150 {
        let made = bench.make(&bench.ledger(), &bench.root, &[document(&format!("route/r{n}"), None, "1")]);
        assert_eq!(take(if n % 2 == 0 { &mut one } else { &mut two }, [made], &bench.rules()), []);
    }
    let (first, second) = (peer(one.clone(), bench.rules()), peer(two.clone(), bench.rules()));
    let mut node = Node::new(&bench);
    node.ledger = two;
    node.pull(&mut Pull::new(), &first).await.unwrap();
    assert_eq!(node.ledger.head(&bench.rules()).tips.len(), 150);
    // More tips than a question names: what is here already may come again, and does no harm.
    node.pull(&mut Pull::new(), &second).await.unwrap();
    let mut other = Node::new(&bench);
    other.pull(&mut Pull::new(), &peer(node.ledger.clone(), bench.rules())).await.unwrap();
    assert_eq!(other.ledger.head(&bench.rules()), node.ledger.head(&bench.rules()));
    // Sixteen at a time, the next change sets unite them.
    for round in 0..12 {
        bench.apply(&mut other.ledger, &[document("route/all", None, &round.to_string())]);
    }
    assert_eq!(other.ledger.head(&bench.rules()).tips.len(), 1);
}

#[tokio::test]
async fn the_word_of_a_later_author_reaches_over_many_batches() {
    let mut bench = bench();
    let old = bench.operator(2, Grants::All);
    bench.entry_of(&old).not_after = Some(NOW);
    let mut ledger = bench.ledger();
    for n in 0..600 {
        let made = bench.make(&ledger, &old, &[document("route/a", None, &n.to_string())]);
        assert_eq!(take(&mut ledger, [made], &bench.rules()), []);
    }
    let lapsed = ledger.clone();
    bench.apply(&mut ledger, &[document("route/b", None, "1")]);
    let later = bench.rules_at(NOW.after(std::time::Duration::from_secs(1)));
    let mut node = Node { rules: later.clone(), ..Node::new(&bench) };
    node.pull(&mut Pull::new(), &peer(lapsed, later.clone())).await.unwrap();
    assert!(node.ledger.is_empty());
    assert_eq!(node.refused.first().map(|one| one.refusal.label()), Some("operator-lapsed"));
    node.pull(&mut Pull::new(), &peer(ledger, later)).await.unwrap();
    assert_eq!(node.ledger.len(), 601);
}

#[tokio::test]
async fn newer_bundles_are_fetched_before_change_sets_are_judged() {
    let mut bench = bench();
    bench.bundle.epoch = 2;
    bench.bundle.previous = Some(TrustBundle::hash(&bench.mesh.seed.bundle));
    let new = bench.operator(2, Grants::All);
    let mut ledger = bench.ledger();
    let made = bench.make(&ledger, &new, &[document("route/a", None, "1")]);
    take(&mut ledger, [made], &bench.rules());
    let peer = peer(ledger, bench.rules());
    let forged = bench.bundle.sign(&bench.root).unwrap();
    let good = bench.bundle.sign(&bench.mesh.seed.root_key).unwrap();
    let mut node = Node::new(&bench);
    node.rules.bundle = bench.mesh.bundle().into();
    node.offered = vec![forged.clone()];
    node.pull(&mut Pull::new(), &peer).await.unwrap();
    assert_eq!((node.rules.bundle.epoch, node.ledger.len()), (1, 0));
    assert_eq!(node.refused.remove(0).refusal.label(), "operator-unknown");
    node.offered = vec![forged.clone(), good];
    node.pull(&mut Pull::new(), &peer).await.unwrap();
    assert_eq!((node.rules.bundle.epoch, node.ledger.len(), node.refused.len()), (2, 1, 0));
    assert!(TrustBundle::verify(&forged, &bench.mesh.seed.root_certificate.as_slice().into()).is_err());
}

#[tokio::test]
async fn journals_come_along_and_contradictions_end_at_the_same_place() {
    let bench = bench();
    let (key, enrolment) = bench.enrol("gw-a", 2);
    let random = Random::seeded(2);
    let write = |journals: &mut Journals, body: &str| {
        let posting = Posting { kind: "usage".to_owned(), audience: Audience::All, body: body.as_bytes().to_vec() };
        let writing = Writing { key: &key, enrolment: &enrolment, random: &random };
        let checked = journals.append(posting, &writing, &bench.rules()).unwrap();
        journals.insert(checked);
    };
    let (mut one, mut two) = (peer(bench.ledger(), bench.rules()), peer(bench.ledger(), bench.rules()));
    write(&mut one.journals, "1");
    two.journals = one.journals.clone();
    for n in 0..5 {
        write(&mut one.journals, &format!("{n}"));
        write(&mut two.journals, &format!("{n}'"));
    }
    write(&mut one.journals, "longer");
    let mut node = Node::new(&bench);
    node.pull(&mut Pull::new(), &one).await.unwrap();
    assert_eq!(node.journals.heads(), one.journals.heads());
    // Of one length the heads differ; the contradiction is followed down to where it began, one entry a pull or faster.
    for _ in 0..8 {
        node.pull(&mut Pull::new(), &two).await.unwrap();
        let mut other = Node { journals: two.journals.clone(), ..Node::new(&bench) };
        other.pull(&mut Pull::new(), &peer_of(&node, &bench)).await.unwrap();
        two.journals = other.journals;
    }
    let head = &node.journals.heads()[0];
    assert_eq!((head.sequence, head.frozen), (1, true));
    assert_eq!(two.journals.heads(), node.journals.heads());
    assert!(node.refused.iter().all(|one| one.refusal.label() == "equivocation"));
}

fn peer_of(node: &Node, bench: &Bench) -> Peer {
    Peer { journals: node.journals.clone(), ..peer(node.ledger.clone(), bench.rules()) }
}

/// A peer that answers as it likes.
struct Liar<F>(F);

#[async_trait]
impl<F: Fn(Question) -> Answer + Send + Sync> Ask for Liar<F> {
    async fn ask(&self, question: Question) -> Result<Answer, WireError> {
        Ok((self.0)(question))
    }
}

#[tokio::test]
async fn a_peer_that_makes_no_progress_is_told_from_one_that_does() {
    let bench = bench();
    let honest = peer(long(&bench, 3), bench.rules());
    let rules = bench.rules();
    let view = View { ledger: &honest.ledger, rules: &rules, journals: &honest.journals, reader: Reader::Node };
    let head = || answer(Question::Head, &view);
    let sets = |more| match answer(Question::ChangeSets { have: Vec::new(), after: None }, &view) {
        Answer::ChangeSets { change_sets, .. } => Answer::ChangeSets { change_sets, more },
        other => other,
    };
    let outcome = async |liar: &dyn Ask| {
        let mut node = Node::new(&bench);
        let ended = node.pull(&mut Pull::new(), liar).await;
        (ended.err().map(|error| error.label()), node.ledger.len(), node.refused.len())
    };
    let silent = Liar(|question| match question {
        Question::Head => head(),
        _ => Answer::ChangeSets { change_sets: Vec::new(), more: More::Yes },
    });
    assert_eq!(outcome(&silent).await, (Some("no-progress"), 0, 0));
    let endless = Liar(|question| match question {
        Question::Head => head(),
        _ => sets(More::Yes),
    });
    assert_eq!(outcome(&endless).await, (Some("no-progress"), 0, 0));
    let confused = Liar(|_| Answer::Documents(Vec::new()));
    assert_eq!(outcome(&confused).await, (Some("other-answer"), 0, 0));
    let unwilling = Liar(|_| Answer::Refused { label: "busy".to_owned(), detail: "later".to_owned() });
    assert_eq!(outcome(&unwilling).await, (Some("refused"), 0, 0));
    let without_documents = Liar(|question| match question {
        Question::Documents { .. } => Answer::Documents(vec![document("route/other", None, "1")]),
        other => answer(other, &view),
    });
    assert_eq!(outcome(&without_documents).await, (None, 0, 3));
    let ahead = Liar(|question| match (question, head()) {
        (Question::Head, Answer::Head(report)) => Answer::Head(HeadReport { epoch: 9, ..report }),
        (other, _) => answer(other, &view),
    });
    assert_eq!(outcome(&ahead).await, (None, 3, 0), "who boasts of a bundle holds nothing up");
}

#[test]
fn a_question_over_its_limit_is_refused() {
    let bench = bench();
    let (ledger, journals, rules) = (bench.ledger(), Journals::empty(), bench.rules());
    let view = View { ledger: &ledger, rules: &rules, journals: &journals, reader: Reader::Node };
    let hashes = |len| vec![Hash([1; 32]); len];
    for question in [
        Question::ChangeSets { have: hashes(HAVE_MAX + 1), after: None },
        Question::Documents { hashes: hashes(HASHES_MAX + 1) },
    ] {
        assert!(matches!(answer(question, &view), Answer::Refused { .. }));
    }
    let largest = wire::encode(Kind::LedgerQuestion, &Question::Documents { hashes: hashes(HASHES_MAX) }).unwrap();
    assert!(largest.len() <= QUESTION_LEN_MAX);
}

#[test]
fn the_sample_of_what_is_here_is_bounded_and_held() {
    let bench = bench();
    let ledger = long(&bench, 200);
    let sample = ledger.sample(&bench.rules());
    assert!(sample.len() > 5 && sample.len() <= HAVE_MAX);
    assert_eq!(sample.iter().collect::<BTreeSet<_>>().len(), sample.len());
    assert!(sample.iter().all(|hash| ledger.entry(hash).is_some()));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..2u8) {
        let kind = if kind == 0 { Kind::LedgerQuestion } else { Kind::LedgerAnswer };
        let mut framed = vec![b'W', b'F', 1, kind as u8];
        framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&bytes);
        let _ = wire::decode::<Question>(kind, &framed, QUESTION_LEN_MAX);
        let _ = wire::decode::<Answer>(kind, &framed, ANSWER_LEN_MAX);
    }
}
