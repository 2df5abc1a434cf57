use std::time::Duration;

use proptest::prelude::*;
use weft_env::{Random, Timestamp};
use weft_identity::testing::NOW;
use weft_identity::{Code, Grants, SigningKey};

use super::*;
use crate::testing::{batch, bench, document, labels, rows, standings, take, texts};
use crate::*;

const MINUTE: Duration = Duration::from_secs(60);

fn doc(name: &str, text: &str) -> Document {
    document(&format!("route/{name}"), Some(name), text)
}

fn only(service: &str) -> Grants {
    Grants::Only([service.parse().unwrap()].into())
}

fn hash(made: &SignedDraft) -> Hash {
    made.change_set.hash()
}

#[test]
fn a_change_set_puts_replaces_moves_and_removes_documents() {
    let bench = bench();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1"), doc("b", "1")]);
    let moved = DocumentParts { line: 9, ..doc("b", "1").into() };
    let wanted = vec![doc("a", "2"), Document::new(moved).unwrap(), doc("c", "1")];
    let draft = ledger.draft(wanted, &Prune::All, &bench.rules()).unwrap();
    let kinds: Vec<_> = draft.differences.iter().map(|one| (one.id.to_string(), one.kind())).collect();
    assert_eq!(
        kinds,
        [
            ("route/a".to_owned(), DifferenceKind::Changed),
            ("route/b".to_owned(), DifferenceKind::Moved),
            ("route/c".to_owned(), DifferenceKind::Added)
        ]
    );
    assert_eq!(take(&mut ledger, [bench.sign(&draft, &bench.root)], &bench.rules()), []);
    let left = ledger.draft(vec![doc("a", "2")], &Prune::Service("c".parse().unwrap()), &bench.rules()).unwrap();
    assert_eq!((left.unchanged, left.differences.len()), (1, 1));
    assert_eq!(left.differences[0].kind(), DifferenceKind::Removed);
    assert_eq!(take(&mut ledger, [bench.sign(&left, &bench.root)], &bench.rules()), []);
    let state = texts(&ledger, &bench.rules());
    assert_eq!(state.into_iter().collect::<Vec<_>>(), [("route/a".into(), "2".into()), ("route/b".into(), "1".into())]);
    assert_eq!(ledger.head(&bench.rules()).revision, 3);
    assert_eq!(ledger.head(&bench.rules()).tips.len(), 1);
}

#[test]
fn nothing_is_removed_by_omission() {
    let bench = bench();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1"), document("limit/all", None, "1")]);
    let removed = |prune: Prune| {
        let draft = ledger.draft(Vec::new(), &prune, &bench.rules()).unwrap();
        draft.differences.iter().map(|one| one.id.to_string()).collect::<Vec<_>>()
    };
    assert!(removed(Prune::Nothing).is_empty());
    assert_eq!(removed(Prune::Kind("limit".to_owned())), ["limit/all"]);
    assert_eq!(removed(Prune::Service("a".parse().unwrap())), ["route/a"]);
    assert_eq!(removed(Prune::All), ["limit/all", "route/a"]);
    assert!(ledger.draft(Vec::new(), &Prune::Nothing, &bench.rules()).unwrap().is_empty());
    let twice = ledger.draft(vec![doc("a", "1"), doc("a", "2")], &Prune::Nothing, &bench.rules());
    assert_eq!(twice.unwrap_err().code, Code::ChangeSetInvalid);
}

