//! An application that echoes frames, closes, refuses or breaks off, as the path says, and keeps every byte that it got.
//!
//! Paths are `/WHAT/DETAIL/MARK`; what it keeps is asked for by the mark.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{CLOSE, FIN, Frame, LEN_16, LEN_64, MASKED, PING, PONG};
use crate::mesh::SPREAD_LIMIT;
use crate::peer::{Ended, Peer, Received};

/// The answer to the key that callers send: the example of RFC 6455, section 1.3.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The extension that it answers with.
pub const EXTENSION: &str = "permessage-deflate; server_no_context_takeover; client_max_window_bits=10";
/// The subprotocol that it chooses.
pub const SUBPROTOCOL: &str = "superchat";

/// What it kept of one connection that ended.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The head of the request.
    pub head: Received,
    /// Everything behind it.
    pub bytes: Vec<u8>,
    /// How it ended for the application.
    pub ended: Ended,
}

/// The application.
pub struct Application {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    kept: Arc<Shelf>,
}

/// What was kept, by mark, and a bell for whoever waits for more.
#[derive(Default)]
struct Shelf {
    kept: Mutex<BTreeMap<String, Kept>>,
    bell: Condvar,
}

impl Application {
    /// Starts it.
    pub fn serving() -> Self {
        let kept: Arc<Shelf> = Arc::default();
        let all = Arc::clone(&kept);
        let peer = Peer::serving(move |stream| {
            if let Some((mark, kept)) = Open::of(stream).and_then(Open::serve_all) {
                all.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, kept);
                all.bell.notify_all();
            }
        });
        Self { port: peer.port, kept }
    }

    /// What it kept of the connection with this mark, once that has ended.
    pub fn kept(&self, mark: &str) -> Kept {
        let all = self.kept.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |all: &mut BTreeMap<String, Kept>| !all.contains_key(mark);
        let waited = self.kept.bell.wait_timeout_while(all, SPREAD_LIMIT, is_open);
        let (mut all, _) = waited.unwrap_or_else(PoisonError::into_inner);
        all.remove(mark).unwrap_or_else(|| panic!("{mark} has not ended at the application"))
    }
}

/// A connection.
struct Open<'a> {
    reader: BufReader<TcpStream>,
    writer: &'a mut TcpStream,
    /// What was read behind the head.
    bytes: Vec<u8>,
}

impl<'a> Open<'a> {
    fn of(stream: &'a mut TcpStream) -> Option<Self> {
        let copy = stream.try_clone().ok()?;
        Some(Self { reader: BufReader::new(copy), writer: stream, bytes: Vec::new() })
    }

    /// Serves requests up to one for a WebSocket; its mark, and what was kept of it.
    fn serve_all(mut self) -> Option<(String, Kept)> {
        loop {
            let head = self.head().ok()??;
            if let Some(kept) = self.serve(head) {
                return Some(kept);
            }
        }
    }

