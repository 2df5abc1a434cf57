//! Requests of HTTP/1.1 beside hyper: what Weft takes, hyper takes as the same. The other way round Weft is stricter on purpose.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};
use weft_proxy::fuzzing::{Body, http1_request};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime can be built");
}

/// What hyper hands out of a request.
struct Handed {
    method: String,
    target: String,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Body,
}

/// Reads these bytes by both.
pub fn compare(bytes: &[u8]) {
    let Some(ours) = http1_request(bytes) else { return };
    let head = &bytes[..ours.head_len];
    let Some(theirs) = RUNTIME.with(|runtime| runtime.block_on(handed(head))) else {
        // What a URI may hold is checked by hyper, and by the application behind Weft.
        assert!(is_odd(head), "hyper refuses {:?}", String::from_utf8_lossy(head));
        return;
    };
    let text = String::from_utf8_lossy(head);
    assert_eq!(theirs.method, ours.method, "{text:?}");
    assert!(theirs.target == ours.target || theirs.target.is_empty(), "{:?} {:?} {text:?}", theirs.target, ours.target);
    assert_eq!(theirs.body, ours.body, "{text:?}");
    let mut fields = ours.fields.clone();
    fields.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    fields.retain(|(name, _)| name != b"host");
    fields.sort();
    assert_eq!(theirs.fields, fields, "{text:?}");
}

/// Whether a target holds bytes that a URI may not, or a host: those are looked up among the services by Weft, and not read further.
fn is_odd(head: &[u8]) -> bool {
    let target = head.trim_ascii_start().split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target.iter().any(|byte| b"\"<>\\^`{|}".contains(byte)) || !matches!(target.first(), Some(b'/' | b'*'))
}

async fn handed(head: &[u8]) -> Option<Handed> {
    let (mut near, far) = duplex(1 << 17);
    near.write_all(head).await.ok()?;
    near.shutdown().await.ok()?;
    let seen = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        kept.borrow_mut().get_or_insert_with(|| read(&request));
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let serving = http1::Builder::new().half_close(true).max_buf_size(1 << 17).serve_connection(TokioIo::new(far), service);
    let mut answer = Vec::new();
    let (_served, _answered) = tokio::join!(serving, near.read_to_end(&mut answer));
    seen.take()
}

fn read(request: &Request<Incoming>) -> Handed {
    let fields = request.headers();
    let body = if fields.contains_key(TRANSFER_ENCODING) {
        Body::Chunked
    } else {
        match request.body().size_hint().exact() {
            None | Some(0) => Body::None,
            Some(count) => Body::Length(count),
        }
    };
    let uri = request.uri();
    let target = uri.path_and_query().map_or_else(|| uri.to_string(), ToString::to_string);
    let others = fields.iter().filter(|(name, _)| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name));
    let mut others: Vec<_> =
        others.map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    others.sort();
    Handed { method: request.method().to_string(), target, fields: others, body }
}