#[test]
fn two_sides_of_a_split_merge_where_they_differ_and_one_is_set_aside_where_they_meet() {
    let bench = bench();
    let rules = bench.rules();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1"), doc("b", "1")]);
    let left = bench.make(&ledger, &bench.root, &[doc("a", "left")]);
    let right = bench.make(&ledger, &bench.root, &[doc("b", "right")]);
    let clash = bench.make(&ledger, &bench.root, &[doc("a", "clash"), doc("c", "clash")]);
    assert_eq!(take(&mut ledger, [left.clone(), right, clash.clone()], &rules), []);
    // The lower hash wins; the other changes nothing, not even where nobody else did.
    let (winner, loser) = if hash(&left) < hash(&clash) { (&left, &clash) } else { (&clash, &left) };
    let state = texts(&ledger, &rules);
    assert_eq!(state["route/b"], "right");
    assert_eq!(state["route/a"], if winner == &left { "left" } else { "clash" });
    assert_eq!(state.contains_key("route/c"), winner == &clash);
    assert_eq!(
        ledger.standing(&hash(loser), &rules),
        Some(Standing::SetAside { document: "route/a".parse().unwrap() })
    );
    assert_eq!(ledger.head(&rules).tips.len(), 3);
    // Its author may apply it again, on top of all three.
    let again = ledger.again(&hash(loser).into(), &rules).unwrap();
    assert_eq!((again.parents.len(), again.revision), (3, 3));
    assert_eq!(take(&mut ledger, [bench.sign(&again, &bench.root)], &rules), []);
    assert_eq!(texts(&ledger, &rules)["route/a"], if winner == &left { "clash" } else { "left" });
    assert_eq!(ledger.head(&rules).tips.len(), 1);
    assert!(ledger.again(&hash(winner).into(), &rules).is_err(), "it stands");
    assert_eq!(
        "2".parse::<RevisionName>().and_then(|name| ledger.find(&name)).unwrap_err().code,
        Code::RevisionAmbiguous
    );
}

#[test]
fn rollback_brings_all_documents_back_as_a_new_revision() {
    let bench = bench();
    let mut ledger = bench.ledger();
    let first = bench.apply(&mut ledger, &[doc("a", "1"), doc("b", "1")]);
    bench.apply(&mut ledger, &[doc("a", "2"), doc("c", "2")]);
    for name in ["1".parse().unwrap(), RevisionName::from(first), first.short().parse().unwrap()] {
        let draft = ledger.rollback(&name, &|_| false, &bench.rules()).unwrap();
        assert_eq!((draft.differences.len(), draft.unchanged, draft.revision), (2, 1, 3));
    }
    let all_but_c = ledger.rollback(&first.into(), &|id| id.name() == "c", &bench.rules()).unwrap();
    assert_eq!(all_but_c.differences.len(), 1, "what is to stay stays");
    let draft = ledger.rollback(&first.into(), &|_| false, &bench.rules()).unwrap();
    assert_eq!(take(&mut ledger, [bench.sign(&draft, &bench.root)], &bench.rules()), []);
    let state: Vec<_> = texts(&ledger, &bench.rules()).into_iter().collect();
    assert_eq!(state, [("route/a".into(), "1".into()), ("route/b".into(), "1".into())]);
    let missing = ledger.rollback(&"9".parse().unwrap(), &|_| false, &bench.rules()).unwrap_err();
    assert_eq!(missing.code, Code::RevisionUnknown);
}

#[test]
fn what_nobody_confirms_in_time_is_left_out() {
    let bench = bench();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1")]);
    let until = NOW.after(5 * MINUTE);
    let draft = ledger.draft(vec![doc("a", "2")], &Prune::Nothing, &bench.rules()).unwrap();
    let mut signing = bench.signing(&bench.root, NOW);
    signing.confirm_by = Some(until);
    let trial = draft.sign(signing).unwrap();
    let id = hash(&trial);
    assert_eq!(take(&mut ledger, [trial], &bench.rules()), []);
    let later = bench.rules_at(Timestamp(until.0 + 1));

    assert_eq!(ledger.standing(&id, &bench.rules()), Some(Standing::Unconfirmed { until }));
    assert_eq!(ledger.next_deadline(&bench.rules()), Some(until));
    assert_eq!(texts(&ledger, &bench.rules_at(until))["route/a"], "2");
    assert_eq!(ledger.standing(&id, &later), Some(Standing::Expired));
    assert_eq!(texts(&ledger, &later)["route/a"], "1");
    assert_eq!(ledger.next_deadline(&later), None);
    // A clock that is set back computes what that time says.
    assert_eq!(texts(&ledger, &bench.rules())["route/a"], "2");

    // A confirmation made in time counts whenever it comes; one made too late never does.
    let confirmation = ledger.confirmation(&id.into(), &bench.rules()).unwrap();
    let late = confirmation.sign(bench.signing(&bench.root, later.now)).unwrap();
    let timely = confirmation.sign(bench.signing(&bench.root, until)).unwrap();
    assert_eq!(take(&mut ledger, [late], &later), []);
    assert_eq!(texts(&ledger, &later)["route/a"], "1");
    assert_eq!(take(&mut ledger, [timely], &later), []);
    assert_eq!(ledger.standing(&id, &later), Some(Standing::Applied));
    assert_eq!(texts(&ledger, &later)["route/a"], "2");
    assert!(ledger.confirmation(&id.into(), &later).is_err());
}

