//! Rate limits.

use std::time::Duration;

use super::*;
use crate::limit::{Admission, Allowance};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

fn limited(body: &str) -> Policy {
    policy(&format!("[[rate-limit]]\nname = \"l\"\nservice = \"a\"\n{body}\n"))
}

fn admit(policy: &Policy, limiter: &Limiter, from: &str, line: &str, now_ns: u64) -> Admission {
    let limit = &policy.limits(&service("a"))[0];
    Request::of(line).ask(|view| limiter.admit(limit, &caller(from).identity, Call::Http(view), now_ns))
}

#[test]
fn a_burst_passes_and_then_the_rate_holds() {
    let policy = limited("requests = 10\nper = \"1s\"\nburst = 3");
    let limiter = Limiter::new(1000, 1);
    assert_eq!(policy.limits(&service("a"))[0].burst(), 3);
    let pass = |now_ns| admit(&policy, &limiter, "svc/web", "GET /", now_ns).passes();
    assert!(pass(0) && pass(0) && pass(0));
    assert_eq!(
        admit(&policy, &limiter, "svc/web", "GET /", 0),
        Admission::Over(Duration::from_millis(100)),
        "and it says when"
    );
    assert!(!pass(99 * MILLISECOND) && pass(100 * MILLISECOND) && !pass(100 * MILLISECOND));
    let passed = (0..10_000).filter(|ms| pass(SECOND + ms * MILLISECOND)).count();
    assert!((100..=103).contains(&passed), "ten a second over ten seconds, and a burst: {passed}");
}

#[test]
fn each_key_has_its_own_allowance() {
    let pass = |policy: &Policy, limiter: &Limiter, from, line| admit(policy, limiter, from, line, 0).passes();
    for (by, other_caller, other_header) in
        [("\"identity\"", true, false), ("\"service\"", false, false), ("{ header = \"x-t\" }", false, true)]
    {
        let policy = limited(&format!("requests = 1\nper = \"1s\"\nby = {by}"));
        let limiter = Limiter::new(1000, 1);
        assert!(pass(&policy, &limiter, "svc/web", "GET / x-t:1"));
        assert!(!pass(&policy, &limiter, "svc/web", "GET / x-t:1"), "{by}");
        assert_eq!(pass(&policy, &limiter, "svc/other", "GET / x-t:1"), other_caller, "{by}");
        assert_eq!(pass(&policy, &limiter, "svc/web", "GET / x-t:2"), other_header, "{by}");
    }
}

#[test]
fn no_other_spelling_of_a_value_has_an_allowance_of_its_own() {
    let policy = limited("requests = 1\nper = \"1s\"\nby = { header = \"x-t\" }");
    for (first, others) in [
        ("GET / x-t:a", vec!["GET / x-t:A", "GET / X-T:a", "GET / x-t:\ta\t", "GET / x-t:a x-other:1"]),
        ("GET /", vec!["GET / x-t:", "GET / x-t:\t"]),
    ] {
        for other in others {
            let limiter = Limiter::new(1000, 1);
            assert!(admit(&policy, &limiter, "svc/web", first, 0).passes());
            assert!(!admit(&policy, &limiter, "svc/web", other, 0).passes(), "{first} and {other}");
        }
    }
}

#[test]
fn a_call_is_counted_by_one_line_or_not_at_all() {
    let policy = limited("requests = 1\nper = \"1s\"\nby = { header = \"x-t\" }\nmatch = [{ methods = [\"POST\"] }]");
    let limits = policy.limits(&service("a"));
    for (line, is_doubtful) in [
        ("POST /", false),
        ("POST / x-t:a", false),
        ("POST / x-t:a,b", false),
        ("POST / x-t:a x-t:b", true),
        ("POST / x-t:a x-t:a", true),
        ("POST / x-t:a x-t:", true),
        ("GET / x-t:a x-t:b", false),
    ] {
        let found =
            Request::of(line).ask(|view| limits.iter().find_map(|limit| limit.doubt(Call::Http(view))).is_some());
        assert_eq!(found, is_doubtful, "{line}");
    }
    assert!(limits[0].doubt(Call::Tcp).is_none());
    let all = limited("requests = 1\nper = \"1s\"");
    let found =
        Request::of("GET / x-t:a x-t:b").ask(|view| all.limits(&service("a"))[0].doubt(Call::Http(view)).is_some());
    assert!(!found, "nothing is counted by it");
}

#[test]
fn only_calls_that_match_are_counted() {
    let policy = limited(
        "requests = 1\nper = \"1s\"\nmatch = [{ methods = [\"POST\"], path = { template = \"/orders/{id}\" } }]",
    );
    let limit = &policy.limits(&service("a"))[0];
    for (line, counts) in [
        ("POST /orders/7", true),
        ("POST /orders//%37", true),
        ("POST /orders;x/7;y", true),
        ("GET /orders/7", false),
        ("POST /orders", false),
    ] {
        assert_eq!(Request::of(line).ask(|view| limit.counts(Call::Http(view))), counts, "{line}");
    }
    assert!(!limit.counts(Call::Tcp));
    let all = limited("requests = 1\nper = \"1s\"");
    assert!(all.limits(&service("a"))[0].counts(Call::Tcp));
    assert!(all.limits(&service("b")).is_empty());
}

