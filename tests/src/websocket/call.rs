//! A caller's end of a WebSocket, over HTTP/1.1 (RFC 6455, section 4.1) or HTTP/2 (RFC 8441).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The key of the example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// How long a caller waits for bytes.
const READ_LIMIT: Duration = Duration::from_secs(15);
/// How much a caller of HTTP/2 takes before it reads.
const WINDOW_BYTES: u32 = 1 << 20;

/// How a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, and Upgrade.
    Http1,
    /// HTTP/2 with prior knowledge, and extended CONNECT.
    Http2,
}

/// A connection to a node: for one call of HTTP/1.1, or for as many of HTTP/2 as one likes.
pub enum Caller {
    /// HTTP/1.1.
    Http1(TcpStream),
    /// HTTP/2.
    Http2(SendRequest<Bytes>),
}

/// A call that was answered.
pub struct Call {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub fields: Vec<(String, String)>,
    /// What goes to the application.
    pub sends: Sends,
    /// What comes from it.
    pub gets: Gets,
}

/// How a stream ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset; with its code, where the version has one.
    Reset(Option<u32>),
    /// Not within the time that a caller waits.
    Open,
}

/// The sending half.
pub enum Sends {
    /// Of HTTP/1.1.
    Http1(OwnedWriteHalf),
    /// Of HTTP/2.
    Http2(SendStream<Bytes>),
}

/// The receiving half.
pub enum Gets {
    /// Of HTTP/1.1, with what came behind the head.
    Http1(OwnedReadHalf, Vec<u8>),
    /// Of HTTP/2.
    Http2(RecvStream),
}

impl Caller {
    /// Connects to a node.
    pub async fn connect(version: Version, to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("the node listens");
        stream.set_nodelay(true).expect("an option can be set");
        if version == Version::Http1 {
            return Self::Http1(stream);
        }
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(64 * WINDOW_BYTES);
        let (requests, connection) = builder.handshake(stream).await.expect("the node speaks HTTP/2");
        tokio::spawn(connection);
        let greeted = async {
            while !requests.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
        };
        timeout(READ_LIMIT, greeted).await.expect("the node takes extended CONNECT");
        Self::Http2(requests)
    }

    /// Asks for a WebSocket, with fields beside the usual ones, and sends `early` right behind without waiting for the answer.
    pub async fn open(self, host: &str, path: &str, fields: &[(&str, &str)], early: &[u8]) -> Call {
        match self {
            Self::Http1(stream) => open_http1(stream, host, path, fields, early).await,
            Self::Http2(requests) => open_http2(requests, host, path, fields, early).await,
        }
    }
}

async fn open_http1(mut stream: TcpStream, host: &str, path: &str, fields: &[(&str, &str)], early: &[u8]) -> Call {
    let mut head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: keep-alive, Upgrade\r\n");
    head += &format!("upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n");
    fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let bytes = [(head + "\r\n").as_bytes(), early].concat();
    stream.write_all(&bytes).await.expect("the node reads");
    let (mut got, mut room) = (Vec::new(), vec![0; 16 * 1024]);
    let end = loop {
        if let Some(at) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = timeout(READ_LIMIT, stream.read(&mut room)).await.expect("an answer in time").expect("an answer");
        assert!(count > 0, "the connection ended before an answer: {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&room[..count]);
    };
    let behind = got.split_off(end);
    let text = String::from_utf8_lossy(&got).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let field = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.trim().to_owned());
    let fields = text.lines().skip(1).filter_map(|line| line.split_once(':')).map(field).collect();
    let (read, write) = stream.into_split();
    Call { status, fields, sends: Sends::Http1(write), gets: Gets::Http1(read, behind) }
}

async fn open_http2(
    requests: SendRequest<Bytes>,
    host: &str,
    path: &str,
    fields: &[(&str, &str)],
    early: &[u8],
) -> Call {
    let mut request = Request::builder().method(Method::CONNECT).uri(format!("http://{host}{path}"));
    request = request.extension(Protocol::from_static("websocket")).header("sec-websocket-version", "13");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut requests = requests.ready().await.expect("the connection is open");
    let request = request.body(()).expect("a request");
    let (response, stream) = requests.send_request(request, false).expect("the connection is open");
    let mut sends = Sends::Http2(stream);
    if !early.is_empty() {
        sends.send(early).await.expect("the node reads");
    }
    let response = timeout(READ_LIMIT, response).await.expect("an answer in time").expect("an answer");
    let status = response.status().as_u16();
    let fields = listed(response.headers());
    Call { status, fields, sends, gets: Gets::Http2(response.into_body()) }
}

fn listed(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

impl Call {
    /// The values of a field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Sends {
    /// Sends bytes, in a write of their own.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = match self {
            Self::Http1(half) => return half.write_all(bytes).await,
            Self::Http2(stream) => stream,
        };
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            let room = room.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
            let piece = rest.split_to(room.min(rest.len()));
            stream.send_data(piece, false).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Ends this half in order.
    pub async fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(half) => half.shutdown().await,
            Self::Http2(stream) => stream.send_data(Bytes::new(), true).map_err(io::Error::other),
        }
    }

    /// Breaks the stream off.
    pub fn reset(self) {
        match self {
            Self::Http1(half) => {
                let _set = socket2::SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO));
            }
            Self::Http2(mut stream) => stream.send_reset(Reason::CANCEL),
        }
    }
}

impl Gets {
    /// The next bytes, or the end.
    pub async fn next(&mut self) -> Result<Vec<u8>, End> {
        timeout(READ_LIMIT, self.piece()).await.unwrap_or(Err(End::Open))
    }

    async fn piece(&mut self) -> Result<Vec<u8>, End> {
        let stream = match self {
            Self::Http1(_, behind) if !behind.is_empty() => return Ok(std::mem::take(behind)),
            Self::Http1(half, _) => {
                let mut room = vec![0; 64 * 1024];
                let count = half.read(&mut room).await.map_err(|_| End::Reset(None))?;
                room.truncate(count);
                return if count == 0 { Err(End::Closed) } else { Ok(room) };
            }
            Self::Http2(stream) => stream,
        };
        match stream.data().await {
            None => Err(End::Closed),
            Some(Ok(bytes)) => {
                let _over = stream.flow_control().release_capacity(bytes.len());
                Ok(bytes.to_vec())
            }
            Some(Err(error)) => Err(End::Reset(error.reason().map(u32::from))),
        }
    }

    /// Exactly so many bytes.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.next().await?);
        }
        Ok(all)
    }

    /// Everything up to the end.
    pub async fn all(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Ok(bytes) => all.extend(bytes),
                Err(end) => return (all, end),
            }
        }
    }
}
