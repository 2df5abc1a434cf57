//! An application whose answers break the rules of HTTP/1.1, each in one way, and what a caller may make of it.

mod bodies;
mod heads;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use crate::peer::Peer;

/// What the application does after it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It waits for the next request.
    Stay,
    /// It ends the connection.
    End,
    /// It resets the connection.
    Reset,
}

/// What a caller must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// 502 with a code.
    BeRefused,
    /// This status with this body.
    BeWhole(u16, &'static str),
    /// 502 with a code, or an answer that visibly breaks off.
    BeCut,
    /// 502 with a code, or this.
    BeEither(u16, &'static str),
}

/// May the connection carry another request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It may.
    May,
    /// Nobody knows what would be its answer.
    MustNot,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is.
    pub name: String,
    /// The method that it answers.
    pub asked: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What follows.
    pub after: After,
    /// What the caller must get.
    pub must: Must,
    /// Whether the connection may be used again.
    pub next: Next,
}

impl Case {
    fn new(name: impl Into<String>, bytes: impl AsRef<[u8]>, must: Must) -> Self {
        let next = if matches!(must, Must::BeWhole(..) | Must::BeEither(..)) { Next::May } else { Next::MustNot };
        Self { name: name.into(), asked: "GET", bytes: bytes.as_ref().to_vec(), after: After::Stay, must, next }
    }

    fn asked(self, asked: &'static str) -> Self {
        Self { asked, ..self }
    }

    fn then(self, after: After) -> Self {
        Self { after, ..self }
    }

    fn last(self) -> Self {
        Self { next: Next::MustNot, ..self }
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut all = heads::all();
    all.extend(bodies::all());
    all
}

/// The application: `/case/N` is answered with the case of that number, anything else with the path as body.
pub struct Hostile {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// The paths that each of its connections was asked for.
    connections: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Hostile {
    /// Starts it.
    pub fn serving(cases: Vec<Case>) -> Self {
        let connections: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let asked = Arc::clone(&connections);
        let peer = Peer::serving(move |stream| {
            let number = {
                let mut all = asked.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(Vec::new());
                all.len() - 1
            };
            let note = |path: &str| {
                asked.lock().unwrap_or_else(PoisonError::into_inner)[number].push(path.to_owned());
            };
            serve(stream, &cases, note);
        });
        Self { port: peer.port, connections }
    }

    /// The paths that each connection was asked for, in order.
    pub fn connections(&self) -> Vec<Vec<String>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: &mut TcpStream, cases: &[Case], note: impl Fn(&str)) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    loop {
        let (mut line, mut rest) = (String::new(), String::new());
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        while rest != "\r\n" {
            rest.clear();
            if reader.read_line(&mut rest).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = line.split(' ').nth(1).unwrap_or("/");
        note(path);
        let number = path.strip_prefix("/case/").and_then(|number| number.parse::<usize>().ok());
        let Some(case) = number.and_then(|number| cases.get(number)) else {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        };
        if stream.write_all(&case.bytes).is_err() {
            return;
        }
        match case.after {
            After::Stay => {}
            After::End => return,
            After::Reset => {
                let _set = socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO));
                return;
            }
        }
    }
}
