//! What an operator asks of a running node about the mesh's trust, and the bundles that he gives it: `weft ca`.

use weft_env::Timestamp;
use weft_identity::{
    Code, Failure, Fingerprint, Grants, OperatorEntry, OperatorStanding, TrustBundle, bundle_from_text, bundle_text,
    validity,
};
use weft_world::admin::ca::{CaStatus, OperatorRow, RootRow, SeenRow, SignerRow};

use crate::actor::membership::outgoing_count;
use crate::control::NodeControl;
use crate::message::identity;
use crate::standing::News;

impl NodeControl {
    /// The mesh's trust in one look.
    pub fn ca(&self) -> CaStatus {
        let core = &self.0;
        let standing = core.standing.load_full();
        let view = core.members.borrow().clone();
        let others = view.members.values().map(|member| &member.record).filter(|record| record.node != core.file.node);
        let mut members: Vec<_> = others
            .map(|record| SeenRow {
                node: record.node.clone(),
                epoch: record.bundle_epoch,
                outgoing: record.outgoing,
                signer_key: record.signer_key.map(|key| hex(&key.0)),
            })
            .collect();
        members.push(SeenRow {
            node: core.file.node.clone(),
            epoch: standing.bundle.epoch,
            outgoing: outgoing_count(core, &standing),
            signer_key: standing.signer_public().map(|key| hex(&key.0)),
        });
        members.sort_by(|one, two| one.node.cmp(&two.node));
        CaStatus { epoch: standing.bundle.epoch, members, ..listed(&standing.bundle, core.env.clock.wall()) }
    }

    /// The bundle in force as text.
    pub fn bundle(&self) -> Result<String, Failure> {
        let standing = self.0.standing.load_full();
        bundle_text(standing.signed_bundle()).map_err(|error| Failure::new(Code::Internal, error.to_string()))
    }

    /// Takes the bundle after the one in force; gossip tells the members, who fetch it. Returns its epoch.
    pub async fn take_bundle(&self, text: &str) -> Result<u64, Failure> {
        let refuse = |detail: &str| Failure::new(Code::BundleRefused, detail.to_owned());
        let signed = bundle_from_text(text).ok_or_else(|| refuse("the text is no trust bundle"))?;
        let standing = self.0.standing.load_full();
        let next = standing.bundle.successor(standing.signed_bundle(), &signed);
        let next = next.ok_or_else(|| refuse("it does not follow the bundle that this node holds"))?;
        let news = News { bundles: vec![signed], ..News::default() };
        self.0.identity.call(|reply| identity::Message::Adopt(news, reply)).await??;
        Ok(next.epoch)
    }
}

fn listed(bundle: &TrustBundle, now: Timestamp) -> CaStatus {
    let span = |certificate: &[u8]| {
        validity(&certificate.into()).map_or((0, 0), |(not_before, not_after)| (not_before.0, not_after.0))
    };
    let root_row = |root: &weft_identity::RootEntry| {
        let (not_before_ms, not_after_ms) = span(&root.certificate);
        RootRow { root: root.fingerprint().to_string(), state: root.state, not_before_ms, not_after_ms }
    };
    let signer_row = |signer: &weft_identity::SignerEntry| {
        let (not_before_ms, not_after_ms) = span(&signer.certificate);
        SignerRow {
            node: signer.node.clone(),
            state: signer.state,
            scope: names(&signer.scope),
            root: Fingerprint::to_string(&signer.root),
            not_before_ms,
            not_after_ms,
        }
    };
    let operators = bundle.operators.iter();
    CaStatus {
        epoch: bundle.epoch,
        roots: bundle.roots.iter().map(root_row).collect(),
        signers: bundle.signers.iter().map(signer_row).collect(),
        operators: operators.map(|one| operator_row(one, now)).collect(),
        members: Vec::new(),
    }
}

fn operator_row(one: &OperatorEntry, now: Timestamp) -> OperatorRow {
    let state = match &one.state {
        OperatorStanding::Retired { .. } => "retired",
        OperatorStanding::Active if one.not_after.is_some_and(|end| now > end) => "ended",
        OperatorStanding::Active => "active",
    };
    OperatorRow {
        key: hex(&one.key.0),
        state: state.to_owned(),
        scope: names(&one.scope),
        not_after_ms: one.not_after.map(|end| end.0),
    }
}

fn names(scope: &Grants) -> Option<Vec<String>> {
    match scope {
        Grants::All => None,
        Grants::Only(services) => Some(services.iter().map(ToString::to_string).collect()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
