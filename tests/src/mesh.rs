//! A mesh of real `weft` processes, each on its own loopback address with its own state directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Connection, Reply};
use crate::loopback::Block;
use crate::process::{ErrorOutput, Process};
use crate::programs::Server;
use crate::scratch::Scratch;
use crate::wait::{until, until_timed, until_true};
use crate::weft::{Outcome, binary};

/// How long a node may take from start to ready: the promise is a first call within 5 s; a loaded machine gets double.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How long a change may take to be known on every node.
pub const SPREAD_LIMIT: Duration = Duration::from_secs(15);

/// A mesh; its nodes are made by [`Mesh::init`] and [`Mesh::join`].
#[derive(Debug)]
pub struct Mesh {
    /// The name of the mesh.
    pub name: String,
    /// Where the state directories lie.
    pub scratch: Scratch,
    program: PathBuf,
    block: Block,
    hosts: u8,
}

impl Mesh {
    /// A mesh that has no node yet.
    pub fn new(name: &str) -> Self {
        Self::of_program(name, binary())
    }

    /// The same, whose nodes run `program` in place of `weft`. Every other command is still that of `weft`.
    pub fn of_program(name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), scratch: Scratch::new(name), program, block: Block::next(), hosts: 0 }
    }

    /// An address of this mesh that nothing uses yet.
    pub fn next_address(&mut self) -> Ipv4Addr {
        self.hosts += 1;
        self.block.address(self.hosts)
    }

    /// A node that is neither initialised nor joined.
    pub fn blank(&mut self, name: &str) -> Node {
        let address = self.next_address();
        Node {
            name: name.to_owned(),
            address,
            dir: self.scratch.path().join(name),
            process: None,
            program: self.program.clone(),
            tolerated: Vec::new(),
        }
    }

    /// `weft init`: the first node, not yet running.
    pub fn init(&mut self, name: &str) -> Node {
        let node = self.blank(name);
        let passphrase = self.scratch.path().join("passphrase");
        std::fs::write(&passphrase, "correct horse battery staple\n").expect("the scratch directory is writable");
        let (at, file) = (node.address.to_string(), passphrase.display().to_string());
        let mesh = self.name.clone();
        node.weft(&["init", &mesh, "--advertise", &at, "--bind", &at, "--node", name, "--passphrase-file", &file])
            .json();
        node
    }

    /// A token of `signer` and `weft join` with it: a further node, not yet running.
    pub fn join(&mut self, name: &str, signer: &Node, grants: &[&str]) -> Node {
        let node = self.blank(name);
        node.join_by(signer, &signer.token(grants)).json();
        node
    }

    /// [`Mesh::init`] and a start.
    pub fn init_running(&mut self, name: &str) -> Node {
        let mut node = self.init(name);
        node.start();
        node
    }

    /// [`Mesh::join`] and a start.
    pub fn join_running(&mut self, name: &str, signer: &Node, grants: &[&str]) -> Node {
        let mut node = self.join(name, signer, grants);
        node.start();
        node
    }
}

/// One node: a state directory, an address, and the process while it runs.
#[derive(Debug)]
pub struct Node {
    /// The node's id.
    pub name: String,
    /// The address it is bound to and advertises.
    pub address: Ipv4Addr,
    /// The state directory.
    pub dir: PathBuf,
    /// The running `weft run`.
    pub process: Option<Process>,
    program: PathBuf,
    tolerated: Vec<String>,
}

impl Node {
    /// Runs a command against this node's state directory.
    pub fn weft(&self, words: &[&str]) -> Outcome {
        Outcome::of(&self.words(words))
    }

    /// The words of a command with this node's state directory and JSON output.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let mut all =
            vec!["--dir".to_owned(), self.dir.display().to_string(), "--output".to_owned(), "json".to_owned()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }

    /// A join token that this signer makes.
    pub fn token(&self, grants: &[&str]) -> String {
        self.token_for(grants, "10m")
    }

