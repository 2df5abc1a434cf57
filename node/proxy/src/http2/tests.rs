mod by_hand;
mod narrow;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weft_policy::fields::{Fields, Known};

use super::frame::PREFACE;
use super::*;
use crate::head::{Form, Length, RequestHead, ResponseHead};
use crate::side::reset::{CANCEL, INTERNAL_ERROR, REFUSED_STREAM};
use crate::side::{Broken, Part};
use crate::transport::Transport;

const ENHANCE_YOUR_CALM: u32 = 11;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

fn server_settings(trust: Trust) -> ServerSettings {
    ServerSettings { trust, head_timeout: HEAD_TIMEOUT, idle_timeout: Duration::from_secs(60), pings: None }
}

fn client_settings() -> ClientSettings {
    ClientSettings { trust: Trust::Proven, head_timeout: HEAD_TIMEOUT, pings: None }
}

/// What is done to a server that serves in a task.
enum Command {
    Drain,
    Abort(u32),
}

/// A server in a task: its requests, and a way to tell it.
struct Serving {
    arrivals: mpsc::Receiver<Arrival>,
    commands: mpsc::Sender<Command>,
    ended: JoinHandle<Result<(), Ended>>,
}

fn serve(io: DuplexStream, settings: ServerSettings) -> Serving {
    let (sender, arrivals) = mpsc::channel(4096);
    let (commands, mut told) = mpsc::channel(8);
    let ended = tokio::spawn(async move {
        let mut server = Server::start(Transport::Memory(io), Bytes::new(), settings).await?;
        loop {
            tokio::select! {
                arrival = poll_fn(|cx| server.poll_next(cx)) => match arrival? {
                    Some(arrival) => drop(sender.try_send(arrival)),
                    None => return Ok(()),
                },
                Some(command) = told.recv() => match command {
                    Command::Drain => server.drain(),
                    Command::Abort(code) => server.abort(code),
                },
            }
        }
    });
    Serving { arrivals, commands, ended }
}

async fn pair(trust: Trust) -> (Client, Serving) {
    let (near, far) = duplex(64 * 1024);
    let serving = serve(far, server_settings(trust));
    let (client, driver) = Client::start(Transport::Memory(near), client_settings(), Arc::default()).await.unwrap();
    tokio::spawn(driver);
    (client, serving)
}

fn request(method: Method, length: Length) -> RequestHead {
    RequestHead { method, authority: "orders".to_owned(), path: "/a?b".to_owned(), length, ..RequestHead::default() }
}

fn answer(length: Length) -> ResponseHead {
    ResponseHead { status: 200, length, ..ResponseHead::default() }
}

impl Serving {
    async fn request(&mut self) -> (RequestHead, Stream) {
        let Arrival { head, stream } = self.arrivals.recv().await.unwrap();
        (head.unwrap(), stream)
    }
}