#[test]
fn a_confirmation_in_time_ends_the_wait() {
    let mut bench = bench();
    let web = bench.operator(2, only("web"));
    let mut ledger = bench.ledger();
    let draft = ledger.draft(vec![doc("a", "1")], &Prune::Nothing, &bench.rules()).unwrap();
    let mut signing = bench.signing(&bench.root, NOW);
    signing.confirm_by = Some(NOW.after(MINUTE));
    let trial = draft.sign(signing).unwrap();
    let id = hash(&trial);
    take(&mut ledger, [trial], &bench.rules());
    assert_eq!(ledger.next_deadline(&bench.rules()), Some(NOW.after(MINUTE)));
    let draft = ledger.confirmation(&id.into(), &bench.rules()).unwrap();
    let foreign = bench.sign(&draft, &web);
    assert_eq!(labels(&take(&mut ledger, [foreign], &bench.rules())), ["operator-scope"]);
    assert_eq!(take(&mut ledger, [bench.sign(&draft, &bench.root)], &bench.rules()), []);
    assert_eq!(ledger.next_deadline(&bench.rules()), None);
    assert_eq!(ledger.standing(&id, &bench.rules()), Some(Standing::Applied));
    let nothing = bench.forge(&bench.sign(&draft, &bench.root), &bench.root, |set| {
        set.parents = ledger.head(&bench.rules()).tips;
        set.confirms = Some(set.parents[0]);
        set.revision = 3;
    });
    assert_eq!(labels(&take(&mut ledger, [nothing], &bench.rules())), ["confirms-nothing"]);
}

#[test]
fn each_lie_is_refused_with_its_label_and_changes_nothing() {
    let mut bench = bench();
    let web = bench.operator(2, only("web"));
    let stranger = SigningKey::generate(&Random::seeded(99));
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1"), doc("web", "1")]);
    let rules = bench.rules();
    let good = bench.make(&ledger, &bench.root, &[doc("a", "2")]);
    let forge = |change: fn(&mut ChangeSet)| bench.forge(&good, &bench.root, change);
    let without = |made: &SignedDraft| SignedDraft { documents: Vec::new(), ..made.clone() };
    let mut other_key = good.clone();
    other_key.change_set.operator = web.public();
    // It replaces what it may not with something that says that it may.
    let taken = document("route/a", Some("web"), "mine");
    let removing = ledger.draft(Vec::new(), &Prune::Service("a".parse().unwrap()), &rules).unwrap();
    let lying = bench.forge(&bench.sign(&removing, &web), &web, |set| set.changes[0].services = only_web());
    let cases = [
        ("other-mesh", forge(|set| set.mesh = "shop".parse().unwrap())),
        ("form", forge(|set| set.message = "x".repeat(2000))),
        ("revision", forge(|set| set.revision = 3)),
        ("revision", forge(|set| set.revision = 1)),
        ("revision", forge(|set| set.revision = u64::MAX)),
        ("parent-missing", forge(|set| set.parents = vec![Hash([7; 32])])),
        ("ahead", forge(|set| set.at = NOW.after(CLOCK_LEAD_MAX + Duration::from_millis(1)))),
        ("document-differs", forge(|set| set.changes[0].services = None)),
        ("document-differs", forge(|set| set.changes[0].id = "route/b".parse().unwrap())),
        ("document-missing", forge(|set| set.changes[0].after = Some(Hash([7; 32])))),
        ("document-missing", forge(|set| set.changes[0].before = Some(Hash([7; 32])))),
        ("document-missing", without(&good)),
        ("signature", other_key),
        ("operator-unknown", bench.make(&ledger, &stranger, &[doc("a", "2")])),
        ("operator-scope", bench.make(&ledger, &web, &[doc("a", "2")])),
        ("operator-scope", bench.make(&ledger, &web, &[document("limit/all", None, "1")])),
        ("operator-scope", bench.make(&ledger, &web, &[taken])),
        ("operator-scope", bench.sign(&removing, &web)),
        ("document-differs", lying),
    ];
    let before = (ledger.head(&rules), texts(&ledger, &rules));
    for (label, made) in cases {
        assert_eq!(labels(&take(&mut ledger, [made.clone()], &rules)), [label], "{made:?}");
        assert!(REFUSAL_LABELS.contains(&label));
        assert_eq!((ledger.head(&rules), texts(&ledger, &rules)), before);
    }
    let in_scope = bench.make(&ledger, &web, &[doc("web", "2")]);
    assert_eq!(take(&mut ledger, [good.clone(), in_scope], &rules), []);
    // A replay is nothing new.
    let replayed = ledger.check(batch([good.clone(), good]), &rules);
    assert!(replayed.accepted.is_empty() && replayed.refused.is_empty() && replayed.rows().is_empty());
}

