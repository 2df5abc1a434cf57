//! The small applications of the demo bank. Each is a plain HTTP server that knows nothing of the mesh: it calls other
//! services through its node's outbound port with a `Host` header, as any program in any language would.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use weft_identity::{Code, Failure};

/// Largest reply that a demo application reads from another, in bytes.
const REPLY_LEN_MAX: usize = 64 * 1024;
/// How long one demo application waits for another.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Which of the bank's applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Banking: balances.
    Accounts,
    /// Banking: takes money from an account and books it.
    Payments,
    /// Banking: the book.
    Ledger,
    /// Trading: prices.
    Quotes,
    /// Trading: buys at a price and pays for it.
    Orders,
}

impl Kind {
    /// The name of the service.
    pub(super) fn service(self) -> &'static str {
        match self {
            Kind::Accounts => "accounts",
            Kind::Payments => "payments",
            Kind::Ledger => "ledger",
            Kind::Quotes => "quotes",
            Kind::Orders => "orders",
        }
    }
}

/// One running application; dropping it closes its port and its connections, as a crash would.
pub(super) struct App {
    accepting: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Desk {
    kind: Kind,
    /// `accounts on vm-a`, for the replies.
    replica: String,
    outbound: SocketAddr,
    served: AtomicU64,
}

impl App {
    /// Starts an application that listens at `at`; its own calls go to `outbound`.
    pub(super) async fn start(kind: Kind, node: &str, at: SocketAddr, outbound: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(at)
            .await
            .map_err(|e| Failure::new(Code::PortInUse, format!("open the demo's {} at {at}: {e}", kind.service())))?;
        let replica = format!("{} on {node}", kind.service());
        let desk = Arc::new(Desk { kind, replica, outbound, served: AtomicU64::new(0) });
        Ok(Self { accepting: tokio::spawn(accept(listener, desk)) })
    }
}

/// Accepts until aborted; the connections end with it.
async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let desk = Arc::clone(&desk);
                connections.spawn(serve(stream, desk));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "a connection to a demo application ended");
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let count = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.uri().path().to_owned();
        let result = match (self.kind, request.method(), path.as_str()) {
            (_, &Method::GET, "/healthz") => Ok(json!({ "ok": true })),
            (Kind::Accounts, &Method::GET, _) => Ok(json!({ "account": last_segment(&path), "balance": 1_000 })),
            (Kind::Ledger, &Method::POST, "/entries") => Ok(json!({ "entry": count })),
            (Kind::Quotes, &Method::GET, _) => Ok(json!({ "symbol": last_segment(&path), "price": 42 })),
            (Kind::Payments, &Method::POST, "/payments") => self.pay().await,
            (Kind::Orders, &Method::POST, "/orders") => self.order().await,
            _ => return reply(StatusCode::NOT_FOUND, &json!({ "error": "no such path", "served_by": self.replica })),
        };
        match result {
            Ok(mut body) => {
                body["served_by"] = Value::from(self.replica.as_str());
                reply(StatusCode::OK, &body)
            }
            Err(why) => reply(StatusCode::BAD_GATEWAY, &json!({ "error": why, "served_by": self.replica })),
        }
    }

    async fn pay(&self) -> Result<Value, String> {
        let account = self.call(Method::GET, "accounts", "/accounts/7").await?;
        let entry = self.call(Method::POST, "ledger", "/entries").await?;
        Ok(json!({ "paid": 10, "from": account, "booked": entry }))
    }

    async fn order(&self) -> Result<Value, String> {
        let quote = self.call(Method::GET, "quotes", "/quotes/WEFT").await?;
        let payment = self.call(Method::POST, "payments", "/payments").await?;
        Ok(json!({ "bought": 1, "at": quote, "payment": payment }))
    }

    /// Calls another service of the mesh and reads its JSON.
    async fn call(&self, method: Method, service: &str, path: &str) -> Result<Value, String> {
        let (status, body) = call(self.outbound, method, service, path).await?;
        if status.is_success() { Ok(body) } else { Err(format!("{service} answered {status}: {body}")) }
    }
}

/// One request to a service through a node's outbound port, with a connection of its own.
pub(super) async fn call(
    outbound: SocketAddr,
    method: Method,
    service: &str,
    path: &str,
) -> Result<(StatusCode, Value), String> {
    let exchange = async {
        let stream = TcpStream::connect(outbound).await.map_err(|e| format!("connect to {outbound}: {e}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{service}.weft.internal"))
            .body(Full::new(Bytes::new()))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| format!("{service}: {e}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_LEN_MAX).collect().await.map_err(|e| e.to_string())?;
        driver.abort();
        Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null)))
    };
    tokio::time::timeout(CALL_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(format!("{service} took over 5 s")))
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