#[test]
fn counts_outlive_a_new_revision() {
    let first = limited("requests = 1\nper = \"1s\"");
    let second = limited("requests = 1\nper = \"1s\"");
    let limiter = Limiter::new(1000, 1);
    assert!(admit(&first, &limiter, "svc/web", "GET /", 0).passes());
    assert!(!admit(&second, &limiter, "svc/web", "GET /", 0).passes());
}

#[test]
fn keys_are_bounded_and_the_least_needed_go_first() {
    let policy = limited("requests = 100\nper = \"1s\"\nburst = 10\nby = { header = \"x-t\" }");
    let limiter = Limiter::new(640, 7);
    for _ in 0..10 {
        admit(&policy, &limiter, "svc/web", "GET / x-t:greedy", 0);
    }
    for key in 0..10_000 {
        admit(&policy, &limiter, "svc/web", &format!("GET / x-t:{key}"), 0);
    }
    assert!(limiter.len() <= 640, "{}", limiter.len());
    assert!(limiter.evictions() > 9_000);
    assert!(!admit(&policy, &limiter, "svc/web", "GET / x-t:greedy", 0).passes(), "the one that spent most is kept");
    let before = limiter.evictions();
    admit(&policy, &limiter, "svc/web", "GET / x-t:later", 10 * SECOND);
    for key in 0..64 {
        admit(&policy, &limiter, "svc/web", &format!("GET / x-t:n{key}"), 10 * SECOND);
    }
    assert_eq!(limiter.evictions(), before, "a key whose allowance is whole goes without loss");
}

#[test]
fn an_allowance_tells_what_is_left_and_when_there_is_more() {
    let policy = limited("requests = 10\nper = \"1s\"\nburst = 3");
    let limiter = Limiter::new(1000, 1);
    let told = |now_ns| match admit(&policy, &limiter, "svc/web", "GET /", now_ns) {
        Admission::Pass(allowance) => (allowance.left, allowance.more_in.as_millis()),
        Admission::Over(span) => panic!("over by {span:?}"),
    };
    assert_eq!([told(0), told(0), told(0)], [(2, 100), (1, 100), (0, 100)]);
    assert_eq!(told(150 * MILLISECOND), (0, 50));
    assert_eq!(told(900 * MILLISECOND), (2, 100), "whole again");
    let other = limited("requests = 1\nper = \"1s\"\nby = \"service\"");
    assert_eq!(admit(&other, &Limiter::new(1000, 1), "svc/web", "GET /", 0), {
        Admission::Pass(Allowance { left: 0, more_in: Duration::from_secs(1) })
    });
}

#[test]
fn a_call_that_one_limit_refuses_costs_nothing_at_the_others() {
    let text = ["a-wide", "b-narrow"].map(|name| {
        let rate = if name == "a-wide" { "requests = 3\nper = \"60s\"" } else { "requests = 1\nper = \"10s\"" };
        format!("[[rate-limit]]\nname = \"{name}\"\nservice = \"a\"\n{rate}\n")
    });
    let policy = policy(&text.concat());
    let limiter = Limiter::new(1000, 1);
    let ask = |now_ns| {
        Request::of("GET /").ask(|view| {
            let web = caller("svc/web").identity;
            let admitted = limiter.admit_all(policy.limits(&service("a")), &web, Call::Http(view), now_ns);
            let left = |admission| match admission {
                Admission::Pass(allowance) => Some(allowance.left),
                Admission::Over(_) => None,
            };
            let name = |limit: &RateLimit| limit.place.document.id.name.clone();
            admitted.into_iter().map(|(limit, admission)| (name(limit), left(admission))).collect::<Vec<_>>()
        })
    };
    let named = |name: &str, left| (name.to_owned(), left);
    assert_eq!(ask(0), [named("a-wide", Some(2)), named("b-narrow", Some(0))]);
    for _ in 0..5 {
        assert_eq!(ask(0), [named("b-narrow", None)]);
    }
    // Had the refused calls counted, the wide one would be spent now.
    assert_eq!(ask(10 * SECOND), [named("a-wide", Some(1)), named("b-narrow", Some(0))]);
}

#[test]
fn a_limit_is_told_with_whole_seconds() {
    for (body, item) in [
        ("requests = 10\nper = \"1s\"", "\"l\";q=10;w=1"),
        ("requests = 10\nper = \"1s\"\nburst = 20", "\"l\";q=10;w=1;weft-burst=20"),
        ("requests = 1000\nper = \"1h\"", "\"l\";q=1000;w=3600"),
        ("requests = 10\nper = \"500ms\"", "\"l\";q=20;w=1"),
        ("requests = 3\nper = \"1500ms\"", "\"l\";q=4;w=2"),
    ] {
        assert_eq!(&**limited(body).limits(&service("a"))[0].policy_item(), item);
    }
}
