use std::time::Duration;

use weft_identity::testing::NOW;

use super::super::testing::{Bench, bench};
use super::*;

struct Writer {
    key: SigningKey,
    enrolment: SignedEnrolment,
    random: Random,
}

fn writer(bench: &Bench, node: &str, seed: u64) -> Writer {
    let (key, enrolment) = bench.enrol(node, seed);
    Writer { key, enrolment, random: Random::seeded(seed) }
}

fn posting(audience: Audience, body: &str) -> Posting {
    Posting { kind: "credential".to_owned(), audience, body: body.as_bytes().to_vec() }
}

impl Writer {
    fn write(&self, journals: &mut Journals, audience: Audience, body: &str, rules: &Rules) -> Vec<Row> {
        let writing = Writing { key: &self.key, enrolment: &self.enrolment, random: &self.random };
        let checked = journals.append(posting(audience, body), &writing, rules).unwrap();
        let rows = checked.rows();
        journals.insert(checked);
        rows
    }

    /// Signs an entry that the journal would not make.
    fn forge(&self, of: &SignedEntry, change: impl FnOnce(&mut JournalEntry)) -> SignedEntry {
        let mut entry = of.signed.claim().unwrap();
        change(&mut entry);
        SignedEntry { signed: Signed::sign(&entry, JOURNAL_CONTEXT, &self.key).unwrap(), body: of.body.clone() }
    }
}

fn start(node: &str) -> JournalPlace {
    JournalPlace { writer: node.parse().unwrap(), after: 0, last: None }
}

fn all_of(journals: &Journals, node: &str, reader: Reader) -> JournalBatch {
    journals.since(&start(node), usize::MAX, reader).unwrap().0
}

fn take_batch(journals: &mut Journals, batch: JournalBatch, rules: &Rules) -> Vec<&'static str> {
    let checked = journals.check(batch, rules).unwrap();
    let labels = checked.refused.iter().map(|one| one.refusal.label()).collect();
    journals.insert(checked);
    labels
}

fn bodies(journals: &Journals) -> Vec<String> {
    let text = |body: &Body| String::from_utf8(body.bytes.clone()).unwrap();
    journals.merged().map(|held| held.signed.body.as_ref().map_or("-".to_owned(), text)).collect()
}

#[test]
fn the_merged_view_is_the_union_by_time() {
    let bench = bench();
    let (a, b) = (writer(&bench, "gw-a", 2), writer(&bench, "gw-b", 3));
    let (mut left, mut right) = (Journals::empty(), Journals::empty());
    let at = |ms| bench.rules_at(NOW.after(Duration::from_millis(ms)));
    let mut rows = a.write(&mut left, Audience::All, "1", &at(1));
    rows.extend(b.write(&mut right, Audience::All, "2", &at(2)));
    rows.extend(a.write(&mut left, Audience::All, "3", &at(3)));
    // A clock that was set back does not break the chain.
    rows.extend(a.write(&mut left, Audience::All, "4", &at(0)));
    assert_eq!(take_batch(&mut left, all_of(&right, "gw-b", Reader::Node), &at(5)), [""; 0]);
    assert_eq!(take_batch(&mut right, all_of(&left, "gw-a", Reader::Node), &at(5)), [""; 0]);
    assert_eq!(bodies(&left), ["1", "2", "3", "4"]);
    assert_eq!((bodies(&right), right.heads()), (bodies(&left), left.heads()));
    rows.reverse();
    let (back, lost) = Journals::load(&rows, &bench.rules());
    assert_eq!(lost, []);
    assert_eq!((bodies(&back), back.heads()), (bodies(&left), left.heads()));
    for broken in 0..rows.len() {
        let mut rows = rows.clone();
        *rows[broken].value.last_mut().unwrap() ^= 1;
        let (back, lost) = Journals::load(&rows, &bench.rules());
        assert!(!lost.is_empty() && bodies(&back).len() < 4, "row {broken}");
    }
}

