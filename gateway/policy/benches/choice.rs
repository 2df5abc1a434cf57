//! How long it takes to choose an endpoint, among 2, 10 and 1,000, and to count a try.
//!
//!     cargo bench -p weft-gateway --bench choice

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use weft_identity::Protocol;
use weft_policy::Traffic;
use weft_policy::endpoint::{Endpoint, EndpointLoad, EndpointTable, PeerAddr, review};
use weft_policy::outcome::{Change, Refused, Taken, Terms};
use weft_policy::{Choice, Outcome, Try, Way, Witness, choose};

const COUNTS: [usize; 3] = [2, 10, 1_000];

/// A clock that stands still: reading the time is measured elsewhere.
#[derive(Clone, Copy)]
struct Still;

impl Witness for Still {
    fn now_ns(&self) -> u64 {
        1_000_000_000
    }

    fn changed(&self, _endpoint: &Endpoint, _change: Change) {}
}

fn endpoint(number: usize) -> Arc<Endpoint> {
    let load = Arc::new(EndpointLoad::default());
    let endpoint = Endpoint {
        node: format!("n{number}").parse().expect("a node id"),
        replica: "orders".parse().expect("a name"),
        selector: None,
        generation: 1,
        addr: PeerAddr("127.0.0.1:4510".parse().expect("an address")),
        zone: Some(format!("z{}", number % 2).parse().expect("a zone")),
        version: String::new(),
        labels: BTreeMap::new(),
        weight: 100,
        healthy: true,
        load,
    };
    learn(&endpoint, Outcome::of_status(200));
    Arc::new(endpoint)
}

fn learn(endpoint: &Endpoint, outcome: Outcome) {
    let taken = Taken { began_ns: 1_000_000, asked_ns: 1_000_000, ended_ns: 2_000_000 };
    endpoint.learn(outcome, &taken, &Terms::default());
}

fn table(count: usize) -> EndpointTable {
    let service = "orders".parse().expect("a service");
    EndpointTable::new(service, Protocol::Http, (0..count).map(endpoint).collect())
}

fn chances() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |bound| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}

fn choices(criterion: &mut Criterion) {
    let (traffic, mut random) = (Traffic::default(), chances());
    let zone = "z0".parse().expect("a zone");
    for count in COUNTS {
        let table = table(count);
        for (name, way) in [("p2c", Way::PowerOfTwo), ("in turn", Way::Turn(7)), ("by hash", Way::Hash(7))] {
            let choice = Choice::new(2_000_000, None, &traffic, way);
            criterion.bench_function(&format!("choose {name} among {count}"), |bencher| {
                bencher.iter(|| black_box(choose(&table, black_box(&choice), &mut random)));
            });
        }
        let near = Choice::new(2_000_000, Some(&zone), &traffic, Way::PowerOfTwo);
        criterion.bench_function(&format!("choose p2c near among {count}"), |bencher| {
            bencher.iter(|| black_box(choose(&table, black_box(&near), &mut random)));
        });
        if count > 2 {
            learn(&table.endpoints[0], Outcome::Undelivered(Refused::Connect));
            let choice = Choice::new(2_000_000, None, &traffic, Way::PowerOfTwo);
            criterion.bench_function(&format!("choose p2c among {count}, one ejected"), |bencher| {
                bencher.iter(|| black_box(choose(&table, black_box(&choice), &mut random)));
            });
        }
    }
}

fn tries(criterion: &mut Criterion) {
    let (endpoint, terms) = (endpoint(0), Terms::default());
    criterion.bench_function("a try, begun, answered and over", |bencher| {
        bencher.iter(|| {
            let mut held = Try::begin(black_box(&endpoint), terms, Still);
            held.report(Outcome::of_status(200));
            held
        });
    });
    let table = table(10);
    let mut told = |_: &Endpoint, _: Change| {};
    criterion.bench_function("review that is not due", |bencher| {
        bencher.iter(|| review(black_box(&table), &terms, 3_000_000_000, &mut told));
    });
    let thousand = self::table(1_000);
    let mut now_ns = 3_000_000_000;
    criterion.bench_function("review of 1,000", |bencher| {
        bencher.iter(|| {
            now_ns += 2_000_000_000;
            review(black_box(&thousand), &terms, now_ns, &mut told);
        });
    });
}

criterion_group!(benches, choices, tries);
criterion_main!(benches);
