//! One state of the documents after the other, through one compiler: each policy is the one that compiling from nothing makes.

use std::cell::Cell;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use weft_ledger::{Document, DocumentId as LedgerId, DocumentParts};

use super::*;

/// Documents that a state may hold, by number.
const SLOTS: usize = 12;
/// Forms that each document takes.
const FORMS: u8 = 4;
const SERVICES: [&str; 2] = ["a", "b"];

/// Puts or removes documents: (slot, form; none removes it), and the revision that does.
type Step = (Vec<(usize, Option<u8>)>, u64);

/// A document's text. Some contradict each other: two defaults of a service, two documents of `[[traffic]]`.
fn text_of(slot: usize, form: u8) -> String {
    let head = |kind: &str, rest: &str| format!("[[{kind}]]\nname = \"d{slot:02}\"\n{rest}\n");
    let action = if form.is_multiple_of(2) { "allow" } else { "deny" };
    let rules = |concerns: &str| {
        let rule = |path: &str, method: &str| {
            format!(
                "[[authorisation.rule]]\naction = \"{action}\"\nfrom = {{ services = [\"web\"] }}\npaths = [\"{path}\"]\n\
                 methods = [\"{method}\"]\n"
            )
        };
        let default = if form == 3 && slot != 3 {
            format!("default = \"{}\"\n", ["allow", "deny"][slot % 2])
        } else {
            String::new()
        };
        let mode = if slot == 4 { "mode = \"shadow\"\n" } else { "" };
        let rules = rule(&format!("/{form}"), "GET") + &rule("/{any}", "POST") + &rule("/x/**", "GET");
        head("authorisation", &format!("{concerns}\n{mode}{default}{rules}"))
    };
    let route = |service: &str| {
        let matched = [
            format!("path = {{ exact = \"/{form}\" }}"),
            "path = { template = \"/{any}\" }, headers = [{ name = \"x\", value = \"1\" }]".to_owned(),
            "path = { prefix = \"/x\" }, methods = [\"GET\"]".to_owned(),
            "path = { regex = \"/[0-9]\" }".to_owned(),
        ];
        let matched = &matched[usize::from(form)];
        head("route", &format!("service = \"{service}\"\n[[route.rule]]\nmatch = [{{ {matched} }}]\ntimeout = \"5s\""))
    };
    match slot {
        0 | 1 => rules("service = \"a\""),
        2 => rules("services = [\"a\", \"b\"]"),
        3 => rules("mesh = true"),
        4 => rules("service = \"b\""),
        5 | 6 => route("a"),
        7 => route("b"),
        8 | 9 => head("traffic", &format!("service = \"{}\"\nrequest_timeout = \"{}s\"", SERVICES[slot % 2], form + 1)),
        10 => head("rate-limit", &format!("service = \"a\"\nrequests = {}\nper = \"1s\"", form + 1)),
        // The same service as slot 8.
        _ => match form {
            0 => head("traffic", "service = \"a\"\nrequest_timeout = \"9s\""),
            _ => head("revocation", &format!("node = \"vm-{form}\"\nreason = \"lost\"")),
        },
    }
}

fn document(slot: usize, form: u8, revision: u64) -> InForce {
    let source = read_file("p.toml", &text_of(slot, form)).unwrap().remove(0);
    let document = Document::new(DocumentParts {
        id: LedgerId::new(&source.kind, &source.name).unwrap(),
        services: source.services,
        file: source.file,
        line: source.line,
        text: source.text,
    });
    let document = Arc::new(document.unwrap());
    InForce { hash: document.hash(), document, revision }
}