    /// A join token with a life of `ttl`.
    pub fn token_for(&self, grants: &[&str], ttl: &str) -> String {
        let mut words = vec!["token", "create", "--ttl", ttl];
        grants.iter().for_each(|grant| words.extend(["--grant", grant]));
        let answer = self.weft(&words).json();
        answer["token"].as_str().unwrap_or_else(|| panic!("a token in {answer:#}")).to_owned()
    }

    /// `weft join` at `signer` with `token`.
    pub fn join_by(&self, signer: &Node, token: &str) -> Outcome {
        let words = self.join_words(signer, token);
        self.weft(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The words of `weft join` at `signer` with `token`.
    pub fn join_words(&self, signer: &Node, token: &str) -> Vec<String> {
        let (at, own) = (signer.address.to_string(), self.address.to_string());
        let words = ["join", &at, "--token", token, "--node", &self.name, "--advertise", &own, "--bind", &own];
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Writes the node's configuration file; takes effect at the next start.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.dir.join("node.toml"), toml).expect("the state directory is writable");
    }

    /// Starts `weft run` and waits until it says that it is ready.
    pub fn start(&mut self) -> Duration {
        self.start_unready();
        self.await_ready()
    }

    /// [`Node::start`] with a log of this level, on a pipe that nobody reads.
    pub fn start_unread(&mut self, level: &str) -> Duration {
        let mut command = self.run_command();
        command.env("WEFT_LOG", level);
        self.process = Some(Process::start_with(&self.name, &mut command, ErrorOutput::Unread));
        self.await_ready()
    }

    fn await_ready(&mut self) -> Duration {
        let (admin, name) = (self.admin(), self.name.clone());
        let process = self.process.as_mut().expect("just started");
        let what = format!("{name} to be ready");
        let ((), took) = until_timed(&what, READY_LIMIT, || {
            if let Some(status) = process.ended() {
                panic!("{name} ended with {status}:\n{}", process.stderr.all().join("\n"));
            }
            http::get(admin, "/readyz", "admin").is_ok_and(|reply| reply.status == 200).then_some(())
        });
        took
    }

    /// Starts `weft run` and does not wait.
    pub fn start_unready(&mut self) {
        self.process = Some(Process::start(&self.name, &mut self.run_command()));
    }

    fn run_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(&self.dir).arg("run");
        command
    }

    /// The running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the node runs")
    }

