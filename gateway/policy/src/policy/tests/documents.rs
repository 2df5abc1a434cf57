//! Files into documents: slices and places, the examples, the reference page and the schemas.

use std::collections::BTreeSet;

use super::*;
use crate::traffic::ReplicaLimit;

fn book(path: &str) -> String {
    format!("{}/../../docs/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_example_is_read_and_compiled_and_together_they_are_a_policy() {
    let mut files = Vec::new();
    for kind in Kind::ALL {
        let name = format!("examples/{}.toml", kind.word());
        let text = std::fs::read_to_string(book(&name)).unwrap();
        let sources = read_file(&name, &text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert!(sources.iter().any(|source| source.kind == kind.word()), "{name}");
        files.push((name, text));
    }
    let documents: Vec<_> = read_files(&files).unwrap().into_iter().map(|source| (source, 1)).collect();
    let policy = compile(&documents).unwrap();
    assert!(policy.revocations().node(&"vm-d".parse().unwrap()).is_some());
    assert_eq!((policy.revocations().keys().count(), policy.revocations().tokens().count()), (1, 1));
    let orders = policy.traffic(&service("orders"));
    assert_eq!((orders.outlier.consecutive_failures, orders.outlier.consecutive_gateway_errors), (3, 10));
    let rate = orders.outlier.success_rate.unwrap();
    assert_eq!((rate.replicas_min, rate.requests_min, rate.deviations_thousandths), (3, 50, 2_500));
    assert_eq!((orders.replica_limit, orders.slow_start.unwrap().as_secs()), (ReplicaLimit::Adaptive, 30));
    assert_eq!(policy.traffic(&service("sessions")).outlier.success_rate, None);
    assert_eq!(policy.limits(&service("orders")).len(), 2);
    assert_eq!(policy.traffic(&service("unknown")), &Traffic::default());
}

#[test]
fn the_reference_page_is_the_one_in_the_book() {
    let file = book("reference/policies.md");
    if std::env::var_os("WEFT_WRITE_DOCS").is_some() {
        std::fs::write(&file, policy_page()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == policy_page(),
        "write it again: WEFT_WRITE_DOCS=1 cargo test -p weft-policy --lib reference_page"
    );
}

#[test]
fn a_schema_knows_every_key_and_no_other() {
    for kind in Kind::ALL {
        let schema = schema(kind);
        assert_eq!(schema["additionalProperties"], false, "{kind:?}");
        let keys: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = reference::shape(kind).fields.iter().map(|field| field.key).collect();
        assert_eq!(keys, known);
        assert!(schema["required"].as_array().unwrap().contains(&"name".into()));
    }
    let route = schema(Kind::Route);
    let weight = &route["properties"]["rule"]["items"]["properties"]["to"]["items"]["properties"]["weight"];
    assert_eq!((&weight["minimum"], &weight["maximum"]), (&0.into(), &1_000_000.into()));
}

#[test]
fn each_table_is_a_document_with_its_slice_and_its_line() {
    let text = "# policies of the shop\n\n[[route]] # canary\nname = \"r\"\nservice = \"a\"\n[[route.rule]]\nto = [{ service = \"b\" }]\n\
        mirror = { service = \"c\" }\n\n# who may call\n[[authorisation]]\nname = \"a\"\nservices = [\"a\", \"b\"]\ndefault = \"deny\"\n\
        [[mesh]]\nname = \"defaults\"\n";
    let sources = read_file("shop.toml", text).unwrap();
    let names: Vec<_> =
        sources.iter().map(|source| (source.kind.as_str(), source.name.as_str(), source.line)).collect();
    assert_eq!(names, [("route", "r", 3), ("authorisation", "a", 11), ("mesh", "defaults", 15)]);
    assert!(
        sources[0].text.starts_with("[[route]] # canary\n") && sources[0].text.ends_with("\"c\" }\n"),
        "{}",
        sources[0].text
    );
    let services = |names: &[&str]| Some(names.iter().map(|name| service(name)).collect::<BTreeSet<_>>());
    assert_eq!(sources[0].services, services(&["a", "b", "c"]), "targets are concerned, too");
    assert_eq!(sources[1].services, services(&["a", "b"]));
    assert_eq!(sources[2].services, None);
}

#[test]
fn comments_between_documents_do_not_change_them() {
    let one = "[[mesh]]\nname = \"defaults\"\n";
    let other = format!("{one}\n# a new comment\n\n");
    assert_eq!(read_file("a", one).unwrap()[0].text, read_file("a", &other).unwrap()[0].text);
}

#[test]
fn a_document_that_lies_about_itself_is_refused() {
    let text = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\ndefault = \"deny\"\n";
    let honest = read_file("f", text).unwrap().remove(0);
    let lies = [
        (Source { services: Some(BTreeSet::from([service("b")])), ..honest.clone() }, "declares other services"),
        (Source { services: None, ..honest.clone() }, "declares other services"),
        (Source { name: "b".to_owned(), ..honest.clone() }, "its text says authorisation/a"),
        (Source { kind: "route".to_owned(), ..honest.clone() }, "stands inside another document"),
        (Source { text: format!("{text}{}", text.replace("\"a\"", "\"b\"")), ..honest.clone() }, "more than one"),
        (Source { text: String::new(), ..honest.clone() }, "holds no `[[authorisation]]`"),
    ];
    for (lie, says) in lies {
        let mistakes = compile(&[(lie, 1)]).unwrap_err();
        assert!(mistakes[0].to_string().contains(says), "{mistakes:?}");
    }
    let twice = compile(&[(honest.clone(), 1), (honest, 2)]).unwrap_err();
    assert_eq!(twice[0].to_string(), "f:1:1: `authorisation/a` stands already at f:1");
}

#[test]
fn a_policy_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Policy>();
    is_shared::<Limiter>();
}
