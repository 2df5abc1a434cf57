//! The answering end of `weft-sign/1`: reads one request, checks what proves it, and asks the desk. Called by the mesh port's
//! listener for each connection with [`weft_identity::tls::ALPN_SIGN`].

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use weft_env::{Clock, Timestamp};
use weft_identity::wire::{self, Kind, Signed, WireError};
use weft_identity::{Code, Failure, NodeId, PublicKey, SignedBundle};

use super::messages::{
    Answer, CLOCK_SKEW_MAX, CertifyReply, CertifyRequest, EXCHANGE_TIMEOUT, JoinReply, JoinRequest, Proven, Question,
    REQUEST_CONTEXT, SIGN_LEN_MAX, WISHES_MAX, exporter,
};

/// Who decides. Requests that reach it are proven: their key signed them, for this connection, at about this time.
pub trait SignDesk: Send + Sync {
    /// Where that signer's mesh port is, as far as this node knows.
    fn whereabouts(&self, signer: NodeId) -> BoxFuture<'_, Option<SocketAddr>>;
    /// Admits a node. A node that is no signer refuses with [`Code::NotSigner`].
    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<JoinReply, Failure>>;
    /// The trust bundles after an epoch, oldest first, as many as one message carries. They prove themselves, so anybody may ask.
    fn bundles(&self, after: u64) -> Vec<SignedBundle>;
    /// Issues certificates to an enrolled node. The enrolment itself is the desk's to verify.
    fn certify(&self, request: CertifyRequest) -> BoxFuture<'_, Result<CertifyReply, Failure>>;
}

/// Answers one connection; returns when the answer is sent. An error says that the caller broke the protocol or went away.
pub async fn serve<S>(mut stream: TlsStream<S>, desk: &dyn SignDesk, clock: &Clock) -> Result<(), WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let question = wire::read(&mut stream, Kind::SignRequest, SIGN_LEN_MAX).await?;
        let channel = exporter(stream.get_ref().1).map_err(std::io::Error::other)?;
        let answer = answer(question, channel, desk, clock.wall()).await;
        wire::write(&mut stream, Kind::SignReply, &answer).await?;
        stream.shutdown().await?;
        Ok(())
    };
    match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
        Ok(done) => done,
        Err(_) => Err(WireError::Stream(std::io::ErrorKind::TimedOut.into())),
    }
}

async fn answer(question: Question, channel: [u8; 32], desk: &dyn SignDesk, now: Timestamp) -> Answer {
    match question {
        Question::Whereabouts(signer) => Answer::Whereabouts(desk.whereabouts(signer).await),
        Question::Bundles(after) => Answer::Bundles(desk.bundles(after)),
        Question::Join(signed) => match proven(&signed, channel, now, |request: &JoinRequest| Ok(request.key)) {
            Ok(request) => desk.join(request).await.map_or_else(Answer::from, |reply| Answer::Joined(Box::new(reply))),
            Err(failure) => failure.into(),
        },
        Question::Certify(signed) => match proven(&signed, channel, now, enrolled_key) {
            Ok(request) => {
                desk.certify(request).await.map_or_else(Answer::from, |reply| Answer::Certified(Box::new(reply)))
            }
            Err(failure) => failure.into(),
        },
    }
}

fn enrolled_key(request: &CertifyRequest) -> Result<PublicKey, Failure> {
    if request.wishes.len() > WISHES_MAX {
        let detail = format!("{} certificates were asked for, at most {WISHES_MAX} at once", request.wishes.len());
        return Err(Failure::new(Code::EnrolmentRefused, detail));
    }
    request.enrolment.claim().map(|enrolment| enrolment.key).map_err(|_| malformed())
}

/// The request, if the key that it names signed it, for this connection and at about this time.
fn proven<T: Serialize + DeserializeOwned>(
    signed: &Signed<Proven<T>>,
    channel: [u8; 32],
    now: Timestamp,
    key: impl Fn(&T) -> Result<PublicKey, Failure>,
) -> Result<T, Failure> {
    let claim = signed.claim().map_err(|_| malformed())?;
    let key = key(&claim.request)?;
    let proven = signed.verify(REQUEST_CONTEXT, &key).map_err(|_| unproven())?;
    if proven.channel != channel {
        return Err(unproven());
    }
    check_clocks(proven.sent_at, now)?;
    Ok(proven.request)
}

fn check_clocks(theirs: Timestamp, ours: Timestamp) -> Result<(), Failure> {
    let (apart, way) = if theirs > ours { (theirs.since(ours), "ahead of") } else { (ours.since(theirs), "behind") };
    if apart <= CLOCK_SKEW_MAX {
        return Ok(());
    }
    let detail = format!(
        "this machine's clock is {} s {way} the signer's; at most {} s are allowed",
        apart.as_secs(),
        CLOCK_SKEW_MAX.as_secs()
    );
    Err(Failure::new(Code::ClockSkew, detail))
}

fn malformed() -> Failure {
    Failure::new(Code::EnrolmentRefused, "the request cannot be read; do both machines run the same version of weft?")
}

fn unproven() -> Failure {
    Failure::new(Code::EnrolmentRefused, "the request is not signed by the key that it names, for this connection")
}
