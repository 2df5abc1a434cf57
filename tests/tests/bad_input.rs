//! What an operator can get wrong: each ends with a clear code and a next step, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weft_identity::{JoinToken, TokenSecret};
use weft_tests::loopback::free_port;
use weft_tests::wait::let_pass;
use weft_tests::weft::{Outcome, binary};
use weft_tests::{Mesh, Node};

/// Every file below a folder with its bytes.
fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                found.insert(path.display().to_string(), bytes);
            }
        }
    }
    found
}

/// A signer that runs, and a node that is not yet anything.
fn signer_and_blank(name: &str) -> (Mesh, Node, Node) {
    let mut mesh = Mesh::new(name);
    let one = mesh.init_running("one");
    let two = mesh.blank("two");
    (mesh, one, two)
}

/// The refusal leaves no state of a node behind.
fn refused(node: &Node, outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code(), code, "{outcome:#?}");
    assert!(files_of(&node.dir).is_empty(), "a refused join leaves no state: {:?}", files_of(&node.dir).keys());
}

#[test]
fn a_wrong_token_is_refused() {
    let (_mesh, one, two) = signer_and_blank("wrong");
    let token = one.token(&["web"]);
    refused(&two, &two.join_by(&one, "nonsense"), "token-malformed");
    refused(&two, &two.join_by(&one, &token[..token.len() / 2]), "token-malformed");
    one.sees(1);
}

#[test]
fn a_token_of_another_mesh_is_refused() {
    let (_mesh, one, two) = signer_and_blank("here");
    let mut other = Mesh::new("there");
    let foreign = other.init_running("one");
    refused(&two, &two.join_by(&one, &foreign.token(&["web"])), "root-mismatch");
}

#[test]
fn an_expired_token_is_refused() {
    let (_mesh, one, two) = signer_and_blank("expired");
    let token = one.token_for(&["web"], "1s");
    let_pass(Duration::from_millis(2100));
    refused(&two, &two.join_by(&one, &token), "token-expired");
}

#[test]
fn a_token_admits_one_node() {
    let (mut mesh, one, two) = signer_and_blank("used");
    let token = one.token(&["web"]);
    two.join_by(&one, &token).json();
    let three = mesh.blank("three");
    refused(&three, &three.join_by(&one, &token), "token-used");
}

#[test]
fn a_token_that_the_signer_does_not_know_is_refused() {
    let (_mesh, mut one, two) = signer_and_blank("unknown");
    one.stop();
    let before = fs::read(one.file("store.redb")).unwrap();
    one.start();
    let token = one.token(&["web"]);
    one.stop();
    // As after a backup of the time before the token was put back.
    fs::write(one.file("store.redb"), before).unwrap();
    one.start();
    refused(&two, &two.join_by(&one, &token), "token-unknown");
    let mut guessed: JoinToken = one.token(&["web"]).parse().unwrap();
    guessed.secret = TokenSecret([7; 32]);
    refused(&two, &two.join_by(&one, &guessed.to_string()), "token-unknown");
    one.sees(1);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let (mut mesh, one, two) = signer_and_blank("taken");
    two.join_by(&one, &one.token(&["web"])).json();
    let mut again = mesh.blank("again");
    again.name = "two".to_owned();
    refused(&again, &again.join_by(&one, &one.token(&["web"])), "node-name-taken");
}

#[test]
fn a_clock_an_hour_off_is_told() {
    let (_mesh, one, two) = signer_and_blank("clock");
    for offset in ["+3600s", "-3600s"] {
        let token = one.token_for(&["web"], "3h");
        let join = two.join_words(&one, &token);
        let words = two.words(&join.iter().map(String::as_str).collect::<Vec<_>>());
        let mut command = Command::new("faketime");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").args(["-f", offset]).arg(binary()).args(&words);
        refused(&two, &Outcome::from_command(&mut command, &words), "clock-skew");
    }
}

#[test]
fn a_signer_that_does_not_answer_is_told() {
    let (_mesh, mut one, two) = signer_and_blank("silent");
    let token = one.token(&["web"]);
    one.stop();
    refused(&two, &two.join_by(&one, &token), "node-unreachable");
}

#[test]
fn a_port_in_use_is_told_and_nothing_changes() {
    for port in [4510, 4511, 4512] {
        let mut mesh = Mesh::new("port");
        let mut one = mesh.init("one");
        let taken = TcpListener::bind((one.address, port)).unwrap();
        let before = files_of(&one.dir.join("keys"));
        one.tolerate("port-in-use");
        one.start_unready();
        let process = one.process_mut();
        let status = process.wait(Duration::from_secs(20));
        let told = process.stderr.all().join("\n");
        assert_eq!(status.code(), Some(1), "port {port}: {told}");
        assert!(told.contains("port-in-use") && told.contains(&port.to_string()), "port {port}: {told}");
        assert_eq!(files_of(&one.dir.join("keys")), before);
        drop(taken);
        one.process = None;
        one.start();
    }
}

#[test]
fn a_mesh_port_that_is_taken_for_udp_alone_is_told() {
    let mut mesh = Mesh::new("udp");
    let mut one = mesh.init("one");
    let taken = UdpSocket::bind(one.mesh_port()).unwrap();
    let checked = one.weft(&["check"]);
    assert_eq!(checked.code(), "port-in-use", "{checked:#?}");
    let said: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let failed: Vec<_> = said["checks"].as_array().unwrap().iter().filter(|line| line["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{said:#}");
    assert!(failed[0]["check"] == "mesh port, UDP" && failed[0]["code"] == "port-in-use", "{said:#}");
    one.tolerate("port-in-use");
    one.start_unready();
    let process = one.process_mut();
    let status = process.wait(Duration::from_secs(20));
    let told = process.stderr.all().join("\n");
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("port-in-use") && told.contains("4510"), "{told}");
    one.process = None;
    drop(taken);
    one.weft(&["check"]).json();
}

