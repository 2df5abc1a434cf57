//! What a caller of HTTP/2 says wrongly ends its stream or its connection as RFC 9113 has it, and whatever it says, an application behind
//! gets the one request that was meant, or none. Requests of HTTP/1.1: `framing.rs`.

use std::collections::{BTreeMap, BTreeSet};

use weft_tests::Node;
use weft_tests::frame_mutation::{self, Case, Greeting, HONEST, Must};
use weft_tests::frames::{self, Caller, Got, Reply};
use weft_tests::hpack;
use weft_tests::mutation::Words;
use weft_tests::peer::{Ended, Then, raw};
use weft_tests::readers::{self, APPLICATION_REFUSALS, Findings, Readers};
use weft_tests::recorder::{Recorder, Seen};

/// The stream that a case is about.
const STREAM: u32 = 1;
/// NO_ERROR.
const NO_ERROR: u32 = 0;
/// PROTOCOL_ERROR.
const PROTOCOL_ERROR: u32 = 1;
/// REFUSED_STREAM.
const REFUSED_STREAM: u32 = 7;
/// Streams that a caller may have open (section 5.1.2).
const STREAMS_MAX: usize = 100;
/// ENHANCE_YOUR_CALM.
const ENHANCE_YOUR_CALM: u32 = 11;

/// An honest call on another connection.
fn calls(near: &Node, host: &str, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    raw(near.outbound(), request.as_bytes(), Then::Shut).status()
}

/// Sends a case, and behind it an honest request; in pieces, where there are cuts.
fn sends(near: &Node, case: &Case, words: Words<'_>, pieces: Pieces) -> Got {
    let to = near.outbound();
    let caller = match case.greeting {
        Greeting::Usual => Caller::greeted(to),
        Greeting::None => Caller::silent(to),
    };
    let bytes = [case.spelled(words), frame_mutation::honest(words.host, words.mark)].concat();
    let streams: &[u32] = match case.must {
        Must::Pass => &[HONEST],
        Must::EndConnection(_) | Must::BeCalmed | Must::Close => &[],
        _ => &[STREAM, HONEST],
    };
    let then = if case.must == Must::Close { Then::Shut } else { Then::Wait };
    match pieces {
        Pieces::One => caller.sends(&[&bytes], then, streams),
        Pieces::Bytes => caller.sends(&bytes.chunks(1).collect::<Vec<_>>(), then, streams),
    }
}

/// How the bytes of a case are written.
#[derive(Clone, Copy)]
enum Pieces {
    /// All at once.
    One,
    /// Each by itself.
    Bytes,
}

/// A case that was sent, and what came of it.
struct Sent {
    case: usize,
    mark: String,
    got: Got,
    /// The status of an honest call on another connection.
    after: u16,
}

/// Sends all of them to one service.
fn send_all(near: &Node, host: &str, all: &[Case]) -> Vec<Sent> {
    readers::at_once(all, |number, case| {
        let mark = format!("m{number}-{host}");
        let got = sends(near, case, Words { host, mark: &mark }, Pieces::One);
        let after = calls(near, host, &format!("/after-{mark}"));
        Sent { case: number, mark, got, after }
    })
}

/// Whether a message was found malformed, as its stream tells.
fn is_malformed(reply: &Reply) -> bool {
    reply.reset == Some(PROTOCOL_ERROR) || (reply.status() == 400 && reply.code().is_some())
}

/// Whether the connection ended with one of these codes.
fn has_ended(got: &Got, codes: &[u32]) -> bool {
    let is_closed = matches!(got.ended, Some(Ended::Closed | Ended::Reset));
    is_closed && got.goaway.is_some_and(|code| codes.contains(&code))
}

