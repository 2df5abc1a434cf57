//! The harness itself: the programs start, answer without any node between, and end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use weft_tests::http;
use weft_tests::load::{Load, Plan};
use weft_tests::programs::{Capture, Server, WebSocket, dial, echo, output_of};
use weft_tests::scratch::Scratch;
use weft_tests::wait::let_pass;

fn at(server: &Server) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, server.port))
}

#[test]
fn web_servers_answer() {
    let scratch = Scratch::new("programs");
    std::fs::write(scratch.path().join("reply"), "a reply").unwrap();
    let nginx = Server::nginx(scratch.path(), "from nginx");
    assert_eq!(http::get(at(&nginx), "/", "any").unwrap().text(), "from nginx");
    let python = Server::python(scratch.path());
    assert_eq!(http::get(at(&python), "/reply", "any").unwrap().text(), "a reply");
    let app = Server::app("app");
    assert_eq!(http::get(at(&app), "/x", "any").unwrap().text(), "app     /x");
    assert_eq!(WebSocket::open(at(&app), "any").echo("hello").unwrap(), "hello");
    let http2 = Server::nghttpd(scratch.path());
    let url = format!("http://{}/reply", at(&http2));
    let told = output_of(Command::new("nghttp").args(["-v", "--no-dep", &url]));
    assert!(told.contains("grpc-status: 0") && told.contains("a reply"), "{told}");
}

#[test]
fn no_worker_of_a_server_outlives_it() {
    let scratch = Scratch::new("workers");
    for server in [Server::nginx(scratch.path(), "any"), Server::postgres(scratch.path())] {
        let workers = server.process.children();
        assert!(!workers.is_empty(), "{server:?}");
        drop(server);
        let left: Vec<_> = workers.iter().filter(|id| Path::new(&format!("/proc/{id}")).exists()).collect();
        assert!(left.is_empty(), "{left:?} of {workers:?}");
    }
}

#[test]
fn a_database_and_an_echo_answer() {
    let scratch = Scratch::new("database");
    let database = Server::postgres(scratch.path());
    let mut psql = Command::new("psql");
    psql.env("PGPASSWORD", "secret").args(["-h", "127.0.0.1", "-p", &database.port.to_string()]);
    assert_eq!(output_of(psql.args(["-U", "app", "-d", "postgres", "-Atc", "select 6 * 7"])).trim(), "42");
    let server = Server::echo("echo");
    let mut stream = dial(at(&server));
    std::io::Read::read_exact(&mut stream, &mut [0; 5]).unwrap();
    assert_eq!(echo(&mut stream, b"back").unwrap(), b"back");
}

#[test]
fn a_load_keeps_its_rate_and_a_capture_sees_it() {
    let scratch = Scratch::new("load");
    let nginx = Server::nginx(scratch.path(), "ReadableMark");
    let capture = Capture::start(scratch.path(), &format!("port {}", nginx.port));
    let plan = Plan { to: at(&nginx), host: "any".to_owned(), path: "/".to_owned(), rate: 500, connections: 10 };
    let load = Load::start(&plan);
    let_pass(std::time::Duration::from_secs(2));
    let tally = load.stop();
    assert_eq!(tally.errors(), 0, "{tally:?}");
    assert!((900..=1100).contains(&tally.good), "{tally:?}");
    let bytes = capture.stop();
    assert!(bytes.windows(12).any(|window| window == b"ReadableMark"));
}

#[test]
fn a_clock_can_be_moved_for_one_command() {
    let year = |offset: &str| output_of(Command::new("faketime").args(["-f", offset, "date", "+%Y"]));
    let now: u32 = year("+0s").trim().parse().unwrap();
    assert!(year("+800d").trim().parse::<u32>().unwrap() >= now + 2);
}
