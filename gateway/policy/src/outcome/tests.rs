//! The guard of a try, and services in virtual time: what callers see of a replica that hangs, fails at once, is overloaded, is new, comes back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::endpoint::{Endpoint, Presence};
use crate::testing::{Answer, Calls, MS, Replica, SECOND, Service, Watch, endpoint};

fn well(after_ms: u64) -> Replica {
    Box::new(move |_, _| Answer::status(200, after_ms))
}

fn always(status: u16, after_ms: u64) -> Replica {
    Box::new(move |_, _| Answer::status(status, after_ms))
}

fn hangs() -> Replica {
    Box::new(|_, _| Answer::never())
}

fn ends(outcome: Outcome) -> Replica {
    Box::new(move |_, _| Answer::of(outcome, 1))
}

/// Works on ten calls at once, ten milliseconds each.
fn of_ten_slots() -> Replica {
    Box::new(|_, in_flight| Answer::status(200, 10 * u64::from(in_flight.max(10)) / 10))
}

/// Two replicas of this latency that have both served; then one becomes something else.
fn two(after_ms: u64, other: Replica) -> Service {
    let mut service = Service::new(vec![("a", well(after_ms)), ("b", well(after_ms))]);
    assert_eq!(service.call(Calls::in_a_row(50)).failed, 0);
    service.becomes("b", other);
    service
}

/// Two replicas of which nothing is known, and one of them is something else.
fn two_new(after_ms: u64, other: Replica) -> Service {
    Service::new(vec![("a", well(after_ms)), ("b", other)])
}

fn begun(endpoint: &Arc<Endpoint>, watch: &Rc<Watch>) -> Try<Rc<Watch>> {
    Try::begin(endpoint, Terms::default(), Rc::clone(watch))
}

#[test]
fn a_status_and_a_code_say_what_became_of_a_try() {
    assert_eq!(Outcome::of_status(200), Outcome::Answered { status: 200 });
    assert_eq!(Outcome::of_status(500), Outcome::Answered { status: 500 });
    for status in [502, 503, 504] {
        assert_eq!(Outcome::of_status(status), Outcome::GatewayError { status });
    }
    for (code, outcome) in [
        (Code::ConnectRefused, Outcome::Undelivered(Refused::Connect)),
        (Code::Overloaded, Outcome::Overloaded),
        (Code::RequestTimeout, Outcome::Late),
        (Code::UpstreamReset, Outcome::Reset),
        (Code::RateLimited, Outcome::Answered { status: 429 }),
        (Code::NotAllowed, Outcome::Answered { status: 403 }),
        (Code::TokenUsed, Outcome::Answered { status: 500 }),
    ] {
        assert_eq!(Outcome::of_code(code), outcome, "{code}");
    }
}

#[test]
fn a_try_counts_from_its_beginning_to_its_drop_and_waits_until_its_report() {
    let (endpoint, watch) = (Arc::new(endpoint("a", None)), Watch::at(SECOND));
    let mut held = begun(&endpoint, &watch);
    assert_eq!((endpoint.load.in_flight(), endpoint.load.waiting()), (1, 1));
    watch.now_ns.set(2 * SECOND);
    held.asked();
    watch.now_ns.set(2 * SECOND + 5 * MS);
    held.report(Outcome::of_status(200));
    assert_eq!((endpoint.load.in_flight(), endpoint.load.waiting()), (1, 0));
    assert_eq!(endpoint.load.latency(watch.now_ns()), Some(Duration::from_millis(5)), "not the time to connect");
    held.report(Outcome::Reset);
    assert!(!endpoint.load.is_ejected(watch.now_ns()), "one outcome a try");
    drop(held);
    assert_eq!((endpoint.load.in_flight(), endpoint.load.waiting()), (0, 0));
}

#[test]
fn a_try_that_is_dropped_was_cancelled_and_its_wait_counts() {
    let (endpoint, watch) = (Arc::new(endpoint("a", None)), Watch::at(SECOND));
    let held = begun(&endpoint, &watch);
    watch.now_ns.set(SECOND + 250 * MS);
    drop(held);
    assert_eq!(endpoint.load.latency(watch.now_ns()), Some(Duration::from_millis(250)));
    for _ in 0..2 {
        assert_eq!(watch.ejections(), 0);
        let held = begun(&endpoint, &watch);
        watch.now_ns.set(watch.now_ns() + 250 * MS);
        drop(held);
    }
    assert_eq!(watch.ejections(), 1, "three in a row, and the witness hears of it");
}

