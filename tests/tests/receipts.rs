//! Five nodes, a directory of 500 documents, and calls meanwhile: every receipt in time, no call lost.
//!
//! `WEFT_LONG=1` applies 200 times under 1,000 calls a second, as `bench/run apply` does; without it, 5 times under 100.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weft_tests::Mesh;
use weft_tests::http::Connection;
use weft_tests::load::{Load, Plan, Tally};
use weft_tests::operator::{Operator, traffic};
use weft_tests::programs::Server;
use weft_tests::wait::let_pass;

/// Documents in the directory, and in one file of it.
const DOCUMENTS: u32 = 500;
const DOCUMENTS_A_FILE: u32 = 50;
/// Within this every node has what was applied.
const RECEIPT_LIMIT: Duration = Duration::from_secs(2);

/// Writes one file of the directory; `round` makes its documents differ from those of another round.
fn write(operator: &Operator, file: u32, round: u32) {
    let mut text = String::new();
    for number in 0..DOCUMENTS_A_FILE {
        let service = if (file, number) == (0, 0) { "orders".to_owned() } else { format!("s-{file}-{number}") };
        writeln!(text, "{}", traffic(&service, 10 + round % 1_000)).expect("a text takes what is written");
    }
    operator.write(&format!("team-{file}.toml"), &text);
}

/// A route that says in each answer which round it is of.
fn write_mark(operator: &Operator, round: u32) {
    let text = format!(
        "[[route]]\nname = \"mark\"\nservice = \"orders\"\n\n[[route.rule]]\n\
         response_headers = {{ set = {{ x-round = \"{round}\" }} }}\n"
    );
    operator.write("mark.toml", &text);
}

/// Asks until it is stopped which revision decided, and holds it against the route's own word: a request that met half a revision would
/// show another pair. Returns how many revisions it met.
fn ask_for_revisions(at: SocketAddr, stop: &AtomicBool) -> usize {
    let mut connection = Connection::open(at).expect("the outbound port answers");
    let mut met = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let request = b"GET / HTTP/1.1\r\nhost: orders.weft.internal\r\nweft-trace-revision: 1\r\n\r\n";
        let reply = connection.send(request).expect("an answer");
        let revisions = reply.header("weft-revision").expect("the revisions").to_owned();
        let (outbound, _inbound) = revisions.split_once(',').expect("of both sides");
        let outbound: u32 = outbound.trim().parse().expect("a number");
        let round: Option<u32> = reply.header("x-round").map(|round| round.parse().expect("a number"));
        assert_eq!(round, outbound.checked_sub(1), "revision {outbound} brought that round and no other");
        met.insert(outbound);
    }
    met.len()
}

#[test]
fn every_receipt_comes_in_time_and_no_call_is_lost() {
    let long = std::env::var_os("WEFT_LONG").is_some();
    let (applies, rate) = if long { (200, 1_000) } else { (5, 100) };
    let mut mesh = Mesh::new("receipts");
    let app = Server::nginx(mesh.scratch.path(), "replica");
    let one = mesh.init_running("one");
    let rest: Vec<_> =
        ["two", "three", "four", "five"].into_iter().map(|name| mesh.join_running(name, &one, &["orders"])).collect();
    rest[0].weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    one.sees(5);
    one.reaches("orders", "/");
    let operator = Operator::of(&mesh, &one, "policies");
    let files = DOCUMENTS / DOCUMENTS_A_FILE;
    (0..files).for_each(|file| write(&operator, file, 0));
    let load = Load::start(&Plan {
        to: one.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate,
        connections: 20,
    });
    let mut took = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked_at, stopped) = (one.outbound(), Arc::clone(&stop));
    let asking = std::thread::spawn(move || ask_for_revisions(asked_at, &stopped));
    for round in 0..applies {
        write_mark(&operator, round);
        // The first brings all; each further one changes a file.
        if round > 0 {
            write(&operator, round % files, round);
        }
        let answer = operator.applied(&one);
        let changed = answer["changes"].as_array().expect("a list").len();
        assert_eq!(changed, 1 + if round == 0 { DOCUMENTS as usize } else { DOCUMENTS_A_FILE as usize });
        took.push(Duration::from_millis(answer["took_ms"].as_u64().expect("a number")));
    }
    let tally = load.stop();
    stop.store(true, Ordering::Relaxed);
    let met = asking.join().expect("every answer was decided by one whole revision");
    println!("{met} revisions decided answers, each whole");
    println!("first {:?}", took[0]);
    took.sort();
    println!("{applies} applies: median {:?}, slowest {:?}", took[took.len() / 2], took[took.len() - 1]);
    println!("{} good, {:?} bad, slowest {:?}", tally.good, tally.bad, tally.slowest);
    assert!(took[took.len() - 1] < RECEIPT_LIMIT, "{took:?}");
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
}

