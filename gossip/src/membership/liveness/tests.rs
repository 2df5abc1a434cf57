use super::*;

struct Watched {
    liveness: Liveness,
    heard: BTreeMap<NodeId, Sign>,
    now: Instant,
}

fn node(number: usize) -> NodeId {
    format!("n{number}").parse().unwrap()
}

impl Watched {
    fn of(count: usize) -> Self {
        let heard = (0..count).map(|number| (node(number), Sign { is_heard: true, is_leaving: false })).collect();
        Self { liveness: Liveness::default(), heard, now: Instant::now() }
    }

    fn silence(&mut self, numbers: impl Iterator<Item = usize>) {
        for number in numbers {
            self.heard.get_mut(&node(number)).unwrap().is_heard = false;
        }
    }

    /// Looks every half second; every probe fails or is answered at the next look.
    fn pass(&mut self, seconds: u64, answers: bool) -> Verdict {
        let mut verdict = self.liveness.look(&self.heard, self.now);
        for _ in 0..seconds * 2 {
            self.now += Duration::from_millis(500);
            for node in verdict.probe.clone() {
                self.liveness.probed(&node, answers, self.now);
            }
            verdict = self.liveness.look(&self.heard, self.now);
        }
        verdict
    }
}

#[tokio::test(start_paused = true)]
async fn one_silent_member_is_gone_after_a_failed_probe() {
    let mut watched = Watched::of(3);
    watched.pass(1, false);
    watched.silence(0..1);
    let verdict = watched.pass(5, false);
    assert_eq!(verdict.gone, [node(0)].into());
    assert_eq!(verdict.states.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_that_answers_probes_stays() {
    let mut watched = Watched::of(3);
    watched.pass(1, true);
    watched.silence(0..1);
    for _ in 0..60 {
        let verdict = watched.pass(1, true);
        assert_eq!(verdict.states.get(&node(0)), Some(&MemberState::Alive));
    }
}

#[tokio::test(start_paused = true)]
async fn many_lost_at_once_are_suspect_and_come_back() {
    let mut watched = Watched::of(10);
    watched.pass(1, false);
    watched.silence(0..4);
    let verdict = watched.pass(60, false);
    assert!(verdict.gone.is_empty());
    assert_eq!(verdict.states.values().filter(|state| **state == MemberState::Suspect).count(), 4);
    watched.heard.values_mut().for_each(|sign| sign.is_heard = true);
    let verdict = watched.pass(1, false);
    assert!(verdict.states.values().all(|state| *state == MemberState::Alive));
}

#[tokio::test(start_paused = true)]
async fn who_was_only_restored_is_kept_while_nobody_is_alive() {
    for count in [1, 3] {
        let mut watched = Watched::of(count);
        watched.silence(0..count);
        let verdict = watched.pass(7200, false);
        assert_eq!(verdict.states.len(), count, "a cold start keeps what it knows");
        assert!(verdict.states.values().all(|state| *state == MemberState::Suspect));
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_is_gone_at_once_and_news_bring_the_gone_back() {
    let mut watched = Watched::of(2);
    watched.pass(1, false);
    watched.heard.get_mut(&node(0)).unwrap().is_leaving = true;
    assert_eq!(watched.pass(0, false).gone, [node(0)].into());
    watched.heard.insert(node(0), Sign { is_heard: false, is_leaving: false });
    watched.liveness.news_of(&node(0), watched.now);
    assert_eq!(watched.pass(0, false).states.get(&node(0)), Some(&MemberState::Alive));
}