#[test]
fn callers_that_go_while_others_are_answered_speak_against_nothing() {
    let (endpoint, watch) = (Arc::new(endpoint("a", None)), Watch::at(SECOND));
    for _ in 0..20 {
        let (slow, mut quick) = (begun(&endpoint, &watch), begun(&endpoint, &watch));
        watch.now_ns.set(watch.now_ns() + 200 * MS);
        quick.report(Outcome::of_status(200));
        watch.now_ns.set(watch.now_ns() + 200 * MS);
        drop((slow, quick));
    }
    assert_eq!(watch.ejections(), 0);
}

#[test]
fn callers_that_wait_for_an_event_speak_against_nothing() {
    let (endpoint, watch) = (Arc::new(endpoint("a", None)), Watch::at(SECOND));
    for _ in 0..20 {
        let held = begun(&endpoint, &watch);
        watch.now_ns.set(watch.now_ns() + 300 * SECOND);
        drop(held);
    }
    assert_eq!((watch.ejections(), endpoint.load.latency(watch.now_ns())), (0, None));
}

#[test]
fn a_late_try_ejects_a_replica_that_answers_nobody_and_no_other() {
    let (endpoint, watch) = (Arc::new(endpoint("a", None)), Watch::at(SECOND));
    let (mut slow, mut quick) = (begun(&endpoint, &watch), begun(&endpoint, &watch));
    watch.now_ns.set(2 * SECOND);
    quick.report(Outcome::of_status(200));
    watch.now_ns.set(3 * SECOND);
    slow.report(Outcome::Late);
    assert_eq!(watch.ejections(), 0, "it was slow with one call");
    let mut silent = begun(&endpoint, &watch);
    watch.now_ns.set(4 * SECOND);
    silent.report(Outcome::Late);
    assert_eq!(watch.ejections(), 1);
}

#[test]
fn of_two_replicas_one_hangs_and_few_calls_fail() {
    for after_ms in [1, 5, 20, 50, 100] {
        for mut service in [two(after_ms, hangs()), two_new(after_ms, hangs())] {
            let failed = service.call(Calls::in_a_row(200)).failed;
            assert!(failed <= 3, "{after_ms} ms: {failed}");
        }
    }
    for mut service in [two(1, hangs()), two_new(1, hangs())] {
        service.in_turn = true;
        let failed = service.call(Calls::in_a_row(40)).failed;
        assert!(failed <= 3, "in turn: {failed}");
    }
}

#[test]
fn of_two_replicas_one_answers_502_at_once_and_few_calls_fail() {
    for status in [500, 502, 503] {
        for after_ms in [1, 5, 20, 50] {
            for mut service in [two(after_ms, always(status, 0)), two_new(after_ms, always(status, 0))] {
                let failed = service.call(Calls::in_a_row(200)).failed;
                assert!(failed <= 3, "{status}, {after_ms} ms: {failed}");
            }
            let mut service = two(after_ms, always(status, 1));
            let failed = service.call(Calls { callers: 4, ..Calls::in_a_row(200) }).failed;
            assert!(failed <= 4, "{status}, {after_ms} ms, four callers: {failed}");
        }
    }
}

#[test]
fn a_replica_that_fails_at_once_loses_its_traffic_within_a_second_however_busy_the_other_is() {
    for (status, callers) in [(500, 50), (502, 50), (502, 200)] {
        let mut service = two(50, always(status, 1));
        let began = service.watch.now_ns();
        let told = service.call(Calls { callers, ..Calls::in_a_row(20_000) });
        let later = told.times.iter().filter(|(at, name)| name == "b" && *at > began + SECOND).count();
        assert!(later * 200 < told.times.len(), "{status}: {later} of {}", told.times.len());
    }
}

