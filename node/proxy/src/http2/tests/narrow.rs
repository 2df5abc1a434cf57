//! Many streams of all sizes over a pipe that holds less than a frame.

use std::sync::Arc;
use std::task::ready;

use super::*;

/// Sends back what comes, as it comes.
async fn echo(mut served: Stream) -> Result<(), Broken> {
    served.send_response(&answer(Length::Unknown))?;
    poll_fn(|cx| {
        loop {
            match served.poll_part(cx)? {
                Poll::Ready(Part::Data) => {
                    let data = served.data().to_vec();
                    let count = ready!(served.poll_send(cx, &data))?;
                    served.consume(count);
                }
                Poll::Ready(Part::End) => return served.poll_end(cx, None),
                Poll::Pending => {
                    ready!(served.poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// Sends in pieces and reads what comes back, both in one task; how much of it came back in order.
async fn call(mut call: Stream, sent: &[u8], piece: usize) -> Result<usize, Broken> {
    let mut up = sent;
    let mut back = 0;
    let mut is_answered = false;
    poll_fn(|cx| {
        while let Some(part) = up.chunks(piece).next() {
            let Poll::Ready(count) = call.poll_send(cx, part)? else { break };
            up = &up[count..];
        }
        if up.is_empty() {
            let _ = call.poll_end(cx, None)?;
        }
        if !is_answered {
            ready!(call.poll_response(cx))?;
            is_answered = true;
        }
        while ready!(call.poll_part(cx))? == Part::Data {
            let count = call.data().len().min(piece * 3);
            assert_eq!(call.data()[..count], sent[back..back + count]);
            back += count;
            call.consume(count);
        }
        Poll::Ready(Ok(back))
    })
    .await
}

#[tokio::test]
async fn streams_of_all_sizes_share_a_narrow_pipe_and_nothing_is_left() {
    let (near, far) = duplex(700);
    let mut serving = serve(far, server_settings(Trust::Proven));
    let (mut client, driver) = Client::start(Transport::Memory(near), client_settings(), Arc::default()).await.unwrap();
    let backlog = client.backlog();
    tokio::spawn(driver);
    let body: Arc<Vec<u8>> = Arc::new((0..700_000u32).flat_map(u32::to_be_bytes).collect());
    let mut calls = Vec::new();
    // Some of every kind are given up on the way.
    for (at, size) in
        [0, 1, 900, 1_024, 1_025, 16_384, 70_000, 300_000, 700_000].into_iter().cycle().take(72).enumerate()
    {
        let stream = client.send(&request(Method::POST, Length::Unknown)).await.unwrap();
        let (_, served) = serving.request().await;
        tokio::spawn(echo(served));
        let (body, piece) = (Arc::clone(&body), [7_000, 333, 20_000, 1_100][at % 4]);
        calls.push(tokio::spawn(async move {
            let finished = timeout(Duration::from_millis(30), call(stream, &body[..size], piece));
            match at % 5 {
                0 => drop(finished.await),
                _ => assert_eq!(finished.into_inner().await.unwrap(), size),
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(client.streams_open(), 0);
    while backlog.held() > 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    serving.ended.await.unwrap().unwrap();
}