/// Everything that a policy answers, with its reasons.
fn answers(policy: &Policy) -> Vec<String> {
    let mut answers = vec![format!("{} {:?}", policy.revision(), policy.revocations())];
    for name in SERVICES.map(service) {
        answers.push(format!("{:?} {:?}", policy.traffic(&name), policy.limits(&name)));
        answers.push(format!("{} {}", policy.reads_requests(&name), policy.denies_requests(&name)));
        for line in ["GET /0", "GET /1", "POST /2", "POST /3 x:1", "GET /x/y", "GET /x", "GET /3 x:1", "PUT /z"] {
            answers.push(Request::of(line).ask(|view| {
                let by = |from| policy.explain_authorise(caller(from).calls(), &name, Call::Http(view));
                format!("{:?} {:?} {:?}", by("svc/web"), by("svc/b"), policy.explain_route(&name, "a", view))
            }));
        }
        answers.push(format!("{:?}", policy.explain_authorise(caller("svc/web").calls(), &name, Call::Tcp)));
    }
    answers
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..SLOTS, prop_oneof![1 => Just(None), 4 => (0..FORMS).prop_map(Some)]);
    (vec(change, 0..5), 1_u64..6)
}

proptest! {
    #[test]
    fn a_series_of_states_compiles_as_each_alone(steps in vec(step(), 1..12)) {
        let mut compiler = Compiler::default();
        let mut state: Vec<Option<InForce>> = vec![None; SLOTS];
        for (changes, revision) in steps {
            for (slot, form) in changes {
                state[slot] = form.map(|form| document(slot, form, revision));
            }
            let documents: Vec<InForce> = state.iter().flatten().cloned().collect();
            let sources: Vec<(Source, u64)> =
                documents.iter().map(|held| (Source::from(&*held.document), held.revision)).collect();
            let (carried_on, alone) = (compiler.compile(&documents, &mut || ()), compile(&sources));
            prop_assert_eq!(carried_on.as_ref().map(answers), alone.as_ref().map(answers));
        }
    }
}

#[test]
fn what_did_not_change_is_neither_parsed_nor_built_again() {
    let mut compiler = Compiler::default();
    let pauses = Cell::new(0);
    let mut compiled = |documents: &[InForce]| {
        pauses.set(0);
        let policy = compiler.compile(documents, &mut || pauses.set(pauses.get() + 1)).unwrap();
        (policy, pauses.get())
    };
    let (first, parsed) = compiled(&[document(0, 0, 1), document(5, 0, 1), document(7, 0, 1)]);
    assert_eq!(parsed, 3);
    let (planned, parsed) = compiled(&[document(0, 0, 1), document(5, 1, 2), document(7, 0, 1)]);
    assert_eq!(parsed, 1);
    // Another plan is looked at and dropped; the first one comes into force.
    assert_eq!(compiled(&[document(0, 0, 1), document(5, 2, 2), document(7, 0, 1)]).1, 1);
    let (second, parsed) = compiled(&[document(0, 0, 1), document(5, 1, 2), document(7, 0, 1)]);
    assert_eq!(parsed, 0);
    let (a, b) = (service("a"), service("b"));
    let rules = |policy: &Policy| Arc::clone(&policy.authorisation.services[&a]);
    assert!(Arc::ptr_eq(&rules(&first), &rules(&planned)) && Arc::ptr_eq(&rules(&first), &rules(&second)));
    assert!(Arc::ptr_eq(&first.routes[&b], &second.routes[&b]));
    assert!(!Arc::ptr_eq(&first.routes[&a], &second.routes[&a]));
}

#[test]
fn a_state_with_a_mistake_leaves_the_compiler_as_good_as_before() {
    let mut compiler = Compiler::default();
    let good = [document(8, 0, 1), document(0, 0, 1)];
    let first = answers(&compiler.compile(&good, &mut || ()).unwrap());
    let wrong = [document(8, 0, 1), document(0, 0, 1), document(11, 0, 2)];
    let mistakes = compiler.compile(&wrong, &mut || ()).unwrap_err();
    assert!(mistakes[0].to_string().contains("has a `[[traffic]]` already"), "{mistakes:?}");
    assert_eq!(answers(&compiler.compile(&good, &mut || ()).unwrap()), first);
}
