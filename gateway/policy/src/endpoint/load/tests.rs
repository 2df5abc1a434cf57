//! What each outcome does to an endpoint.

use proptest::prelude::*;

use super::*;
use crate::testing::{MS, SECOND};
use crate::traffic::Outlier;

const OK: Outcome = Outcome::Answered { status: 200 };
const BAD_GATEWAY: Outcome = Outcome::GatewayError { status: 502 };
const REFUSED: Outcome = Outcome::Undelivered(Refused::Connect);

/// One try that took this long and ends now, learned with these terms.
fn learn_by(load: &EndpointLoad, outcome: Outcome, waited_ns: u64, now_ns: u64, terms: &Terms) -> Option<Change> {
    let began_ns = now_ns - waited_ns;
    load.begin(began_ns);
    load.settle();
    let change = load.learn(outcome, &Taken { began_ns, asked_ns: began_ns, ended_ns: now_ns }, terms);
    load.leave();
    change
}

fn learn(load: &EndpointLoad, outcome: Outcome, waited_ns: u64, now_ns: u64) -> Option<Change> {
    learn_by(load, outcome, waited_ns, now_ns, &Terms::default())
}

fn of(consecutive_failures: u32, consecutive_gateway_errors: u32) -> Terms {
    Terms {
        outlier: Outlier { consecutive_failures, consecutive_gateway_errors, ..Outlier::default() },
        ..Terms::default()
    }
}

#[test]
fn an_endpoint_that_was_never_asked_is_asked_once_and_not_flooded() {
    let (known, new) = (EndpointLoad::default(), EndpointLoad::default());
    learn(&known, OK, MS / 10, SECOND);
    assert!(new.cost(SECOND) < known.cost(SECOND), "however fast the other is");
    new.begin(SECOND);
    new.settle();
    assert!(new.cost(SECOND) > 100 * known.cost(SECOND));
    learn(&new, OK, MS / 10, SECOND);
    new.leave();
    assert_eq!(new.cost(SECOND), known.cost(SECOND));
}

#[test]
fn an_endpoint_that_is_sent_nothing_gets_another_chance() {
    let load = EndpointLoad::default();
    learn(&load, OK, 100 * MS, SECOND);
    let slow = load.cost(SECOND);
    assert!(load.cost(11 * SECOND) < slow / 2);
    assert!(load.cost(61 * SECOND) < slow / 100);
}

#[test]
fn silence_costs_before_anybody_gives_up() {
    let load = EndpointLoad::default();
    learn(&load, OK, MS, SECOND);
    load.begin(SECOND);
    assert!(load.cost(SECOND + 50 * MS) >= 100 * MS);
}

#[test]
fn a_failed_connection_ejects_at_once_and_gateway_errors_in_a_row() {
    let load = EndpointLoad::default();
    assert!(matches!(learn(&load, REFUSED, 0, SECOND), Some(Change::Ejected { why: Why::Failures(1), .. })));
    let load = EndpointLoad::default();
    for _ in 0..4 {
        assert_eq!(learn(&load, BAD_GATEWAY, 0, SECOND), None);
    }
    assert_eq!(learn(&load, Outcome::Answered { status: 404 }, 0, SECOND), None);
    for _ in 0..4 {
        assert_eq!(learn(&load, BAD_GATEWAY, 0, SECOND), None, "the row began anew");
    }
    let ejected = learn(&load, BAD_GATEWAY, 0, SECOND);
    assert!(matches!(ejected, Some(Change::Ejected { why: Why::GatewayErrors(5), .. })), "{ejected:?}");
}

#[test]
fn a_gateway_error_ends_no_row_of_failures() {
    let (load, terms) = (EndpointLoad::default(), of(3, 5));
    for outcome in [Outcome::Reset, BAD_GATEWAY, REFUSED, BAD_GATEWAY] {
        assert_eq!(learn_by(&load, outcome, 0, SECOND, &terms), None);
    }
    assert!(learn_by(&load, Outcome::Reset, 0, SECOND, &terms).is_some());
}

#[test]
fn a_probe_decides_by_its_first_outcome() {
    for (outcome, presence) in [
        (OK, Presence::In),
        (Outcome::Answered { status: 500 }, Presence::In),
        (BAD_GATEWAY, Presence::Out),
        (Outcome::Reset, Presence::Out),
        (Outcome::Late, Presence::Out),
        (Outcome::Overloaded, Presence::Out),
        (Outcome::Undelivered(Refused::Stale), Presence::HalfOpen),
        (Outcome::Cancelled, Presence::HalfOpen),
    ] {
        let load = EndpointLoad::default();
        learn(&load, REFUSED, 0, SECOND);
        learn(&load, outcome, 10 * MS, 3 * SECOND);
        assert_eq!(load.presence(3 * SECOND), presence, "{outcome:?}");
    }
    let load = EndpointLoad::default();
    learn(&load, REFUSED, 0, SECOND);
    learn(&load, Outcome::Cancelled, 250 * MS, 3 * SECOND);
    assert_eq!(load.presence(3 * SECOND), Presence::Out, "its caller waited long for it");
}