fn only_web() -> Option<std::collections::BTreeSet<weft_identity::ServiceName>> {
    Some(["web".parse().unwrap()].into())
}

#[test]
fn one_bad_change_set_blocks_only_what_builds_upon_it() {
    let bench = bench();
    let (mut far, mut near) = (bench.ledger(), bench.ledger());
    bench.apply(&mut far, &[doc("a", "1")]);
    near.clone_from(&far);
    let bad = bench.make(&far, &bench.root, &[doc("b", "1")]);
    take(&mut far, [bad.clone()], &bench.rules());
    let child = bench.make(&far, &bench.root, &[doc("b", "2")]);
    let good = bench.make(&near, &bench.root, &[doc("c", "1")]);
    let bad = SignedDraft { documents: Vec::new(), ..bad };
    let refused = take(&mut near, [child, bad, good], &bench.rules());
    assert_eq!(labels(&refused), ["document-missing", "parent-missing"]);
    assert!(refused.iter().all(|one| one.refusal.may_pass()));
    assert_eq!(texts(&near, &bench.rules())["route/c"], "1");
}

#[test]
fn a_retired_keys_word_stands_as_far_as_the_bundle_says() {
    let mut bench = bench();
    let old = bench.operator(2, Grants::All);
    let mut ledger = bench.ledger();
    let mut all = Vec::new();
    for text in ["1", "2", "3"] {
        all.push(bench.make(&ledger, &old, &[doc("a", text)]));
        assert_eq!(take(&mut ledger, all.last().cloned(), &bench.rules()), []);
    }
    bench.retire(&old, &[hash(&all[1])]);
    // Here the third is held and does not count; a node that never had it does not take it.
    let rules = bench.rules();
    assert_eq!(texts(&ledger, &rules)["route/a"], "2");
    assert_eq!(
        ledger.standing(&hash(&all[2]), &rules),
        Some(Standing::Uncounted { refusal: Refusal::OperatorRetired })
    );
    let mut fresh = bench.ledger();
    assert_eq!(labels(&take(&mut fresh, all.clone(), &rules)), ["operator-retired"]);
    assert_eq!((fresh.head(&rules), texts(&fresh, &rules)), (ledger.head(&rules), texts(&ledger, &rules)));
    // What is made next builds upon what counts, so that both go on as one.
    let next = bench.make(&ledger, &bench.root, &[doc("a", "4")]);
    assert_eq!(take(&mut fresh, [next.clone()], &rules), []);
    assert_eq!(take(&mut ledger, [next], &rules), []);
    assert_eq!((fresh.head(&rules), texts(&fresh, &rules)), (ledger.head(&rules), texts(&ledger, &rules)));
}

