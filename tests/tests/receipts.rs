//! Five nodes, a directory of 500 documents, and calls meanwhile: every receipt in time, no call lost.
//!
//! `WEFT_LONG=1` applies 200 times under 1,000 calls a second, as `bench/run apply` does; without it, 5 times under 100.

use std::fmt::Write;
use std::time::Duration;

use weft_tests::Mesh;
use weft_tests::load::{Load, Plan};
use weft_tests::operator::{Operator, traffic};
use weft_tests::programs::Server;

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
    for round in 0..applies {
        // The first brings all; each further one changes a file.
        if round > 0 {
            write(&operator, round % files, round);
        }
        let answer = operator.applied(&one);
        let changed = answer["changes"].as_array().expect("a list").len();
        assert_eq!(changed, if round == 0 { DOCUMENTS as usize } else { DOCUMENTS_A_FILE as usize });
        took.push(Duration::from_millis(answer["took_ms"].as_u64().expect("a number")));
    }
    let tally = load.stop();
    println!("first {:?}", took[0]);
    took.sort();
    println!("{applies} applies: median {:?}, slowest {:?}", took[took.len() / 2], took[took.len() - 1]);
    println!("{} good, {:?} bad, slowest {:?}", tally.good, tally.bad, tally.slowest);
    assert!(took[took.len() - 1] < RECEIPT_LIMIT, "{took:?}");
    assert_eq!(tally.errors(), 0, "{:?}", tally.bad);
}