#[test]
fn of_two_replicas_one_is_at_its_limit_and_no_call_fails() {
    for in_turn in [false, true] {
        for callers in [1, 10] {
            let mut service = two(5, ends(Outcome::Overloaded));
            service.in_turn = in_turn;
            let told = service.call(Calls { callers, ..Calls::in_a_row(200) });
            assert_eq!(told.failed, 0);
            assert!(told.tries["b"] <= 10, "it is left in peace: {}", told.tries["b"]);
            assert_eq!(service.watch.ejections(), 0);
            service.wait(Duration::from_secs(9));
            service.becomes("b", well(5));
            let told = service.call(Calls { callers: 10, ..Calls::in_a_row(200) });
            assert!(told.tries["b"] > 60, "and takes its part again: {}", told.tries["b"]);
        }
    }
}

#[test]
fn of_two_replicas_one_cannot_be_reached_and_no_call_fails() {
    for outcome in [Outcome::Undelivered(Refused::Connect), Outcome::Undelivered(Refused::Stream), Outcome::Reset] {
        let mut service = two(5, ends(outcome));
        assert_eq!(service.call(Calls { callers: 4, ..Calls::in_a_row(200) }).failed, 0, "{outcome:?}");
    }
}

#[test]
fn a_connection_of_the_pool_that_is_closed_says_nothing() {
    let mut service = two(5, ends(Outcome::Undelivered(Refused::Stale)));
    let told = service.call(Calls::in_a_row(200));
    assert_eq!((told.failed, service.watch.ejections()), (0, 0));
}

#[test]
fn a_single_replica_is_always_asked() {
    for (replica, callers) in [(always(502, 1), 1), (hangs(), 3), (ends(Outcome::Reset), 1)] {
        let mut service = Service::new(vec![("a", replica)]);
        let told = service.call(Calls { callers, ..Calls::in_a_row(30) });
        assert_eq!((told.tries["a"], told.failed), (30, 30));
        service.becomes("a", well(1));
        assert_eq!(service.call(Calls::in_a_row(30)).failed, 0);
    }
}

#[test]
fn what_was_ejected_is_found_out_about_by_one_call_at_a_time() {
    let mut service = two(5, ends(Outcome::Undelivered(Refused::Connect)));
    service.call(Calls::in_a_row(20));
    assert_eq!(service.watch.ejections(), 1);
    service.wait(Duration::from_secs(2));
    // It hangs now: whoever is sent there waits long.
    service.becomes("b", Box::new(|_, _| Answer::of(Outcome::Late, 200)));
    let told = service.call(Calls { callers: 50, ..Calls::in_a_row(1_000) });
    assert_eq!((told.tries["b"], told.in_flight_max["b"]), (1, 1));
    assert_eq!(service.watch.ejections(), 2);
    service.becomes("b", well(5));
    service.wait(Duration::from_secs(30));
    let told = service.call(Calls { callers: 50, ..Calls::in_a_row(2_000) });
    assert_eq!(told.failed, 0);
    assert!((600..1_400).contains(&told.tries["b"]), "it is back, with its share: {}", told.tries["b"]);
    assert!(matches!(service.watch.changes.borrow().last(), Some((_, _, Change::Returned))));
}

#[test]
fn the_failure_of_a_call_that_finds_out_is_not_seen_by_its_caller() {
    let mut service = two(50, always(502, 1));
    service.traffic.outlier.consecutive_gateway_errors = 1;
    let told = service.call(Calls::in_a_row(200));
    assert!(service.watch.ejections() >= 3, "it was found out about every few seconds");
    assert_eq!(told.failed, 1, "the first failure was one of a plain call");
}

#[test]
fn a_new_replica_is_found_quickly_and_not_flooded() {
    let mut service = Service::new(vec![("a", well(10)), ("b", well(10)), ("c", well(10))]);
    let busy = Calls { callers: 30, ..Calls::in_a_row(3_000) };
    service.call(busy);
    service.join("d", well(10));
    let told = service.call(busy);
    assert!((600..=900).contains(&told.tries["d"]), "{:?}", told.tries);
    assert!(told.in_flight_max["d"] <= 15, "{:?}", told.in_flight_max);
    // The same for one that turns out to be slow.
    service.join("e", well(500));
    let told = service.call(Calls { patience: Duration::from_secs(5), ..busy });
    assert!(told.tries["e"] >= 1 && told.in_flight_max["e"] <= 10, "{:?} {:?}", told.tries, told.in_flight_max);
    // And where there is little to do.
    service.join("f", well(10));
    let quiet = Calls { pause: Duration::from_secs(1), ..Calls::in_a_row(100) };
    assert!(service.call(quiet).tries["f"] > 5);
}