#[test]
fn a_state_directory_of_another_mesh_is_refused() {
    let mut mesh = Mesh::new("mine");
    let one = mesh.init_running("one");
    let mut other = Mesh::new("theirs");
    let foreign = other.init("foreign");
    let before = files_of(&foreign.dir);
    let outcome = foreign.join_by(&one, &one.token(&["web"]));
    assert_eq!(outcome.code(), "state-other-mesh", "{outcome:#?}");
    let at = foreign.address.to_string();
    let again = foreign.weft(&["init", "new", "--advertise", &at, "--bind", &at]);
    assert!(["state-exists", "state-other-mesh"].contains(&again.code().as_str()), "{again:#?}");
    assert_eq!(files_of(&foreign.dir), before, "nothing changed");
}

#[test]
fn two_processes_do_not_share_a_state_directory() {
    let mut mesh = Mesh::new("lock");
    let one = mesh.init_running("one");
    let second = Outcome::of(&one.words(&["run"]));
    assert_eq!(second.code(), "state-in-use", "{second:#?}");
    one.weft(&["status"]).json();
}

#[test]
fn every_mistake_of_a_configuration_file_is_told_with_its_place() {
    let mut mesh = Mesh::new("config");
    let mut one = mesh.init("one");
    one.configure("advertize = \"10.0.0.1\"\n\n[timeouts]\nconnect = \"soon\"\nrequest = 7\n\n[nonsense]\nkey = 1\n");
    let outcome = Outcome::of(&one.words(&["run"]));
    assert_eq!(outcome.code(), "config-invalid", "{outcome:#?}");
    for part in ["node.toml:1:", "advertise", "node.toml:4:", "node.toml:5:", "node.toml:7:"] {
        assert!(outcome.stderr.contains(part), "{part} in {}", outcome.stderr);
    }
    let checked = one.weft(&["check"]);
    assert!(["config-invalid", "check-failed"].contains(&checked.code().as_str()), "{checked:#?}");
    one.configure("[timeouts]\nconnect = \"2s\"\n");
    one.start();
}

#[test]
fn a_broken_file_of_the_state_is_told() {
    let mut mesh = Mesh::new("broken");
    let one = mesh.init("one");
    let file = one.file("node.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let outcome = Outcome::of(&one.words(&["run"]));
    assert_eq!(outcome.code(), "state-broken", "{outcome:#?}");
    assert!(outcome.stderr.contains("node.json"), "{outcome:#?}");
}

#[test]
fn commands_without_a_node_are_told_so() {
    let mut mesh = Mesh::new("nothing");
    let blank = mesh.blank("blank");
    assert_eq!(blank.weft(&["run"]).code(), "state-missing");
    assert!(["state-missing", "node-not-running"].contains(&blank.weft(&["status"]).code().as_str()));
    let one = mesh.init("one");
    assert_eq!(one.weft(&["ls", "nodes"]).code(), "node-not-running");
    let wrong = one.weft(&["no-such-command"]);
    assert_eq!(wrong.exit, 2, "{wrong:#?}");
}

#[test]
fn a_service_that_is_not_granted_cannot_be_exposed() {
    let (_mesh, one, mut two) = signer_and_blank("grant");
    two.join_by(&one, &one.token(&["web"])).json();
    two.start();
    let outcome = two.weft(&["expose", "ledger", "9999", "--protocol", "http"]);
    assert_eq!(outcome.code(), "grant-missing", "{outcome:#?}");
    let name = two.weft(&["expose", "Not A Name", "9999"]).code();
    assert!(["name-invalid", "usage-invalid"].contains(&name.as_str()), "{name}");
    assert_eq!(two.weft(&["token", "create", "--grant", "web"]).code(), "not-signer");
    assert!(!one.listing("services").iter().any(|service| service["service"] == "ledger"));
}

#[test]
fn a_port_is_not_bound_as_a_service_that_is_not_granted() {
    let (_mesh, one, mut two) = signer_and_blank("bind-as");
    two.join_by(&one, &one.token(&["web"])).json();
    two.start();
    let port = free_port(two.address);
    let words = port.to_string();
    let refused = two.weft(&["bind", "orders", &words, "--as", "ledger"]);
    assert_eq!(refused.code(), "grant-missing", "{refused:#?}");
    assert!(TcpStream::connect((two.address, port)).is_err(), "the port stays closed");
    assert!(two.weft(&["status"]).json()["bindings"].as_array().unwrap().is_empty());
    two.weft(&["bind", "orders", &words, "--as", "web"]).json();
    TcpStream::connect((two.address, port)).unwrap();
    two.stop();
    two.configure("[[binding]]\nservice = \"orders\"\nport = 7100\nas = \"ledger\"\n");
    two.tolerate("grant-missing");
    two.start_unready();
    let process = two.process_mut();
    let status = process.wait(Duration::from_secs(20));
    let told = process.stderr.all().join("\n");
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("grant-missing") && told.contains("ledger"), "{told}");
    two.process = None;
}
