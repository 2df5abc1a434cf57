//! Any TCP service on a local port: PostgreSQL and an echo through `weft bind`.

use std::io::{BufRead, BufReader};
use std::process::Command;

use weft_tests::Mesh;
use weft_tests::loopback::free_port;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::programs::{Server, dial, echo, output_of};
use weft_tests::wait::until_true;

#[test]
fn psql_works_through_a_bound_port() {
    let mut mesh = Mesh::new("database");
    let database = Server::postgres(mesh.scratch.path());
    let one = mesh.init_running("one");
    one.weft(&["expose", "ledger-db", &database.port.to_string(), "--protocol", "tcp"]).json();
    let two = mesh.join_running("two", &one, &["ledger"]);
    let port = free_port(two.address).to_string();
    two.weft(&["bind", "ledger-db", &port]).json();
    let sql = |text: &str| {
        let mut command = Command::new("psql");
        command.env("PGPASSWORD", "secret").args(["-h", &two.address.to_string(), "-p", &port]);
        command.args(["-U", "app", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-Atq", "-c", text]).output().unwrap()
    };
    until_true("psql to connect", SPREAD_LIMIT, || sql("select 1").status.success());
    assert!(sql("create table entry (id int primary key, amount numeric)").status.success());
    assert!(sql("insert into entry select n, n * 1.5 from generate_series(1, 100000) n").status.success());
    let told = sql("select count(*), sum(amount) from entry");
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "100000|7500075000.0");
    let all = sql("select id from entry order by id");
    assert_eq!(String::from_utf8_lossy(&all.stdout).lines().count(), 100_000);
}

#[test]
fn a_bound_port_carries_bytes_both_ways_until_it_is_removed() {
    let mut mesh = Mesh::new("echo");
    let app = Server::echo("echo");
    let one = mesh.init_running("one");
    one.weft(&["expose", "echo", &app.port.to_string(), "--protocol", "tcp"]).json();
    let two = mesh.join_running("two", &one, &["web"]);
    let port = free_port(two.address);
    two.weft(&["bind", "echo", &port.to_string()]).json();
    let at = std::net::SocketAddr::from((two.address, port));
    until_true("a greeting", SPREAD_LIMIT, || {
        let mut line = String::new();
        BufReader::new(dial(at)).read_line(&mut line).is_ok() && line == "echo\n"
    });
    let mut stream = dial(at);
    assert_eq!(echo(&mut stream, b"").unwrap(), b"");
    let mut greeting = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
    for round in 0..50_u8 {
        let bytes = vec![round; 10_000];
        assert!(echo(&mut stream, &bytes).unwrap() == bytes);
    }
    two.weft(&["bind", "--remove", &port.to_string()]).json();
    until_true("the port to close", SPREAD_LIMIT, || std::net::TcpStream::connect(at).is_err());
    let taken = two.weft(&["bind", "echo", "4512"]).code();
    assert!(["binding-conflict", "port-in-use"].contains(&taken.as_str()), "{taken}");
    let version = output_of(Command::new("psql").arg("--version"));
    assert!(version.starts_with("psql"));
}