/// Documents of rules and of routes, and how many rules each has: 10,000 of both.
const LARGE_DOCUMENTS: u32 = 100;
const RULES_A_DOCUMENT: u32 = 100;

/// Rules and routes of the one service that is called; `round` makes them differ from those of another round.
fn write_large(operator: &Operator, number: u32, round: u32) {
    let mut text = String::new();
    let mut line = |words: &str| text.push_str(&format!("{words}\n"));
    line(&format!("[[authorisation]]\nname = \"rules-{number}\"\nservice = \"orders\"\ndefault = \"allow\""));
    for rule in 0..RULES_A_DOCUMENT {
        line("[[authorisation.rule]]\naction = \"deny\"\nfrom = { services = [\"nobody\"] }");
        line(&format!("paths = [\"/denied/{number}/{rule}/{round}\"]"));
    }
    line(&format!("[[route]]\nname = \"routes-{number}\"\nservice = \"orders\""));
    for rule in 0..RULES_A_DOCUMENT {
        line(&format!("[[route.rule]]\nmatch = [{{ path = {{ exact = \"/r/{number}/{rule}/{round}\" }} }}]"));
        line("timeout = \"5s\"");
    }
    operator.write(&format!("large-{number}.toml"), &text);
}

/// A load while so many threads, which have nothing to do with the mesh, never wait for anything.
fn beside_computing(threads: u32, plan: &Plan, seconds: u64) -> Tally {
    let stop = Arc::new(AtomicBool::new(false));
    let computing: Vec<_> = (0..threads)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        })
        .collect();
    let load = Load::start(plan);
    let_pass(Duration::from_secs(seconds));
    let tally = load.stop();
    stop.store(true, Ordering::Relaxed);
    computing.into_iter().for_each(|thread| thread.join().expect("it only computes"));
    tally
}

/// Ten thousand rules and routes of the called service are in force; replacing them costs no call and leaves the tail where it was.
#[test]
fn replacing_ten_thousand_rules_costs_no_call() {
    let long = std::env::var_os("WEFT_LONG").is_some();
    let (documents, seconds) = if long { (LARGE_DOCUMENTS, 20) } else { (5, 2) };
    let mut mesh = Mesh::new("replacing");
    let app = Server::nginx(mesh.scratch.path(), "replica");
    let one = mesh.init_running("one");
    let two = mesh.join_running("two", &one, &["orders"]);
    two.weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
    one.reaches("orders", "/");
    let operator = Operator::of(&mesh, &one, "policies");
    (0..documents).for_each(|number| write_large(&operator, number, 0));
    operator.applied(&one);
    let plan = Plan {
        to: one.outbound(),
        host: "orders.weft.internal".to_owned(),
        path: "/".to_owned(),
        rate: 500,
        connections: 10,
    };
    let quiet = beside_computing(0, &plan, seconds);
    // What any two busy threads on two cores do to the tail, whatever they compute.
    let crowded = [1, 2].map(|threads| beside_computing(threads, &plan, seconds / 2).p99());
    println!("p99 beside one thread that only computes {:?}, beside two {:?}", crowded[0], crowded[1]);
    let busy = Load::start(&plan);
    let mut took = Vec::new();
    for round in 1..=u32::try_from(seconds).expect("a few") {
        write_large(&operator, round % documents, round);
        took.push(operator.applied(&one)["took_ms"].as_u64().expect("a number"));
        let_pass(Duration::from_millis(500));
    }
    let busy = busy.stop();
    took.sort_unstable();
    println!("receipts in ms: median {}, slowest {}", took[took.len() / 2], took[took.len() - 1]);
    println!("p99 {:?} in quiet, {:?} while replaced; slowest {:?}", quiet.p99(), busy.p99(), busy.slowest);
    assert_eq!(quiet.errors() + busy.errors(), 0, "{:?} {:?}", quiet.bad, busy.bad);
    assert!(Duration::from_millis(took[took.len() - 1]) < RECEIPT_LIMIT, "{took:?}");
}
