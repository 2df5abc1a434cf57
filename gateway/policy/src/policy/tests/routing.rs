//! Where requests go: the examples of the book, and what a rule does to a request.

use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::change::Asked;
use crate::strict::Percent;

#[test]
fn the_examples_of_the_book_are_true() {
    let (text, rows) = page("routing.md");
    let policy = policy(&text);
    for row in rows {
        let line = row[0].trim_matches('`');
        let (method, rest) = line.split_once(' ').unwrap();
        let (host, rest) = rest.split_once(' ').unwrap();
        Request::of(&format!("{method} {rest}")).ask(|view| {
            let (routed, steps) = policy.explain_route(&service("orders"), host, view);
            let place = &routed.unwrap_or_else(|| panic!("{row:?}: no rule")).rule.place;
            assert_eq!(rule_name(&text, place), row[1], "{row:?}");
            assert_eq!(steps.last().unwrap().place.as_ref(), Some(place));
        });
    }
}

fn rule(body: &str) -> String {
    format!("[[route]]\nname = \"r\"\nservice = \"a\"\n[[route.rule]]\n{body}\n")
}

fn with_rule<T>(body: &str, line: &str, ask: impl FnOnce(Routed<'_>, &RequestView<'_>) -> T) -> T {
    let policy = policy(&rule(body));
    Request::of(line).ask(|view| ask(policy.route(&service("a"), "a", view).unwrap(), view))
}

#[test]
fn a_service_without_routes_and_a_request_without_a_rule_go_as_they_are() {
    let policy = policy(&rule("match = [{ methods = [\"POST\"] }]"));
    Request::of("GET /").ask(|view| {
        assert!(policy.route(&service("a"), "a", view).is_none());
        assert!(policy.route(&service("b"), "b", view).is_none());
        assert_eq!(policy.explain_route(&service("b"), "b", view).1.len(), 1);
    });
}

#[test]
fn an_older_document_takes_what_two_say_alike() {
    let document = |name: &str| {
        let text = rule("match = [{ path = { prefix = \"/x\" } }]").replace("\"r\"", &format!("\"{name}\""));
        read_file(name, &text).unwrap().remove(0)
    };
    let taken = |documents: &[(Source, u64)]| {
        let policy = compile(documents).unwrap();
        Request::of("GET /x")
            .ask(|view| policy.route(&service("a"), "a", view).unwrap().rule.place.document.id.name.clone())
    };
    assert_eq!(taken(&[(document("a"), 7), (document("z"), 3)]), "z");
    assert_eq!(taken(&[(document("z"), 3), (document("a"), 3)]), "a");
}

#[test]
fn a_split_follows_its_weights() {
    with_rule(
        "to = [{ version = \"1\", weight = 95 }, { version = \"2\", weight = 5 }, { version = \"3\", weight = 0 }]",
        "GET /",
        |routed, _| {
            let version = |random: u64| routed.rule.target(random).unwrap().version.clone().unwrap();
            let mut counts = [0; 3];
            for random in 0..1_000 {
                counts[version(random).parse::<usize>().unwrap() - 1] += 1;
            }
            assert_eq!(counts, [950, 50, 0]);
        },
    );
    with_rule("timeout = \"1s\"", "GET /", |routed, _| assert!(routed.rule.target(7).is_none()));
}

#[test]
fn a_fault_and_a_mirror_take_their_share() {
    let body = "mirror = { service = \"b\", percent = 1 }\nfault = { delay = { percent = 10, span = \"300ms\" }, abort = { percent = 0.5, status = 503 } }";
    with_rule(body, "GET /", |routed, _| {
        let all = || 0..u64::from(Percent::ALL.millionths());
        let fault = &routed.rule.fault;
        assert_eq!(all().filter(|random| fault.delay(*random) == Some(Duration::from_millis(300))).count(), 100_000);
        assert_eq!(all().filter(|random| fault.abort(*random) == Some(StatusCode::SERVICE_UNAVAILABLE)).count(), 5_000);
        assert_eq!(all().filter(|random| routed.rule.mirror(*random).is_some()).count(), 10_000);
    });
}

#[test]
fn a_rewrite_changes_the_path_that_is_sent_on() {
    for (body, line, sent) in [
        (
            "match = [{ path = { prefix = \"/v1\" } }]\nrewrite = { prefix = \"/v2/x\" }",
            "GET /v1/a%40b/?q",
            "/v2/x/a%40b/",
        ),
        ("match = [{ path = { prefix = \"/v1\" } }]\nrewrite = { prefix = \"/\" }", "GET /v1/a", "/a"),
        ("match = [{ path = { prefix = \"/v1\" } }]\nrewrite = { prefix = \"/\" }", "GET /v1", "/"),
        ("match = [{ path = { prefix = \"/v1/\" } }]\nrewrite = { prefix = \"/v2/\" }", "GET /v1/a", "/v2/a"),
        ("rewrite = { prefix = \"/v2\" }", "GET /a", "/v2/a"),
        ("rewrite = { path = \"/x\" }", "GET /a?b", "/x"),
        ("timeout = \"1s\"", "GET //a/./b", "/a/b"),
        ("match = [{ path = { prefix = \"/v1\" } }]\nrewrite = { prefix = \"/v2\" }", "GET /v1;x/a;y", "/v2/a;y"),
        ("match = [{ path = { prefix = \"/v1\" } }]\nrewrite = { prefix = \"/v2\" }", "GET /v1/;x", "/v2/;x"),
        ("match = [{ path = { regex = \"/v[0-9]\" } }]", "GET /v1%3Bx", "/v1%3Bx"),
    ] {
        with_rule(body, line, |routed, view| assert_eq!(routed.path(view), sent, "{body} {line}"));
    }
    let body = "rewrite = { host = \"b.example.com\" }";
    with_rule(body, "GET /", |routed, _| assert_eq!(routed.rule.rewrite.host.as_ref().unwrap(), "b.example.com"));
}

#[test]
fn a_redirect_keeps_what_it_does_not_state() {
    for (redirect, location) in [
        ("path = \"/b\"", "http://a.example.com:8080/b?q=1"),
        ("host = \"b.example.com\"", "http://b.example.com/x?q=1"),
        ("scheme = \"https\"", "https://a.example.com/x?q=1"),
        ("scheme = \"https\", port = 8443, path = \"/\"", "https://a.example.com:8443/?q=1"),
        ("port = 80", "http://a.example.com/x?q=1"),
    ] {
        with_rule(&format!("redirect = {{ {redirect} }}"), "GET /x?q=1", |routed, view| {
            let asked = Asked { scheme: "http", authority: "a.example.com:8080" };
            let redirect = routed.rule.redirect.as_ref().unwrap();
            assert_eq!(redirect.location(asked, view), location);
            assert_eq!(redirect.status, StatusCode::FOUND);
        });
    }
}

#[test]
fn header_changes_are_made_in_order() {
    let body = "request_headers = { remove = [\"x-old\"], set = { x-one = \"1\" }, add = { x-two = \"b\" } }";
    with_rule(body, "GET /", |routed, _| {
        let mut headers = Request::of("GET / x-old:1 x-one:a x-one:b x-two:a").headers;
        routed.rule.request_headers.apply(&mut headers);
        assert!(headers.get("x-old").is_none());
        assert_eq!(headers.all("x-one").collect::<Vec<_>>(), [b"1"]);
        assert_eq!(headers.all("x-two").collect::<Vec<_>>(), [b"a", b"b"]);
        assert!(routed.rule.response_headers.is_empty());
    });
}
