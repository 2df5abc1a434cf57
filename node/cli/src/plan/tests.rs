use std::sync::Arc;

use weft_ledger::{Document, DocumentParts};

use super::*;

fn document(id: &str, line: u32, text: &str) -> Document {
    let parts = DocumentParts {
        id: id.parse().unwrap(),
        services: Some(["orders".parse().unwrap()].into()),
        file: "policies/a.toml".to_owned(),
        line,
        text: text.to_owned(),
    };
    Document::new(parts).unwrap()
}

fn difference(old: Option<Document>, new: Option<Document>) -> Difference {
    let id = old.as_ref().or(new.as_ref()).unwrap().id().clone();
    Difference { id, old: old.map(Arc::new), new: new.map(Arc::new) }
}

fn draft_of(differences: Vec<Difference>, unchanged: usize) -> Draft {
    Draft { mesh: "bank".parse().unwrap(), parents: Vec::new(), revision: 12, differences, unchanged, confirms: None }
}

fn view_of(draft: Draft) -> DraftView {
    let (a, b): (NodeId, NodeId) = ("vm-a".parse().unwrap(), "vm-b".parse().unwrap());
    DraftView {
        draft,
        mistakes: Vec::new(),
        reached: vec![a.clone()],
        unreached: vec![b],
        concerned: vec![a.clone()],
        node: a,
    }
}

fn some_of_each() -> Vec<Difference> {
    vec![
        difference(None, Some(document("route/new", 1, "x = 1\n"))),
        difference(
            Some(document("route/other", 5, "a = 1\nb = 2\n")),
            Some(document("route/other", 5, "a = 1\nb = 3\n")),
        ),
        difference(Some(document("route/same", 9, "x = 1\n")), Some(document("route/same", 12, "x = 1\n"))),
        difference(Some(document("traffic/old", 1, "x = 1\n")), None),
    ]
}

#[test]
fn a_plan_shows_each_change_and_whom_it_reaches() {
    let shown = text(&view_of(draft_of(some_of_each(), 6)), Paint::Plain);
    let expected = "\
added    route/new    policies/a.toml:1
changed  route/other  policies/a.toml:5
    @@ -1,2 +1,2 @@
     a = 1
    -b = 2
    +b = 3
moved    route/same   policies/a.toml:12 (was policies/a.toml:9)
removed  traffic/old  (was policies/a.toml:1)

revision 12: 1 added, 1 changed, 1 moved, 1 removed, 6 as in force
concerns vm-a
reaches 1 of 2 nodes; not vm-b";
    assert_eq!(shown, expected);
    assert!(text(&view_of(draft_of(some_of_each(), 6)), Paint::Coloured).contains("\u{1b}[32m    +b = 3\u{1b}[0m"));
    assert_eq!(text(&view_of(draft_of(Vec::new(), 1)), Paint::Plain), "nothing to change: 1 document as in force");
    let shown = value(&view_of(draft_of(some_of_each(), 6)));
    assert_eq!((&shown["revision"], &shown["changes"][1]["change"]), (&json!(12), &json!("changed")));
    assert_eq!(value(&view_of(draft_of(Vec::new(), 1)))["revision"], Value::Null);
}

#[test]
fn a_draft_of_something_else_is_not_signed() {
    let (one, two) = (document("route/one", 1, "x = 1\n"), document("route/two", 1, "x = 2\n"));
    let wish = |prune| DraftWish::Documents { documents: vec![one.clone()], prune };
    let put = |document: &Document| difference(None, Some(document.clone()));
    let removed = || difference(Some(two.clone()), None);
    let asked = draft_of(vec![put(&one)], 0);
    assert_eq!(broken_promise(&wish(Prune::Nothing), &asked), None);
    assert_eq!(broken_promise(&wish(Prune::Nothing), &draft_of(Vec::new(), 1)), None);
    assert_eq!(broken_promise(&wish(Prune::All), &draft_of(vec![put(&one), removed()], 0)), None);
    let other_text = document("route/one", 1, "x = 9\n");
    for (prune, draft) in [
        (Prune::Nothing, draft_of(vec![put(&other_text)], 0)),
        (Prune::Nothing, draft_of(vec![put(&one), put(&two)], 0)),
        (Prune::Nothing, draft_of(vec![put(&one), removed()], 0)),
        (Prune::Kind("traffic".to_owned()), draft_of(vec![put(&one), removed()], 0)),
        (Prune::All, draft_of(vec![difference(Some(one.clone()), None)], 1)),
        (Prune::Nothing, draft_of(Vec::new(), 0)),
        (Prune::Nothing, Draft { confirms: Some(one.hash()), ..asked.clone() }),
    ] {
        assert!(broken_promise(&wish(prune), &draft).is_some(), "{draft:?}");
    }
    assert!(broken_promise(&DraftWish::Confirm("1".to_owned()), &asked).is_some());
}
