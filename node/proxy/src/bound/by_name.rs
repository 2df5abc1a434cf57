//! The port that leads to several services by the server name that a client of TLS states. See [`super`].

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use weft_identity::Code;
use weft_world::server_names::ServerNames;

use super::{Bound, serve_stream};
use crate::client_hello::{self, Alert, Hello, HelloFault, ServerName};
use crate::http1::Connection;
use crate::problem::Refusal;
use crate::proxy_protocol::Ends;
use crate::server;
use crate::vigil::{Cut, Watch};

/// Carries the stream of a client of TLS to the service of the server name that it states, from its first byte on; tells it where there is none.
pub(super) async fn serve(
    bound: &Bound,
    names: &ServerNames,
    mut connection: Box<Connection>,
    ends: Ends,
    mut watch: Watch,
) {
    let refused = match stated(bound, &mut connection, &mut watch).await {
        Ok(ServerName(name)) => match names.service_of(name.as_deref()) {
            Some(service) => return Box::pin(serve_stream(bound, service, connection, ends, watch)).await,
            None => {
                let wanted = name.map_or("a client that states no server name".to_owned(), |name| {
                    format!("the server name {name:?}")
                });
                let why = format!("{} leads nowhere for {wanted}", bound.spec.at);
                (Refusal::new(Code::ServiceUnknown, why), Some(Alert::UnrecognizedName))
            }
        },
        Err(Some(refused)) => refused,
        Err(None) => return,
    };
    let (refusal, alert) = refused;
    bound.note_refused(None, &refusal);
    match alert {
        Some(alert) => server::say_last(&mut connection, &mut watch, &alert.record()).await,
        None => connection.cut(),
    }
}

/// Waits for the server name that a client states. Where it does not come as it should, why, and what the client is told; nothing where the
/// client only went.
async fn stated(
    bound: &Bound,
    connection: &mut Connection,
    watch: &mut Watch,
) -> Result<ServerName, Option<(Refusal, Option<Alert>)>> {
    let span = bound.worker.settings().head_timeout;
    let mut needed = 1;
    let read = poll_fn(|cx| poll_name(connection, &mut needed, cx));
    match watch.within(span, read).await {
        Ok(Some(Ok(name))) => Ok(name),
        Ok(Some(Err(fault))) => {
            let alert = matches!(fault, HelloFault::Malformed(_)).then_some(Alert::DecodeError);
            let refusal = Refusal::new(Code::RequestMalformed, format!("{} takes TLS: {fault}", bound.spec.at));
            Err(Some((refusal, alert)))
        }
        Err(Cut::Due) => {
            let why = format!("no ClientHello came within {span:?} at {}", bound.spec.at);
            Err(Some((Refusal::new(Code::CallerTooSlow, why), None)))
        }
        Ok(None) | Err(_) => Err(None),
    }
}

/// The name in what has come, of which so many bytes are needed before a look is of use; none where the client only went.
fn poll_name(
    connection: &mut Connection,
    needed: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<ServerName, HelloFault>>> {
    loop {
        while connection.held().len() < *needed {
            match ready!(connection.poll_more(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(None),
            }
        }
        match client_hello::read(connection.held()) {
            Ok(Hello::Needs(len)) => *needed = len,
            Ok(Hello::Whole(name)) => return Poll::Ready(Some(Ok(name))),
            Err(fault) => return Poll::Ready(Some(Err(fault))),
        }
    }
}