/// Whether what the caller saw is what must be.
fn is_right(case: &Case, got: &Got) -> bool {
    let reply = got.reply(STREAM);
    let is_reset = |codes: &[u32]| reply.reset.is_some_and(|code| codes.contains(&code));
    let goes_on = got.goaway.is_none() && got.reply(HONEST).status() == 200;
    match case.must {
        Must::Arrive(..) => {
            let is_refused = reply.code().is_none() && APPLICATION_REFUSALS.contains(&reply.status());
            // Who was answered in full may be asked to send no more (section 8.1).
            let is_whole = reply.is_ended && reply.reset.is_none_or(|code| code == NO_ERROR);
            goes_on && (reply.status() == 200 || is_refused) && is_whole
        }
        Must::Pass => goes_on,
        Must::BeRefused(status) => goes_on && reply.status() == status && reply.code().is_some(),
        Must::BeMalformed => goes_on && is_malformed(&reply),
        Must::BeMalformedOrEnd => goes_on && is_malformed(&reply) || has_ended(got, &[PROTOCOL_ERROR]),
        Must::BeOne => got.ended.is_some() || goes_on && (reply.is_ended || reply.reset.is_some()),
        Must::EndStream(codes) => goes_on && is_reset(codes),
        Must::EndEither(codes) => goes_on && is_reset(codes) || has_ended(got, codes),
        Must::EndConnection(codes) => has_ended(got, codes),
        Must::BeCalmed => has_ended(got, &[ENHANCE_YOUR_CALM]) || got.ended == Some(Ended::Reset),
        Must::Close => matches!(got.ended, Some(Ended::Closed | Ended::Reset)),
    }
}

/// What is wrong with what came of a case at one application, if anything is.
fn fault(case: &Case, sent: &Sent, host: &str, arrived: &[&Seen]) -> Option<String> {
    let got = &sent.got;
    if let Some(odd) = &got.odd {
        return Some(format!("it was answered with {odd}"));
    }
    if got.ended == Some(Ended::Open) {
        return Some(format!("it was not answered in time: {got:?}"));
    }
    if sent.after != 200 {
        return Some(format!("an honest call after it got {}", sent.after));
    }
    let due = case.arrival(Words { host, mark: &sent.mark });
    let is_due = match (case.must, arrived) {
        (Must::Arrive(..), []) => APPLICATION_REFUSALS.contains(&got.reply(STREAM).status()),
        (_, []) => true,
        (Must::BeOne, [_]) => true,
        (_, [seen]) => Some(*seen) == due.as_ref(),
        _ => false,
    };
    if !is_due {
        return Some(format!("{arrived:?} arrived; {got:?}"));
    }
    (!is_right(case, got)).then(|| format!("{got:?}"))
}

/// The faults at one application, and what arrived.
fn faults(scene: &Readers, recorder: &Recorder, all: &[Case]) -> Findings {
    let host = recorder.name;
    let sent = send_all(&scene.near, host, all);
    let seen = scene.settled(recorder, &format!("last-{host}"));
    let mut faults = Vec::new();
    let mut of_marks: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    let marks: BTreeSet<&str> = sent.iter().map(|sent| sent.mark.as_str()).collect();
    for one in seen.iter().filter(|one| one.status == 200) {
        let is_ours = ["/also-m", "/after-m", "/last-"].iter().any(|start| one.target.starts_with(start));
        let mark = one.target.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| marks.contains(word));
        match mark {
            Some(mark) => of_marks.entry(mark).or_default().push(one),
            None if is_ours && one.body.is_empty() && one.method == "GET" => {}
            None => faults.push(format!("{host}: nobody asked for {one:?}")),
        }
    }
    let mut arrivals = BTreeMap::new();
    for sent in &sent {
        let case = &all[sent.case];
        let arrived = of_marks.get(sent.mark.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(fault) = fault(case, sent, host, arrived) {
            faults.push(format!("{host}: {}: must {:?}: {fault}", case.name, case.must));
        }
        if let [one] = arrived {
            arrivals.insert(sent.case, readers::plain(one, &sent.mark, host));
        }
    }
    (faults, arrivals)
}

#[test]
fn every_case_ends_as_it_must_and_arrives_as_one_or_not_at_all() {
    let all = frame_mutation::all();
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert!(all.len() >= 150 && names.len() == all.len(), "{} cases, {} names", all.len(), names.len());
    println!("{} cases at four applications", all.len());
    let scene = Readers::new("frames");
    let due = all.iter().filter(|case| matches!(case.must, Must::Arrive(..))).count();
    scene.agree(due, |recorder| faults(&scene, recorder, &all));
}

/// What a caller is told, without what depends on how far the node had read.
fn told(got: &Got) -> (u16, Option<String>, Option<u32>, Option<u32>) {
    let reply = got.reply(STREAM);
    (reply.status(), reply.code(), reply.reset, got.goaway)
}