#[test]
fn what_began_before_an_ejection_says_nothing_after_it() {
    let load = EndpointLoad::default();
    learn(&load, REFUSED, 0, 2 * SECOND);
    assert_eq!(learn(&load, OK, SECOND, 2 * SECOND + 1), None);
    assert!(load.is_ejected(2 * SECOND + 1), "an answer from before");
    assert!(matches!(learn(&load, OK, MS, 4 * SECOND), Some(Change::Returned)));
    assert_eq!(learn(&load, Outcome::Late, 3 * SECOND, 4 * SECOND + MS), None);
    assert_eq!(load.presence(4 * SECOND + MS), Presence::In, "a failure from before");
    assert!(load.latency(4 * SECOND + MS).unwrap() < Duration::from_secs(1));
}

#[test]
fn what_comes_back_is_as_fast_as_what_is_typical() {
    let load = EndpointLoad::default();
    load.compare(Some(5 * MS), SECOND);
    learn(&load, Outcome::Late, 10 * SECOND, 20 * SECOND);
    assert!(load.is_ejected(20 * SECOND) && load.latency(20 * SECOND).unwrap() >= Duration::from_millis(80));
    learn(&load, OK, MS, 60 * SECOND);
    assert_eq!(load.latency(60 * SECOND), Some(Duration::from_millis(5)));
}

#[test]
fn an_answer_that_breaks_off_costs() {
    let load = EndpointLoad::default();
    learn(&load, OK, MS, SECOND);
    let before = load.cost(SECOND);
    load.broke(&Taken { began_ns: SECOND, asked_ns: SECOND, ended_ns: SECOND });
    assert!(load.cost(SECOND) > 3 * before);
}

#[test]
fn workers_count_the_same_endpoint_without_losing_one() {
    let load = EndpointLoad::default();
    let load = &load;
    let work = move |number: u64| {
        for turn in 0..10_000 {
            let outcome = if (turn + number).is_multiple_of(3) { BAD_GATEWAY } else { OK };
            learn(load, outcome, MS, SECOND + turn);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|number| drop(scope.spawn(move || work(number)))));
    assert_eq!((load.in_flight(), load.waiting()), (0, 0));
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(OK),
        Just(Outcome::Answered { status: 500 }),
        Just(BAD_GATEWAY),
        Just(Outcome::Opened),
        Just(Outcome::Reset),
        Just(REFUSED),
        Just(Outcome::Undelivered(Refused::Stream)),
        Just(Outcome::Undelivered(Refused::Stale)),
        Just(Outcome::Overloaded),
        Just(Outcome::Late),
        Just(Outcome::Cancelled),
    ]
}

proptest! {
    /// Whatever happens, counts end where they began, an endpoint comes back within its longest ejection, and one answer makes it whole.
    #[test]
    fn no_series_of_outcomes_leaves_an_endpoint_out_for_good(
        series in prop::collection::vec((any_outcome(), 0..2 * SECOND, 0..SECOND), 1..60),
    ) {
        let (load, mut now_ns) = (EndpointLoad::default(), 3 * SECOND);
        for (outcome, waited_ns, pause_ns) in series {
            now_ns += pause_ns;
            let change = learn(&load, outcome, waited_ns, now_ns);
            let is_out = load.is_ejected(now_ns);
            let says_out = change.map(|change| change != Change::Returned);
            prop_assert!(says_out.is_none_or(|says_out| says_out == is_out));
        }
        prop_assert_eq!((load.in_flight(), load.waiting()), (0, 0));
        now_ns += 30 * SECOND;
        prop_assert!(matches!(load.presence(now_ns), Presence::In | Presence::HalfOpen));
        learn(&load, OK, MS, now_ns);
        prop_assert_eq!(load.presence(now_ns), Presence::In);
    }

    /// A failure never makes an endpoint cheaper.
    #[test]
    fn a_failure_never_pays(
        latency_ns in 1..SECOND,
        outcome in any_outcome().prop_filter("no success", |outcome| !matches!(outcome, Outcome::Opened | Outcome::Answered { status: 200 })),
        waited_ns in 0..SECOND,
    ) {
        let load = EndpointLoad::default();
        learn(&load, OK, latency_ns, 2 * SECOND);
        let before = load.cost(2 * SECOND);
        learn(&load, outcome, waited_ns, 2 * SECOND);
        prop_assert!(load.cost(2 * SECOND) >= before);
    }
}
