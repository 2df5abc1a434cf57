//! A small HTTP/1.1 client on a plain socket: it sends exactly what it is given and hides nothing of the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read or write may take: above the default request timeout of a node would hide it, so well below 60 s.
const SOCKET_LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of a problem reply, after a check that all of its parts are there.
    pub fn problem(&self) -> String {
        let kind = self.header("content-type").unwrap_or_default();
        assert_eq!(kind, "application/problem+json", "{self:#?}\n{}", self.text());
        let value: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem is JSON");
        for part in ["type", "title", "status", "detail", "code", "where", "why", "next"] {
            assert!(!value[part].is_null(), "{part} is missing in {value:#}");
        }
        assert_eq!(value["status"], self.status, "{value:#}");
        let proxy = self.header("proxy-status").unwrap_or_else(|| panic!("proxy-status in {self:#?}"));
        assert!(proxy.starts_with("weft;"), "{proxy}");
        value["code"].as_str().expect("a code is text").to_owned()
    }
}

/// A connection that keeps alive.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, SOCKET_LIMIT)?;
        stream.set_read_timeout(Some(SOCKET_LIMIT))?;
        stream.set_write_timeout(Some(SOCKET_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// GET with a Host header.
    pub fn get(&mut self, path: &str, host: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
    }

    /// Sends a whole request as it stands and reads one answer.
    pub fn send(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.write(request)?;
        self.read_reply()
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads exactly `len` bytes.
    pub fn read_exact(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads one line without its end.
    pub fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Reads the head of an answer: its status and headers.
    pub fn read_head(&mut self) -> io::Result<Reply> {
        let first = self.read_line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| invalid(&first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(Reply { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one whole answer.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let mut reply = self.read_head()?;
        if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            self.read_chunks(&mut reply.body)?;
        } else if let Some(len) = reply.header("content-length") {
            let len = len.parse().map_err(|_| invalid(len))?;
            reply.body = self.read_exact(len)?;
        } else if reply.status >= 200 && reply.status != 204 && reply.status != 304 {
            self.stream.read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }

    /// Reads one chunk; empty at the end of the body.
    pub fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = self.read_line()?;
        let len = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| invalid(&size))?;
        let chunk = self.read_exact(len)?;
        self.read_line()?;
        Ok(chunk)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            body.extend(chunk);
        }
    }
}

/// One GET on a connection of its own.
pub fn get(to: SocketAddr, path: &str, host: &str) -> io::Result<Reply> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    Connection::open(to)?.send(request.as_bytes())
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}
