//! How long policies take to compile and to decide: 10,000 rules and 10,000 routes, spread over services and all on one.
//!
//!     cargo bench -p weft-gateway --bench policy

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Method;
use weft_identity::{GrantedLabels, ServiceName, SpiffeId};
use weft_ledger::{Document, DocumentId, DocumentParts};
use weft_policy::fields::Fields;
use weft_policy::{
    Call, Caller, Compiler, InForce, Limiter, NormalPath, Policy, RequestView, Source, compile, read_file,
};

const COUNT: usize = 10_000;

/// How the rules and routes lie.
#[derive(Clone, Copy)]
enum Spread {
    /// Ten of each on each of a thousand services.
    Services,
    /// All on one service, each with a path of its own.
    OneService,
    /// All on one service and one path: told apart by caller, and by a header's value.
    OnePath,
    /// As `OnePath`, told apart by two labels of the caller.
    Labels,
}

fn documents(spread: Spread) -> Vec<(Source, u64)> {
    let mut text = String::new();
    for number in 0..COUNT {
        let (service, path, caller, tenant) = match spread {
            Spread::Services => (format!("s{}", number / 10), format!("/api/{}", number % 10), number % 100, number),
            Spread::OneService => {
                ("s0".to_owned(), format!("/api/v{}/{}", number % 100, number / 100), number % 100, number)
            }
            Spread::OnePath | Spread::Labels => ("s0".to_owned(), "/api".to_owned(), number, number),
        };
        let from = match spread {
            Spread::Labels => format!("labels = {{ team = \"t{}\", tier = \"{}\" }}", number / 10, number % 10),
            _ => format!("services = [\"c{caller}\"]"),
        };
        let action = if number.is_multiple_of(3) { "deny" } else { "allow" };
        let _ = write!(
            text,
            "[[authorisation]]\nname = \"a{number}\"\nservice = \"{service}\"\n[[authorisation.rule]]\naction = \"{action}\"\n\
             from = {{ {from} }}\nmethods = [\"GET\", \"POST\"]\npaths = [\"{path}/{{id}}\"]\n\
             [[route]]\nname = \"r{number}\"\nservice = \"{service}\"\n[[route.rule]]\n\
             match = [{{ path = {{ template = \"{path}/{{id}}\" }}, headers = [{{ name = \"x-tenant\", value = \"{tenant}\" }}] }}]\n\
             to = [{{ version = \"1\", weight = 95 }}, {{ version = \"2\", weight = 5 }}]\n"
        );
    }
    let sources = read_file("bench.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    sources.into_iter().map(|source| (source, 1)).collect()
}

fn compiled(documents: &[(Source, u64)]) -> Policy {
    compile(documents).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

struct Asked {
    caller: SpiffeId,
    labels: Arc<GrantedLabels>,
    service: ServiceName,
    path: String,
    headers: Fields,
}

/// The number of a rule in the middle that allows, asked for.
fn asked(spread: Spread) -> Asked {
    let number = 4_999;
    let (service, path, caller) = match spread {
        Spread::Services => ("s499", "/api/9/7".to_owned(), number % 100),
        Spread::OneService => ("s0", format!("/api/v{}/{}/7", number % 100, number / 100), number % 100),
        Spread::OnePath | Spread::Labels => ("s0", "/api/7".to_owned(), number),
    };
    let labels = match spread {
        Spread::Labels => "dc=one,env=live,owner=kim,rack=r7,team=t499,tier=9,zone=z1",
        _ => "env=live",
    };
    let mut headers = Fields::new();
    headers.set("x-tenant", number.to_string().as_bytes());
    let caller = format!("spiffe://bank/svc/c{caller}").parse().expect("a SPIFFE id");
    let labels = Arc::new(labels.parse().expect("labels"));
    Asked { caller, labels, service: service.parse().expect("a service"), path, headers }
}

fn decisions(criterion: &mut Criterion) {
    for (name, spread) in [
        ("services", Spread::Services),
        ("one service", Spread::OneService),
        ("one path", Spread::OnePath),
        ("labels", Spread::Labels),
    ] {
        let documents = documents(spread);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.bench_function("compile 10,000 rules and 10,000 routes", |bencher| {
            bencher.iter(|| black_box(compiled(black_box(&documents))));
        });
        group.sample_size(100);
        let policy = compiled(&documents);
        let asked = asked(spread);
        let path = NormalPath::of(&asked.path).expect("a path");
        let view = RequestView { method: &Method::GET, path: &path, query: None, headers: &asked.headers };
        let caller = Caller { identity: &asked.caller, labels: &asked.labels };
        assert!(policy.authorise(caller, &asked.service, Call::Http(&view)).reason.place().is_some());
        assert!(policy.route(&asked.service, "s", &view).is_some());
        group.bench_function("authorise", |bencher| {
            bencher.iter(|| black_box(policy.authorise(black_box(caller), &asked.service, Call::Http(&view))));
        });
        group.bench_function("route", |bencher| {
            bencher.iter(|| black_box(policy.route(black_box(&asked.service), "s", &view)));
        });
        group.finish();
    }
}

/// A hundred rules and a hundred routes on one service become others: two documents of two hundred.
fn changes(criterion: &mut Criterion) {
    let document = |number: usize, round: usize| {
        let mut text = format!("[[authorisation]]\nname = \"a{number}\"\nservice = \"s\"\ndefault = \"allow\"\n");
        for rule in 0..100 {
            let _ = write!(
                text,
                "[[authorisation.rule]]\naction = \"deny\"\nfrom = {{ services = [\"nobody\"] }}\n\
                 paths = [\"/denied/{number}/{rule}/{round}\"]\n"
            );
        }
        let _ = write!(text, "[[route]]\nname = \"r{number}\"\nservice = \"s\"\n");
        for rule in 0..100 {
            let _ = write!(
                text,
                "[[route.rule]]\nmatch = [{{ path = {{ exact = \"/r/{number}/{rule}/{round}\" }} }}]\ntimeout = \"5s\"\n"
            );
        }
        let sources = read_file("bench.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        sources.into_iter().map(move |source| in_force(source, 1 + round as u64)).collect::<Vec<_>>()
    };
    let mut documents: Vec<Vec<InForce>> = (0..100).map(|number| document(number, 0)).collect();
    let mut compiler = Compiler::default();
    let mut round = 0;
    let mut group = criterion.benchmark_group("one service");
    group.sample_size(20);
    group.bench_function("compile after 100 of 10,000 rules and routes have changed", |bencher| {
        bencher.iter_batched(
            || {
                round += 1;
                documents[round % 100] = document(round % 100, round);
                documents.concat()
            },
            |state| compiler.compile(&state, &mut || ()).unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn in_force(source: Source, revision: u64) -> InForce {
    let id = DocumentId::new(&source.kind, &source.name).expect("an id");
    let Source { services, file, line, text, .. } = source;
    let document = Document::new(DocumentParts { id, services, file, line, text }).expect("a document");
    InForce { hash: document.hash(), document: Arc::new(document), revision }
}

fn rate_limits(criterion: &mut Criterion) {
    let text = "[[rate-limit]]\nname = \"l\"\nservice = \"s\"\nrequests = 1000\nper = \"1s\"\nby = { header = \"x-tenant\" }\n";
    let sources = read_file("bench.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let policy = compiled(&[(sources[0].clone(), 1)]);
    let service: ServiceName = "s".parse().expect("a service");
    let caller: SpiffeId = "spiffe://bank/svc/c".parse().expect("a SPIFFE id");
    let limiter = Limiter::new(10_000, 7);
    let path = NormalPath::of("/").expect("a path");
    let mut headers = Fields::new();
    let mut now_ns = 0;
    criterion.bench_function("rate limit, twice as many keys as fit", |bencher| {
        bencher.iter(|| {
            now_ns += 1_000;
            headers.set("x-tenant", (now_ns / 1_000 % 20_000).to_string().as_bytes());
            let view = RequestView { method: &Method::GET, path: &path, query: None, headers: &headers };
            black_box(limiter.admit(&policy.limits(&service)[0], &caller, Call::Http(&view), now_ns))
        });
    });
    criterion.bench_function("path in normal form", |bencher| {
        bencher.iter(|| black_box(NormalPath::of(black_box("/api/v1/orders/7/items"))));
    });
    criterion.bench_function("path with an encoded character", |bencher| {
        bencher.iter(|| black_box(NormalPath::of(black_box("/api/v1/orders/%37/items"))));
    });
}

criterion_group!(benches, decisions, changes, rate_limits);
criterion_main!(benches);
