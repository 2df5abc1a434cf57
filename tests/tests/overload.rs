//! More than a node can do: requests beyond its limit, connections that say nothing, no file descriptors.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use weft_tests::load::{Load, Plan, Tally};
use weft_tests::programs::Server;
use weft_tests::scratch::Scratch;
use weft_tests::wait::{let_pass, until_true};
use weft_tests::{Mesh, Node};

/// Requests that the node may have under way.
const IN_FLIGHT: u32 = 8;
/// How long the application takes.
const APP_SECONDS: &str = "0.05";
/// What it can do a second with that.
const CAPACITY: u32 = IN_FLIGHT * 20;
/// Connections of the overload: more than its rate times how long an answer takes, so that the rate is kept.
const CONNECTIONS: u32 = 120;
/// Until the overload stands, a request may wait for longer.
const ONSET: Duration = Duration::from_secs(1);
/// How soon a refusal must come in a standing overload.
const REFUSAL_MAX: Duration = Duration::from_millis(10);
/// Silent connections.
const SILENT: usize = 10_000;

fn load(node: &Node, rate: u32, connections: u32, span: Duration) -> Tally {
    let (host, path) = ("orders.weft.internal".to_owned(), "/".to_owned());
    let load = Load::start(&Plan { to: node.outbound(), host, path, rate, connections });
    let_pass(span);
    load.stop()
}

fn per_second(tally: &Tally, span: Duration) -> f64 {
    f64::from(u32::try_from(tally.good).expect("a short load")) / span.as_secs_f64()
}

/// The time within which 99 of 100 refusals came once the overload stood.
fn p99_of_refusals(tally: &Tally) -> Duration {
    let mut took: Vec<Duration> =
        tally.refused.iter().filter(|(asked, _)| *asked > ONSET).map(|(_, took)| *took).collect();
    took.sort_unstable();
    assert!(took.len() > 100, "{} refusals are too few to tell", took.len());
    took[(took.len() - 1) * 99 / 100]
}

#[test]
fn an_overload_costs_no_goodput_and_is_refused_at_once() {
    let span = Duration::from_secs(5);
    let mut mesh = Mesh::new("overload");
    let app = Server::app_that("orders", &["--slow", APP_SECONDS]);
    let mut node = mesh.init("one");
    node.configure(&format!("limits.in_flight = {IN_FLIGHT}\nworkers = 2\n"));
    node.start();
    node.offers("orders", &app, &["--protocol", "http"]);
    node.reaches("orders", "/");
    // As many callers as there are places: the most that the node can do.
    let peak = per_second(&load(&node, 2 * CAPACITY, IN_FLIGHT, span), span);
    for times in [2, 5] {
        let tally = load(&node, times * CAPACITY, CONNECTIONS, span);
        let (goodput, p99) = (per_second(&tally, span), p99_of_refusals(&tally));
        println!("{times} times: {goodput:.0}/s of {peak:.0}/s, {} refused, p99 {p99:?}", tally.refused.len());
        assert_eq!(tally.errors(), tally.refused.len() as u64, "nothing but refusals: {:?}", tally.bad.keys().next());
        assert!(goodput >= 0.9 * peak, "{goodput} of {peak}");
        assert!(p99 <= REFUSAL_MAX, "{p99:?}");
    }
    assert!(node.metric("weft_admission_waits_total", &["outcome=\"admitted\""]) > 0.0);
    assert!(node.metric("weft_admission_waits_total", &["outcome=\"late\""]) > 0.0);
    let_pass(Duration::from_secs(5));
    let after = load(&node, CAPACITY / 2, IN_FLIGHT, Duration::from_secs(2));
    assert_eq!(after.errors(), 0, "{:?}", after.bad);
    assert!(node.metric("weft_admission_waiting", &[]) == 0.0);
}

#[test]
fn a_burst_waits_and_is_served() {
    let mut mesh = Mesh::new("burst");
    let app = Server::app_that("orders", &["--slow", "0.02"]);
    let mut node = mesh.init("one");
    node.configure("limits.in_flight = 8\nworkers = 1\n");
    node.start();
    node.offers("orders", &app, &["--protocol", "http"]);
    node.reaches("orders", "/");
    let to = node.outbound();
    let callers: Vec<_> = (0..16)
        .map(|_| std::thread::spawn(move || weft_tests::http::get(to, "/", "orders.weft.internal").map(|r| r.status)))
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("a caller does not panic").expect("an answer"), 200);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// Opens connections that say nothing, and keeps them however they end.
async fn silent(from: Ipv4Addr, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Ports are chosen when it connects, and not all used up by what is open to another port.
        socket.bind((from, 0).into()).expect("a loopback address is there");
        let connecting = tokio::time::timeout(Duration::from_millis(500), socket.connect(to));
        // A full backlog lets it wait: it is one of many.
        if let Ok(Ok(stream)) = connecting.await {
            open.push(stream);
        }
    }
    open
}

