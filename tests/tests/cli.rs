//! The command line as people and scripts meet it: what it predicts is what happens, what it cannot print it says, and every failure
//! names what the reader can do.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use weft_tests::operator::{Operator, documents, traffic};
use weft_tests::wait::until;
use weft_tests::weft::{Outcome, binary};
use weft_tests::{Mesh, Node};

/// A command in the form for people.
fn text_of(node: &Node, words: &[&str]) -> Outcome {
    let dir = node.dir.display().to_string();
    let mut all = vec!["--dir", dir.as_str()];
    all.extend(words);
    Outcome::of(&all)
}

/// A running node and its operator, whose files lie in a folder of this name.
fn node_and_operator(name: &str) -> (Mesh, Node, Operator) {
    let mut mesh = Mesh::new(name);
    let one = mesh.init_running("one");
    let operator = Operator::of(&mesh, &one, "policies");
    (mesh, one, operator)
}

#[test]
fn a_route_is_predicted_by_the_host_that_is_sent() {
    let (_mesh, one, operator) = node_and_operator("hosts");
    one.weft(&["expose", "orders", "9", "--health", "none"]).json();
    let rule = "[[route.rule]]\nmatch = [{ path = { prefix = \"/a\" } }]\nredirect = { path = \"/b\" }\n";
    let head = "[[route]]\nname = \"orders\"\nservice = \"orders\"\nhosts = [\"orders.weft.internal\"]\n";
    operator.write("orders.toml", &format!("{head}{rule}"));
    operator.applied(&one);
    for (url, is_redirected) in [
        ("http://orders.weft.internal/a", true),
        ("orders.weft.internal/a/1?x", true),
        ("orders/a", true),
        ("http://orders/a", false),
        ("orders/c", false),
    ] {
        let told = one.weft(&["route", "GET", url]).json();
        let steps = told["steps"].as_array().expect("a list");
        let is_redirect =
            |step: &Value| step["outcome"].as_str().is_some_and(|told| told.contains("answered with 302"));
        let predicted = steps.iter().any(is_redirect);
        assert_eq!(predicted, is_redirected, "{url}: {told:#}");
        let sent: Value = serde_json::from_str(&one.weft(&["curl", url]).stdout).expect("an answer");
        assert_eq!(sent["status"] == 302, is_redirected, "{url}: {sent:#}");
    }
    let asked = one.weft(&["why", "node/one", "orders", "GET", "/a"]).json();
    assert!(asked.to_string().contains("answered with 302"), "the usual host is meant: {asked:#}");
    for url in ["https://orders/a", "http://orders.weft.internal:8080/a"] {
        for words in [vec!["route", "GET", url], vec!["curl", url]] {
            let refused = one.weft(&words);
            assert_eq!((refused.code().as_str(), refused.exit), ("usage-invalid", 2), "{words:?}");
        }
    }
    assert_eq!(one.weft(&["route", "GET", "orders/a", "-H", "Host: shop"]).code(), "usage-invalid");
}

