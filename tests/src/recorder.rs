//! Four applications that tell how they framed what they got: a strict and a lenient reader of our own, nginx, and Python's http.server.
//! Where two of them disagree about the same bytes, a request can be smuggled between them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::lenient;
use crate::loopback::free_port;
use crate::peer::Peer;
use crate::process::Process;
use crate::programs::Server;
use crate::strict;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A request as an application understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it answered: 200, or its own refusal; 0 for what broke off.
    pub status: u16,
    /// The method.
    pub method: String,
    /// The target; of what it refused, the whole line.
    pub target: String,
    /// The body without its framing.
    pub body: Vec<u8>,
}

/// What came of a look at received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// One request, of this many bytes.
    Request(Seen, usize),
    /// Not all of one yet.
    More,
    /// No request, for this reader.
    Refused(&'static str),
}

/// One of the four.
#[derive(Debug)]
pub struct Recorder {
    /// Which.
    pub name: &'static str,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Own(Arc<Mutex<Vec<Seen>>>),
    Program(Server),
}

impl Recorder {
    /// Takes what RFC 9112 asks senders to send, and nothing else.
    pub fn strict() -> Self {
        Self::own("strict", strict::read)
    }

    /// Takes whatever any server was ever seen to take.
    pub fn lenient() -> Self {
        Self::own("lenient", lenient::read)
    }

    fn own(name: &'static str, read: fn(&[u8]) -> Reading) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        let keep = move |one: Seen| kept.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        let peer = Peer::serving(move |stream| serve(stream, read, &keep));
        Self { name, port: peer.port, source: Source::Own(seen) }
    }

    /// nginx, which hands requests on to an application that answers all of them, and tells of each with the body that it read.
    pub fn nginx(folder: &Path) -> Self {
        let behind = Self::own("behind", lenient::read);
        let port = free_port(Ipv4Addr::LOCALHOST);
        let (config, at) = (folder.join(format!("recorder-{port}.conf")), folder.display());
        let text = format!(
            "worker_processes 1; daemon off; pid {at}/recorder-{port}.pid; error_log stderr crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ keepalive_requests 1000000; client_body_buffer_size 256k; client_body_in_single_buffer on;\n\
             large_client_header_buffers 8 64k; underscores_in_headers on; ignore_invalid_headers off;\n\
             client_body_temp_path {at}/rb-{port}; proxy_temp_path {at}/rp-{port};\n\
             fastcgi_temp_path {at}/rf-{port}; uwsgi_temp_path {at}/ru-{port}; scgi_temp_path {at}/rs-{port};\n\
             log_format seen escape=json '{{\"status\":$status,\"method\":\"$request_method\",\"target\":\"$request_uri\",\
             \"line\":\"$request\",\"text\":\"$request_body\"}}';\n\
             access_log /dev/stdout seen;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{}; }} }} }}\n",
            behind.port
        );
        fs::write(&config, text).expect("the scratch directory is writable");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        Self::of("nginx", Server::listening(Process::start("nginx", &mut command), port))
    }

    /// Python's http.server, which does for the body what its users have to.
    pub fn python() -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/recorder.py");
        let mut command = Command::new("python3");
        command.arg("-u").arg(script).arg(port.to_string());
        Self::of("python", Server::listening(Process::start("recorder.py", &mut command), port))
    }

    fn of(name: &'static str, server: Server) -> Self {
        Self { name, port: server.port, source: Source::Program(server) }
    }

    /// Everything seen so far. A program's lines may be a moment behind.
    pub fn seen(&self) -> Vec<Seen> {
        match &self.source {
            Source::Own(seen) => seen.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Source::Program(server) => server.process.stdout.all().iter().filter_map(|line| of_line(line)).collect(),
        }
    }
}

fn of_line(line: &str) -> Option<Seen> {
    // A program that was asked for nothing (a probe) has nothing to tell.
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let body = match value["body"].as_str() {
        Some(digits) => unhex(digits),
        None => text("text").into_bytes(),
    };
    let target = if text("target").is_empty() { text("line") } else { text("target") };
    let status = value["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    // nginx tells of a connection that ended without a request, too.
    let is_nothing = text("method").is_empty() && target.is_empty();
    (!is_nothing).then(|| Seen { status, method: text("method"), target, body })
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).filter_map(pair).collect()
}

/// Reads requests one after the other, keeps and answers each, and ends the connection at what is none.
fn serve(stream: &mut TcpStream, read: fn(&[u8]) -> Reading, keep: &impl Fn(Seen)) {
    let (mut all, mut room) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match read(&all) {
            Reading::Request(seen, used) => {
                all.drain(..used);
                keep(seen);
                if stream.write_all(OK).is_err() {
                    return;
                }
            }
            Reading::Refused(why) => {
                let line = String::from_utf8_lossy(&all).into_owned();
                keep(Seen { status: 400, method: String::new(), target: format!("{why}: {line}"), body: Vec::new() });
                let _gone = stream.write_all(BAD);
                return;
            }
            Reading::More => match stream.read(&mut room) {
                Ok(count) if count > 0 => all.extend_from_slice(&room[..count]),
                _ if all.is_empty() => return,
                _ => {
                    let line = String::from_utf8_lossy(&all).into_owned();
                    return keep(Seen { status: 0, method: String::new(), target: line, body: Vec::new() });
                }
            },
        }
    }
}