#[test]
fn a_slow_start_gives_a_new_replica_more_and_more() {
    for in_turn in [false, true] {
        let mut service = Service::new(vec![("a", well(10)), ("b", well(10)), ("c", well(10))]);
        service.traffic.slow_start = Some(Duration::from_secs(10));
        service.in_turn = in_turn;
        let busy = Calls { callers: 30, ..Calls::in_a_row(3_000) };
        service.wait(Duration::from_secs(20));
        service.call(busy);
        service.wait(Duration::from_secs(20));
        service.call(busy);
        service.join("d", well(10));
        let first = service.call(busy).tries["d"];
        assert!((20..=150).contains(&first), "a tenth at first: {first}");
        service.wait(Duration::from_secs(5));
        let half = service.call(busy).tries["d"];
        assert!((300..=690).contains(&half), "then over a half: {half}");
        service.wait(Duration::from_secs(5));
        let all = service.call(busy).tries["d"];
        assert!((700..=800).contains(&all), "{all}");
    }
}

#[test]
fn a_replica_that_succeeds_less_often_than_the_others_is_ejected() {
    // In turn, so that cost does not turn calls away before there is something to count.
    let at_times = |every: u64| -> Replica {
        let calls = std::cell::Cell::new(0_u64);
        Box::new(move |_, _| {
            calls.set(calls.get() + 1);
            Answer::status(if calls.get().is_multiple_of(every) { 500 } else { 200 }, 5)
        })
    };
    let six = |worse: Replica| {
        let mut service = Service::new(vec![
            ("a", at_times(50)),
            ("b", at_times(40)),
            ("c", at_times(50)),
            ("d", at_times(60)),
            ("e", at_times(50)),
            ("f", worse),
        ]);
        service.in_turn = true;
        service.call(Calls { callers: 6, ..Calls::in_a_row(3_000) });
        service
    };
    let service = six(at_times(2));
    let changes = service.watch.changes.borrow();
    let names: Vec<_> = changes.iter().map(|(_, name, change)| (name.as_str(), *change)).collect();
    let [("f", Change::Ejected { why: Why::SuccessRate { own, mean }, .. }), ..] = names[..] else {
        panic!("{names:?}")
    };
    assert!((49.0..=51.0).contains(&own) && (88.0..=92.0).contains(&mean), "{own} {mean}");
    assert_eq!(six(at_times(45)).watch.ejections(), 0, "they differ by chance");
}

#[test]
fn an_adaptive_limit_keeps_the_queue_at_a_replica_short() {
    let calls = Calls { callers: 200, patience: Duration::from_secs(10), ..Calls::in_a_row(40_000) };
    let mut service = Service::new(vec![("a", of_ten_slots()), ("b", of_ten_slots())]);
    let without = service.call(calls);
    assert!(without.took[without.took.len() / 2] >= 90 * MS);
    let mut service = Service::new(vec![("a", of_ten_slots()), ("b", of_ten_slots())]);
    service.traffic.replica_limit = ReplicaLimit::Adaptive;
    // What is refused comes back a little later.
    let with = service.call(Calls { pause: Duration::from_millis(5), ..calls });
    let last = &with.took[with.took.len() / 2..];
    let mean = last.iter().sum::<u64>() / last.len() as u64;
    assert!(mean < 30 * MS, "{mean}");
    assert!(with.failed > 0 && with.took.len() > 2_000, "{} {}", with.failed, with.took.len());
}

#[test]
fn everything_hangs_and_everything_is_asked_still() {
    let mut service = Service::new(vec![("a", hangs()), ("b", hangs()), ("c", hangs())]);
    let told = service.call(Calls { callers: 3, ..Calls::in_a_row(60) });
    assert_eq!((told.failed, told.tries.len()), (60, 3));
    for name in ["a", "b", "c"] {
        service.becomes(name, well(1));
    }
    service.wait(Duration::from_secs(1));
    let told = service.call(Calls { callers: 3, ..Calls::in_a_row(60) });
    assert_eq!(told.failed, 0, "and is back with the first answer");
    let now_ns = service.watch.now_ns();
    let back = service.table.endpoints.iter().filter(|endpoint| endpoint.load.presence(now_ns) == Presence::In);
    assert!(back.count() >= 2);
}