#[test]
fn what_does_not_count_may_lie_below_what_does() {
    let mut bench = bench();
    let old = bench.operator(2, Grants::All);
    let mut ledger = bench.ledger();
    let one = bench.make(&ledger, &old, &[doc("a", "1")]);
    take(&mut ledger, [one.clone()], &bench.rules());
    let two = bench.make(&ledger, &bench.root, &[doc("b", "1")]);
    take(&mut ledger, [two.clone()], &bench.rules());
    bench.retire(&old, &[]);
    let rules = bench.rules();
    let mut fresh = bench.ledger();
    assert_eq!(labels(&take(&mut fresh, [one.clone()], &rules)), ["operator-retired"]);
    assert_eq!(take(&mut fresh, [one, two], &rules), []);
    assert_eq!(standings(&fresh, &rules), standings(&ledger, &rules));
    assert_eq!(texts(&fresh, &rules).into_keys().collect::<Vec<_>>(), ["route/b"]);
    assert_eq!(fresh.head(&rules), ledger.head(&rules));
}

#[test]
fn a_key_that_has_ended_brings_nothing_new_in_unless_a_later_author_stands_behind_it() {
    let mut bench = bench();
    let old = bench.operator(2, Grants::All);
    let web = bench.operator(3, only("web"));
    bench.entry_of(&old).not_after = Some(NOW);
    let mut ledger = bench.ledger();
    let one = bench.make(&ledger, &old, &[doc("a", "1")]);
    assert_eq!(take(&mut ledger, [one.clone()], &bench.rules()), []);
    let later = bench.rules_at(NOW.after(MINUTE));
    assert_eq!(texts(&ledger, &later)["route/a"], "1", "what is held stays");

    let mut fresh = bench.ledger();
    assert_eq!(labels(&take(&mut fresh, [one.clone()], &later)), ["operator-lapsed"]);
    let too_late = bench.forge(&one, &old, |set| set.at = NOW.after(MINUTE));
    assert_eq!(labels(&take(&mut fresh, [too_late.clone()], &later)), ["operator-expired"]);
    // An operator vouches for what it might have changed itself, and for nothing else.
    let narrow = bench.make(&ledger, &web, &[doc("web", "1")]);
    assert_eq!(labels(&take(&mut fresh, [one.clone(), narrow], &later)), ["operator-lapsed", "parent-missing"]);
    let broad = bench.make(&ledger, &bench.root, &[doc("b", "1")]);
    let forged = SignedDraft {
        change_set: SignedChangeSet { operator: bench.root.public(), ..one.change_set.clone() },
        documents: Vec::new(),
    };
    assert_eq!(labels(&take(&mut fresh, [one.clone(), forged], &later)).len(), 2, "a forged word is none");
    assert_eq!(take(&mut fresh, [one, broad.clone()], &later), []);
    take(&mut ledger, [broad], &later);
    assert_eq!((fresh.head(&later), texts(&fresh, &later)), (ledger.head(&later), texts(&ledger, &later)));
}

#[test]
fn rows_bring_the_ledger_back_and_what_is_broken_is_named() {
    let bench = bench();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1"), doc("b", "1")]);
    bench.apply(&mut ledger, &[doc("a", "2")]);
    let rules = bench.rules();
    let all = rows(&ledger, &rules);
    assert_eq!(all.len(), 5);
    let mut backwards = all.clone();
    backwards.reverse();
    let (back, lost) = Ledger::load(ledger.mesh().clone(), &backwards, &rules);
    assert_eq!(lost, []);
    assert_eq!((back.head(&rules), texts(&back, &rules)), (ledger.head(&rules), texts(&ledger, &rules)));
    // Every bit of every row counts.
    for broken in 0..all.len() {
        for at in 0..all[broken].value.len() {
            let mut rows = all.clone();
            rows[broken].value[at] ^= 1 << (at % 8);
            let (back, lost) = Ledger::load(ledger.mesh().clone(), &rows, &rules);
            assert!(!lost.is_empty() && back.len() < 2, "row {broken}, byte {at}");
        }
        let mut rows = all.clone();
        rows[broken].value.pop();
        assert!(!Ledger::load(ledger.mesh().clone(), &rows, &rules).1.is_empty());
    }
}

