//! Two nodes with four applications that tell how they read a request, and the questions that are asked of all of them: does each case end as
//! it must, and do all read the same?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::mesh::SPREAD_LIMIT;
use crate::peer::{Then, raw};
use crate::recorder::{Recorder, Seen};
use crate::wait::until_true;
use crate::{Mesh, Node};

/// Statuses by which an application refuses what is HTTP, and not for it.
pub const APPLICATION_REFUSALS: [u16; 7] = [400, 404, 405, 414, 431, 501, 505];
/// Callers at once.
const CALLERS: usize = 8;

/// What is wrong with what came of all cases at one application, and what arrived of each.
pub type Findings = (Vec<String>, BTreeMap<usize, Seen>);

/// Two nodes and the four recorders: two behind the second node, two behind the first, which is called.
pub struct Readers {
    /// The node that is called.
    pub near: Node,
    _far: Node,
    /// The strict one first.
    pub recorders: Vec<Recorder>,
    _mesh: Mesh,
}

impl Readers {
    /// Starts all of them.
    pub fn new(name: &str) -> Self {
        let mut mesh = Mesh::new(name);
        let mut near = mesh.init("near");
        near.configure("[timeouts]\nhead = \"3s\"\nupload = \"3s\"\n");
        near.start();
        let far = mesh.join_running("far", &near, &["strict", "lenient"]);
        let folder = mesh.scratch.path();
        let recorders = vec![Recorder::strict(), Recorder::lenient(), Recorder::nginx(folder), Recorder::python()];
        for recorder in &recorders {
            let at = if ["strict", "lenient"].contains(&recorder.name) { &far } else { &near };
            at.exposes(recorder.name, recorder.port, &["--health", "none"]);
            near.knows(recorder.name, 1);
        }
        Self { near, _far: far, recorders, _mesh: mesh }
    }

    /// Waits until a recorder has told of a request that comes after all others.
    pub fn settled(&self, recorder: &Recorder, mark: &str) -> Vec<Seen> {
        let last = format!("GET /{mark} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", recorder.name);
        let answer = raw(self.near.outbound(), last.as_bytes(), Then::Shut);
        assert_eq!(answer.status(), 200, "{} answers what is well formed: {}", recorder.name, answer.text());
        let target = format!("/{mark}");
        until_true(&format!("the last request at {}", recorder.name), SPREAD_LIMIT, || {
            recorder.seen().iter().any(|seen| seen.target == target)
        });
        recorder.seen()
    }

    /// Fails where `found` finds a fault at one of the applications, where one refused many of those that must arrive, or read one otherwise
    /// than the strict one.
    pub fn agree(&self, due: usize, found: impl Fn(&Recorder) -> Findings) {
        let mut wrong = Vec::new();
        let mut arrivals = Vec::new();
        for recorder in &self.recorders {
            let (faults, arrived) = found(recorder);
            wrong.extend(faults);
            arrivals.push((recorder.name, arrived));
        }
        for (name, arrived) in &arrivals {
            // An application may refuse some of what is right, not most of it.
            if arrived.len() * 10 < due * 9 {
                wrong.push(format!("{name}: only {} of {due} arrived", arrived.len()));
            }
        }
        let strict = &arrivals[0].1;
        for (name, arrived) in &arrivals[1..] {
            wrong.extend(arrived.iter().filter_map(|(case, seen)| {
                let other = strict.get(case).filter(|of_strict| *of_strict != seen)?;
                Some(format!("{name} read {seen:?}, and strict {other:?}"))
            }));
        }
        assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// Calls with each case, several at once; what came of them, in the order in which they ended.
pub fn at_once<C: Sync, S: Send>(all: &[C], call: impl Fn(usize, &C) -> S + Sync) -> Vec<S> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let calls = || {
        while let (number, Some(case)) = numbered(&next, all) {
            let sent = call(number, case);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(calls);
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The next one that nobody has taken.
fn numbered<'a, C>(next: &AtomicUsize, all: &'a [C]) -> (usize, Option<&'a C>) {
    let number = next.fetch_add(1, Ordering::Relaxed);
    (number, all.get(number))
}

/// A request as it can be compared between applications: without what names one of them.
pub fn plain(seen: &Seen, mark: &str, host: &str) -> Seen {
    let plain = |text: &str| text.replace(mark, "m").replace(host, "h");
    let body = plain(&String::from_utf8_lossy(&seen.body)).into_bytes();
    Seen { target: plain(&seen.target), body, ..seen.clone() }
}