async fn send_all(stream: &mut Stream, mut data: &[u8]) -> Result<(), Broken> {
    while !data.is_empty() {
        let sent = poll_fn(|cx| stream.poll_send(cx, data)).await?;
        data = &data[sent..];
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

async fn end(stream: &mut Stream, trailers: Option<&Fields>) -> Result<(), Broken> {
    poll_fn(|cx| stream.poll_end(cx, trailers)).await
}

async fn read_all(stream: &mut Stream) -> Result<Vec<u8>, Broken> {
    let mut all = Vec::new();
    while poll_fn(|cx| stream.poll_part(cx)).await? == Part::Data {
        let count = stream.data().len();
        all.extend_from_slice(stream.data());
        stream.consume(count);
    }
    Ok(all)
}

async fn response(stream: &mut Stream) -> Result<ResponseHead, Broken> {
    poll_fn(|cx| stream.poll_response(cx)).await
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

#[tokio::test]
async fn a_request_and_its_answer_cross_with_trailers() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut head = request(Method::POST, Length::Unknown);
    head.fields = fields(&[("te", "trailers"), ("x-a", "1"), ("cookie", "a=1; b=2")]);
    let mut call = client.send(&head).await.unwrap();
    let (head, mut served) = serving.request().await;
    assert_eq!((head.form, &*head.authority, &*head.path), (Form::Origin, "orders", "/a?b"));
    assert_eq!((head.length, head.fields.len()), (Length::Unknown, 3));
    send_all(&mut call, b"hello ").await.unwrap();
    send_all(&mut call, b"world").await.unwrap();
    end(&mut call, Some(&fields(&[("x-t", "1"), ("host", "b")]))).await.unwrap();
    assert_eq!(read_all(&mut served).await.unwrap(), b"hello world");
    let trailers = served.take_trailers().unwrap();
    assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"x-t"[..], &b"1"[..])]);
    served.send_response(&answer(Length::Exact(3))).unwrap();
    send_all(&mut served, b"abc").await.unwrap();
    end(&mut served, Some(&fields(&[("grpc-status", "0")]))).await.unwrap();
    let head = response(&mut call).await.unwrap();
    assert_eq!((head.status, head.length), (200, Length::Exact(3)));
    assert_eq!(read_all(&mut call).await.unwrap(), b"abc");
    assert_eq!(call.take_trailers().unwrap().first(Known::GrpcStatus), Some(&b"0"[..]));
    assert!(call.is_sent() && served.is_sent());
    drop(call);
    assert_eq!(client.streams_open(), 0);
}

#[tokio::test]
async fn interim_answers_come_before_the_answer() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let (head, mut served) = serving.request().await;
    assert_eq!(head.length, Length::None);
    let hints = ResponseHead { status: 103, fields: fields(&[("link", "a")]), ..ResponseHead::default() };
    served.send_informational(&hints).unwrap();
    let head = response(&mut call).await.unwrap();
    assert_eq!((head.status, head.fields.len()), (103, 1));
    let switch = ResponseHead { status: 101, ..ResponseHead::default() };
    assert!(served.send_informational(&switch).is_err());
    served.send_response(&answer(Length::None)).unwrap();
    assert_eq!(response(&mut call).await.unwrap().length, Length::None);
    assert!(read_all(&mut call).await.unwrap().is_empty());
}

