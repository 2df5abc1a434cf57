//! The admin API's questions, answered from a node's control.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use weft_actors::control::{NodeControl, TokenRequest};
use weft_actors::telemetry::Telemetry;
use weft_identity::{Code, Failure};
use weft_proxy::explain;
use weft_proxy::worker::DataPath;
use weft_world::admin::ledger::DraftWish;
use weft_world::admin::{Agreement, ExposeRequest};
use weft_world::service_spec::ServiceSpec;
use weft_world::settings::local_ip;

use crate::admin::{AdminDesk, Question};

/// Answers the admin API.
pub(super) struct NodeDesk {
    control: NodeControl,
    telemetry: Telemetry,
    path: Arc<DataPath>,
    leaving: Notify,
}

impl NodeDesk {
    /// A desk over a node's control.
    pub(super) fn new(control: NodeControl, telemetry: Telemetry, path: Arc<DataPath>) -> Self {
        Self { control, telemetry, path, leaving: Notify::new() }
    }

    /// Where a local port of the node listens.
    pub(super) fn local(&self, port: u16) -> SocketAddr {
        SocketAddr::new(local_ip(self.control.status().bind.ip()), port)
    }

    /// Waits until an operator said that the node leaves.
    pub(super) async fn left(&self) {
        self.leaving.notified().await;
    }

    async fn answer(&self, question: Question) -> Result<Value, Failure> {
        match question {
            Question::Status => value(&self.control.status()),
            Question::Nodes => value(&self.control.nodes()),
            Question::Services => value(&self.control.services()),
            Question::Certs => value(&self.control.certs()),
            Question::Expose(request) => self.done(self.expose(request).await),
            Question::Unexpose(service, replica) => self.done(self.control.unexpose(service, replica).await),
            Question::Bind(request) => {
                let at = self.local(request.port);
                self.control.bind(request.spec(at)?).await?;
                Ok(json!({ "at": at }))
            }
            Question::Unbind(port) => self.done(self.control.unbind(self.local(port)).await),
            Question::CreateToken(request) => value(&self.control.create_token(TokenRequest::from(request)).await?),
            Question::Ca => value(&self.control.ca()),
            Question::Bundle => Ok(json!({ "bundle": self.control.bundle()? })),
            Question::TakeBundle(request) => {
                let epoch = self.control.take_bundle(&request.bundle).await?;
                Ok(json!({ "epoch": epoch }))
            }
            Question::Join(request) => {
                let done = self.control.join(&request.token.parse()?, request.at).await?;
                Ok(json!({
                    "mesh": done.file.mesh,
                    "node": done.file.node,
                    "advertise": done.file.advertise,
                    "labels": done.enrolment.labels,
                }))
            }
            Question::Ledger => value(&self.control.ledger()?),
            Question::Documents => value(&self.control.documents()?),
            Question::History(count) => value(&self.control.history(count)?),
            Question::Draft(wish) => self.draft(*wish).await,
            Question::Apply(request) => value(&self.control.apply(request.signed, request.reach).await?),
            Question::Receipt(hash) => {
                let change_set = self.control.change_set(&hash)?;
                Ok(json!({ "change_set": value(&change_set)?, "nodes": value(&self.control.receipt(&hash)?)? }))
            }
            Question::Why(id) => match self.path.refusals(&id) {
                Some(record) => value(&*record),
                None => Err(self.unknown_refusal(&id)),
            },
            Question::Decide(call) => {
                let question = explain::Question::supposed(&call, &self.control.world())?;
                let starting = || Failure::new(Code::NodeNotRunning, "no listener of the node is open yet");
                value(&self.path.explain(&question).ok_or_else(starting)?)
            }
            Question::Leave => {
                self.control.leave().await?;
                self.leaving.notify_one();
                Ok(json!({ "left": true }))
            }
            #[cfg(feature = "crash-test")]
            Question::Crash(actor) => self.done(self.control.crash(&actor)),
        }
    }

    async fn expose(&self, request: ExposeRequest) -> Result<(), Failure> {
        match request.agreement {
            Agreement::Needed => self.control.expose(ServiceSpec::from(request)).await,
            Agreement::Waived => self.control.expose_anyway(ServiceSpec::from(request)).await,
        }
    }

    /// An id starts with the name of the node that refused, which alone knows it.
    fn unknown_refusal(&self, id: &str) -> Failure {
        let own = self.control.status().node;
        let detail = match id.rsplit_once('.') {
            Some((node, _)) if node != own.as_str() => format!("{id:?} is a refusal of node {node}, and this is {own}"),
            _ => format!("this node keeps no refusal {id:?}"),
        };
        Failure::new(Code::RefusalUnknown, detail)
    }

    /// Compiling thousands of documents takes longer than other answers may wait for it.
    async fn draft(&self, wish: DraftWish) -> Result<Value, Failure> {
        let control = self.control.clone();
        let drafted = tokio::task::spawn_blocking(move || value(&control.draft(wish)?)).await;
        drafted.map_err(|error| Failure::new(Code::Internal, format!("make the draft: {error}")))?
    }

    fn done(&self, result: Result<(), Failure>) -> Result<Value, Failure> {
        result.map(|()| json!({ "done": true }))
    }
}

fn value(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::new(Code::Internal, format!("write the answer: {error}")))
}

impl AdminDesk for NodeDesk {
    fn ready(&self) -> bool {
        let status = self.control.status();
        !status.draining && status.certificates_current
    }

    fn metrics(&self) -> String {
        self.telemetry.render()
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, Failure>> {
        self.answer(question).boxed()
    }
}
