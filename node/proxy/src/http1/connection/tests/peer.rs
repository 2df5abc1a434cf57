//! Property: hyper at the other end sees the messages that we see. It may take more than we do; of what we take, it draws the same bounds.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::corpus::each_and_changed;
use super::split::{run, some_fields};
use super::*;
use crate::http1::is_forbidden_in_trailers;

/// A message as either end saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    /// Method and target, or the status.
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

/// The rest of a message that our end reads, and its trailers in one order.
async fn rest(connection: &mut Connection) -> Result<(Vec<u8>, Vec<(String, String)>), Broken> {
    let (body, mut trailers) = body(connection).await?;
    trailers.sort();
    Ok((body, trailers))
}

/// The fields in one order, without those of the codec's own.
fn seen(fields: &Fields) -> Vec<(String, String)> {
    let mut fields = fields.clone();
    fields.retain(|known, _| {
        !matches!(
            known,
            Known::Host
                | Known::Connection
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::Trailer
                | Known::Date
        )
    });
    let mut list = listed(&fields);
    list.sort();
    list
}

/// The fields as hyper has them.
fn map_of(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): (&[u8], &[u8])| {
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    fields.iter().filter_map(pair).for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

fn fields_of(map: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    map.iter().for_each(|(name, value)| fields.push(name.as_str().as_bytes(), value.as_bytes()));
    fields
}

async fn collected(line: String, fields: &HeaderMap, body: Incoming) -> Option<Message> {
    let body = body.collect().await.ok()?;
    let mut trailers = body.trailers().map(fields_of).unwrap_or_default();
    // Left behind by whoever reads them.
    trailers.retain(|known, _| !is_forbidden_in_trailers(known));
    let mut trailers = listed(&trailers);
    trailers.sort();
    let fields = seen(&fields_of(fields));
    Some(Message { line, fields, body: body.to_bytes().to_vec(), trailers })
}

fn target_of(uri: &http::Uri) -> String {
    // An empty path is `/` (RFC 9112, section 3.2.2), which hyper's text of both does not say.
    uri.query().map_or_else(|| uri.path().to_owned(), |query| format!("{}?{query}", uri.path()))
}

/// What a message is made of.
#[derive(Debug, Clone)]
struct Plan {
    fields: Fields,
    pieces: Vec<Vec<u8>>,
    /// By chunks, with these trailers.
    trailers: Option<Fields>,
}

impl Plan {
    fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    fn length(&self) -> Length {
        match (&self.trailers, self.body().len()) {
            (Some(_), _) => Length::Unknown,
            (None, 0) => Length::None,
            (None, len) => Length::Exact(len as u64),
        }
    }

    /// What the other end sees of it.
    fn message(&self, line: &str) -> Message {
        let trailers = self.trailers.as_ref().map(seen).unwrap_or_default();
        Message { line: line.to_owned(), fields: seen(&self.fields), body: self.body(), trailers }
    }

    /// As hyper sends it.
    fn hyper_body(&self) -> BoxBody<Bytes, Infallible> {
        let Some(trailers) = &self.trailers else { return Full::new(Bytes::from(self.body())).boxed() };
        let frames = self.pieces.iter().map(|piece| Frame::data(Bytes::from(piece.clone())));
        let frames = frames.chain([Frame::trailers(map_of(trailers))]).map(Ok);
        BoxBody::new(StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>())))
    }

    async fn send(&self, connection: &mut Connection) {
        for piece in &self.pieces {
            send(connection, piece).await.unwrap();
        }
        end(connection, self.trailers.as_ref()).await.unwrap();
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let piece = prop::collection::vec(any::<u8>(), 1..40);
    // hyper sends those trailers only that were announced.
    let trailers = prop::option::of("[a-zA-Z0-9 ]{0,10}".prop_map(|value| fields(&[("x-sum", value.trim())])));
    (some_fields(), prop::collection::vec(piece, 0..5), trailers).prop_map(|(mut fields, pieces, trailers)| {
        fields.retain(|known, _| known == Known::Other);
        fields.push(b"te", b"trailers");
        fields.push(b"trailer", b"x-sum");
        Plan { fields, pieces, trailers }
    })
}

fn methods() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["GET", "POST", "PUT", "DELETE", "HEAD", "QUERY"][..])
}

fn paths() -> impl Strategy<Value = String> {
    "/[a-zA-Z0-9._~/%!$&'()*+,;=:@-]{0,20}(\\?[a-z=&]{0,10})?"
}