#[tokio::test]
async fn resets_carry_their_codes_both_ways() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    let (_, mut served) = serving.request().await;
    call.reset(13);
    assert!(matches!(poll_fn(|cx| served.poll_part(cx)).await, Err(Broken::Reset(13))));
    assert!(matches!(poll_fn(|cx| served.poll_reset(cx)).await, Broken::Reset(13)));
    assert!(matches!(served.send_response(&answer(Length::None)), Err(Broken::Reset(13))));
    let hints = ResponseHead { status: 103, ..ResponseHead::default() };
    assert!(served.send_informational(&hints).is_err());

    let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    let (_, mut served) = serving.request().await;
    served.send_response(&answer(Length::Unknown)).unwrap();
    send_all(&mut served, b"abc").await.unwrap();
    response(&mut call).await.unwrap();
    assert_eq!(poll_fn(|cx| call.poll_part(cx)).await.unwrap(), Part::Data);
    served.reset(ENHANCE_YOUR_CALM);
    assert!(matches!(poll_fn(|cx| call.poll_reset(cx)).await, Broken::Reset(ENHANCE_YOUR_CALM)));
    assert!(matches!(send_all(&mut call, &[0; 20_000]).await, Err(Broken::Reset(ENHANCE_YOUR_CALM))));

    for (code, is_refused) in [(REFUSED_STREAM, true), (INTERNAL_ERROR, false)] {
        let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
        let (_, mut served) = serving.request().await;
        served.reset(code);
        let broken = response(&mut call).await.unwrap_err();
        assert_eq!(matches!(broken, Broken::Refused), is_refused, "{broken:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_unfinished_is_reset() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let (_, mut served) = serving.request().await;
    drop(call);
    assert!(matches!(poll_fn(|cx| served.poll_reset(cx)).await, Broken::Reset(CANCEL)));

    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    drop(serving.request().await);
    assert!(matches!(response(&mut call).await, Err(Broken::Reset(INTERNAL_ERROR))));

    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let (_, mut served) = serving.request().await;
    served.send_response(&answer(Length::Unknown)).unwrap();
    send_all(&mut served, b"abc").await.unwrap();
    drop(served);
    // What h2 has not sent yet goes with the stream.
    let broken = match response(&mut call).await {
        Ok(_) => read_all(&mut call).await.unwrap_err(),
        Err(broken) => broken,
    };
    assert!(matches!(broken, Broken::Reset(INTERNAL_ERROR)));
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_without_a_failure() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::POST, Length::Exact(1 << 30))).await.unwrap();
    let (_, mut served) = serving.request().await;
    send_all(&mut call, &[1; 1000]).await.unwrap();
    served.send_response(&ResponseHead { status: 413, length: Length::Exact(3), ..ResponseHead::default() }).unwrap();
    send_all(&mut served, b"abc").await.unwrap();
    end(&mut served, None).await.unwrap();
    drop(served);
    // Far more than any window.
    for _ in 0..2_000 {
        send_all(&mut call, &[1; 1000]).await.unwrap();
    }
    assert!(call.is_unwanted());
    end(&mut call, None).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(call.poll_reset(cx).is_pending())).await);
    assert_eq!(response(&mut call).await.unwrap().status, 413);
    assert_eq!(read_all(&mut call).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_message_keeps_to_the_length_that_it_states() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::POST, Length::Exact(3))).await.unwrap();
    assert!(matches!(send_all(&mut call, b"abcd").await, Err(Broken::Overrun)));
    send_all(&mut call, b"ab").await.unwrap();
    assert!(matches!(end(&mut call, None).await, Err(Broken::Overrun)));
    send_all(&mut call, b"c").await.unwrap();
    end(&mut call, None).await.unwrap();
    let (head, mut served) = serving.request().await;
    assert_eq!((head.length, read_all(&mut served).await.unwrap()), (Length::Exact(3), b"abc".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn an_unread_stream_stalls_itself_alone() {
    let (mut client, mut serving) = pair(Trust::Proven).await;
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
        let (_, served) = serving.request().await;
        // Until nothing more fits.
        let upload = send_all(&mut call, &[1; 1 << 20]);
        assert!(timeout(Duration::from_millis(100), upload).await.is_err());
        stalled.push((call, served));
    }
    let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    let (_, mut served) = serving.request().await;
    let upload = tokio::spawn(async move {
        send_all(&mut call, &vec![2; 3 << 20]).await.unwrap();
        end(&mut call, None).await.unwrap();
        call
    });
    assert_eq!(read_all(&mut served).await.unwrap().len(), 3 << 20);
    drop(upload.await.unwrap());
    // A stalled one goes on where it is read, and can be given up where it is not.
    let (mut call, mut served) = stalled.pop().unwrap();
    let upload = tokio::spawn(async move { send_all(&mut call, &vec![3; 1 << 20]).await });
    let mut read = 0;
    while read < 1 << 20 {
        assert_eq!(poll_fn(|cx| served.poll_part(cx)).await.unwrap(), Part::Data);
        read += served.data().len();
        served.consume(served.data().len());
    }
    drop(served);
    drop(upload);
    let (mut call, _served) = stalled.pop().unwrap();
    call.reset(CANCEL);
    assert!(matches!(send_all(&mut call, b"a").await, Err(Broken::Overrun | Broken::Reset(CANCEL))));
}

#[tokio::test]
async fn a_blocked_sender_notices_the_reset() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    let (_, mut served) = serving.request().await;
    let upload = tokio::spawn(async move { send_all(&mut call, &vec![0; 1 << 20]).await });
    tokio::task::yield_now().await;
    served.reset(CANCEL);
    assert!(matches!(upload.await.unwrap(), Err(Broken::Reset(CANCEL))));
}

