//! Applications and callers that speak raw bytes, to say what no well-behaved program says and to see what truly arrives.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a caller waits for bytes: above every timeout that the tests set.
const READ_LIMIT: Duration = Duration::from_secs(8);

/// A request as an application received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// From the request line to the empty line.
    pub head: Vec<u8>,
    /// The body, decoded where it came in chunks.
    pub body: Vec<u8>,
}

impl Received {
    /// The head as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The values of a field, in order.
    pub fn field(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// An application that a test wrote: a thread for each connection. It stays until the process ends.
pub struct Peer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Peer {
    /// Serves each connection with `serve`.
    pub fn serving(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(&mut stream));
            }
        });
        Self { port, received: Arc::default() }
    }

    /// Records every request, and answers each with what `answer` makes of it.
    pub fn answering(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let seen = Arc::clone(&received);
        let peer = Self::serving(move |stream| {
            let (mut rest, mut is_open) = (Vec::new(), true);
            while is_open && let Some(request) = read_request(stream, &mut rest) {
                let bytes = answer(&request);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                is_open = stream.write_all(&bytes).is_ok();
            }
        });
        Self { received, ..peer }
    }

    /// Records every request and answers each with 200 and `ok`.
    pub fn recording() -> Self {
        Self::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    }

    /// What was received since this was asked last.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads one request as the most lenient of applications would; `rest` is what came behind the last.
fn read_request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = find(rest, b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, rest)?;
    };
    let head: Vec<u8> = rest.drain(..end).collect();
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let body = if value("transfer-encoding:").is_some_and(|coding| coding.contains("chunked")) {
        read_chunks(stream, rest)?
    } else {
        let len = value("content-length:").and_then(|len| len.parse().ok()).unwrap_or(0);
        take(stream, rest, len)?
    };
    Some(Received { head, body })
}

fn read_chunks(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(rest, b"\r\n") {
                break at + 2;
            }
            more(stream, rest)?;
        };
        let line: Vec<u8> = rest.drain(..end).collect();
        let digits: String =
            line.iter().take_while(|byte| byte.is_ascii_hexdigit()).map(|byte| char::from(*byte)).collect();
        let size = usize::from_str_radix(&digits, 16).ok()?;
        body.extend(take(stream, rest, size)?);
        take(stream, rest, 2)?;
        if size == 0 {
            return Some(body);
        }
    }
}

fn take(stream: &mut TcpStream, rest: &mut Vec<u8>, len: usize) -> Option<Vec<u8>> {
    while rest.len() < len {
        more(stream, rest)?;
    }
    Some(rest.drain(..len).collect())
}

fn more(stream: &mut TcpStream, into: &mut Vec<u8>) -> Option<()> {
    let mut room = [0; 16 * 1024];
    match stream.read(&mut room) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            into.extend_from_slice(&room[..count]);
            Some(())
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// How a connection ended for a raw caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
    /// Not within the time that a caller waits.
    Open,
}

/// What a raw caller got.
#[derive(Debug, Clone)]
pub struct Raw {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub ended: Ended,
}

impl Raw {
    /// Reads until the connection ends, or nothing came for this long.
    pub fn read(mut stream: TcpStream, limit: Duration) -> Self {
        stream.set_read_timeout(Some(limit)).expect("a timeout can be set");
        let (mut bytes, mut room) = (Vec::new(), [0; 16 * 1024]);
        let ended = loop {
            match stream.read(&mut room) {
                Ok(0) => break Ended::Closed,
                Ok(count) => bytes.extend_from_slice(&room[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break Ended::Open,
                Err(_) => break Ended::Reset,
            }
        };
        Self { bytes, ended }
    }

    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status of the first answer that is not an interim one; 0 without one.
    pub fn status(&self) -> u16 {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        let statuses = lines.filter_map(|line| line.get(..3)?.parse::<u16>().ok());
        statuses.into_iter().find(|status| *status >= 200 || *status == 101).unwrap_or(0)
    }

    /// The code of an answer of Weft's own.
    pub fn code(&self) -> Option<String> {
        let text = self.text();
        Some(text.split_once("\"code\":\"")?.1.split_once('"')?.0.to_owned())
    }
}

/// Whether a raw caller shuts its sending side behind what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It does.
    Shut,
    /// It waits for the other end.
    Wait,
}

/// Sends bytes and reads until the connection ends.
pub fn raw(to: SocketAddr, bytes: &[u8], then: Then) -> Raw {
    let mut stream = TcpStream::connect(to).expect("the node listens");
    // A node that refuses what it has read may close before the rest is written.
    let _cut = stream.write_all(bytes);
    if then == Then::Shut {
        let _cut = stream.shutdown(Shutdown::Write);
    }
    Raw::read(stream, READ_LIMIT)
}