#[test]
fn a_full_ledger_takes_no_more_and_says_so() {
    let bench = bench();
    let mut ledger = bench.ledger();
    bench.apply(&mut ledger, &[doc("a", "1")]);
    ledger.graph.pretend_size(DOCUMENTS_SIZE_MAX - 200);
    let large = bench.make(&ledger, &bench.root, &[doc("b", &"x".repeat(200))]);
    let refused = take(&mut ledger, [large], &bench.rules());
    assert_eq!(labels(&refused), ["full"]);
    assert_eq!(refused[0].refusal.to_failure().code, Code::LedgerFull);
    let small = bench.make(&ledger, &bench.root, &[doc("b", "x")]);
    assert_eq!(take(&mut ledger, [small], &bench.rules()), [], "what still fits is taken");
}

#[test]
fn the_two_hundredth_change_set_costs_no_more_than_the_first() {
    let bench = bench();
    let rules = bench.rules();
    let mut ledger = bench.ledger();
    let clock = weft_env::Clock::machine();
    let mut slowest = Duration::ZERO;
    for round in 0..200 {
        // 500 of 10,000 documents, another twentieth each round.
        let names = (0..500).map(|n| format!("d{}", (round % 20) * 500 + n));
        let documents: Vec<Document> = names.map(|name| doc(&name, &format!("text {round}"))).collect();
        let made = bench.make(&ledger, &bench.root, &documents);
        // Somebody still reads the state of before.
        let held = ledger.state(&rules);
        let started = clock.now();
        let checked = ledger.check(batch([made]), &rules);
        assert_eq!(checked.refused, []);
        ledger.insert(checked);
        assert_ne!(ledger.state(&rules).len(), 0);
        slowest = slowest.max(started.elapsed());
        drop(held);
    }
    assert_eq!(ledger.state(&rules).len(), 10_000);
    let fresh = crate::state::Outcome::compute(&ledger.graph, &rules, None);
    assert_eq!(*fresh.state, *ledger.state(&rules));
    // Generous, for a machine that is busy: computing all anew takes many times as long.
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    println!("slowest check and insert: {slowest:?}");
}

/// One step of a random history: who signs on which of three ledgers what, and which ledgers then meet.
#[derive(Debug, Clone)]
struct Act {
    side: usize,
    key: usize,
    documents: Vec<(u8, u8)>,
    wait: Option<u64>,
    confirm: bool,
    meet: Option<(usize, usize)>,
}

fn act() -> impl Strategy<Value = Act> {
    let documents = proptest::collection::vec((0..5u8, 0..4u8), 1..4);
    let meet = proptest::option::weighted(0.3, (0..3usize, 0..3usize));
    (0..3usize, 0..3usize, documents, proptest::option::weighted(0.3, 1..100u64), any::<bool>(), meet)
        .prop_map(|(side, key, documents, wait, confirm, meet)| Act { side, key, documents, wait, confirm, meet })
}

