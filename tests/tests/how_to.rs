//! The commands of docs/how-to/policies.md, run as they stand there, so that the page stays true.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weft_tests::by_hand::{Hand, document, give};
use weft_tests::operator::{Operator, documents};
use weft_tests::programs::Server;
use weft_tests::weft::{Outcome, binary};
use weft_tests::{Mesh, Node};

/// Where the page names things that are made anew in each mesh.
const SET_ASIDE: &str = "9f86d081";
const REFUSAL: &str = "vm-b.6f1c2a9e00d41b77";

/// A block of indented lines of the page.
struct Block {
    /// The line of text before it.
    before: String,
    lines: Vec<String>,
}

/// The page's indented blocks; an empty line between two indented ones belongs to their block.
fn blocks() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/policies.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let (mut blocks, mut before, mut lines) = (Vec::new(), String::new(), Vec::new());
    for line in page.lines().chain(["end"]) {
        match line.strip_prefix("    ") {
            Some(line) => lines.push(line.to_owned()),
            None if line.is_empty() => lines.extend((!lines.is_empty()).then(String::new)),
            None => {
                if !lines.is_empty() {
                    blocks.push(Block { before, lines: std::mem::take(&mut lines) });
                }
                before = line.to_owned();
            }
        }
    }
    blocks
}

/// The machine on which the page's reader works, and what its commands talk of.
struct Reader {
    nodes: Vec<Node>,
    folder: PathBuf,
    ran: usize,
    /// Last, so that its folder is there for as long as the nodes are.
    mesh: Mesh,
}

impl Reader {
    fn new() -> Self {
        let mut mesh = Mesh::new("bank");
        let first = mesh.init_running("vm-a");
        let second = mesh.join_running("vm-b", &first, &["orders"]);
        let third = mesh.join_running("vm-c", &first, &["web"]);
        let folder = mesh.scratch.path().join("repository");
        std::fs::create_dir_all(folder.join("policies")).expect("the scratch directory is writable");
        std::fs::copy(first.file("keys/root.key"), folder.join("root.key")).expect("the key is there");
        let nodes = vec![first, second, third];
        for node in &nodes {
            node.sees(3);
        }
        Self { mesh, nodes, folder, ran: 0 }
    }

    /// Runs a line in the folder, on a node, as a shell does.
    fn run(&mut self, node: usize, line: &str) -> Outcome {
        let program = binary();
        let mut paths = vec![program.parent().expect("it lies in a folder").to_owned()];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").expect("a path")));
        let path = std::env::join_paths(paths).expect("paths of a path");
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.folder);
        shell.env("PATH", path).env("WEFT_DIR", &self.nodes[node].dir);
        shell.env("WEFT_PASSPHRASE", "correct horse battery staple").env_remove("WEFT_TOKEN");
        let outcome = Outcome::from_command(&mut shell, &[line]);
        assert_eq!(outcome.exit, 0, "{outcome:#?}");
        self.ran += 1;
        outcome
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.join("policies/orders.toml"), text).expect("the folder is writable");
    }

    /// What the page says to do before a command, or what must have happened for it to be of use; returns the node and the line to run.
    fn prepared(&mut self, line: &str) -> (usize, String) {
        if line.contains("--confirm") {
            let path = self.folder.join("policies/orders.toml");
            let text = std::fs::read_to_string(path).expect("it was written");
            self.write(&text.replace("\"5s\"", "\"6s\""));
        }
        let line = &line.replace("/var/lib/weft", &self.nodes[0].dir.display().to_string());
        if line.contains(SET_ASIDE) {
            return (0, line.replace(SET_ASIDE, &self.two_changed_the_same()[..8]));
        }
        if line.contains(REFUSAL) {
            let id = self.refused();
            assert!(id.starts_with("vm-b."), "the id names the node that refused: {id}");
            return (1, line.replace(REFUSAL, &id));
        }
        (0, line.to_owned())
    }

    /// Two operators change one document, neither knowing of the other; returns whose change was set aside.
    fn two_changed_the_same(&self) -> String {
        let hand = Hand::of(&self.mesh, &self.nodes[0].file("keys/operator.key"));
        let change = |seconds: u32| {
            let text = format!("request_timeout = \"{seconds}s\"");
            hand.signs(&self.nodes[0], &[document("traffic/orders", Some("orders"), &text)])
        };
        let (one, other) = (change(7), change(8));
        assert_eq!((give(&self.nodes[0], &one).0, give(&self.nodes[0], &other).0), (200, 200));
        let history = self.nodes[0].weft(&["history"]).json()["history"].clone();
        let aside = history.as_array().expect("a list").iter().find(|row| row["standing"] == "set aside");
        aside.expect("one of the two")["hash"].as_str().expect("a hash").to_owned()
    }

    /// A call that vm-b refuses; returns the id of the refusal.
    fn refused(&self) -> String {
        let app = Server::app("orders");
        self.nodes[1].weft(&["expose", "orders", &app.port.to_string(), "--protocol", "http"]).json();
        self.nodes[2].reaches("orders", "/");
        let operator = Operator::of(&self.mesh, &self.nodes[0], "denied");
        operator.write("deny.toml", "[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\ndefault = \"deny\"\n");
        operator.applied(&self.nodes[0]);
        let reply = self.nodes[2].get("orders", "/");
        assert_eq!(reply.status, 403, "{}", reply.text());
        reply.header("weft-refusal").expect("an id").to_owned()
    }
}

/// A line of output without its time, which differs.
fn untimed(line: &str) -> &str {
    line.split_once(" in ").map_or(line, |(said, _)| said)
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let mut reader = Reader::new();
    let mut named_file = None;
    for Block { before, lines } in blocks() {
        if !lines[0].starts_with("weft ") {
            assert_eq!(before, "`policies/orders.toml`:", "a block that is no command is a file");
            reader.write(&lines.join("\n"));
            named_file = Some(before);
            continue;
        }
        let mut shown: Vec<String> = Vec::new();
        for line in lines {
            if line.starts_with("weft ") {
                let (node, line) = reader.prepared(&line);
                shown = reader.run(node, &line).stdout.lines().map(str::to_owned).collect();
            } else if !line.is_empty() {
                assert!(!shown.is_empty(), "the command prints less than the page: {line}");
                assert_eq!(untimed(&shown.remove(0)), untimed(&line));
            }
        }
    }
    assert!(named_file.is_some() && reader.ran >= 15, "the page was read: {} commands", reader.ran);
    let held = documents(&reader.nodes[0]);
    assert!(!held.iter().any(|(id, _)| id.starts_with("revocation/")), "{held:#?}");
    let operators = reader.nodes[0].weft(&["ca", "show"]).json()["operators"].clone();
    let scopes: Vec<&Value> = operators.as_array().expect("a list").iter().map(|row| &row["scope"]).collect();
    assert_eq!(scopes, [&Value::Null, &Value::from(vec!["orders"])]);
}