#[tokio::test]
async fn small_pieces_of_an_unread_stream_lie_together() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
    let (_, mut served) = serving.request().await;
    let mut sent = Vec::new();
    for at in 0..20_000u32 {
        let piece = at.to_be_bytes();
        send_all(&mut call, &[piece, piece].concat()).await.unwrap();
        sent.extend_from_slice(&[piece, piece].concat());
        if at % 100 == 0 {
            // The reader's task is woken, although it can pass nothing on.
            tokio::task::yield_now().await;
            assert!(poll_fn(|cx| Poll::Ready(served.poll_part(cx))).await.is_ready() || at == 0);
        }
    }
    end(&mut call, None).await.unwrap();
    assert_eq!(read_all(&mut served).await.unwrap(), sent);
}

#[tokio::test]
async fn a_graceful_end_lets_streams_finish_and_takes_no_more() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let (_, mut served) = serving.request().await;
    serving.commands.send(Command::Drain).await.unwrap();
    while !client.is_going_away() {
        tokio::task::yield_now().await;
    }
    assert!(!client.has_room());
    assert!(matches!(client.send(&request(Method::GET, Length::None)).await, Err(Broken::Unread)));
    served.send_response(&answer(Length::None)).unwrap();
    assert_eq!(response(&mut call).await.unwrap().status, 200);
    drop((call, served));
    serving.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_abrupt_end_breaks_what_was_begun() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut call = client.send(&request(Method::GET, Length::None)).await.unwrap();
    let _served = serving.request().await;
    serving.commands.send(Command::Abort(ENHANCE_YOUR_CALM)).await.unwrap();
    let broken = response(&mut call).await.unwrap_err();
    assert!(matches!(broken, Broken::Io(_)), "{broken:?}");
    serving.ended.await.unwrap().unwrap();
    while !client.is_closed() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_websocket_crosses_by_extended_connect() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let head = RequestHead { protocol: Some("websocket".into()), ..request(Method::CONNECT, Length::Unknown) };
    let mut call = client.send(&head).await.unwrap();
    let (head, mut served) = serving.request().await;
    assert_eq!((head.protocol.as_deref(), head.form, &*head.path), (Some("websocket"), Form::Origin, "/a?b"));
    served.send_response(&answer(Length::Unknown)).unwrap();
    assert_eq!(response(&mut call).await.unwrap().length, Length::Unknown);
    send_all(&mut call, b"ping").await.unwrap();
    assert_eq!(poll_fn(|cx| served.poll_part(cx)).await.unwrap(), Part::Data);
    assert_eq!(served.data(), b"ping");
    served.consume(4);
    send_all(&mut served, b"pong").await.unwrap();
    assert_eq!(poll_fn(|cx| call.poll_part(cx)).await.unwrap(), Part::Data);
    assert_eq!(call.data(), b"pong");
}

#[tokio::test]
async fn connect_names_an_authority_and_no_path() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let head = RequestHead {
        method: Method::CONNECT,
        form: Form::Authority,
        authority: "orders:443".to_owned(),
        ..RequestHead::default()
    };
    let _call = client.send(&head).await.unwrap();
    let (head, _served) = serving.request().await;
    assert_eq!((head.form, &*head.authority, head.length), (Form::Authority, "orders:443", Length::Unknown));
}

#[tokio::test]
async fn a_head_that_is_too_large_can_be_answered() {
    let (mut client, mut serving) = pair(Trust::Stranger).await;
    let mut head = request(Method::GET, Length::None);
    head.fields.push(b"x-a", &[b'a'; 33 * 1024]);
    let mut call = client.send(&head).await.unwrap();
    let Arrival { head, mut stream } = serving.arrivals.recv().await.unwrap();
    assert!(head.unwrap_err().is_too_large);
    stream.send_response(&ResponseHead { status: 431, ..answer(Length::None) }).unwrap();
    assert_eq!(response(&mut call).await.unwrap().status, 431);
}

#[tokio::test]
async fn a_client_knows_how_many_streams_it_may_open() {
    let (mut client, _serving) = pair(Trust::Stranger).await;
    assert_eq!(client.streams_max(), 100);
    let mut calls = Vec::new();
    for _ in 0..100 {
        assert!(client.has_room());
        calls.push(client.send(&request(Method::GET, Length::None)).await.unwrap());
    }
    assert!(!client.has_room());
    calls.pop();
    assert!(client.has_room());
}