    /// The head of the next request; none at the end.
    fn head(&mut self) -> io::Result<Option<Received>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(Received { head, body: Vec::new() }))
    }

    /// Serves a request; a mark and what was kept, where the connection was a WebSocket.
    fn serve(&mut self, head: Received) -> Option<(String, Kept)> {
        let text = head.text();
        let mut words = text.split(' ').nth(1).unwrap_or_default().split('/').skip(1);
        let (what, detail) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mark = words.next().unwrap_or_default();
        if what == "refuses" {
            let _gone = self.writer.write_all(refusal(detail).as_bytes());
            return None;
        }
        // No wait for what never comes.
        let _set = self.writer.set_read_timeout(Some(SPREAD_LIMIT));
        let end = self.switch(&head, what, detail).and_then(|()| self.read_all());
        let ended = match end {
            Ok(()) => Ended::Closed,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ended::Open,
            Err(_) => Ended::Reset,
        };
        Some((mark.to_owned(), Kept { head, bytes: std::mem::take(&mut self.bytes), ended }))
    }

    /// Answers 101, with what the path asks for in the same write, and does the rest of it.
    fn switch(&mut self, head: &Received, what: &str, detail: &str) -> io::Result<()> {
        let mut answer =
            String::from("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        answer += &format!("Sec-WebSocket-Accept: {ACCEPT}\r\nx-application: own\r\n");
        if !head.field("sec-websocket-protocol").is_empty() {
            answer += &format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
        }
        if !head.field("sec-websocket-extensions").is_empty() {
            answer += &format!("Sec-WebSocket-Extensions: {EXTENSION}\r\n");
        }
        let mut bytes = (answer + "\r\n").into_bytes();
        if what == "greets" {
            bytes.extend(unhex(detail));
        }
        self.writer.write_all(&bytes)?;
        match what {
            "closes" => {
                self.writer.write_all(&Frame::whole(CLOSE, unhex(detail)).bare())?;
                self.echoes(0)?;
                self.writer.shutdown(Shutdown::Write)
            }
            // After the second frame the caller has read the echo of the first.
            "resets" => {
                self.echoes(1)?;
                self.frame()?;
                socket2::SockRef::from(&*self.writer).set_linger(Some(Duration::ZERO))?;
                // Nothing of it is read any more, and it is dropped.
                Err(ErrorKind::ConnectionAborted.into())
            }
            "ends" => {
                self.echoes(1)?;
                self.writer.shutdown(Shutdown::Write)
            }
            "counts" => {
                self.read_all()?;
                let count = Frame::whole(super::TEXT, self.bytes.len().to_string());
                self.writer.write_all(&count.bare())?;
                self.writer.shutdown(Shutdown::Write)
            }
            _ => {
                self.echoes(usize::MAX)?;
                self.writer.shutdown(Shutdown::Write)
            }
        }
    }

    /// Answers so many frames, or all up to a close, the close with one where others are answered: data with the same, a ping with a pong.
    fn echoes(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count.max(1) {
            let frame = self.frame()?;
            let opcode = frame.first & 0x0f;
            let answer = match opcode {
                PONG => continue,
                PING => Frame { first: FIN | PONG, ..frame },
                _ => frame,
            };
            if count > 0 {
                self.writer.write_all(&answer.bare())?;
            }
            if opcode == CLOSE {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a frame, masked or not.
    fn frame(&mut self) -> io::Result<Frame> {
        let start = self.bytes.len();
        self.take(2)?;
        let (first, len) = (self.bytes[start], self.bytes[start + 1]);
        let wide = match len & !MASKED {
            LEN_16 => 2,
            LEN_64 => 8,
            _ => 0,
        };
        self.take(wide)?;
        let said = self.bytes[start + 2..].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let len_said = if wide == 0 { usize::from(len & !MASKED) } else { said };
        let key_at = self.bytes.len();
        self.take(if len & MASKED != 0 { 4 } else { 0 })?;
        let key = self.bytes[key_at..].to_vec();
        let payload_at = self.bytes.len();
        self.take(len_said)?;
        let mut payload = self.bytes[payload_at..].to_vec();
        if !key.is_empty() {
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        Ok(Frame { first, payload })
    }

    fn take(&mut self, count: usize) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.resize(start + count, 0);
        let read = self.reader.read_exact(&mut self.bytes[start..]);
        if read.is_err() {
            // What came of it is not told apart from what did not.
            self.bytes.truncate(start);
        }
        read
    }

    fn read_all(&mut self) -> io::Result<()> {
        self.reader.read_to_end(&mut self.bytes).map(|_| ())
    }
}

fn refusal(status: &str) -> String {
    let body = format!("no: {status}");
    let framed = if status == "426" {
        format!(
            "upgrade: websocket\r\nconnection: upgrade\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{body}\r\n0\r\n\r\n"
        )
    } else {
        format!("location: /login\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    format!("HTTP/1.1 {status} Refused\r\nx-application: own\r\n{framed}")
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).filter_map(pair).collect()
}