/// What one act adds to its ledger.
fn perform(act: &Act, ledger: &Ledger, bench: &testing::Bench, key: &SigningKey) -> Option<SignedDraft> {
    let rules = bench.rules();
    if act.confirm {
        let waits = ledger.history(&rules).find(|row| matches!(row.standing, Standing::Unconfirmed { .. }))?;
        let draft = ledger.confirmation(&waits.hash.into(), &rules).unwrap();
        return Some(bench.sign(&draft, key));
    }
    let wanted: std::collections::BTreeMap<u8, Document> =
        act.documents.iter().map(|(name, text)| (*name, doc(&format!("d{name}"), &text.to_string()))).collect();
    let draft = ledger.draft(wanted.into_values().collect(), &Prune::Nothing, &rules).unwrap();
    let mut signing = bench.signing(key, NOW);
    signing.confirm_by = act.wait.map(|wait| NOW.after(Duration::from_millis(wait)));
    draft.sign(signing).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_order_of_arrival_ends_the_same(
        acts in proptest::collection::vec(act(), 1..14),
        seed in any::<u64>(),
        retire in proptest::option::of(0..14usize),
        later in 0..120u64,
    ) {
        let mut bench = bench();
        let keys = [bench.root.clone(), bench.operator(2, Grants::All), bench.operator(3, only("d1"))];
        let mut sides = [bench.ledger(), bench.ledger(), bench.ledger()];
        let mut made: Vec<SignedDraft> = Vec::new();
        for act in &acts {
            let Some(draft) = perform(act, &sides[act.side], &bench, &keys[act.key]) else { continue };
            if take(&mut sides[act.side], [draft.clone()], &bench.rules()).is_empty() {
                made.push(draft);
            }
            if let Some((from, to)) = act.meet {
                let all: Vec<SignedDraft> =
                    made.iter().filter(|one| sides[from].entry(&hash(one)).is_some()).cloned().collect();
                prop_assert_eq!(take(&mut sides[to], all, &bench.rules()), vec![]);
            }
        }
        let old_rules = bench.rules();
        // Perhaps one key has been retired since, perhaps some deadlines have passed.
        if let Some(tip) = retire {
            let tips: Vec<Hash> = made.get(tip).map(hash).into_iter().collect();
            bench.retire(&keys[1], &tips);
        }
        let mut whole = bench.ledger();
        prop_assert_eq!(take(&mut whole, made.clone(), &old_rules), vec![]);
        let rules = bench.rules_at(NOW.after(Duration::from_millis(later)));
        let expected = (ledger_picture(&whole, &rules), texts(&whole, &rules));

        // One by one in any order, until nothing more is taken.
        let random = Random::seeded(seed);
        let mut shuffled = bench.ledger();
        let mut open = made.clone();
        while !open.is_empty() {
            let next = open.remove(usize::try_from(random.below(open.len() as u64)).unwrap());
            if !take(&mut shuffled, [next.clone()], &old_rules).is_empty() {
                open.push(next);
            }
            // What is computed on the way changes nothing.
            if random.below(2) == 0 { shuffled.state(&old_rules); } else { shuffled.state(&rules); }
        }
        prop_assert_eq!((ledger_picture(&shuffled, &rules), texts(&shuffled, &rules)), expected.clone());
        // The ledgers of the three sides, once they have met.
        for side in &mut sides {
            prop_assert_eq!(take(side, made.clone(), &old_rules), vec![]);
            prop_assert_eq!((ledger_picture(side, &rules), texts(side, &rules)), expected.clone());
        }
        // And a node that comes late and judges by the newer bundle: the same head and state, without what no one takes any more.
        let mut late = bench.ledger();
        let refused = take(&mut late, made, &rules);
        prop_assert!(refused.iter().all(|one| ["operator-retired", "parent-missing"].contains(&one.refusal.label())));
        prop_assert_eq!((late.head(&rules), texts(&late, &rules)), (whole.head(&rules), expected.1));
    }

    #[test]
    fn bytes_that_were_tampered_with_are_never_taken(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>()) {
        let bench = bench();
        let mut ledger = bench.ledger();
        let made = bench.make(&ledger, &bench.root, &[doc("a", "1")]);
        let bytes = weft_identity::wire::encode(weft_identity::wire::Kind::ChangeSet, &made.change_set).unwrap();
        let read = |bytes: &[u8]| weft_identity::wire::decode::<SignedChangeSet>(weft_identity::wire::Kind::ChangeSet, bytes, ROW_LEN_MAX);
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        let mut flipped = bytes.clone();
        let place = at.index(bytes.len());
        flipped[place] ^= 1 << bit;
        if let Ok(change_set) = read(&flipped) {
            let refused = take(&mut ledger, [SignedDraft { change_set, documents: made.documents }], &bench.rules());
            prop_assert_eq!(refused.len(), 1);
            prop_assert!(ledger.is_empty());
        }
    }
}

fn ledger_picture(ledger: &Ledger, rules: &Rules) -> (Head, std::collections::BTreeMap<Hash, Standing>) {
    (ledger.head(rules), standings(ledger, rules))
}
