use std::task::Waker;

use metrics::NoopRecorder;

use super::queue::{INTERVAL, TARGET};
use super::*;

const OUT: Direction = Direction::Outbound;
const IN: Direction = Direction::Inbound;

/// Two workers with room for four.
fn admission() -> (Admission, Arc<Memory>) {
    let recorder: SharedRecorder = Arc::new(NoopRecorder);
    let memory = Arc::new(Memory::new(&recorder));
    (Admission::new(&recorder, 2, 4, Arc::clone(&memory)), memory)
}

fn full() -> (Admission, Arc<Memory>) {
    let (admission, memory) = admission();
    assert!((0..4).all(|_| admission.enter(0, OUT)));
    assert!(!admission.enter(0, IN));
    (admission, memory)
}

fn verdict(waiter: &Waiter<'_>) -> Verdict {
    match waiter.place.poll(&Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => Verdict::Open,
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_the_nodes_whichever_worker_has_how_many() {
    let (admission, _) = full();
    assert!(!admission.enter(1, OUT) && !admission.enter(1, IN), "another worker has used it up");
    assert_eq!(admission.in_flight(), 4);
    admission.leave(0);
    assert!(admission.enter(1, OUT) && !admission.enter(0, OUT));
    for worker in [1, 0, 0, 0] {
        admission.leave(worker);
    }
    assert_eq!(admission.in_flight(), 0);
    assert!((0..4).all(|_| admission.enter(1, OUT)) && !admission.enter(0, OUT));
}

#[test]
fn shares_add_up_to_the_limit() {
    for (max, workers) in [(0, 1), (1, 4), (7, 2), (10_000, 3), (5, 0)] {
        assert_eq!((0..workers.max(1)).map(|worker| share(max, workers, worker)).sum::<usize>(), max);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_becomes_free_goes_to_whoever_waits_on_any_worker() {
    let (admission, _) = full();
    let new = admission.join(0, Class::New).unwrap();
    let admitted = admission.join(0, Class::Admitted).unwrap();
    assert_eq!((verdict(&new), verdict(&admitted)), (Verdict::Open, Verdict::Open));
    admission.leave(0);
    assert_eq!((verdict(&new), verdict(&admitted)), (Verdict::Open, Verdict::Admitted));
    assert_eq!((admission.in_flight(), admission.waiting.load(Ordering::SeqCst)), (4, 1));
    admission.leave(0);
    assert_eq!(verdict(&new), Verdict::Admitted);
    drop((new, admitted));
    assert_eq!(admission.in_flight(), 2, "who went away with a place gave it back");
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_an_interval_and_an_overload_for_the_target() {
    let (admission, _) = full();
    let burst = admission.join(0, Class::New).unwrap();
    tokio::time::advance(INTERVAL - TARGET).await;
    admission.refuse_late();
    assert_eq!(verdict(&burst), Verdict::Open);
    tokio::time::advance(TARGET).await;
    admission.refuse_late();
    assert_eq!(verdict(&burst), Verdict::Late);
    let standing = admission.join(0, Class::New).unwrap();
    tokio::time::advance(TARGET).await;
    admission.refuse_late();
    assert_eq!(verdict(&standing), Verdict::Late);
    assert_eq!(admission.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_no_place() {
    let (admission, _) = full();
    drop(admission.join(0, Class::New).unwrap());
    admission.leave(0);
    assert_eq!(admission.in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn while_memory_is_scarce_only_other_nodes_are_served() {
    let (admission, memory) = admission();
    assert!(memory.look(91, 100));
    assert!(!admission.enter(0, OUT) && admission.enter(0, IN));
    assert!(memory.look(10, 100));
    assert!(admission.enter(0, OUT));
    assert_eq!(admission.in_flight(), 2);
}
