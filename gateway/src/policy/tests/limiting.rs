//! Rate limits.

use std::time::Duration;

use super::*;
use crate::policy::limit::Admission;

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
    let pass = |now_ns| admit(&policy, &limiter, "svc/web", "GET /", now_ns) == Admission::Pass;
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
    let pass =
        |policy: &Policy, limiter: &Limiter, from, line| admit(policy, limiter, from, line, 0) == Admission::Pass;
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
fn only_calls_that_match_are_counted() {
    let policy = limited(
        "requests = 1\nper = \"1s\"\nmatch = [{ methods = [\"POST\"], path = { template = \"/orders/{id}\" } }]",
    );
    let limit = &policy.limits(&service("a"))[0];
    for (line, counts) in
        [("POST /orders/7", true), ("POST /orders//%37", true), ("GET /orders/7", false), ("POST /orders", false)]
    {
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
    assert_eq!(admit(&first, &limiter, "svc/web", "GET /", 0), Admission::Pass);
    assert_ne!(admit(&second, &limiter, "svc/web", "GET /", 0), Admission::Pass);
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
    assert_ne!(
        admit(&policy, &limiter, "svc/web", "GET / x-t:greedy", 0),
        Admission::Pass,
        "the one that spent most is kept"
    );
    let before = limiter.evictions();
    admit(&policy, &limiter, "svc/web", "GET / x-t:later", 10 * SECOND);
    for key in 0..64 {
        admit(&policy, &limiter, "svc/web", &format!("GET / x-t:n{key}"), 10 * SECOND);
    }
    assert_eq!(limiter.evictions(), before, "a key whose allowance is whole goes without loss");
}