/// A `weft` whose descriptors are limited by what `limit` says, a file with a number, at each start.
fn limited_by(mesh: &str, limit: &Path) -> Mesh {
    let program = limit.with_extension("sh");
    let (binary, limit) = (weft_tests::weft::binary().display().to_string(), limit.display());
    std::fs::write(&program, format!("#!/bin/sh\nulimit -n $(cat {limit})\nexec {binary} \"$@\"\n"))
        .expect("it can be had");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can be had");
    Mesh::of_program(mesh, program)
}

fn lines(node: &Node, text: &str) -> usize {
    node.process().stderr.all().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn with_few_descriptors_a_node_keeps_some_and_serves_again() {
    let scratch = Scratch::new("ulimit");
    let limit = scratch.path().join("descriptors");
    std::fs::write(&limit, "1024").unwrap();
    let mut mesh = limited_by("descriptors", &limit);
    let app = Server::app("orders");
    let mut node = mesh.init("one");
    node.configure("workers = 2\ntimeouts.head = \"4s\"\n");
    // Whatever needs a descriptor says that there is none.
    node.tolerate("");
    node.start();
    let usual = std::fs::read_dir(format!("/proc/{}/fd", node.process().id())).unwrap().count();
    node.stop();
    // Of these a listener may have half: the rest is for what is under way.
    std::fs::write(&limit, (usual * 3).to_string()).unwrap();
    node.start();
    node.offers("orders", &app, &["--protocol", "http"]);
    node.reaches("orders", "/");
    let flood_from = mesh.next_address();
    let runtime = runtime();
    let held = runtime.block_on(silent(flood_from, node.outbound(), SILENT));
    println!("{} connections held", held.len());
    let used = node.process().cpu_ticks();
    let_pass(Duration::from_secs(2));
    let used = node.process().cpu_ticks() - used;
    assert!(used < 50, "{used} ticks of 200: it spins");
    until_true("an answer after the silent ones", Duration::from_secs(20), || {
        weft_tests::http::get(node.outbound(), "/", "orders.weft.internal").is_ok_and(|reply| reply.status == 200)
    });
    println!(
        "{} lines of a shortage, {} of a limit",
        lines(&node, "accept failed"),
        lines(&node, "as many connections")
    );
    assert!((1..=2).contains(&lines(&node, "as many connections")), "said once an episode");
    drop(held);
    assert_eq!(node.get("orders", "/").status, 200);
}

#[test]
fn silent_connections_of_one_address_leave_members_their_handshakes() {
    let mut mesh = Mesh::new("silent");
    let app = Server::app("orders");
    let mut one = mesh.init("one");
    one.configure("limits.connections = 400\n");
    one.start();
    one.tolerate("as many connections are open");
    one.offers("orders", &app, &["--protocol", "http"]);
    let two = mesh.join_running("two", &one, &["web"]);
    two.reaches("orders", "/");
    let (flood_from, to) = (mesh.next_address(), one.mesh_port());
    let flood = std::thread::spawn(move || {
        let runtime = runtime();
        let mut open = 0;
        for _ in 0..10 {
            open += runtime.block_on(silent(flood_from, to, SILENT / 10)).len();
        }
        open
    });
    let mut failed = 0;
    for name in ["three", "four", "five"] {
        let member = mesh.join_running(name, &one, &["web"]);
        for _ in 0..20 {
            let reply = weft_tests::http::get(member.outbound(), "/", "orders.weft.internal");
            failed +=
                usize::from(!reply.is_ok_and(|reply| reply.status == 200 || reply.problem() == "service-unknown"));
        }
    }
    let open = flood.join().expect("the flood does not panic");
    println!("{open} silent connections, {failed} calls failed");
    assert!(open > SILENT * 9 / 10, "{open}");
    assert_eq!(failed, 0);
    assert!(one.metric("weft_connections_refused_total", &["listener=\"inbound\""]) > 1000.0);
}

#[test]
fn a_node_short_of_memory_takes_on_less_and_says_so_once() {
    let mut mesh = Mesh::new("memory");
    let mut node = mesh.init_running("one");
    let_pass(Duration::from_secs(1));
    let usual = node.process().resident_kib();
    assert!(node.metric("weft_memory_step", &[]) == 0.0);
    node.stop();
    node.configure(&format!("limits.memory = \"{}KiB\"\n", usual.max(16 * 1024)));
    node.tolerate("memory runs short");
    node.start();
    until_true("the ladder to be climbed", Duration::from_secs(5), || node.metric("weft_memory_step", &[]) >= 2.0);
    let answer = weft_tests::http::get(node.outbound(), "/", "orders.weft.internal");
    assert!(answer.is_ok_and(|reply| reply.problem() == "overloaded") || node.metric("weft_memory_step", &[]) == 3.0);
    let_pass(Duration::from_secs(2));
    assert!((1..=3).contains(&lines(&node, "memory runs short")), "a line a step");
}
