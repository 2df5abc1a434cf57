//! Where a request ends is never a matter of opinion: what two parsers could read in two ways is refused with a code, and what passes
//! arrives as the one request that it was, whoever reads it. Answers: `answers.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use weft_tests::Node;
use weft_tests::answer::Answer;
use weft_tests::mutation::{self, Must, Mutation, Words};
use weft_tests::peer::{Ended, Raw, Then, raw};
use weft_tests::readers::{self, APPLICATION_REFUSALS, Findings, Readers};
use weft_tests::recorder::{Recorder, Seen};

/// A request that was sent, and what came of it.
struct Sent {
    mutation: usize,
    mark: String,
    answer: Raw,
}

/// Sends all of them to one service.
fn send_all(near: &Node, host: &str, all: &[Mutation]) -> Vec<Sent> {
    let to = near.outbound();
    readers::at_once(all, |mutation, case| {
        let mark = format!("m{mutation}-{host}");
        let answer = raw(to, &case.bytes(Words { host, mark: &mark }), Then::Shut);
        Sent { mutation, mark, answer }
    })
}

/// What is wrong with what came of a request at one application, if anything is.
fn fault(case: &Mutation, sent: &Sent, host: &str, arrived: &[&Seen]) -> Option<String> {
    let words = Words { host, mark: &sent.mark };
    if sent.answer.ended == Ended::Open {
        return Some("it was not answered in time".to_owned());
    }
    if arrived.len() > 1 {
        return Some(format!("it arrived {} times: {arrived:?}", arrived.len()));
    }
    if sent.answer.bytes.is_empty() {
        return match (&case.must, arrived) {
            (Must::BeMalformedOrCut, []) => None,
            (_, []) => Some("the connection ended without a word".to_owned()),
            _ => Some(format!("it arrived, and the connection ended without a word: {arrived:?}")),
        };
    }
    // Of the methods here, only HEAD matters to how an answer is framed.
    let asked = if case.text.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    let answer = match Answer::only(&sent.answer, asked) {
        Ok(answer) => answer,
        Err(why) => return Some(format!("{why}: {:?}", sent.answer.text())),
    };
    let code = answer.code();
    let wanted = match case.must {
        Must::BeMalformed | Must::BeMalformedOrCut => Some(400),
        Must::BeTooLarge => Some(431),
        _ => None,
    };
    match (&case.must, code, arrived) {
        (Must::BeOne, Some(_), []) if answer.status >= 400 => None,
        (Must::BeRefused, Some(_), []) if answer.status >= 400 => None,
        (_, Some(_), []) if wanted == Some(answer.status) => None,
        (Must::Arrive(..) | Must::BeOne, None, []) if APPLICATION_REFUSALS.contains(&answer.status) => None,
        (Must::BeOne, None, [_]) => None,
        (Must::Arrive(..), None, [seen]) if Some(*seen) == case.arrival(words).as_ref() && answer.status == 200 => None,
        (_, code, _) => Some(format!("{} {code:?}, and {arrived:?} arrived", answer.status)),
    }
}