    /// The running process.
    pub fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process_mut().kill();
        self.check_log();
        self.process = None;
    }

    /// SIGTERM and a wait for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let status = self.process_mut().terminate();
        self.check_log();
        self.process = None;
        status
    }

    /// From now on a WARN or ERROR line with this text is not a failure.
    pub fn tolerate(&mut self, text: &str) {
        self.tolerated.push(text.to_owned());
    }

    /// Panics if the node logged a WARN, an ERROR or a panic that was not tolerated.
    pub fn check_log(&self) {
        let Some(process) = &self.process else { return };
        let bad: Vec<String> = process.stderr.all().into_iter().filter(|line| self.is_unexpected(line)).collect();
        assert!(bad.is_empty(), "{} logged:\n{}", self.name, bad.join("\n"));
    }

    fn is_unexpected(&self, line: &str) -> bool {
        let loud = line.contains("panicked at")
            || line.split_whitespace().take(3).any(|word| word == "WARN" || word == "ERROR");
        loud && !self.tolerated.iter().any(|text| line.contains(text))
    }

    /// The address of metrics and readiness.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::from((self.address, 4511))
    }

    /// The address of outbound HTTP.
    pub fn outbound(&self) -> SocketAddr {
        SocketAddr::from((self.address, 4512))
    }

    /// The address between nodes.
    pub fn mesh_port(&self) -> SocketAddr {
        SocketAddr::from((self.address, 4510))
    }

    /// GET through this node's outbound port.
    pub fn get(&self, service: &str, path: &str) -> Reply {
        http::get(self.outbound(), path, &format!("{service}.weft.internal")).expect("the outbound port answers")
    }

    /// A request through this node's outbound port, on a connection of its own: a method and a path, header fields each ended by CRLF,
    /// a body.
    pub fn asks(&self, service: &str, what: &str, fields: &str, body: &[u8]) -> Reply {
        let len = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let host = format!("host: {service}.weft.internal\r\nconnection: close\r\n");
        let mut request = format!("{what} HTTP/1.1\r\n{host}{len}{fields}\r\n").into_bytes();
        request.extend(body);
        let mut connection = Connection::open(self.outbound()).expect("the outbound port listens");
        connection.send(&request).expect("the outbound port answers")
    }

    /// Offers a server of this machine as a service, with further words for `weft expose`.
    pub fn offers(&self, service: &str, server: &Server, words: &[&str]) {
        self.exposes(service, server.port, words);
    }

    /// Offers what listens on a port of this machine as a service, with further words for `weft expose`.
    pub fn exposes(&self, service: &str, port: u16, words: &[&str]) {
        let port = port.to_string();
        let mut all = vec!["expose", service, &port];
        all.extend(words);
        self.weft(&all).json();
    }

    /// Waits until this node knows `count` healthy replicas of a service.
    pub fn knows(&self, service: &str, count: usize) {
        until_true(&format!("{} to know {count} of {service}", self.name), SPREAD_LIMIT, || {
            let is_one = |row: &Value| row["service"] == service && row["healthy"] == true;
            self.listing("services").iter().filter(|row| is_one(row)).count() == count
        });
    }

    /// Waits until GET of `path` from `service` through this node answers 200.
    pub fn reaches(&self, service: &str, path: &str) -> Duration {
        let host = format!("{service}.weft.internal");
        until_true(&format!("200 from {service} through {}", self.name), SPREAD_LIMIT, || {
            http::get(self.outbound(), path, &host).is_ok_and(|reply| reply.status == 200)
        })
    }

    /// The status of a request on the node's socket, which the CLI uses for all it asks; 0 where nobody answers.
    pub fn status_of(&self, method: &str, path: &str) -> u16 {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--request", method]);
        curl.arg("--unix-socket").arg(self.file("weft.sock")).arg(format!("http://weft{path}"));
        let told = curl.output().expect("curl can be run").stdout;
        String::from_utf8_lossy(&told).trim().parse().expect("curl tells a status")
    }

    /// The nodes that this one lists.
    pub fn nodes(&self) -> Vec<Value> {
        self.listing("nodes")
    }

    /// The entries of `weft ls KIND`.
    pub fn listing(&self, kind: &str) -> Vec<Value> {
        let answer = self.weft(&["ls", kind]).json();
        answer[kind].as_array().unwrap_or_else(|| panic!("a list of {kind} in {answer:#}")).clone()
    }

    /// Whether `weft ls nodes` names `other`.
    pub fn lists(&self, other: &str) -> bool {
        self.nodes().iter().any(|node| node["node"] == other)
    }

    /// Waits until this node lists `count` nodes.
    pub fn sees(&self, count: usize) -> Duration {
        until_true(&format!("{} to list {count} nodes", self.name), SPREAD_LIMIT, || self.nodes().len() == count)
    }

    /// The Prometheus page.
    pub fn metrics(&self) -> String {
        until("the metrics page", READY_LIMIT, || http::get(self.admin(), "/metrics", "admin").ok()).text()
    }

    /// The sum of all series of a metric whose labels hold every one of `labels` (each as `name="value"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics().lines().filter_map(|line| series(line, name, labels)).sum()
    }

    /// The path of a file in the state directory.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
            if std::thread::panicking() {
                eprintln!("--- {} ---\n{}", self.name, process.stderr.all().join("\n"));
            } else {
                self.check_log();
            }
        }
    }
}

fn series(line: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    if !rest.starts_with(['{', ' ']) || !labels.iter().all(|label| rest.contains(label)) {
        return None;
    }
    rest.rsplit(' ').next()?.parse().ok()
}
