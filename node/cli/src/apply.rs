//! The commands that sign a change: `weft apply`, `confirm` and `rollback`. The operator's key is opened here, in the operator's
//! process; the node gets the signed change set alone, and the others fetch it from there.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::json;
use weft_actors::state::StateDir;
use weft_env::Env;
use weft_identity::{Code, Failure, KeyRole, SigningKey};
use weft_ledger::{Prune, SignedDraft, Signing};
use weft_world::admin::ApplyRequest;
use weft_world::admin::ledger::{Applied, DraftView, DraftWish, Reach, Revoked};

use super::args::{ApplyOptions, RevisionOptions, RollbackOptions, SigningOptions};
use super::client::{ask, body, read};
use super::key::KeyPlace;
use super::output::Output;
use super::receipt::{self, Awaited};
use super::{history, passphrase, plan, policies};

/// Where the operator key of `weft init` lies in the state directory.
const OPERATOR_KEY_FILE: &str = "keys/operator.key";

/// Where a command acts.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Clock and disk.
    pub(super) env: &'a Env,
    /// The state directory.
    pub(super) dir: &'a Path,
    /// How results are printed.
    pub(super) output: Output,
}

/// A change on its way.
pub(super) struct Change {
    /// What it is made from.
    pub(super) wish: DraftWish,
    /// What the history says of it unless the operator says something else.
    pub(super) message: String,
    /// It is taken back unless it is confirmed within this span.
    pub(super) confirm: Option<Duration>,
    /// How it is signed and awaited.
    pub(super) signing: SigningOptions,
}

/// `weft apply`.
pub(super) async fn run(place: Place<'_>, options: ApplyOptions) -> Result<(), Failure> {
    let (wish, message) = match options.again {
        Some(revision) => {
            if options.confirm.is_none() {
                history::note_unconfirmed(place, &revision).await?;
            }
            (DraftWish::Again(revision.clone()), format!("revision {revision} again"))
        }
        None => {
            let prune = options.prune.unwrap_or(Prune::Nothing);
            let documents = policies::read(&options.paths, &prune)?;
            (DraftWish::Documents { documents, prune }, String::new())
        }
    };
    Change { wish, message, confirm: options.confirm, signing: options.signing }.make(place).await
}

/// `weft confirm`.
pub(super) async fn confirm(place: Place<'_>, options: RevisionOptions) -> Result<(), Failure> {
    let wish = DraftWish::Confirm(options.revision);
    Change { wish, message: String::new(), confirm: None, signing: options.signing }.make(place).await
}

/// `weft rollback`.
pub(super) async fn rollback(place: Place<'_>, options: RollbackOptions) -> Result<(), Failure> {
    let RollbackOptions { revision: RevisionOptions { revision, signing }, with_revocations } = options;
    let message = format!("back to revision {revision}");
    let revocations = if with_revocations { Revoked::RollBack } else { Revoked::Stay };
    let wish = DraftWish::Rollback { to: revision, revocations };
    Change { wish, message, confirm: None, signing }.make(place).await
}

impl Change {
    /// Drafts, signs, applies, and waits for the receipt.
    pub(super) async fn make(self, place: Place<'_>) -> Result<(), Failure> {
        let view = plan::draft(place.dir, &self.wish).await?;
        if view.draft.is_empty() {
            place.output.result(&plan::text(&view, place.output.paint()), plan::value(&view));
            return Ok(());
        }
        plan::check_compiles(&view)?;
        view.draft.check_size()?;
        let reach = if self.signing.anyway { Reach::Anyway } else { Reach::Half };
        check_reach(&view, reach)?;
        if place.output == Output::Text {
            place.output.result(&format!("{}\n{}", plan::summary(&view.draft), plan::reach(&view)), json!({}));
        }
        let signed = self.signed(place, &view)?;
        let started = place.env.clock.now();
        let request = body(&ApplyRequest { signed, reach })?;
        let applied: Applied = read(ask(place.dir, Method::POST, "/v1/ledger/apply", Some(request)).await?)?;
        let awaited = Awaited { applied, started, wait: self.signing.wait, confirm: self.confirm };
        receipt::wait(place, &awaited, plan::value(&view)).await
    }

    fn signed(&self, place: Place<'_>, view: &DraftView) -> Result<SignedDraft, Failure> {
        let mesh = StateDir::new(place.env, place.dir).node_file()?.mesh;
        if view.draft.mesh != mesh {
            return Err(Failure::new(Code::Internal, format!("the node drafted for mesh {}", view.draft.mesh)));
        }
        let key = operator_key(place, &self.signing, &mesh)?;
        let now = place.env.clock.wall();
        view.draft.sign(Signing {
            key: &key,
            author_node: view.node.clone(),
            now,
            message: self.signing.message.clone().unwrap_or_else(|| self.message.clone()),
            confirm_by: self.confirm.map(|span| now.after(span)),
        })
    }
}

/// The node asks this again when it takes the change in; here it is asked before the passphrase is.
fn check_reach(view: &DraftView, reach: Reach) -> Result<(), Failure> {
    if reach == Reach::Half && view.reached.len() < view.unreached.len() {
        return Err(Failure::new(Code::ReachTooSmall, plan::reach(view)));
    }
    Ok(())
}

fn operator_key(
    place: Place<'_>,
    options: &SigningOptions,
    mesh: &weft_identity::MeshName,
) -> Result<SigningKey, Failure> {
    let path = options.operator_key.clone().unwrap_or_else(|| place.dir.join(OPERATOR_KEY_FILE));
    let file = KeyPlace { option: "--operator-key", path: &path };
    let text = file.text(place.env, Code::OperatorKeyMissing)?;
    let passphrase = passphrase::for_old_key(place.env, KeyRole::Operator, options.passphrase_file.as_deref())?;
    file.open(&text, (KeyRole::Operator, mesh), &passphrase)
}