#[test]
fn what_cannot_be_printed_ends_without_a_panic() {
    let (_mesh, one, _operator) = node_and_operator("printed");
    let page = one.dir.join("page").display().to_string();
    for words in [vec!["status"], vec!["explain"], vec!["man"], vec!["completion", "bash"], vec!["--help"]] {
        let mut command = Command::new(binary());
        command.arg("--dir").arg(&one.dir).args(&words);
        command.stdout(File::options().write(true).open("/dev/full").expect("/dev/full is there"));
        let ended = command.stderr(Stdio::piped()).output().expect("weft can be started");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {told}");
        assert!(told.starts_with("error[output-failed]: ") && told.contains("\nnext: "), "{words:?}: {told}");

        // A reader that is gone before the first byte.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(binary());
        command.arg("--dir").arg(&one.dir).args(&words).stdout(writer);
        let ended = command.stderr(Stdio::piped()).output().expect("weft can be started");
        assert_eq!(ended.status.code(), Some(141), "{words:?}");
        assert!(ended.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    assert!(!fs::exists(page).expect("the directory is readable"));
}

#[test]
fn the_last_document_of_a_folder_can_go() {
    let (_mesh, one, operator) = node_and_operator("last");
    operator.write("orders.toml", &traffic("orders", 5));
    operator.applied(&one);
    operator.remove("orders.toml");
    assert_eq!(operator.apply(&one).code(), "usage-invalid", "without --prune an empty folder is a slip");
    let folder = operator.folder();
    let plan = one.weft(&["plan", &folder, "--prune", "service/orders"]).json();
    assert_eq!(plan["changes"][0]["change"], "removed", "{plan:#}");
    operator.signs(&one, &["apply", &folder, "--prune", "service/orders"]).json();
    assert!(documents(&one).is_empty());
}

#[test]
fn a_plan_says_what_apply_would_refuse() {
    let (_mesh, one, operator) = node_and_operator("many");
    let many: String = (0..1_001).map(|number| traffic(&format!("s{number}"), 5)).collect();
    operator.write("many.toml", &many);
    let plan = one.weft(&["plan", &operator.folder()]);
    assert_eq!(plan.code(), "change-set-invalid", "{}", plan.stderr);
    assert!(plan.stderr.contains("1001 documents would change, at most 1000"), "{}", plan.stderr);
    assert_eq!(operator.apply(&one).code(), "change-set-invalid");
}

#[test]
fn what_has_no_end_is_not_read() {
    let (_mesh, one, operator) = node_and_operator("endless");
    operator.write("orders.toml", &traffic("orders", 5));
    let file = |name: &str| format!("{}/{name}", operator.folder());
    std::os::unix::fs::symlink("/dev/zero", file("zero.toml")).expect("the folder is writable");
    std::os::unix::fs::symlink(file("orders.toml"), file("link.txt")).expect("the folder is writable");
    let made = Command::new("mkfifo").arg(file("pipe.toml")).status().expect("mkfifo is there");
    assert!(made.success());
    one.weft(&["plan", &file("link.txt")]).json();
    let mut child = Command::new(binary())
        .args(one.words(&["plan", &operator.folder()]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weft can be started");
    until("the plan to end", Duration::from_secs(20), || child.try_wait().expect("it is our child"));
    let told = child.wait_with_output().expect("it has ended");
    let told = String::from_utf8_lossy(&told.stderr);
    for name in ["zero.toml", "pipe.toml"] {
        assert!(told.contains(&format!("{name}: this is not a regular file")), "{told}");
    }
}

#[test]
fn nothing_in_a_file_steers_the_terminal() {
    let (_mesh, one, operator) = node_and_operator("escape");
    operator.write("a.toml", "[[mesh]]\nname = \"defaults\"\n\"x\\u001b[31m\\ny\" = 1\n");
    let told = text_of(&one, &["plan", &operator.folder()]);
    assert!(!told.stderr.contains('\u{1b}') && told.stderr.contains("unknown key `x"), "{}", told.stderr);
    assert_eq!(told.stderr.lines().count(), 2, "a mistake is a line, and the next step another: {}", told.stderr);
    operator.write("a.toml", "[[mesh]]\n# \u{9b}31m\nname = \"defaults\"\nauthorisation = \"allow\"\n");
    operator.applied(&one);
    let shown = text_of(&one, &["ls", "documents", "mesh/defaults"]).text();
    assert!(!shown.contains('\u{9b}') && shown.contains("# \\u009B31m"), "{shown}");
}

#[test]
fn a_node_is_not_set_up_where_nobody_reaches_it() {
    let mut mesh = Mesh::new("nowhere");
    let blank = mesh.blank("blank");
    for at in ["0.0.0.0", "10.0.0.1:0", "[::]:4510"] {
        let refused = blank.weft(&["init", "bank", "--advertise", at]);
        assert_eq!(refused.code(), "address-invalid", "{at}");
        assert!(!blank.dir.join("node.json").exists());
    }
    let one = mesh.init_running("one");
    let (signer, token) = (one.address.to_string(), one.token(&["web"]));
    let refused = blank.weft(&["join", &signer, "--token", &token, "--node", "b", "--advertise", "0.0.0.0"]);
    assert_eq!(refused.code(), "address-invalid");
    blank.join_by(&one, &token).json();
}

#[test]
fn check_finds_what_run_would_refuse() {
    let mut mesh = Mesh::new("check");
    let one = mesh.init_running("one");
    let two = mesh.join("two", &one, &["web"]);
    two.configure("[[binding]]\nservice = \"orders\"\nport = 4512\n");
    let told = two.weft(&["check"]);
    assert_eq!(told.code(), "config-invalid");
    assert!(told.stderr.contains("node.toml:3:1: `port`: 4512 is a port of the node itself"), "{}", told.stderr);
    two.configure("[[binding]]\nservice = \"orders\"\nport = 7100\nas = \"orders\"\n");
    let told = two.weft(&["check"]);
    assert_eq!(told.code(), "grant-missing", "{}", told.stderr);
    let taken = std::net::TcpListener::bind((two.address, 7100)).expect("the port is free");
    two.configure("[[binding]]\nservice = \"orders\"\nport = 7100\n");
    assert_eq!(two.weft(&["check"]).code(), "port-in-use");
    drop(taken);
    two.weft(&["check"]).json();
}

#[test]
fn a_wrong_key_file_is_named_by_its_option() {
    let (mesh, one, operator) = node_and_operator("keys");
    operator.write("orders.toml", &traffic("orders", 5));
    let passphrase = mesh.scratch.path().join("passphrase").display().to_string();
    let (root, own) = (one.file("keys/root.key"), one.file("keys/operator.key"));
    let (root, own) = (root.display().to_string(), own.display().to_string());
    let nowhere = one.file("keys/none.key").display().to_string();
    let folder = operator.folder();
    let ca = ["ca", "signer", "add", "one", "--passphrase-file", &passphrase, "--root-key"];
    let apply = ["apply", &folder, "--passphrase-file", &passphrase, "--operator-key"];
    for (command, file, code, said) in [
        (&ca[..], &nowhere, "key-file-wrong", "--root-key"),
        (&ca[..], &own, "key-file-wrong", "it is the operator key of mesh"),
        (&ca[..], &passphrase, "key-file-wrong", "--root-key"),
        (&apply[..], &nowhere, "operator-key-missing", "--operator-key"),
        (&apply[..], &root, "key-file-wrong", "it is the root key of mesh"),
    ] {
        let mut words = command.to_vec();
        words.push(file);
        let told = one.weft(&words);
        assert_eq!(told.code(), code, "{words:?}: {}", told.stderr);
        assert!(told.stderr.contains(said) && told.stderr.contains(file.as_str()), "{words:?}: {}", told.stderr);
    }
    assert!(documents(&one).is_empty());
}

#[test]
fn a_slip_is_told_with_what_to_do() {
    let (_mesh, one, operator) = node_and_operator("slips");
    let empty = one.weft(&["why", ""]);
    assert_eq!(empty.code(), "usage-invalid");
    let elsewhere = one.weft(&["why", "vm-b.6f1c2a9e00d41b77"]);
    assert_eq!(elsewhere.code(), "refusal-unknown");
    assert!(elsewhere.stderr.contains("is a refusal of node vm-b, and this is one"), "{}", elsewhere.stderr);

    let missing = text_of(&one, &["curl", "nosuch/"]);
    assert_eq!(missing.code(), "check-failed");
    assert!(missing.stderr.contains("`weft explain service-unknown`"), "{}", missing.stderr);
    assert!(missing.stdout.contains("service-unknown"), "the answer is shown: {}", missing.stdout);

    let token = operator.signs(&one, &["revoke", "token", "Weft1.NonSense", "--reason", "lost"]);
    assert_eq!(token.code(), "token-malformed");
    assert!(!token.stderr.contains("weft1.nonsense"), "{}", token.stderr);

    for kind in ["nodes", "services", "certs", "documents"] {
        let unknown = one.weft(&["ls", kind, "no/such"]);
        assert_eq!((unknown.code().as_str(), unknown.exit), ("usage-invalid", 2), "{kind}");
    }
    let bound = text_of(&one, &["bind", "nosuch", "7003"]);
    assert!(bound.exit == 0 && bound.stderr.starts_with("note: no node offers nosuch yet"), "{bound:#?}");
    let allowed = text_of(&one, &["why", "node/one", "nosuch"]).text();
    assert!(allowed.lines().next().is_some_and(|line| line.contains("but no node offers nosuch")), "{allowed}");
    let status = text_of(&one, &["status"]).text();
    assert!(status.contains("\nlocal port: ") && status.contains(" leads to nosuch\n"), "{status}");
    let certificates = text_of(&one, &["ls", "certs"]).text();
    assert!(certificates.contains("NOT AFTER") && !certificates.contains(" MS"), "{certificates}");

    let mut words = operator.words(&one, &["revoke", "node", "tpyo", "--reason", "lost"]);
    words.retain(|word| word != "--output" && word != "json");
    let revoked = Outcome::of(&words);
    assert!(revoked.exit == 0 && revoked.stderr.starts_with("note: no node tpyo is known here"), "{revoked:#?}");
}

#[test]
fn a_change_that_was_set_aside_is_not_told_as_done() {
    let mut mesh = Mesh::new("aside");
    let mut one = mesh.init_running("one");
    let mut two = mesh.join_running("two", &one, &["orders"]);
    one.sees(2);
    two.sees(2);
    let (left, right) = (Operator::of(&mesh, &one, "left"), Operator::of(&mesh, &one, "right"));
    left.write("orders.toml", &traffic("orders", 5));
    right.write("orders.toml", &traffic("orders", 6));
    // Each changes the same document while it does not hear of the other.
    two.stop();
    left.signs(&one, &["apply", &left.folder(), "--anyway"]).json();
    one.stop();
    two.start();
    right.signs(&two, &["apply", &right.folder(), "--anyway"]).json();
    one.start();
    let aside = |node: &Node| {
        let ledger = node.weft(&["status"]).json()["ledger"].clone();
        ledger["set_aside"].as_array().expect("a list").first().and_then(|row| Some(row["hash"].as_str()?.to_owned()))
    };
    let (loser, hash) = until("one of them to be set aside", Duration::from_secs(30), || {
        [&one, &two].into_iter().find_map(|node| Some((node, aside(node)?)))
    });
    let mut words = left.words(loser, &["apply", "--again", &hash[..8]]);
    words.retain(|word| word != "--output" && word != "json");
    let again = Outcome::of(&words);
    assert!(again.exit == 0 && again.stdout.contains("revision 2 on"), "{again:#?}");
    assert_eq!(aside(loser), None, "what was made again is not offered once more");
}