#[test]
fn a_journal_comes_in_parts_and_goes_on_where_it_was() {
    let bench = bench();
    let a = writer(&bench, "gw-a", 2);
    let (mut full, mut part) = (Journals::empty(), Journals::empty());
    for n in 0..7 {
        a.write(&mut full, Audience::All, &n.to_string(), &bench.rules());
    }
    let mut rounds = 0;
    loop {
        let head = part.head(&"gw-a".parse().unwrap());
        let place = JournalPlace {
            after: head.as_ref().map_or(0, |head| head.sequence),
            last: head.and_then(|head| head.hash),
            ..start("gw-a")
        };
        let (batch, more) = full.since(&place, 1_000, Reader::Node).unwrap();
        assert_eq!(take_batch(&mut part, batch, &bench.rules()), [""; 0]);
        rounds += 1;
        if more == More::No {
            break;
        }
    }
    assert!(rounds > 2);
    assert_eq!(part.heads(), full.heads());
}

#[test]
fn what_is_for_gateways_passes_through_other_nodes_unread() {
    let bench = bench();
    let a = writer(&bench, "gw-a", 2);
    let (mut gateway, mut node, mut other) = (Journals::empty(), Journals::empty(), Journals::empty());
    a.write(&mut gateway, Audience::Gateways, "secret", &bench.rules());
    a.write(&mut gateway, Audience::All, "open", &bench.rules());
    assert_eq!(take_batch(&mut node, all_of(&gateway, "gw-a", Reader::Node), &bench.rules()), [""; 0]);
    assert_eq!(bodies(&node), ["-", "open"]);
    assert_eq!(node.heads()[0].complete, 0);
    // A gateway that has it from a node lacks the body until it meets a gateway.
    assert_eq!(take_batch(&mut other, all_of(&node, "gw-a", Reader::Gateway), &bench.rules()), [""; 0]);
    assert_eq!(bodies(&other), ["-", "open"]);
    assert_eq!(take_batch(&mut other, all_of(&gateway, "gw-a", Reader::Gateway), &bench.rules()), [""; 0]);
    assert_eq!(bodies(&other), ["secret", "open"]);
    assert_eq!(other.heads(), gateway.heads());
}

#[test]
fn each_lie_is_refused_with_its_label() {
    let bench = bench();
    let (a, b) = (writer(&bench, "gw-a", 2), writer(&bench, "gw-b", 3));
    let mut journals = Journals::empty();
    a.write(&mut journals, Audience::All, "1", &bench.rules());
    let held = journals.clone();
    a.write(&mut journals, Audience::All, "2", &bench.rules());
    let good = all_of(&journals, "gw-a", Reader::Node);
    let second = good.entries[1].clone();
    let with_body = |body: Option<Body>| SignedEntry { body, ..second.clone() };
    let salted = Body { salt: [0; 16], ..second.body.clone().unwrap() };
    let far = NOW.after(CLOCK_LEAD_MAX + Duration::from_millis(1));
    let cases = [
        ("signature", b.forge(&second, |_| {})),
        ("other-mesh", a.forge(&second, |entry| entry.mesh = "shop".parse().unwrap())),
        ("other-writer", a.forge(&second, |entry| entry.writer = "gw-b".parse().unwrap())),
        ("form", a.forge(&second, |entry| entry.kind = "No".to_owned())),
        ("form", a.forge(&second, |entry| entry.sequence = 0)),
        ("form", a.forge(&second, |entry| entry.previous = None)),
        ("sequence", a.forge(&second, |entry| entry.sequence = 3)),
        ("sequence", a.forge(&second, |entry| entry.previous = Some(Hash([7; 32])))),
        ("sequence", a.forge(&second, |entry| entry.at = Timestamp(NOW.0 - 1))),
        ("ahead", a.forge(&second, |entry| entry.at = far)),
        ("body", with_body(None)),
        ("body", with_body(Some(salted))),
    ];
    for (label, entry) in cases {
        let mut journals = held.clone();
        let batch = JournalBatch { entries: vec![entry.clone()], ..good.clone() };
        assert_eq!(take_batch(&mut journals, batch, &bench.rules()), [label], "{entry:?}");
        assert_eq!(journals.heads(), held.heads());
    }
    let (_, other_enrolment) = bench.enrol("gw-a", 9);
    let other_key = JournalBatch { enrolment: other_enrolment, ..good.clone() };
    assert_eq!(held.check(other_key, &bench.rules()).unwrap_err().label(), "other-writer");
    let mut revoked = bench.rules();
    Arc::make_mut(&mut revoked.bundle).signers.clear();
    assert_eq!(held.check(good, &revoked).unwrap_err().label(), "enrolment");
    let writing = Writing { key: &a.key, enrolment: &a.enrolment, random: &a.random };
    let long = posting(Audience::All, &"x".repeat(BODY_LEN_MAX + 1));
    assert_eq!(held.append(long, &writing, &bench.rules()).unwrap_err().code, Code::JournalRefused);
}