fn statuses() -> impl Strategy<Value = u16> {
    prop::sample::select(&[200_u16, 201, 204, 299, 304, 404, 503][..])
}

impl Plan {
    fn bodiless(self) -> Self {
        Self { pieces: Vec::new(), trailers: None, ..self }
    }

    /// Without what an answer to this request cannot have.
    fn answering(self, method: &str, status: u16) -> Self {
        if method == "HEAD" || matches!(status, 204 | 304) { self.bodiless() } else { self }
    }

    /// Without what hyper does not send with this method.
    fn asking(self, method: &str) -> Self {
        if matches!(method, "GET" | "HEAD") { self.bodiless() } else { self }
    }
}

/// A server of hyper's that answers as planned and keeps what it was asked.
fn hyper_server(io: DuplexStream, status: u16, answer: Plan) -> Arc<Mutex<Vec<Message>>> {
    let asked: Arc<Mutex<Vec<Message>>> = Arc::default();
    let kept = Arc::clone(&asked);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (kept, answer) = (Arc::clone(&kept), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let line = format!("{} {}", parts.method, target_of(&parts.uri));
            let message = collected(line, &parts.headers, body).await;
            kept.lock().unwrap().extend(message);
            let mut response = Response::new(answer.hyper_body());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            *response.headers_mut() = map_of(&answer.fields);
            Ok::<_, Infallible>(response)
        }
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service));
    asked
}

proptest! {
    #[test]
    fn what_our_client_and_a_server_of_hypers_say_each_other_is_heard(
        method in methods(), path in paths(), asked in plans(), status in statuses(), answer in plans(),
    ) {
        run(async {
            let answer = answer.answering(method, status);
            let (near, far) = duplex(WIDE);
            let heard = hyper_server(far, status, answer.clone());
            let mut client = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
            for turn in 1..3 {
                let head = RequestHead {
                    path: path.clone(),
                    fields: asked.fields.clone(),
                    ..asked_of(Method::from_bytes(method.as_bytes()).unwrap(), asked.length())
                };
                client.send_request(&head, &Overlay::default(), Upgrade::None);
                asked.send(&mut client).await;
                let head = response(&mut client).await.unwrap();
                let (body, trailers) = rest(&mut client).await.unwrap();
                let got = Message { line: head.status.to_string(), fields: seen(&head.fields), body, trailers };
                prop_assert_eq!(got, answer.message(&status.to_string()));
                prop_assert_eq!(client.fitness(Role::Client), Fitness::Reusable);
                client.renew();
                let heard = heard.lock().unwrap();
                prop_assert_eq!(heard.len(), turn);
                prop_assert_eq!(heard.last().unwrap(), &asked.message(&format!("{method} {path}")));
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_our_server_and_a_client_of_hypers_say_each_other_is_heard(
        method in methods(), path in paths(), asked in plans(), status in statuses(), answer in plans(),
    ) {
        run(async {
            let (asked, answer) = (asked.asking(method), answer.answering(method, status));
            let (near, far) = duplex(WIDE);
            let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(far)).await.unwrap();
            tokio::spawn(driver);
            let mut server = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
            for _ in 0..2 {
                let mut sent = Request::builder().method(method).uri(&path).header("host", "a");
                sent.headers_mut().unwrap().extend(map_of(&asked.fields));
                let answering = tokio::spawn(sender.send_request(sent.body(asked.hyper_body()).unwrap()));
                let head = request(&mut server).await;
                let line = format!("{} {}", head.method, head.path);
                let (body, trailers) = rest(&mut server).await.unwrap();
                let got = Message { line, fields: seen(&head.fields), body, trailers };
                prop_assert_eq!(got, asked.message(&format!("{method} {path}")));
                let head = ResponseHead { fields: answer.fields.clone(), ..answer_of(status, answer.length()) };
                server.send_response(&head, Persistence::Keep);
                answer.send(&mut server).await;
                prop_assert_eq!(server.fitness(Role::Server), Fitness::Reusable);
                server.renew();
                let (parts, body) = answering.await.unwrap().unwrap().into_parts();
                let heard = collected(parts.status.as_u16().to_string(), &parts.headers, body).await.unwrap();
                prop_assert_eq!(heard, answer.message(&status.to_string()));
                sender.ready().await.unwrap();
            }
            Ok(())
        })?;
    }
}

/// The requests that a server of ours takes of these bytes, each answered.
async fn taken(bytes: &[u8]) -> Vec<Message> {
    let (near, mut far) = duplex(WIDE);
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let mut connection = Connection::new(Transport::Memory(near), HeadLimits::APPLICATION);
    let mut taken = Vec::new();
    while let Ok((Received::Request, head)) = next(&mut connection).await {
        // What follows is bytes, and hyper leaves them to others.
        if head.method == Method::CONNECT {
            break;
        }
        let Ok((body, trailers)) = rest(&mut connection).await else { break };
        let line = format!("{} {}", head.method, head.path);
        taken.push(Message { line, fields: seen(&head.fields), body, trailers });
        answer(&mut connection, 200, b"").await;
        if connection.fitness(Role::Server) != Fitness::Reusable {
            break;
        }
        connection.renew();
    }
    taken
}

/// The requests that a server of hyper's takes of these bytes, and whether it refused something in the end.
async fn taken_by_hyper(bytes: &[u8]) -> (Vec<Message>, bool) {
    let (near, mut far) = duplex(WIDE);
    let taken: Arc<Mutex<Vec<Message>>> = Arc::default();
    let kept = Arc::clone(&taken);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let line = format!("{} {}", parts.method, target_of(&parts.uri));
            let message = collected(line, &parts.headers, body).await;
            let is_whole = message.is_some();
            kept.lock().unwrap().extend(message);
            if is_whole { Ok(Response::new(Full::new(Bytes::new()))) } else { Err("its body is not whole") }
        }
    });
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let served =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(near), service).await;
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    (taken, served.is_err())
}