/// The faults at one application.
fn faults(scene: &Readers, recorder: &Recorder, all: &[Mutation]) -> Findings {
    let host = recorder.name;
    let sent = send_all(&scene.near, host, all);
    let seen = scene.settled(recorder, &format!("last-{host}"));
    let mut faults = Vec::new();
    let mut of_marks: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    let marks: BTreeSet<&str> = sent.iter().map(|sent| sent.mark.as_str()).collect();
    for one in &seen {
        let mark = one.target.split(['/', '?', '#', ';', '"', '\u{e9}', ' ']).find(|word| marks.contains(word));
        match mark {
            _ if one.status != 0 && one.target.contains("/smuggled-") => {
                faults.push(format!("{host}: a body was taken for a request: {one:?}"))
            }
            Some(mark) if one.status == 200 => of_marks.entry(mark).or_default().push(one),
            None if one.status != 0 && !one.target.contains("last-") => {
                faults.push(format!("{host}: nobody asked for {one:?}"))
            }
            _ => {}
        }
    }
    let mut arrivals = BTreeMap::new();
    for sent in &sent {
        let case = &all[sent.mutation];
        let arrived = of_marks.get(sent.mark.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(fault) = fault(case, sent, host, arrived) {
            let shown = String::from_utf8_lossy(&case.text[..case.text.len().min(300)]).into_owned();
            faults.push(format!("{host}: {}: {shown:?}: {fault}", case.kind));
        }
        if let [one] = arrived {
            arrivals.insert(sent.mutation, readers::plain(one, &sent.mark, host));
        }
    }
    (faults, arrivals)
}

#[test]
fn every_request_is_refused_with_a_code_or_arrives_as_one_wherever_it_goes() {
    let all = mutation::all();
    assert!(all.len() >= 300, "{} mutations", all.len());
    let scene = Readers::new("framing");
    let due = all.iter().filter(|case| matches!(case.must, Must::Arrive(..))).count();
    scene.agree(due, |recorder| faults(&scene, recorder, &all));
}

#[test]
fn requests_in_a_row_arrive_in_a_row() {
    let scene = Readers::new("rows");
    for recorder in &scene.recorders {
        let host = recorder.name;
        let mut bytes = Vec::new();
        for number in 0..5 {
            let framed = match number % 3 {
                0 => "content-length: 5\r\n\r\nhello",
                1 => "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
                _ => "content-length: 0\r\n\r\n",
            };
            bytes.extend(format!("POST /row{number} HTTP/1.1\r\nhost: {host}\r\n{framed}").bytes());
        }
        bytes.extend(b"GET /row5 HTTP/1.1\r\nhost: ");
        bytes.extend(
            format!("{host}\r\nconnection: close\r\n\r\nGET /smuggled-row HTTP/1.1\r\nhost: {host}\r\n\r\n").bytes(),
        );
        let answer = raw(scene.near.outbound(), &bytes, Then::Wait);
        let statuses = answer.text().matches("HTTP/1.1 200").count();
        assert_eq!((statuses, answer.ended), (6, Ended::Closed), "{host}: {}", answer.text());
        let seen = scene.settled(recorder, "last-row");
        let rows: Vec<(&str, usize)> = seen
            .iter()
            .filter(|one| one.target.contains("row") && !one.target.contains("last"))
            .map(|one| (one.target.as_str(), one.body.len()))
            .collect();
        assert_eq!(
            rows,
            [("/row0", 5), ("/row1", 5), ("/row2", 0), ("/row3", 5), ("/row4", 5), ("/row5", 0)],
            "{host}"
        );
    }
}

#[test]
fn a_row_ends_at_the_first_request_that_is_none() {
    let scene = Readers::new("ends");
    for bad in [
        "GET / HTTP/1.1\nhost: strict\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: strict\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: strict\r\nhost: strict\r\n\r\n",
        "\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let good = |number: usize| format!("GET /good{number} HTTP/1.1\r\nhost: strict\r\n\r\n");
        let bytes = format!("{}{}{bad}{}", good(1), good(2), good(3));
        let before = scene.recorders[0].seen().len();
        let answer = raw(scene.near.outbound(), bytes.as_bytes(), Then::Wait);
        let text = answer.text();
        let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
        assert_eq!(statuses, ["200", "200", "400"], "{bad:?}: {text}");
        assert!(answer.ended == Ended::Closed && answer.code().is_some(), "{bad:?}: {:?} {text}", answer.ended);
        assert_eq!(scene.recorders[0].seen().len(), before + 2, "{bad:?}");
    }
}

/// Sends bytes one by one.
fn one_by_one(near: &Node, bytes: &[u8]) -> Raw {
    let stream = std::net::TcpStream::connect(near.outbound()).expect("the node listens");
    stream.set_nodelay(true).expect("an option can be set");
    let mut writer = stream.try_clone().expect("a socket can be cloned");
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || {
        for byte in bytes {
            if writer.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::yield_now();
        }
        let _gone = writer.shutdown(std::net::Shutdown::Write);
    });
    let answer = Raw::read(stream, Duration::from_secs(8));
    writing.join().expect("no panic");
    answer
}

#[test]
fn how_the_bytes_come_makes_no_difference() {
    let scene = Readers::new("pieces");
    let all = mutation::all();
    // Every seventh, so that all kinds are among them.
    for (number, case) in all.iter().enumerate().filter(|(number, case)| number % 7 == 0 && case.text.len() < 2_000) {
        let mark = format!("p{number}");
        let bytes = case.bytes(Words { host: "strict", mark: &mark });
        let whole = raw(scene.near.outbound(), &bytes, Then::Shut);
        let pieces = one_by_one(&scene.near, &bytes);
        let of = |answer: &Raw| (answer.status(), answer.code());
        assert_eq!(of(&whole), of(&pieces), "{}: {:?}", case.kind, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_whole_server_may_be_asked_for_its_options() {
    let scene = Readers::new("star");
    let answer =
        raw(scene.near.outbound(), b"OPTIONS * HTTP/1.1\r\nhost: strict\r\nconnection: close\r\n\r\n", Then::Shut);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = scene.settled(&scene.recorders[0], "last-star");
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("OPTIONS", "*"), "{seen:?}");
}
