//! Where an answer ends is never a matter of opinion either: a caller gets what the application said, or 502 with a code, or what visibly
//! breaks off; and whoever calls next gets his own answer.

use weft_tests::answer::Answer;
use weft_tests::hostile::{self, Case, Hostile, Must, Next};
use weft_tests::peer::{Ended, Raw, Then, raw};
use weft_tests::{Mesh, Node};

/// Two nodes, each with a hostile application; the first is called. One worker each, so that whatever a pool holds is used by the next call.
struct Scene {
    near: Node,
    _far: Node,
    /// By one node, and by two.
    applications: [(&'static str, Hostile); 2],
    _mesh: Mesh,
}

impl Scene {
    fn new(name: &str, cases: &[Case]) -> Self {
        let mut mesh = Mesh::new(name);
        let settings = "workers = 1\n[timeouts]\nrequest = \"5s\"\nanswer = \"5s\"\n";
        let mut near = mesh.init("near");
        near.configure(settings);
        near.start();
        let mut far = mesh.join("far", &near, &["remote"]);
        far.configure(settings);
        far.start();
        let applications = [("local", Hostile::serving(cases.to_vec())), ("remote", Hostile::serving(cases.to_vec()))];
        near.exposes("local", applications[0].1.port, &["--health", "none"]);
        far.exposes("remote", applications[1].1.port, &["--health", "none"]);
        near.knows("local", 1);
        near.knows("remote", 1);
        Self { near, _far: far, applications, _mesh: mesh }
    }

    fn asks(&self, method: &str, path: &str, version: &str, host: &str) -> Raw {
        let request = format!("{method} {path} {version}\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        raw(self.near.outbound(), request.as_bytes(), Then::Wait)
    }

    /// The faults of one answer to one kind of caller.
    fn faults(&self, number: usize, case: &Case, version: &str, host: &str) -> Vec<String> {
        let got = self.asks(case.asked, &format!("/case/{number}"), version, host);
        let mut faults: Vec<String> = fault(case, &got).into_iter().collect();
        // Whoever comes next gets his own answer, whatever is left in the pool.
        for turn in 0..2 {
            let path = format!("/next/{number}/{turn}");
            let next = self.asks("GET", &path, "HTTP/1.1", host);
            match Answer::only(&next, "GET") {
                Ok(answer) if answer.status == 200 && answer.body == path.as_bytes() => {}
                other => faults.push(format!("the next call got {other:?} of {:?}", next.text())),
            }
        }
        let named = |fault: String| format!("{host}, {version}, {}: {fault}", case.name);
        faults.into_iter().map(named).collect()
    }

    /// Connections that were used again, and should not have been.
    fn used_again(&self, cases: &[Case]) -> Vec<String> {
        let case_of = |path: &str| path.strip_prefix("/case/")?.parse::<usize>().ok().map(|number| &cases[number]);
        let calls = self.applications.iter().flat_map(|(host, application)| {
            application.connections().into_iter().map(move |connection| (*host, connection))
        });
        let mut found = Vec::new();
        for (host, connection) in calls {
            found.extend(connection.windows(2).filter_map(|pair| {
                let case = case_of(&pair[0]).filter(|case| case.next == Next::MustNot)?;
                Some(format!("{host}: {} came on a connection after {}", pair[1], case.name))
            }));
        }
        found
    }
}

/// What is wrong with what a caller got.
fn fault(case: &Case, got: &Raw) -> Option<String> {
    let read = Answer::only(got, case.asked);
    let is_refused =
        read.as_ref().is_ok_and(|answer| answer.status == 502 && (answer.code().is_some() || case.asked == "HEAD"));
    let is = |status: u16, body: &str| {
        read.as_ref()
            .is_ok_and(|answer| answer.status == status && answer.body == body.as_bytes() && answer.code().is_none())
    };
    let is_right = match case.must {
        Must::BeRefused => is_refused,
        Must::BeWhole(status, body) => is(status, body),
        Must::BeCut => is_refused || read.is_err() && got.ended != Ended::Open,
        Must::BeEither(status, body) => is_refused || is(status, body),
    };
    (!is_right).then(|| format!("{:?} was due, and it is {read:?}: {:?} {:?}", case.must, got.ended, got.text()))
}

/// Tries every answer with this version of caller.
fn tried(name: &str, version: &str) {
    let cases = hostile::all();
    assert!(cases.len() > 150, "{} answers", cases.len());
    let scene = Scene::new(name, &cases);
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for (host, _) in &scene.applications {
            faults.extend(scene.faults(number, case, version, host));
        }
    }
    faults.extend(scene.used_again(&cases));
    // What was answered is not asked for again.
    for (host, application) in &scene.applications {
        let asked: Vec<String> = application.connections().into_iter().flatten().collect();
        for (number, case) in cases.iter().enumerate().filter(|(_, case)| matches!(case.must, Must::BeWhole(..))) {
            let count = asked.iter().filter(|path| **path == format!("/case/{number}")).count();
            if count != 1 {
                faults.push(format!("{host}: {} was asked for {count} times", case.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn an_answer_is_faithful_or_refused_or_visibly_cut() {
    tried("answers", "HTTP/1.1");
}

#[test]
fn a_caller_of_http10_is_not_deceived_either() {
    tried("old", "HTTP/1.0");
}

#[test]
fn interim_answers_are_passed_on_to_those_who_know_them() {
    let cases = hostile::all();
    let hints = cases.iter().position(|case| case.name == "103, five times").expect("it is among them");
    let scene = Scene::new("interim", &cases);
    for (host, _) in &scene.applications {
        let got = scene.asks("GET", &format!("/case/{hints}"), "HTTP/1.1", host);
        let answer = Answer::only(&got, "GET").unwrap_or_else(|why| panic!("{why}: {}", got.text()));
        assert_eq!(answer.interims, [103; 5], "{host}: {}", got.text());
        assert_eq!(got.text().matches("link: </a>").count(), 5, "{host}: {}", got.text());
        let old = scene.asks("GET", &format!("/case/{hints}"), "HTTP/1.0", host);
        assert!(!old.text().contains(" 103 "), "HTTP/1.0 knows none: {}", old.text());
    }
}