#[test]
fn of_requests_that_we_take_hyper_draws_the_same_bounds() {
    let (mut both, mut ours) = (0, 0);
    each_and_changed("request", |_, bytes| {
        let (taken, (by_hyper, is_refused)) = run(async { (taken(bytes).await, taken_by_hyper(bytes).await) });
        let text = String::from_utf8_lossy(bytes);
        for (ours, theirs) in taken.iter().zip(&by_hyper) {
            assert_eq!(ours, theirs, "{text:?}");
        }
        assert!(taken.len() <= by_hyper.len() || is_refused, "{text:?}: ours {taken:?}, hyper's {by_hyper:?}");
        both += taken.len().min(by_hyper.len());
        ours += taken.len().saturating_sub(by_hyper.len());
    });
    assert!(both > 200, "messages were compared: {both}, and {ours} that hyper refuses");
}

/// The answer that a client of ours takes of these bytes.
async fn answer_taken(bytes: &[u8], method: &Method) -> Option<Message> {
    let mut connection = ended(bytes).await;
    connection.send_request(&asked_of(method.clone(), Length::None), &Overlay::default(), Upgrade::None);
    let head = loop {
        let head = response(&mut connection).await.ok()?;
        if head.status >= 200 || head.status == 101 {
            break head;
        }
    };
    let (body, trailers) = rest(&mut connection).await.ok()?;
    Some(Message { line: head.status.to_string(), fields: seen(&head.fields), body, trailers })
}

/// The same by a client of hyper's.
async fn answer_taken_by_hyper(bytes: &[u8], method: &Method) -> Option<Message> {
    let (near, mut far) = duplex(WIDE);
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(driver);
    let request =
        Request::builder().method(method).uri("/").header("host", "a").body(Full::<Bytes>::default()).unwrap();
    let answering = tokio::spawn(sender.send_request(request));
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(far.read_u8().await.unwrap());
    }
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let (parts, body) = answering.await.unwrap().ok()?.into_parts();
    collected(parts.status.as_u16().to_string(), &parts.headers, body).await
}

#[test]
fn of_answers_that_we_take_hyper_draws_the_same_bounds() {
    let (mut both, mut ours) = (0, 0);
    each_and_changed("response", |random, bytes| {
        let method = if random.below(4) == 0 { Method::HEAD } else { Method::GET };
        run(async {
            let Some(taken) = answer_taken(bytes, &method).await else { return };
            match answer_taken_by_hyper(bytes, &method).await {
                Some(by_hyper) => {
                    assert_eq!(taken, by_hyper, "{method} {:?}", String::from_utf8_lossy(bytes));
                    both += 1;
                }
                None => ours += 1,
            }
        });
    });
    assert!(both > 300, "messages were compared: {both}, and {ours} that hyper refuses");
}