#[test]
fn how_the_bytes_come_makes_no_difference() {
    let scene = Readers::new("frame-bytes");
    let mut wrong = Vec::new();
    for (number, case) in frame_mutation::all().iter().enumerate() {
        let mark = format!("p{number}");
        let words = Words { host: "strict", mark: &mark };
        // Every third, so that all kinds are among them; long ones take long.
        if number % 3 != 0 || case.spelled(words).len() > 1_000 {
            continue;
        }
        let got = sends(&scene.near, case, words, Pieces::Bytes);
        let is_told = match case.must {
            // A request that is whole may be answered before the rest of its case comes.
            Must::EndEither(_) | Must::BeOne => true,
            _ if case.arrival(words).is_some() && got.reply(STREAM).status() == 200 => got.reply(STREAM).is_ended,
            _ => is_right(case, &got),
        };
        if !is_told {
            wrong.push(format!("{}: {:?}", case.name, told(&got)));
        }
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let scene = Readers::new("frame-ping");
    let ping = |text: &[u8]| frames::frame(frames::PING, 0, 0, text);
    let honest = frame_mutation::honest("strict", "ping");
    let bytes = [ping(b"12345678"), ping(&[0xff; 8]), honest].concat();
    let got = Caller::greeted(scene.near.outbound()).sends(&[&bytes], Then::Wait, &[HONEST]);
    assert_eq!(got.pongs, [b"12345678".to_vec(), vec![0xff; 8]], "{got:?}");
}

#[test]
fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let scene = Readers::new("frame-streams");
    let field = |name: &str, value: &str| hpack::field(name.as_bytes(), value.as_bytes());
    let head = |id: u32| {
        let path = field(":path", &format!("/upload-{id}"));
        let block = [field(":method", "POST"), field(":scheme", "http"), path, field(":authority", "strict")].concat();
        frames::frame(frames::HEADERS, frames::END_HEADERS, id, &block)
    };
    let ids = || (1..).step_by(2);
    let open: Vec<u8> = ids().take(STREAMS_MAX).flat_map(head).collect();
    let beyond: Vec<u8> = ids().skip(STREAMS_MAX).take(3).flat_map(head).collect();
    let end = |id: u32| frames::frame(frames::DATA, frames::END_STREAM, id, b"hello");
    let ends: Vec<u8> = ids().take(STREAMS_MAX).flat_map(end).collect();
    let all: Vec<u32> = ids().take(STREAMS_MAX + 3).collect();
    let got = Caller::greeted(scene.near.outbound()).sends(&[&[open, beyond, ends].concat()], Then::Wait, &all);
    for (number, id) in all.into_iter().enumerate() {
        let reply = got.reply(id);
        let is_right = if number < STREAMS_MAX { reply.status() == 200 } else { reply.reset == Some(REFUSED_STREAM) };
        assert!(is_right, "stream {id}: {reply:?}, {:?}", got.goaway);
    }
    assert_eq!(scene.recorders[0].seen().iter().filter(|seen| seen.body == b"hello").count(), STREAMS_MAX);
}

#[test]
fn the_head_of_a_stream_that_is_refused_counts_for_the_tables_of_all() {
    let scene = Readers::new("frame-tables");
    let field = |name: &str, value: &str| hpack::field(name.as_bytes(), value.as_bytes());
    let head = |id: u32, flags: u8, before: &[u8], method: Vec<u8>, path: &str| {
        let rest = [field(":scheme", "http"), field(":path", path), field(":authority", "strict")].concat();
        let flags = flags | frames::END_HEADERS | frames::END_STREAM;
        frames::frame(frames::HEADERS, flags, id, &[before, &method, &rest].concat())
    };
    let first = head(1, 0, b"", hpack::kept(b":method", b"OPTIONS"), "/first");
    // It depends on itself.
    let refused = head(3, frames::WITH_PRIORITY, &[0, 0, 0, 3, 16], hpack::kept(b":method", b"DELETE"), "/refused");
    let last = head(5, 0, b"", hpack::entry(62), "/last");
    let got = Caller::greeted(scene.near.outbound()).sends(&[&[first, refused, last].concat()], Then::Wait, &[1, 3, 5]);
    let seen = scene.recorders[0].seen();
    let methods: Vec<&str> =
        seen.iter().filter(|seen| seen.target == "/last").map(|seen| seen.method.as_str()).collect();
    assert!(got.goaway.is_some() && methods.is_empty() || methods == ["DELETE"], "{methods:?} arrived; {got:?}");
}
