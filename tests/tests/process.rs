//! The process of a node as a service manager has it: a log that nobody reads, and signals.

use std::time::Duration;

use weft_tests::loopback::free_port;
use weft_tests::programs::{Server, dial};
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

/// More lines of at least 100 bytes than a pipe (64 KiB) has room for.
const LINES: u32 = 2000;
/// With the lines that wait, more than there is room for at all.
const LINES_TOO_MANY: u32 = 7000;
/// The drain timeout of the nodes here, and how long the end may take where nothing is in flight.
const DRAIN: Duration = Duration::from_secs(10);

/// A running node that offers `orders`, with a log on level DEBUG that nobody reads, and a bound port whose calls are all refused.
fn unread(mesh: &mut Mesh, app: &Server) -> (Node, u16) {
    let mut node = mesh.init("one");
    node.configure("[timeouts]\ndrain = \"10s\"\n");
    node.start_unread("debug");
    node.offers("orders", app, &[]);
    node.reaches("orders", "/");
    let port = free_port(node.address);
    node.weft(&["bind", "nobody", &port.to_string()]).json();
    (node, port)
}

/// Makes a node log this many lines more: each refused stream is one.
fn log_lines(node: &Node, port: u16, count: u32) {
    let refused = || node.metric("weft_request_errors_total", &["service-unknown"]);
    let before = refused();
    for _ in 0..count {
        let mut stream = dial((node.address, port).into());
        let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
    }
    until_true("every stream to be refused", Duration::from_secs(10), || refused() - before >= f64::from(count));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (mut mesh, app) = (Mesh::new("unread"), Server::app("app"));
    let (mut node, port) = unread(&mut mesh, &app);
    log_lines(&node, port, LINES);
    for _ in 0..20 {
        assert_eq!(node.get("orders", "/").status, 200);
    }
    node.process().signal("TERM");
    assert!(node.process_mut().wait(DRAIN).success());
}

#[test]
fn lines_that_were_lost_are_spoken_of_once_somebody_reads() {
    let (mut mesh, app) = (Mesh::new("lost"), Server::app("app"));
    let (mut node, port) = unread(&mut mesh, &app);
    log_lines(&node, port, LINES_TOO_MANY);
    node.tolerate("lines of the log were lost");
    node.process_mut().read_errors();
    until_true("the loss to be told", Duration::from_secs(10), || {
        node.process().stderr.all().iter().any(|line| line.contains("lines of the log were lost"))
    });
    assert!(node.stop().success());
}

#[test]
fn what_is_in_flight_finishes_after_either_signal_of_the_end() {
    let app = Server::app("app");
    for signal in ["TERM", "INT"] {
        let mut mesh = Mesh::new("drain");
        let mut node = mesh.init_running("one");
        node.offers("orders", &app, &[]);
        node.reaches("orders", "/");
        let in_flight = || node.listing("services").iter().any(|row| row["in_flight"] == 1);
        let reply = std::thread::scope(|scope| {
            let slow = scope.spawn(|| node.get("orders", "/slow?2"));
            until_true("the call to be there", Duration::from_secs(5), in_flight);
            node.process().signal(signal);
            slow.join().expect("the call is answered")
        });
        assert_eq!((reply.status, reply.text().as_str()), (200, "slow"), "{signal}");
        assert!(node.process_mut().wait(DRAIN).success(), "{signal}");
    }
}

#[test]
fn other_signals_end_nothing() {
    let (mut mesh, app) = (Mesh::new("signals"), Server::app("app"));
    let mut node = mesh.init_running("one");
    node.offers("orders", &app, &[]);
    node.reaches("orders", "/");
    for signal in ["HUP", "USR1", "USR2"] {
        node.process().signal(signal);
        until_true("the signal to be logged", Duration::from_secs(5), || {
            node.process().stderr.all().iter().any(|line| line.contains(&format!("SIG{signal}")))
        });
        assert_eq!(node.get("orders", "/").status, 200, "{signal}");
    }
    assert!(node.stop().success());
}