#[test]
fn a_writer_that_contradicts_itself_is_frozen_before_it_on_every_node() {
    let bench = bench();
    let a = writer(&bench, "gw-a", 2);
    let mut first = Journals::empty();
    a.write(&mut first, Audience::All, "1", &bench.rules());
    let mut second = first.clone();
    let mut rows = Vec::new();
    for body in ["2", "3"] {
        rows.extend(a.write(&mut first, Audience::All, body, &bench.rules()));
        a.write(&mut second, Audience::All, &format!("{body}'"), &bench.rules());
    }
    let mut third = second.clone();
    assert_eq!(take_batch(&mut first, all_of(&second, "gw-a", Reader::Node), &bench.rules())[..1], ["equivocation"]);
    let head = first.head(&"gw-a".parse().unwrap()).unwrap();
    assert_eq!((head.sequence, head.frozen), (1, true));
    assert_eq!(bodies(&first), ["1"]);
    // The proof travels, also to one that saw one side only, and to one that saw nothing.
    for other in [&mut second, &mut third, &mut Journals::empty()] {
        assert_eq!(take_batch(other, all_of(&first, "gw-a", Reader::Node), &bench.rules()), ["equivocation"]);
        assert_eq!(other.heads(), first.heads());
        assert_eq!(take_batch(other, all_of(&first, "gw-a", Reader::Node), &bench.rules()), [""; 0], "said once");
    }
    // Nor does it write on, or come back from the disk as if nothing had been.
    let writing = Writing { key: &a.key, enrolment: &a.enrolment, random: &a.random };
    let refused = first.append(posting(Audience::All, "4"), &writing, &bench.rules()).unwrap_err();
    assert_eq!(refused.code, Code::JournalRefused);
    let proof = Journals::empty().check(all_of(&first, "gw-a", Reader::Node), &bench.rules()).unwrap().rows();
    rows.retain(|row| row.table == Table::JournalEntries);
    let (back, lost) = Journals::load(&[proof, rows].concat(), &bench.rules());
    assert_eq!((lost, back.heads()), (Vec::new(), first.heads()));
    // A proof that is none freezes nobody.
    let innocent = writer(&bench, "gw-b", 3);
    let mut journals = Journals::empty();
    innocent.write(&mut journals, Audience::All, "1", &bench.rules());
    let one = all_of(&journals, "gw-b", Reader::Node);
    let same = Conflict { one: one.entries[0].signed.clone(), two: one.entries[0].signed.clone() };
    let forged = Conflict { two: a.forge(&one.entries[0], |entry| entry.kind.push('x')).signed, ..same.clone() };
    for (label, conflict) in [("form", same), ("signature", forged)] {
        let batch = JournalBatch { conflict: Some(conflict), ..one.clone() };
        assert_eq!(take_batch(&mut journals, batch, &bench.rules()), [label]);
        assert!(!journals.heads()[0].frozen);
    }
}
